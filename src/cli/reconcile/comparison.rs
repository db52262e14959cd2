//! What came of holding a log against the trail.

use crate::witness::Join;

/// How many messages which of the two has.
pub(super) struct Comparison {
    pub(super) join: Join,
    /// Messages that both have.
    pub(super) both: u64,
    /// Messages that the log has and the trail lacks, and
    pub(super) trail_lacks: u64,
    /// the reverse.
    pub(super) log_lacks: u64,
    /// Messages in the log that the trail has not, but may still get.
    pub(super) young: u64,
    /// Lines of the log that are of a message, but cannot be read.
    pub(super) unreadable: u64,
}

impl Comparison {
    /// Whether nobody can tell.
    pub(super) fn is_unsure(&self) -> bool {
        self.unreadable > 0 || self.is_empty()
    }

    /// Whether there was nothing in the log to hold against the trail.
    pub(super) fn is_empty(&self) -> bool {
        self.both + self.trail_lacks + self.young == 0
    }
}
