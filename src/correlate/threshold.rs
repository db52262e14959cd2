//! A window over the times of events, and how many are in it.
//!
//! Its promise: pure; what it comes to depends on the order in which events come only as far as one comes when its window
//! is over. A window holds at most as many as it counts to.

use serde::{Deserialize, Serialize};

/// How long after a window's end something may come that belongs into it, in microseconds: an hour. That is what an outage of
/// the broker makes late.
const LATE: i64 = 3_600_000_000;

/// What a rule says; times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) count: usize,
    pub(super) within: i64,
    pub(super) quiet: i64,
    pub(super) max: usize,
}

/// An event that is counted and held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Match {
    /// Its row.
    pub(super) n: i64,
    /// Its time, in microseconds since 1970.
    pub(super) at: i64,
    /// The value of which only different ones count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    /// Bytes of its record.
    pub(super) bytes: usize,
}

/// The events of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// Those in the window, by their times; with values, the last of each.
    pub(super) matches: Vec<Match>,
    /// The latest time.
    newest: Option<i64>,
    /// Until when nothing more is counted.
    quiet: Option<i64>,
    /// How many came meanwhile.
    suppressed: u64,
    /// When the last came, by our own clock.
    pub(super) heard: i64,
}

/// What an event led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether it is in the window now.
    pub(super) is_held: bool,
    /// What is not any more.
    pub(super) released: Vec<Match>,
    /// The count was reached: all that were in the window, and how many had been suppressed before.
    pub(super) reached: Option<(Vec<Match>, u64)>,
}

impl Window {
    /// Counts an event that came at `now`.
    pub(super) fn take(&mut self, new: Match, limits: &Limits, now: i64) -> Taken {
        self.heard = now;
        let mut taken = Taken::default();
        if self.quiet.is_some_and(|until| new.at < until) {
            self.suppressed += 1;
            return taken;
        }
        let newest = self.newest.map_or(new.at, |newest| newest.max(new.at));
        self.newest = Some(newest);
        let from = newest.saturating_sub(limits.within);
        let in_time = self.matches.partition_point(|known| known.at < from);
        taken.released.extend(self.matches.drain(..in_time));
        if new.at < from {
            return taken;
        }
        if new.value.is_some()
            && let Some(same) = self.matches.iter().position(|known| known.value == new.value)
        {
            if self.matches.get(same).is_some_and(|known| known.at > new.at) {
                return taken;
            }
            taken.released.push(self.matches.remove(same));
        }
        let place = self.matches.partition_point(|known| (known.at, known.n) < (new.at, new.n));
        self.matches.insert(place, new);
        if self.matches.len() < limits.count {
            taken.is_held = true;
        } else {
            self.quiet = Some(newest.saturating_add(limits.quiet));
            taken.reached = Some((std::mem::take(&mut self.matches), std::mem::take(&mut self.suppressed)));
        }
        taken
    }

    /// Whether nothing that still comes can belong to it.
    pub(super) fn is_over(&self, limits: &Limits, now: i64) -> bool {
        self.heard.saturating_add(limits.within.max(limits.quiet)).saturating_add(LATE) < now
    }

