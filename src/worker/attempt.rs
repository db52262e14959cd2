//! One attempt: the request from the outbox, what it came to, and that into the store.
//!
//! Its promise: an attempt has ended when the store has its outcome, however long the disk takes.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::follow::{Followed, Following, InForce};
use crate::action::{Attempt, Destination, Limits, Outcome, Request};
use crate::record::{self, Planned, Record};
use crate::retry::Schedule;
use crate::rule::Extras;
use crate::store::{Delivery, End, Settlement, Store};

/// Between attempts to settle while the disk takes nothing.
const SETTLE: Schedule = Schedule { first: Duration::from_millis(250), max: Duration::from_secs(10) };

/// An attempt that was made, and what it came to.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) delivery: Delivery,
    pub(super) outcome: Outcome,
    /// Whether its failure was the last that was waited for.
    pub(super) is_last: bool,
    /// How long after it was planned it is tried.
    pub(super) patience: Duration,
    pub(super) began: Instant,
    /// What of the steps that follow was planned; known once it is settled.
    pub(super) followed: Followed,
}

impl Made {
    /// Whether it may be the destination's fault.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Retry { .. })
    }
}

/// Makes an attempt.
pub(super) async fn make(destination: &Destination, delivery: Delivery) -> Made {
    let began = Instant::now();
    let outcome = perform(destination, &delivery, Timestamp::now()).await;
    // What cannot be read is not tried for any time.
    let patience = serde_json::from_str(&delivery.request).map_or(Duration::ZERO, |it| destination.patience(&it));
    let is_last = is_last(&outcome, &delivery, patience, Timestamp::now());
    Made { delivery, outcome, is_last, patience, began, followed: Followed::default() }
}

async fn perform(destination: &Destination, delivery: &Delivery, now: Timestamp) -> Outcome {
    let request: Request = match serde_json::from_str(&delivery.request) {
        Ok(request) => request,
        Err(error) => {
            let reason = format!("the request in the outbox cannot be read: {error}");
            return Outcome::GivenUp { reason, reply: None };
        }
    };
    let progress = delivery.progress.as_deref().and_then(|progress| serde_json::from_str(progress).ok());
    let (delivery_id, created) = (&*delivery.id, delivery.created);
    let attempt = Attempt { delivery_id, request: &request, progress: progress.as_ref(), now, created };
    destination.perform(attempt).await
}

/// Whether a failed attempt was the last one: its delivery has been tried for as long as it may be.
fn is_last(outcome: &Outcome, delivery: &Delivery, patience: Duration, now: Timestamp) -> bool {
    let age = Duration::try_from(now.duration_since(delivery.created)).unwrap_or_default();
    matches!(outcome, Outcome::Retry { .. }) && age >= patience
}

/// Keeps what the attempt came to and what follows it, however long the disk takes: until then the delivery stays claimed.
/// Says what that is.
pub(super) async fn settle(store: &Store, name: &str, made: &Made, limits: &Limits, rules: &InForce) -> Followed {
    let (end, followed) = end(name, made, limits, rules);
    keep(store, name, &made.delivery, end).await;
    followed
}

/// Gives up a delivery without an attempt and keeps what follows all the same. Says what that is.
pub(super) async fn expire(store: &Store, name: &str, delivery: &Delivery, reason: &str, rules: &InForce) -> Followed {
    let ended = Ended { name, delivery, tried: false, now: Timestamp::now(), rules };
    let (end, followed) = ended.given_up(reason.to_owned(), None);
    keep(store, name, delivery, end).await;
    followed
}

async fn keep(store: &Store, name: &str, delivery: &Delivery, end: End) {
    let mut failures = 0;
    while let Err(error) = store.settle(Settlement { n: delivery.n, end: end.clone() }).await {
        if error == crate::store::StoreError::Closed {
            return;
        }
        failures += 1;
        if failures == 1 {
            tracing::error!(action.name = name, delivery.id = delivery.id, "cannot keep an outcome: {error}");
        }
        tokio::time::sleep(SETTLE.delay(failures, rand::random())).await;
    }
}

