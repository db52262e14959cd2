//! What the service manager is told, as `sd_notify(3)` says it.
//!
//! Its promise: READY only when messages are consumed or waited for as designed; the watchdog is fed only while the
//! runtime and the store's thread answer; without a service manager nothing is said and nothing costs.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::intake::{Snapshot, State, Status};
use crate::store::Store;

/// How often the numbers in the state are brought up to date; a change of the state itself is told at once.
const REFRESH: Duration = Duration::from_secs(10);

/// How much longer the start may take from each time on that it says what it waits for. More than [`REFRESH`], and more
/// than the pause between attempts to open the store.
const PATIENCE: Duration = Duration::from_secs(40);

/// How many times the watchdog is fed within its time.
const MEALS: u32 = 3;

/// Variables by which systemd says that it listens, and to what; without them nothing is started.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager, or nobody.
#[derive(Debug)]
pub struct Service {
    is_there: bool,
    is_ready: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Service {
    /// The one that started this process, if it wants to be told (`NOTIFY_SOCKET`).
    #[must_use]
    pub fn of_process() -> Self {
        let is_there = std::env::var_os(SOCKET_VARIABLE).is_some();
        Self { is_there, is_ready: Arc::default(), task: None }
    }

    /// The start takes longer, and why.
    pub(crate) fn waits(&self, why: &str) {
        self.tell(&[NotifyState::Status(&one_line(why)), more_time(PATIENCE)]);
    }

    /// From now on tells how the intake is, and feeds the watchdog.
    pub(crate) fn follow(&mut self, status: &Arc<Status>, store: &Arc<Store>) {
        if !self.is_there {
            return;
        }
        let (status, store, is_ready) = (Arc::clone(status), Arc::clone(store), Arc::clone(&self.is_ready));
        self.task = Some(tokio::spawn(async move {
            tokio::join!(say_state(&status, &is_ready), feed(&store));
        }));
    }

    /// Settings and rules are read again.
    pub(crate) fn reloads(&self) {
        // Before it is ready a reload is part of the start.
        if self.is_ready.load(Ordering::Acquire)
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// That is done, or was refused.
    pub(crate) fn has_reloaded(&self) {
        if self.is_ready.load(Ordering::Acquire) {
            self.tell(&[NotifyState::Ready]);
        }
    }

    /// The end begins; it takes at most that long.
    pub(crate) fn stops(&mut self, cause: &str, within: Duration) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.tell(&[NotifyState::Stopping, NotifyState::Status(&format!("stopping on {cause}")), more_time(within)]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if self.is_there {
            tell(states);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager does not listen: {error}");
    }
}

/// Its field is of 32 bits: a little more than an hour.
fn more_time(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

async fn say_state(status: &Status, is_ready: &AtomicBool) {
    let mut said = String::new();
    loop {
        let snapshot = status.snapshot();
        let text = in_words(&snapshot);
        if !is_ready.load(Ordering::Acquire) {
            if is_settled(&snapshot) {
                // A reload that was queued behind the start comes at once.
                is_ready.store(true, Ordering::Release);
                tell(&[NotifyState::Ready]);
            } else {
                tell(&[more_time(PATIENCE)]);
            }
        }
        if text != said {
            tell(&[NotifyState::Status(&text)]);
            said = text;
        }
        let _refresh = timeout(REFRESH, status.changed()).await;
    }
}

/// Whether it consumes, or waits for broker or queue, which it does for as long as it takes.
fn is_settled(snapshot: &Snapshot) -> bool {
    match snapshot.state {
        State::Connected { .. } => !snapshot.queues.is_empty(),
        State::Waiting { .. } => true,
        State::Stopped | State::Connecting { .. } | State::SinkNotReady => false,
    }
}

/// The state for `systemctl status`: one line.
fn in_words(snapshot: &Snapshot) -> String {
    let mut text = match &snapshot.state {
        // How many attempts there were and how long the next pause is changes all the time.
        State::Waiting { since, cause, .. } => format!("no broker since {since:.0}: {cause}"),
        state => state.to_string(),
    };
    for (queue, state) in &snapshot.queues {
        let _infallible = write!(text, "; {queue}: {state}");
    }
    for unbound in snapshot.unbound() {
        let _infallible = write!(text, "; {unbound}");
    }
    let _infallible = write!(text, "; {} messages received", snapshot.received);
    one_line(&text)
}

/// A line's end would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// Only while this task is run and the store's thread answers, whatever its answer is.
async fn feed(store: &Store) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    feed_while(within / MEALS, || store.answers(), || tell(&[NotifyState::Watchdog])).await;
}

async fn feed_while<A: Future<Output = ()>>(every: Duration, mut answers: impl FnMut() -> A, mut feed: impl FnMut()) {
    let mut next = Instant::now();
    loop {
        answers().await;
        feed();
        next = (next + every).max(Instant::now());
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::intake::QueueState;

    fn snapshot(state: State) -> Snapshot {
        let (queues, bindings) = (BTreeMap::new(), BTreeMap::new());
        Snapshot { state, queues, bindings, received: 7, acknowledged: 7, sessions: 1, failures: 0 }
    }

    #[test]
    fn ready_is_to_consume_or_to_wait_for_a_broker_or_a_queue() {
        let since = Timestamp::UNIX_EPOCH;
        let waiting = State::Waiting { since, cause: "refused".into(), attempts: 3, pause: Duration::from_secs(1) };
        assert!(is_settled(&snapshot(waiting)));
        for state in [State::Stopped, State::Connecting { host: "h:1".into() }, State::SinkNotReady] {
            assert!(!is_settled(&snapshot(state)));
        }
        let mut connected = snapshot(State::Connected { host: "h:1".into(), since, blocked: None });
        assert!(!is_settled(&connected), "nothing is known of its queues");
        connected.queues.insert("cadfd.info".into(), QueueState::Waiting { since, cause: "gone".into() });
        assert!(is_settled(&connected));
    }

    #[test]
    fn the_state_is_one_line_without_what_changes_with_each_attempt() {
        let since = Timestamp::UNIX_EPOCH;
        let waiting = |attempts| State::Waiting {
            since,
            cause: "refused\nREADY=1".into(),
            attempts,
            pause: Duration::from_secs(u64::from(attempts)),
        };
        let text = in_words(&snapshot(waiting(1)));
        assert_eq!(text, "no broker since 1970-01-01T00:00:00Z: refused READY=1; 7 messages received");
        assert_eq!(text, in_words(&snapshot(waiting(2))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_not_fed() {
        let (mut asked, mut fed) = (0, 0);
        let answers = || {
            asked += 1;
            let hangs = asked > 3;
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
            }
        };
        let feeding = feed_while(Duration::from_secs(1), answers, || fed += 1);
        assert!(timeout(Duration::from_hours(1), feeding).await.is_err(), "it goes on");
        assert_eq!((asked, fed), (4, 3));
    }

    #[test]
    fn more_time_than_its_field_holds_is_as_much_as_it_holds() {
        assert_eq!(more_time(Duration::from_hours(1)).to_string(), "EXTEND_TIMEOUT_USEC=3600000000");
        assert_eq!(more_time(Duration::from_hours(10)).to_string(), "EXTEND_TIMEOUT_USEC=4294967295");
    }
}
