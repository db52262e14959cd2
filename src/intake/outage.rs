//! What to say about an outage: when it begins, when its cause changes, when it ends.
//!
//! Its promise: pure, the time is an argument; however many attempts fail, an hour without a broker gives fewer than
//! ten reports. A cause is news for a host at most once in [`REPEAT`]; a broker that is found only to be lost again at
//! once does not end the outage.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::cause::{Cause, Kind};

/// A cause that comes back within this time is no news.
const REPEAT: SignedDuration = SignedDuration::from_hours(1);

/// What there is to say, and to put into the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// No broker, since now.
    Began,
    /// Still none, but for another reason.
    Changed { since: Timestamp, attempts: u32 },
    /// There is one.
    Ended { since: Timestamp, attempts: u32, cause: String },
}

/// Whether there is a broker, and what was said about it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    since: Timestamp,
    attempts: u32,
    /// The last cause for each host.
    causes: HashMap<Arc<str>, Kind>,
    said: HashMap<(Arc<str>, Kind), Timestamp>,
    first: String,
    /// The end was said, but the session has yet to prove itself.
    trial: bool,
}

impl Outage {
    /// The connection to `host` failed or was lost.
    pub(super) fn failed(&mut self, now: Timestamp, host: &Arc<str>, cause: &Cause) -> Option<Report> {
        let kind = cause.kind();
        let Some(current) = &mut self.current else {
            self.current = Some(Current {
                since: now,
                attempts: 1,
                causes: HashMap::from([(Arc::clone(host), kind)]),
                said: HashMap::from([((Arc::clone(host), kind), now)]),
                first: cause.to_string(),
                trial: false,
            });
            return Some(Report::Began);
        };
        current.attempts = current.attempts.saturating_add(1);
        let changed = current.causes.insert(Arc::clone(host), kind) != Some(kind);
        let key = (Arc::clone(host), kind);
        if !changed || current.said.get(&key).is_some_and(|said| now.duration_since(*said) < REPEAT) {
            return None;
        }
        current.said.insert(key, now);
        Some(Report::Changed { since: current.since, attempts: current.attempts })
    }

    /// A connection is up and its queues were looked at.
    pub(super) fn found(&mut self) -> Option<Report> {
        let current = self.current.as_mut().filter(|current| !current.trial)?;
        current.trial = true;
        let (since, attempts, cause) = (current.since, current.attempts, current.first.clone());
        Some(Report::Ended { since, attempts, cause })
    }

    /// The session has done something, or lived long enough: the next loss is a new outage.
    pub(super) fn proved(&mut self) {
        if self.current.as_ref().is_some_and(|current| current.trial) {
            self.current = None;
        }
    }

    /// Since when there is none, and how many attempts failed.
    pub(super) fn current(&self) -> Option<(Timestamp, u32)> {
        self.current.as_ref().map(|current| (current.since, current.attempts))
    }
}

/// In words, to the second.
pub(super) fn length(since: Timestamp, until: Timestamp) -> String {
    let seconds = u64::try_from(until.duration_since(since).as_secs()).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn host(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    /// One hour of attempts, as the schedule makes them at its longest and densest.
    fn hour(outage: &mut Outage, causes: &[(&str, Cause)]) -> Vec<Report> {
        let attempts = causes.iter().cycle().zip((0..3600).step_by(20));
        attempts.filter_map(|((name, cause), second)| outage.failed(at(second), &host(name), cause)).collect()
    }

    #[test]
    fn begins_changes_and_ends() {
        let (mut outage, a) = (Outage::default(), host("a"));
        assert_eq!(outage.failed(at(10), &a, &Cause::Silent), Some(Report::Began));
        assert_eq!(outage.failed(at(11), &a, &Cause::Refused), Some(Report::Changed { since: at(10), attempts: 2 }));
        assert_eq!(outage.failed(at(12), &a, &Cause::Refused), None);
        let ended = Report::Ended { since: at(10), attempts: 3, cause: Cause::Silent.to_string() };
        assert_eq!(outage.found(), Some(ended));
        outage.proved();
        assert_eq!(outage.found(), None);
        assert_eq!(outage.failed(at(20), &a, &Cause::Refused), Some(Report::Began));
    }

    #[test]
    fn an_hour_is_short_to_read() {
        assert_eq!(hour(&mut Outage::default(), &[("a", Cause::Refused)]), [Report::Began]);
        let alternating = [
            ("a", Cause::Refused),
            ("b", Cause::Silent),
            ("a", Cause::Dns("x".into())),
            ("b", Cause::Broken("y".into())),
        ];
        assert_eq!(hour(&mut Outage::default(), &alternating).len(), 4);
    }

    #[test]
    fn hosts_with_different_causes_do_not_take_turns_in_the_log() {
        let reports = hour(&mut Outage::default(), &[("a", Cause::Refused), ("b", Cause::Silent)]);
        assert_eq!(reports, [Report::Began, Report::Changed { since: at(0), attempts: 2 }]);
    }

    #[test]
    fn found_and_lost_at_once_is_one_outage() {
        let (mut outage, a) = (Outage::default(), host("a"));
        let flapping = Cause::Reply(541, "INTERNAL_ERROR".into());
        let mut reports = 0;
        for second in (0..3600).step_by(20) {
            reports += usize::from(outage.failed(at(second), &a, &flapping).is_some());
            reports += usize::from(outage.found().is_some());
        }
        assert_eq!(reports, 2, "began, ended");
        outage.proved();
        assert_eq!(outage.current(), None);
    }
}
