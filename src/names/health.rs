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
use crate::quiet::Quiet;
use crate::retry::Schedule;

/// Between attempts while Keystone does not answer.
const RETRY: Schedule = Schedule { first: Duration::from_secs(1), max: Duration::from_mins(1) };

/// The same where somebody has to mend something: a wrong password tried too often locks cadfd's user out.
const RARE: Schedule = Schedule { first: Duration::from_secs(30), max: Duration::from_mins(15) };

/// So many times in a row Keystone says that it cannot answer now, until that is believed of all of it.
const IN_A_ROW: u32 = 3;

/// A kind that may not be listed is tried again after this time.
const FORBIDDEN: Duration = Duration::from_hours(1);

/// What is known of it.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Default)]
struct State {
    outage: Option<Outage>,
    /// Answers in a row that say that Keystone cannot answer now.
    unavailable: u32,
    /// Kinds that may not be listed, as it turned out, and until when that is believed.
    forbidden: HashMap<Kind, Instant>,
    /// What was said about single things.
    quiet: Quiet,
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
        self.down_until().is_some_and(|until| Instant::now() < until)
    }

    /// When the next try is worth it, while it did not answer the last time.
    pub(super) fn down_until(&self) -> Option<Instant> {
        self.state().outage.as_ref().map(|outage| outage.until)
    }

    /// Whether it did not answer the last time.
    pub(super) fn is_out(&self) -> bool {
        self.state().outage.is_some()
    }

    /// Whether things of this kind may not be listed, as it turned out a while ago.
    pub(super) fn is_forbidden(&self, kind: Kind) -> bool {
        self.state().forbidden.get(&kind).is_some_and(|until| Instant::now() < *until)
    }

    /// It answered.
    pub(super) fn up(&self) {
        let mut state = self.state();
        state.unavailable = 0;
        let ended = state.outage.take();
        drop(state);
        if let Some(Outage { since, .. }) = ended {
            let after = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()));
            tracing::info!("Keystone answers again after {after}");
        }
    }

    /// Things of a kind may not be listed.
    pub(super) fn forbidden(&self, failure: &Failure, kind: Kind) {
        let until = Instant::now() + FORBIDDEN;
        if self.state().forbidden.insert(kind, until).is_none() {
            tracing::warn!("{failure}; names of that kind come from the events alone");
        }
    }

    /// It did not tell of a single thing, which may be the thing's fault: strangers choose ids.
    pub(super) fn failed_for(&self, failure: &Failure, kind: Kind) {
        if failure.is_about_one() {
            let count = self.state().quiet.say(kind.as_str(), Instant::now());
            if let Some(count) = count {
                tracing::warn!(count, "{failure}; the event goes on without that name");
            }
            return;
        }
        if matches!(failure, Failure::Unavailable { .. }) {
            // One domain's directory can be down and all else be well.
            let mut state = self.state();
            state.unavailable = state.unavailable.saturating_add(1);
            if state.unavailable < IN_A_ROW {
                return;
            }
        }
        self.failed(failure);
    }

    /// It does not answer.
    pub(super) fn failed(&self, failure: &Failure) {
        let now = Instant::now();
        let mut state = self.state();
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
