//! Whether a destination works, and what follows from it.
//!
//! Its promise: pure; times and jitter go in. A destination that is down is probed by one delivery at a time on its
//! schedule; a delivery that alone fails does not count as the destination's failure; an outage is said when it
//! begins, when its cause changes, and when it ends.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::action::Scope;
use crate::retry::Schedule;

/// So many deliveries that fail one after the other, each as if it alone were at fault, are the destination's failure.
const STREAK: usize = 3;

/// An attempt that failed and may work later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'a> {
    /// The delivery.
    pub(super) n: i64,
    /// How often it had failed before.
    pub(super) attempts: u32,
    pub(super) reason: &'a str,
    pub(super) scope: Scope,
    /// The receiver's own `Retry-After`.
    pub(super) after: Option<Duration>,
    /// When the attempt began.
    pub(super) began: Instant,
}

/// What is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Nothing,
    Down {
        reason: String,
    },
    StillDown {
        reason: String,
    },
    /// After how long and how many attempts, and which deliveries are to be brought forward.
    Back {
        after: Duration,
        attempts: u32,
        members: Vec<i64>,
    },
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    since_wall: Timestamp,
    failures: u32,
    probe_at: Instant,
    /// When somebody last said that the destination works again; what began before says nothing about that.
    nudged: Instant,
    reason: String,
    /// Deliveries that failed for the first time in this outage: when it ends, they go first.
    members: HashSet<i64>,
}

#[derive(Debug)]
pub(super) struct Health {
    schedule: Schedule,
    outage: Option<Outage>,
    /// Deliveries that failed since the last success, each for the first time.
    streak: Vec<i64>,
    failures_in_a_row: usize,
}

