//! One attempt: the request from the outbox, what it came to, and that into the store.
//!
//! Its promise: an attempt has ended when the store has its outcome, however long the disk takes.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::action::{Attempt, Destination, Limits, Outcome, Request};
use crate::record::{self, Record};
use crate::retry::Schedule;
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
    pub(super) began: Instant,
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
    let is_last = is_last(&outcome, &delivery, destination.limits(), Timestamp::now());
    Made { delivery, outcome, is_last, began }
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
    destination
        .perform(Attempt { delivery_id: &delivery.id, request: &request, progress: progress.as_ref(), now })
        .await
}

/// Whether a failed attempt was the last one: its delivery has been tried for as long as it may be.
fn is_last(outcome: &Outcome, delivery: &Delivery, limits: &Limits, now: Timestamp) -> bool {
    let age = Duration::try_from(now.duration_since(delivery.created)).unwrap_or_default();
    matches!(outcome, Outcome::Retry { .. }) && age >= limits.give_up_after
}

/// Keeps what the attempt came to, however long the disk takes: until then the delivery stays claimed.
pub(super) async fn settle(store: &Store, name: &str, made: &Made, limits: &Limits) {
    let end = end(name, made, limits);
    let delivery = &made.delivery;
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

fn end(name: &str, Made { delivery, outcome, is_last, .. }: &Made, limits: &Limits) -> End {
    let now = Timestamp::now();
    let later = |after: Duration| {
        let after = jiff::SignedDuration::try_from(after).unwrap_or(jiff::SignedDuration::from_hours(1));
        now.checked_add(after).unwrap_or(now)
    };
    let attempts = delivery.attempts + 1;
    let record = |outcome, reason, reply, detail| {
        record::rest_of_line(&Record::Delivery {
            at: now,
            delivery: &delivery.id,
            event_seq: delivery.seq,
            message_id: &delivery.message_id,
            event_type: &delivery.event_type,
            rule: &delivery.rule,
            destination: name,
            outcome,
            attempts,
            reason,
            reply,
            detail,
        })
    };
    match outcome {
        Outcome::Done { detail } => End::Done { record: record("done", None, None, Some(detail)) },
        Outcome::GivenUp { reason, reply } => End::GivenUp {
            reason: reason.clone(),
            reply: reply.clone(),
            record: record("given_up", Some(reason), reply.as_deref(), None),
        },
        Outcome::Continue { progress, after } => {
            End::Later { due: later(*after), attempts: 0, reason: None, progress: Some(progress.to_string()) }
        }
        Outcome::Retry { reason, .. } if *is_last => {
            let age = Duration::try_from(now.duration_since(delivery.created)).unwrap_or_default();
            let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
            let reason = format!("{reason}; tried for {age}");
            End::GivenUp { record: record("given_up", Some(&reason), None, None), reason, reply: None }
        }
        Outcome::Retry { reason, after, .. } => {
            let delay = limits.retry.delay(attempts, rand::random()).max(after.unwrap_or_default());
            End::Later { due: later(delay), attempts, reason: Some(reason.clone()), progress: None }
        }
    }
}
