//! Whether Keystone answers.
//!
//! Its promise: an outage and its end are said once each, and so is a right that is missing; while it lasts Keystone is
//! tried ever more rarely.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::keystone::Failure;
use crate::name::Kind;
use crate::retry::Schedule;

/// Between attempts while Keystone does not answer.
const RETRY: Schedule = Schedule { first: Duration::from_secs(1), max: Duration::from_mins(1) };

/// The same where somebody has to mend something: a wrong password tried too often locks cadfd's user out.
const RARE: Schedule = Schedule { first: Duration::from_secs(30), max: Duration::from_mins(15) };

/// A kind that may not be read is tried again after this time.
const FORBIDDEN: Duration = Duration::from_hours(1);

/// What is known of it.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Default)]
struct State {
    outage: Option<Outage>,
    forbidden: HashMap<Kind, Instant>,
}

struct Outage {
    since: Instant,
    failures: u32,
    until: Instant,
    said: String,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is not worth a try just now.
    pub(super) fn is_down(&self) -> bool {
        self.state().outage.as_ref().is_some_and(|outage| Instant::now() < outage.until)
    }

    /// Whether it did not answer the last time.
    pub(super) fn is_out(&self) -> bool {
        self.state().outage.is_some()
    }

    /// Whether things of this kind may not be read, as it turned out a while ago.
    pub(super) fn is_forbidden(&self, kind: Kind) -> bool {
        self.state().forbidden.get(&kind).is_some_and(|until| Instant::now() < *until)
    }

    /// It answered.
    pub(super) fn up(&self) {
        let ended = self.state().outage.take();
        if let Some(Outage { since, .. }) = ended {
            let after = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()));
            tracing::info!("Keystone answers again after {after}");
        }
    }

    /// It did not, or not to this.
    pub(super) fn failed(&self, failure: &Failure, kind: Kind) {
        let now = Instant::now();
        let mut state = self.state();
        if matches!(failure, Failure::Forbidden { .. }) {
            let is_new = state.forbidden.insert(kind, now + FORBIDDEN).is_none();
            drop(state);
            if is_new {
                tracing::warn!("{failure}; names of that kind come from the events alone");
            }
            return;
        }
        let said = failure.to_string();
        let failures = state.outage.as_ref().map_or(0, |outage| outage.failures).saturating_add(1);
        let schedule = if failure.may_pass() { RETRY } else { RARE };
        let until = now + schedule.delay(failures, rand::random());
        let (since, is_news) = match state.outage.take() {
            None => (now, true),
            Some(outage) => (outage.since, outage.said != said),
        };
        state.outage = Some(Outage { since, failures, until, said: said.clone() });
        drop(state);
        if is_news {
            tracing::warn!("{said}; events go on with the names that are known");
        }
    }
}
