//! That nothing comes.
//!
//! Its promise: pure; a silence is told once when it begins and once when it ends.

use serde::{Deserialize, Serialize};

/// What is known of a rule's silence. Times are those of our clock, in microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// How long nothing may come.
    pub(super) after: i64,
    /// When something came last, or when listening began.
    pub(super) seen: i64,
    /// What outlives a restart.
    pub(super) told: Told,
}

/// A silence that was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// Since when nothing came; `None` where there is no silence that was told.
    pub(super) since: Option<i64>,
}

impl Silence {
    pub(super) fn new(after: i64, now: i64) -> Self {
        Self { after, seen: now, told: Told::default() }
    }

    /// Something came. Gives when the silence had begun, if one was told.
    pub(super) fn take(&mut self, now: i64) -> Option<i64> {
        self.seen = now;
        self.told.since.take()
    }

    /// When it is to be told that nothing comes.
    pub(super) fn due(&self) -> Option<i64> {
        self.told.since.is_none().then(|| self.seen.saturating_add(self.after))
    }

    /// Nothing came until `now`. Gives since when, where that is to be told.
    pub(super) fn sweep(&mut self, now: i64) -> Option<i64> {
        self.due().filter(|due| *due <= now)?;
        self.told.since = Some(self.seen);
        self.told.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_and_once_more_when_it_ends() {
        let mut silence = Silence::new(10, 100);
        assert_eq!((silence.due(), silence.sweep(109)), (Some(110), None));
        assert_eq!(silence.take(105), None);
        assert_eq!((silence.sweep(114), silence.sweep(115), silence.sweep(200)), (None, Some(105), None));
        assert_eq!(silence.due(), None);
        assert_eq!((silence.take(201), silence.take(202)), (Some(105), None));
        assert_eq!(silence.due(), Some(212));
    }
}