    /// Whether it matters to an event of now: there is something in it that would count together with that, or it is quiet.
    pub(super) fn is_open(&self, limits: &Limits, now: i64) -> bool {
        let counts = |last: &Match| last.at.saturating_add(limits.within) >= now;
        self.matches.last().is_some_and(counts) || self.quiet.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn limits(count: usize, within: i64, quiet: i64) -> Limits {
        Limits { count, within, quiet, max: 50 }
    }

    fn new(n: i64, at: i64, value: Option<&str>) -> Match {
        Match { n, at, value: value.map(str::to_owned), bytes: 1 }
    }

    /// The numbers of the events that each firing was made of.
    fn fired(limits: &Limits, events: &[(i64, Option<&str>)]) -> Vec<Vec<i64>> {
        let (mut window, mut fired, mut held) = (Window::default(), Vec::new(), 0_usize);
        for (n, (at, value)) in (0..).zip(events) {
            let taken = window.take(new(n, *at, *value), limits, n);
            held += usize::from(taken.is_held);
            held -= taken.released.len();
            if let Some((matches, _)) = taken.reached {
                held -= matches.len() - 1;
                fired.push(matches.into_iter().map(|it| it.n).collect());
            }
            assert_eq!(held, window.matches.len(), "what is held is what is in the window");
            assert!(held < limits.count);
        }
        fired
    }

    fn plain(times: &[i64]) -> Vec<(i64, Option<&'static str>)> {
        times.iter().map(|at| (*at, None)).collect()
    }

    #[test]
    fn it_is_reached_within_the_time_and_not_beyond() {
        let three = limits(3, 10, 0);
        assert_eq!(fired(&three, &plain(&[0, 5, 10])), [[0, 1, 2]]);
        assert!(fired(&three, &plain(&[0, 5, 11])).is_empty());
        assert_eq!(fired(&three, &plain(&[0, 5, 11, 12])), [[1, 2, 3]]);
    }

    #[test]
    fn what_comes_late_is_put_where_it_belongs() {
        let three = limits(3, 10, 0);
        assert_eq!(fired(&three, &plain(&[10, 5, 0])), [[2, 1, 0]]);
        assert_eq!(fired(&three, &plain(&[20, 5, 15, 12])), [[3, 2, 0]], "5 is too late by itself");
    }

    #[test]
    fn it_is_quiet_afterwards_and_says_how_many_came() {
        let quiet = limits(2, 10, 100);
        assert_eq!(fired(&quiet, &plain(&[0, 1, 2, 3, 100, 101, 102])), [[0, 1], [5, 6]]);
        let mut window = Window::default();
        let mut told = Vec::new();
        for (n, at) in (0..).zip([0, 1, 2, 3, 100, 101, 102]) {
            told.extend(window.take(new(n, at, None), &quiet, 0).reached.map(|(_, suppressed)| suppressed));
        }
        assert_eq!(told, [0, 3]);
    }

    #[test]
    fn only_different_values_count_the_last_of_each() {
        let three = limits(3, 10, 0);
        let same: Vec<_> = (0..100).map(|_| (1, Some("bob"))).collect();
        assert!(fired(&three, &same).is_empty());
        let events = [(0, Some("bob")), (1, Some("eve")), (9, Some("bob")), (3, Some("bob")), (11, Some("joe"))];
        assert_eq!(fired(&three, &events), [[1, 2, 4]]);
    }

    #[test]
    fn it_is_dropped_when_nothing_can_belong_to_it_any_more() {
        let three = limits(3, 10, 20);
        let mut window = Window::default();
        window.take(new(0, 5, None), &three, 7);
        assert!(!window.is_over(&three, LATE + 27) && window.is_over(&three, LATE + 28));
        assert!(window.is_open(&three, 15) && !window.is_open(&three, 16));
        for n in 1..3 {
            window.take(new(n, 5, None), &three, 7);
        }
        assert!(window.is_open(&three, 24) && !window.is_open(&three, 25), "quiet until 25");
    }

    /// All that came since it was reached last, looked at anew each time.
    fn naive(limits: &Limits, events: &[(i64, Option<String>)]) -> Vec<usize> {
        let (mut all, mut quiet, mut newest): (Vec<(i64, Option<String>)>, i64, i64) = (Vec::new(), i64::MIN, i64::MIN);
        let mut fired = Vec::new();
        for (place, (at, value)) in events.iter().enumerate() {
            if *at < quiet {
                continue;
            }
            newest = newest.max(*at);
            all.push((*at, value.clone()));
            let within = || all.iter().filter(|(at, _)| *at >= newest - limits.within);
            let is_in = *at >= newest - limits.within;
            let count = if value.is_some() {
                within().map(|(_, value)| value.clone()).collect::<BTreeSet<_>>().len()
            } else {
                within().count()
            };
            if is_in && count >= limits.count {
                fired.push(place);
                quiet = newest + limits.quiet;
                all.clear();
            }
        }
        fired
    }

    proptest! {
        #[test]
        fn it_is_reached_when_a_naive_count_is(
            times in prop::collection::vec((0_i64..60, 0_u8..5), 0..80),
            (count, within, quiet) in (2_usize..5, 0_i64..15, 0_i64..20),
            is_distinct: bool,
        ) {
            let limits = limits(count, within, quiet);
            let events: Vec<_> =
                times.iter().map(|(at, value)| (*at, is_distinct.then(|| value.to_string()))).collect();
            let (mut window, mut fired) = (Window::default(), Vec::new());
            for (place, (at, value)) in events.iter().enumerate() {
                let taken = window.take(new(i64::try_from(place).unwrap(), *at, value.as_deref()), &limits, 0);
                if taken.reached.is_some() {
                    fired.push(place);
                }
                // As after a restart.
                window = serde_json::from_str(&serde_json::to_string(&window).unwrap()).unwrap();
            }
            prop_assert_eq!(fired, naive(&limits, &events));
        }
    }
}
