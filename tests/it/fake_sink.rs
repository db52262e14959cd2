//! A sink that keeps batches in memory, and does as it is told.
//!
//! Its promise: it commits in the order it is called; a test waits for what it saw instead of sleeping.

use std::sync::Arc;

use cadfd::intake::{self, Binding, Incoming, Refused, SessionId, Settings, Sink, State, Status};
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// What the sink saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Each committed batch.
    pub(crate) batches: Vec<(SessionId, Vec<Incoming>)>,
    /// Each refused one.
    pub(crate) refused: Vec<(SessionId, Vec<Incoming>)>,
    /// Times the intake asked whether it may begin.
    pub(crate) asked: usize,
    /// The causes of outages that began.
    pub(crate) lost: Vec<String>,
    /// Outages that ended, with their failed attempts and first cause.
    pub(crate) found: Vec<(u32, String)>,
    /// Bindings that were made.
    pub(crate) bound: Vec<Binding>,
}

impl Seen {
    /// The bodies committed, in order.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let messages = self.batches.iter().flat_map(|(_, batch)| batch);
        messages.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
    }

    /// How many messages were committed.
    pub(crate) fn count(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.len()).sum()
    }
}

/// What the sink is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Commit.
    Willing,
    /// Commit nothing, answer nothing.
    Slow,
    /// Refuse every batch.
    Unwilling,
    /// Not ready to begin; refuse every batch.
    NotReady,
}

/// The sink.
pub(crate) struct FakeSink {
    seen: watch::Sender<Seen>,
    mood: watch::Sender<Mood>,
    turn: tokio::sync::Mutex<Option<SessionId>>,
}

impl FakeSink {
    pub(crate) fn new() -> Arc<Self> {
        let (seen, _) = watch::channel(Seen::default());
        let (mood, _) = watch::channel(Mood::Willing);
        Arc::new(Self { seen, mood, turn: tokio::sync::Mutex::new(None) })
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until it has seen this.
    pub(crate) async fn until(&self, condition: impl FnMut(&Seen) -> bool) -> Seen {
        self.seen.subscribe().wait_for(condition).await.unwrap().clone()
    }
}

impl Sink for FakeSink {
    async fn ready(&self) {
        self.seen.send_modify(|seen| seen.asked += 1);
        self.mood.subscribe().wait_for(|mood| *mood != Mood::NotReady).await.unwrap();
    }

    async fn put(&self, session: SessionId, batch: Vec<Incoming>) -> Result<(), Refused> {
        // Fair: in the order of the calls.
        let mut failed = self.turn.lock().await;
        let mood = *self.mood.subscribe().wait_for(|mood| *mood != Mood::Slow).await.unwrap();
        if mood == Mood::Willing && *failed != Some(session) {
            self.seen.send_modify(|seen| seen.batches.push((session, batch)));
            return Ok(());
        }
        *failed = Some(session);
        self.seen.send_modify(|seen| seen.refused.push((session, batch)));
        Err(Refused)
    }

    async fn lost(&self, _: Timestamp, cause: &str) {
        self.seen.send_modify(|seen| seen.lost.push(cause.to_owned()));
    }

    async fn bound(&self, binding: Binding) {
        assert!(binding.from.is_none_or(|from| from <= binding.at));
        self.seen.send_modify(|seen| seen.bound.push(binding));
    }

    async fn found(&self, since: Timestamp, until: Timestamp, attempts: u32, cause: &str) {
        assert!(since <= until);
        self.seen.send_modify(|seen| seen.found.push((attempts, cause.to_owned())));
    }
}

/// An intake at work.
pub(crate) struct Intake {
    pub(crate) sink: Arc<FakeSink>,
    pub(crate) status: Arc<Status>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Intake {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::start_with(settings, FakeSink::new())
    }

    pub(crate) fn start_with(settings: Settings, sink: Arc<FakeSink>) -> Self {
        let status = Arc::new(Status::default());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(intake::run(settings, Arc::clone(&sink), Arc::clone(&status), shutdown));
        Self { sink, status, stop, running }
    }

    /// Waits until the status is as wanted: there is nothing that wakes, so it is looked at again and again.
    pub(crate) async fn until(&self, condition: impl Fn(&intake::Snapshot) -> bool) {
        while !condition(&self.status.snapshot()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Waits until a queue is consumed.
    pub(crate) async fn until_consuming(&self, queue: &str) {
        self.until(|now| matches!(now.queues.get(queue), Some(intake::QueueState::Consuming { .. }))).await;
    }

    /// Waits until everything received is acknowledged.
    pub(crate) async fn until_acknowledged(&self, messages: u64) {
        self.until(|now| now.acknowledged >= messages).await;
    }

    /// An orderly stop.
    pub(crate) async fn stop(self) -> intake::Snapshot {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
        let snapshot = self.status.snapshot();
        assert_eq!(snapshot.state, State::Stopped);
        snapshot
    }
}