fn end(name: &str, made: &Made, limits: &Limits, rules: &InForce) -> (End, Followed) {
    let Made { delivery, outcome, is_last, patience, .. } = made;
    let now = Timestamp::now();
    let later = |after: Duration| {
        let after = jiff::SignedDuration::try_from(after).unwrap_or(jiff::SignedDuration::from_hours(1));
        now.checked_add(after).unwrap_or(now)
    };
    let attempts = delivery.attempts + 1;
    let ended = Ended { name, delivery, tried: true, now, rules };
    match outcome {
        Outcome::Done { detail } => ended.done(detail, Ok(&Extras::new())),
        Outcome::Answered(answer) => ended.done(&answer.detail, answer.fields.as_ref().map_err(String::as_str)),
        Outcome::GivenUp { reason, reply } => ended.given_up(reason.clone(), reply.clone()),
        Outcome::Continue { progress, after } => {
            let progress = Some(progress.to_string());
            (End::Later { due: later(*after), attempts: 0, reason: None, progress }, Followed::default())
        }
        Outcome::Retry { reason, .. } if *is_last => {
            let age = Duration::try_from(now.duration_since(delivery.created)).unwrap_or_default();
            let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
            ended.given_up(format!("{reason}; tried for {age}"), None)
        }
        Outcome::Retry { reason, after, .. } => {
            let delay = limits.retry.delay(attempts, rand::random()).max(after.unwrap_or_default());
            // Whatever the receiver asks for, its time ends when it was to.
            let last = jiff::SignedDuration::try_from(*patience).ok();
            let last = last.and_then(|last| delivery.created.checked_add(last).ok()).unwrap_or(Timestamp::MAX);
            (
                End::Later { due: later(delay).min(last), attempts, reason: Some(reason.clone()), progress: None },
                Followed::default(),
            )
        }
    }
}

/// A delivery that has ended.
struct Ended<'a> {
    name: &'a str,
    delivery: &'a Delivery,
    /// Whether there was an attempt.
    tried: bool,
    now: Timestamp,
    rules: &'a InForce,
}

impl Ended<'_> {
    fn done(&self, detail: &Extras, fields: Result<&Extras, &str>) -> (End, Followed) {
        let following = Following::new(self.name, self.delivery, self.rules);
        let plan = following.after_done(fields);
        let record = self.record("done", None, None, Some(detail), &plan.planned);
        let (next, followed) = following.next(plan);
        (End::Done { record, next }, followed)
    }

    fn given_up(&self, reason: String, reply: Option<String>) -> (End, Followed) {
        let following = Following::new(self.name, self.delivery, self.rules);
        let plan = following.after_given_up();
        let record = self.record("given_up", Some(&reason), reply.as_deref(), None, &plan.planned);
        let (next, followed) = following.next(plan);
        (End::GivenUp { reason, reply, record, next, tried: self.tried }, followed)
    }

    fn record(
        &self,
        outcome: &'static str,
        reason: Option<&str>,
        reply: Option<&str>,
        detail: Option<&Extras>,
        planned: &[Planned<'_>],
    ) -> Vec<u8> {
        let delivery = self.delivery;
        record::rest_of_line(&Record::Delivery {
            at: self.now,
            delivery: &delivery.id,
            event_seq: delivery.seq,
            message_id: &delivery.message_id,
            event_type: &delivery.event_type,
            rule: &delivery.rule,
            destination: self.name,
            outcome,
            attempts: delivery.attempts + u32::from(self.tried),
            reason,
            reply,
            detail,
            planned,
        })
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::action::{FailureKind, Scope};
    use crate::rule::RuleTable;

    #[tokio::test]
    async fn no_retry_after_puts_off_the_end_of_a_delivery() {
        let created = Timestamp::now();
        let delivery = Delivery {
            n: 1,
            id: "d".into(),
            rule: "r".into(),
            seq: 7,
            message_id: "m".into(),
            event_type: "t".into(),
            request: "{}".into(),
            progress: None,
            attempts: 0,
            created,
            sent: None,
            steps: None,
        };
        let (after, kind) = (Some(Duration::from_hours(1)), FailureKind::Error);
        let outcome = Outcome::Retry { reason: "later".into(), after, scope: Scope::Delivery, kind };
        let rules = InForce::new(Arc::new(ArcSwap::from_pointee(RuleTable::default())), false);
        for (patience, wanted) in [(60, Some(60)), (7200, None)] {
            let (delivery, outcome, began) = (delivery.clone(), outcome.clone(), Instant::now());
            let patience = Duration::from_secs(patience);
            let made = Made { delivery, outcome, is_last: false, patience, began, followed: Followed::default() };
            let (End::Later { due, .. }, _) = end("x", &made, &Limits::default(), &rules) else { panic!("{made:?}") };
            let waits = due.duration_since(created).as_secs();
            assert!(wanted.map_or(waits >= 3600, |wanted| waits == wanted), "{waits}");
        }
    }
}