impl Health {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { schedule, outage: None, streak: Vec::new(), failures_in_a_row: 0 }
    }

    /// When the next probe may be made; `None` while the destination works.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.outage.as_ref().map(|outage| outage.probe_at)
    }

    /// The next probe is made at once: somebody says that the destination works again.
    pub(super) fn probe_now(&mut self, now: Instant) {
        if let Some(outage) = &mut self.outage {
            (outage.probe_at, outage.nudged) = (now, now);
        }
    }

    /// Since when it is down and why.
    pub(super) fn down(&self) -> Option<(Timestamp, &str)> {
        self.outage.as_ref().map(|outage| (outage.since_wall, outage.reason.as_str()))
    }

    /// The destination answered and the delivery is done, goes on, or is given up for a reason of its own.
    pub(super) fn answered(&mut self, now: Instant) -> Say {
        self.streak.clear();
        self.failures_in_a_row = 0;
        let Some(outage) = self.outage.take() else { return Say::Nothing };
        let mut members: Vec<_> = outage.members.into_iter().collect();
        members.sort_unstable();
        Say::Back { after: now.duration_since(outage.since), attempts: outage.failures, members }
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, failure: Failure<'_>, now: Instant, wall: Timestamp, jitter: f64) -> Say {
        self.failures_in_a_row += 1;
        if failure.attempts == 0 {
            self.streak.push(failure.n);
        }
        let down = failure.scope == Scope::Destination || self.failures_in_a_row >= STREAK;
        if self.outage.is_none() && !down {
            return Say::Nothing;
        }
        let is_new = self.outage.is_none();
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: now,
            since_wall: wall,
            failures: 0,
            probe_at: now,
            nudged: failure.began,
            reason: String::new(),
            members: HashSet::new(),
        });
        // Several attempts under way when it went down are one failure of the destination, not several.
        if is_new || (now >= outage.probe_at && failure.began >= outage.nudged) {
            outage.failures += 1;
            // A receiver that asks for no pause, or for one that is over, is not to be pressed harder than one that
            // asks for nothing.
            let delay = self.schedule.delay(outage.failures, jitter).max(failure.after.unwrap_or_default());
            outage.probe_at = now + delay;
        }
        outage.members.extend(self.streak.drain(..));
        if outage.reason == failure.reason {
            return Say::Nothing;
        }
        failure.reason.clone_into(&mut outage.reason);
        let reason = outage.reason.clone();
        if is_new { Say::Down { reason } } else { Say::StillDown { reason } }
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { first: Duration::from_secs(5), max: Duration::from_hours(1) };

    fn failure(n: i64, attempts: u32, scope: Scope) -> Failure<'static> {
        Failure {
            n,
            attempts,
            reason: "connection refused",
            scope,
            after: None,
            // After whatever these tests call now.
            began: Instant::now() + Duration::from_hours(48),
        }
    }

    fn fail(health: &mut Health, failure: Failure<'_>, now: Instant) -> Say {
        health.failed(failure, now, Timestamp::UNIX_EPOCH, 1.0)
    }

    #[tokio::test]
    async fn a_day_down_is_said_twice_and_probed_on_the_schedule() {
        let mut health = Health::new(SCHEDULE);
        let start = Instant::now();
        let mut now = start;
        let mut said = 0;
        let mut probes = 0;
        while now < start + Duration::from_hours(24) {
            // A fresh delivery each time: those that failed wait for their own time.
            let say = fail(&mut health, failure(probes, 0, Scope::Destination), now);
            said += usize::from(say != Say::Nothing);
            probes += 1;
            now = health.probe_at().unwrap_or(now);
        }
        let Say::Back { attempts, members, .. } = health.answered(now) else { panic!("it was down") };
        assert_eq!((said, i64::from(attempts), members.len()), (1, probes, usize::try_from(probes).unwrap_or(0)));
        assert!((30..40).contains(&probes), "{probes} probes in a day");
        assert_eq!(health.answered(now), Say::Nothing);
    }

    #[tokio::test]
    async fn one_bad_delivery_does_not_stop_the_others() {
        let mut health = Health::new(SCHEDULE);
        let now = Instant::now();
        for attempts in 0..20 {
            assert_eq!(fail(&mut health, failure(1, attempts, Scope::Delivery), now), Say::Nothing);
            assert_eq!(health.answered(now), Say::Nothing);
        }
        assert_eq!(health.probe_at(), None);
    }

    #[tokio::test]
    async fn three_failures_in_a_row_are_the_destinations() {
        let mut health = Health::new(SCHEDULE);
        let now = Instant::now();
        fail(&mut health, failure(1, 0, Scope::Delivery), now);
        fail(&mut health, failure(2, 0, Scope::Delivery), now);
        assert!(matches!(fail(&mut health, failure(3, 0, Scope::Delivery), now), Say::Down { .. }));
        let Say::Back { members, .. } = health.answered(now) else { panic!("it was down") };
        assert_eq!(members, [1, 2, 3]);
        // They fail again at once: this time they wait for their own time.
        for n in 1..=3 {
            fail(&mut health, failure(n, 1, Scope::Delivery), now);
        }
        let Say::Back { members, .. } = health.answered(now) else { panic!("it was down") };
        assert_eq!(members, [0; 0]);
    }

    #[tokio::test]
    async fn attempts_under_way_together_are_one_failure() {
        let mut health = Health::new(SCHEDULE);
        let now = Instant::now();
        for n in 0..8 {
            fail(&mut health, failure(n, 0, Scope::Destination), now);
        }
        assert_eq!(health.probe_at(), Some(now + SCHEDULE.first));
    }

    #[tokio::test]
    async fn retry_after_sets_the_probe_and_a_new_cause_is_said() {
        let mut health = Health::new(SCHEDULE);
        let now = Instant::now();
        fail(&mut health, failure(1, 0, Scope::Destination), now);
        let now = now + SCHEDULE.first;
        let busy = Failure { reason: "429", after: Some(Duration::from_secs(77)), ..failure(2, 0, Scope::Destination) };
        assert_eq!(fail(&mut health, busy, now), Say::StillDown { reason: "429".into() });
        assert_eq!(health.probe_at(), Some(now + Duration::from_secs(77)));
        let now = now + Duration::from_secs(77);
        let at_once = Failure { reason: "429", after: Some(Duration::ZERO), ..failure(2, 0, Scope::Destination) };
        fail(&mut health, at_once, now);
        assert_eq!(health.probe_at(), Some(now + 4 * SCHEDULE.first), "no pause is not taken for an invitation");
        health.probe_now(now);
        assert_eq!(health.probe_at(), Some(now));
        let earlier = now.checked_sub(SCHEDULE.first).unwrap_or(now);
        fail(&mut health, Failure { began: earlier, ..failure(3, 0, Scope::Destination) }, now);
        assert_eq!(health.probe_at(), Some(now), "it began before that was said");
        fail(&mut health, Failure { began: now, ..failure(4, 0, Scope::Destination) }, now);
        assert_eq!(health.probe_at(), Some(now + 8 * SCHEDULE.first));
    }
}
