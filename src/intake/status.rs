//! What the intake is doing right now, for SIGUSR1 and metrics.
//!
//! Its promise: reading it never waits for the broker; counting a batch takes no lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::Bound;

/// By queue and exchange: the routing keys, and when.
type LastBound = BTreeMap<(String, String), (Vec<String>, Timestamp)>;

/// Shared between the intake, which writes, and whoever reports.
#[derive(Debug, Default)]
pub struct Status {
    shown: Mutex<Shown>,
    received: AtomicU64,
    acknowledged: AtomicU64,
    sessions: AtomicU64,
    failures: AtomicU64,
    changed: Notify,
    /// Of each queue of our own and exchange: the routing keys, and when the binding was last known to be there. It
    /// outlives sessions.
    bound: Mutex<LastBound>,
}

#[derive(Clone, Debug, Default)]
struct Shown {
    state: State,
    queues: BTreeMap<Arc<str>, QueueState>,
    bindings: BTreeMap<(String, String), BindingState>,
}

/// The connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not started, or stopped.
    #[default]
    Stopped,
    /// On the way to a broker for the first time.
    Connecting {
        /// Host and port.
        host: String,
    },
    /// In a session.
    Connected {
        /// Host and port.
        host: String,
        /// Since when.
        since: Timestamp,
        /// Why the broker does not read from us (`connection.blocked`), if so.
        blocked: Option<String>,
    },
    /// No broker; the next attempt is on its way or waited for.
    Waiting {
        /// Since when there is none.
        since: Timestamp,
        /// Why the last attempt failed.
        cause: String,
        /// Failed ones.
        attempts: u32,
        /// The pause before the next.
        pause: Duration,
    },
    /// The sink is not ready: no connection is made.
    SinkNotReady,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// Messages are being consumed.
    Consuming {
        /// Since when.
        since: Timestamp,
    },
    /// It cannot be consumed, and is looked for again and again.
    Waiting {
        /// Since when.
        since: Timestamp,
        /// Why.
        cause: String,
    },
}

/// The binding of a queue of cadfd's own to an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingState {
    /// It is there, as far as can be known.
    Bound {
        /// Since when.
        since: Timestamp,
    },
    /// It cannot be made, and is tried again and again.
    Waiting {
        /// Since when.
        since: Timestamp,
        /// Why.
        cause: String,
    },
}

/// All of it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The connection.
    pub state: State,
    /// Each queue of the session.
    pub queues: BTreeMap<Arc<str>, QueueState>,
    /// Each binding of the session, by queue and exchange.
    pub bindings: BTreeMap<(String, String), BindingState>,
    /// Messages since the start, repetitions included.
    pub received: u64,
    /// Messages acknowledged since the start.
    pub acknowledged: u64,
    /// Connections made since the start.
    pub sessions: u64,
    /// Connections lost, and attempts to make one that failed, since the start.
    pub failures: u64,
}

impl Status {
    /// What there is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let Shown { state, queues, bindings } = self.shown().clone();
        Snapshot {
            state,
            queues,
            bindings,
            received: self.received.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Resolves when connection or queues are in another state than when this was last asked. For one who asks.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Another state of the connection; without one there are no queues.
    pub(super) fn set(&self, state: State) {
        let mut shown = self.shown();
        if !matches!(state, State::Connected { .. }) {
            shown.queues.clear();
            shown.bindings.clear();
        }
        shown.state = state;
        self.changed.notify_one();
    }

    pub(super) fn set_blocked(&self, reason: Option<String>) {
        if let State::Connected { blocked, .. } = &mut self.shown().state {
            *blocked = reason;
            self.changed.notify_one();
        }
    }

    pub(super) fn set_queue(&self, queue: &Arc<str>, state: QueueState) {
        self.shown().queues.insert(Arc::clone(queue), state);
        self.changed.notify_one();
    }

    pub(super) fn set_binding(&self, queue: &str, exchange: &str, state: BindingState) {
        self.shown().bindings.insert((queue.to_owned(), exchange.to_owned()), state);
        self.changed.notify_one();
    }

    /// The binding is there now; gives when it was last known to be, with the same routing keys.
    pub(super) fn keep_bound(&self, bound: &Bound, exchange: &str, now: Timestamp) -> Option<Timestamp> {
        let key = (bound.queue.clone(), exchange.to_owned());
        let known = (bound.routing_keys.clone(), now);
        let mut all = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as the settings name, and those that they named before a reload.
        all.insert(key, known).filter(|(keys, _)| *keys == bound.routing_keys).map(|(_, at)| at)
    }

    pub(super) fn count_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, messages: usize) {
        self.received.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn count_acknowledged(&self, messages: usize) {
        self.acknowledged.fetch_add(messages as u64, Ordering::Relaxed);
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        for (queue, state) in &self.queues {
            write!(f, "; {queue}: {state}")?;
        }
        for unbound in self.unbound() {
            write!(f, "; {unbound}")?;
        }
        let Self { received, acknowledged, sessions, .. } = self;
        write!(f, "; {received} messages received, {acknowledged} acknowledged, {sessions} sessions")
    }
}

impl Snapshot {
    /// Of each binding that cannot be made, in words.
    pub fn unbound(&self) -> impl Iterator<Item = String> {
        self.bindings.iter().filter_map(|((queue, exchange), state)| match state {
            BindingState::Bound { .. } => None,
            BindingState::Waiting { since, cause } => {
                Some(format!("{queue}: not bound to {exchange} since {since:.0}: {cause}"))
            }
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("not consuming"),
            Self::Connecting { host } => write!(f, "connecting to {host}"),
            Self::Connected { host, since, blocked: None } => write!(f, "connected to {host} since {since:.0}"),
            Self::Connected { host, since, blocked: Some(reason) } => {
                write!(f, "connected to {host} since {since:.0}, blocked by the broker ({reason})")
            }
            Self::Waiting { since, cause, attempts, pause } => {
                write!(f, "no broker since {since:.0}: {cause}; {attempts} attempts failed, next in {pause:.1?}")
            }
            Self::SinkNotReady => f.write_str("not consuming: the store cannot be written"),
        }
    }
}

impl fmt::Display for QueueState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consuming { since } => write!(f, "consuming since {since:.0}"),
            Self::Waiting { since, cause } => write!(f, "waiting since {since:.0}: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_words() {
        let status = Status::default();
        let since = Timestamp::UNIX_EPOCH;
        status.set(State::Connected { host: "ctl1:5672".into(), since, blocked: None });
        status.set_queue(&Arc::from("cadfd.info"), QueueState::Consuming { since });
        status.count_received(3);
        assert_eq!(
            status.to_string(),
            "connected to ctl1:5672 since 1970-01-01T00:00:00Z; cadfd.info: consuming since 1970-01-01T00:00:00Z; \
             3 messages received, 0 acknowledged, 0 sessions"
        );
        let (cause, pause) = ("refused".into(), Duration::from_millis(1500));
        status.set(State::Waiting { since, cause, attempts: 2, pause });
        assert_eq!(
            status.to_string(),
            "no broker since 1970-01-01T00:00:00Z: refused; 2 attempts failed, next in 1.5s; 3 messages received, \
             0 acknowledged, 0 sessions"
        );
    }
}
