//! Events that come together.
//!
//! Its promise: pure; a group holds no more events than are shown, and knows how many there were.

use serde::{Deserialize, Serialize};

use super::threshold::Match;

/// What a rule says; times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) wait: i64,
    pub(super) longest: i64,
    pub(super) max: usize,
}

/// A group that is open. Its own times are those of our clock, in microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Open {
    opened: i64,
    heard: i64,
    /// How many there are.
    pub(super) count: u64,
    /// The first of them, as they came.
    pub(super) matches: Vec<Match>,
    /// The earliest of the events' own times, and
    pub(super) since: i64,
    /// the latest.
    pub(super) until: i64,
}

impl Open {
    /// Opens one with its first event.
    pub(super) fn with(first: Match, now: i64) -> Self {
        let (since, until) = (first.at, first.at);
        Self { opened: now, heard: now, count: 1, matches: vec![first], since, until }
    }

    /// Adds an event; whether it is held.
    pub(super) fn take(&mut self, new: Match, limits: &Limits, now: i64) -> bool {
        self.heard = now;
        self.count += 1;
        (self.since, self.until) = (self.since.min(new.at), self.until.max(new.at));
        let is_held = self.matches.len() < limits.max;
        if is_held {
            self.matches.push(new);
        }
        is_held
    }

    /// When it is to be closed.
    pub(super) fn due(&self, limits: &Limits) -> i64 {
        self.heard.saturating_add(limits.wait).min(self.opened.saturating_add(limits.longest))
    }

    /// Its times are from before a restart, and the clock may have been set back since.
    pub(super) fn wake(&mut self, now: i64) {
        (self.opened, self.heard) = (self.opened.min(now), self.heard.min(now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn new(n: i64, at: i64) -> Match {
        Match { n, at, value: None, bytes: 1 }
    }

    #[test]
    fn it_is_closed_when_nothing_more_comes_or_at_the_latest() {
        let limits = Limits { wait: 10, longest: 25, max: 2 };
        let mut open = Open::with(new(1, 100), 1000);
        assert_eq!(open.due(&limits), 1010);
        assert!(open.take(new(2, 90), &limits, 1009));
        assert!(!open.take(new(3, 110), &limits, 1018));
        assert_eq!(open.due(&limits), 1025);
        assert_eq!((open.count, open.matches.len(), open.since, open.until), (3, 2, 90, 110));
        open.wake(500);
        assert_eq!(open.due(&limits), 510);
    }

    proptest! {
        #[test]
        fn it_counts_all_and_holds_the_first(times in prop::collection::vec(0_i64..50, 1..40), max in 1_usize..10) {
            let limits = Limits { wait: 10, longest: 100, max };
            let mut open = Open::with(new(0, times[0]), 0);
            for (n, at) in (1..).zip(&times[1..]) {
                open.take(new(n, *at), &limits, n);
            }
            prop_assert_eq!(open.count, times.len() as u64);
            let held: Vec<_> = open.matches.iter().map(|it| it.n).collect();
            let wanted: Vec<i64> = (0..).take(times.len().min(max)).collect();
            prop_assert_eq!(held, wanted);
            prop_assert_eq!((Some(open.since), Some(open.until)), (times.iter().min().copied(), times.iter().max().copied()));
        }
    }
}
