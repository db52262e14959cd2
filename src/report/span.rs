//! The time that a report is about.

use jiff::Timestamp;

/// From a time, which belongs to it, to a time, which does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub since: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

impl Span {
    /// Whether a moment belongs to it.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.since <= at && at < self.until
    }

    /// The part of a time that belongs to it, in seconds; `None` where the two do not meet.
    pub(super) fn overlap(&self, from: Timestamp, to: Timestamp) -> Option<i64> {
        let (from, to) = (from.max(self.since), to.min(self.until));
        (from < to).then(|| to.as_second() - from.as_second())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn its_end_is_no_part_of_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let span = Span { since: at(10), until: at(20) };
        assert_eq!([9, 10, 19, 20].map(|second| span.holds(at(second))), [false, true, true, false]);
        assert_eq!(span.overlap(at(0), at(15)), Some(5));
        assert_eq!(span.overlap(at(12), at(99)), Some(8));
        assert_eq!(span.overlap(at(20), at(99)), None);
    }
}
