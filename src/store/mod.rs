//! The store: SQLite, and the only place that knows it.
//!
//! Its promise: what [`Store::put`] or [`Store::settle`] answered `Ok` to is on disk, whole; what it answered `Err` to
//! left no trace. One thread writes; whatever waits for it at one time shares a transaction.

mod books;
mod bounds;
mod chunk;
mod command;
mod delivery;
mod entry;
mod figures;
mod handed;
mod matched;
mod names;
mod outbox;
mod reader;
mod schema;
mod seen;
mod work;
mod writer;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{Notify, oneshot, watch};

pub use chunk::Chunk;
pub use delivery::{Delivery, End, Next, Settlement};
pub use entry::{Entry, Kept, Key, NewDelivery, Seal, Unreadable};
pub use figures::Figures;
pub use handed::{Fate, HandOver, Handed, Purpose};
pub use matched::{Correlated, Firing, Matched, NewMatch, Step};
pub use names::NameTable;
pub use outbox::{Held, Outbox, Quarantine, Selection, State};
pub use reader::written;
pub use reader::{Follower, Last, Position, Reader};
pub use schema::{LOCK, OpenError, may_pass};
pub use seen::MessageKey;
pub use work::UNCOUNTED_BYTES;

use crate::name::Known;
use command::Command;
use reader::Signal;

/// What the store may hold at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Waiting deliveries of all destinations together.
    pub max_rows: u64,
    /// Bytes of waiting deliveries; the same again for those given up.
    pub max_bytes: u64,
    /// Deliveries that were given up and are kept for a later look.
    pub max_given_up: u64,
    /// Bytes of undecodable messages.
    pub quarantine_max_bytes: u64,
    /// Bytes of records that wait for the audit file or for standard output.
    pub backlog_max_bytes: u64,
    /// How long the id of a message is remembered.
    pub remember: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_rows: 100_000,
            max_bytes: 256 << 20,
            max_given_up: 10_000,
            quarantine_max_bytes: 64 << 20,
            backlog_max_bytes: 256 << 20,
            remember: Duration::from_hours(7 * 24),
        }
    }
}

/// Why something is not on disk.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// The disk is full, or another error of input or output.
    #[error("the store in {dir} cannot be written: {text}")]
    Disk {
        /// The state directory.
        dir: PathBuf,
        /// What SQLite said.
        text: String,
    },
    /// It cannot be read.
    #[error("the store in {dir} cannot be read: {text}")]
    Unreadable {
        /// The state directory.
        dir: PathBuf,
        /// What SQLite said.
        text: String,
    },
    /// An earlier batch of the same session failed; taking this one would change the order.
    #[error("an earlier batch of this session was refused")]
    Session,
    /// The audit file has not been written for so long that its backlog reached the bound.
    #[error("records wait for the audit file up to the bound, [audit] max_backlog; see to the disk of [audit] path")]
    Backlog,
    /// What counts for rules with `threshold`, `group` or `absent` has not been counted for so long that it reached the
    /// bound.
    #[error("events wait to be counted up to the bound: the part that counts them has broken off; restart cadfd")]
    Uncounted,
    /// The daemon is stopping.
    #[error("the store is closed")]
    Closed,
}

/// One session with the broker: after a failed batch, its later ones are refused.
#[derive(Clone, Debug, Default)]
pub struct Session(Arc<AtomicBool>);

impl Session {
    fn poison(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_poisoned(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What wakes the worker of one destination.
#[derive(Debug, Default)]
pub struct Waker {
    notify: Notify,
    nudged: AtomicBool,
}

impl Waker {
    /// Resolves when there may be something new for the worker.
    pub async fn notified(&self) {
        self.notify.notified().await;
    }

    /// Whether a person changed something since this was last asked: then the destination is worth a try at once.
    pub fn take_nudge(&self) -> bool {
        self.nudged.swap(false, Ordering::AcqRel)
    }

    fn wake(&self, nudge: bool) {
        self.nudged.fetch_or(nudge, Ordering::AcqRel);
        self.notify.notify_one();
    }
}

type Wakers = Arc<Mutex<HashMap<String, Arc<Waker>>>>;

/// The daemon's handle on its store.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    reads: Mutex<Connection>,
    signal: Arc<Signal>,
    wakers: Wakers,
    position: Position,
    names_changed: watch::Sender<i64>,
    shown: Arc<figures::Shown>,
    _lock: File,
}

impl Store {
    /// Opens the store in `dir` and starts its thread.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, bounds: Bounds) -> Result<Self, OpenError> {
        let (connection, lock) = schema::open(dir)?;
        let sqlite = |source| OpenError::Sqlite { path: dir.join(schema::FILE), source };
        let books = books::Books::load(&connection).map_err(sqlite)?;
        let position = books.position();
        let shown = Arc::new(figures::Shown::new(&books));
        let reads = Mutex::new(schema::open_beside(dir)?);
        let signal = Arc::new(Signal::default());
        let wakers = Wakers::default();
        let (commands, receiver) = mpsc::channel();
        let names_changed = watch::Sender::new(0);
        let signals = writer::Signals {
            trail: Arc::clone(&signal),
            wakers: Arc::clone(&wakers),
            names_changed: names_changed.clone(),
            shown: Arc::clone(&shown),
        };
        let writer = writer::Writer::new(dir, connection, books, bounds, signals);
        let io = |source| OpenError::Io { path: dir.to_owned(), source };
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || writer.run(&receiver)).map_err(io)?;
        let thread = Mutex::new(Some(thread));
        let dir = dir.to_owned();
        Ok(Self { dir, commands, thread, reads, signal, wakers, position, names_changed, shown, _lock: lock })
    }

    /// Where the followers were when the store was opened.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps a batch: records, deliveries, undecodable messages, names, in one transaction. Batches are kept in the order
    /// of the calls, whenever the answers are awaited.
    ///
    /// # Errors
    /// Nothing of it was kept; further batches of `session` will be refused.
    pub fn put(
        &self,
        session: &Session,
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<Kept, StoreError>> + Send + use<> {
        let session = session.clone();
        self.ask(|reply| Command::Put { session, entries, reply })
    }

    /// Keeps one record of cadfd's own.
    ///
    /// # Errors
    /// It was not kept.
    pub async fn note(&self, record: Vec<u8>) -> Result<(), StoreError> {
        let (deliveries, names) = (Vec::new(), Vec::new());
        let entry =
            Entry { key: Key::Own, record, log: None, deliveries, unreadable: None, names, counted: Vec::new() };
        self.put(&Session::default(), vec![entry]).await.map(drop)
    }

    /// Keeps names.
    ///
    /// # Errors
    /// They were not kept.
    pub fn learn(&self, names: Vec<Known>) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.ask(|reply| Command::Learn { names, reply })
    }

    /// Forgets the names of what was deleted before that time.
    ///
    /// # Errors
    /// They are as before.
    pub async fn forget_names(&self, before: Timestamp) -> Result<(), StoreError> {
        self.ask(|reply| Command::ForgetNames { before, reply }).await
    }

    /// All names. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn names(&self) -> Result<Vec<Known>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        names::all(&reads).map_err(|error| unreadable(&self.dir, &error))
    }

    /// Changes each time the command line has changed names.
    #[must_use]
    pub fn names_changed(&self) -> watch::Receiver<i64> {
        self.names_changed.subscribe()
    }

    /// Keeps what an attempt came to.
    ///
    /// # Errors
    /// It was not kept: the delivery is as before.
    pub async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.ask(|reply| Command::Settle { settlement, reply }).await
    }

    /// Makes these waiting deliveries due again, in their old order: their destination is back.
    ///
    /// # Errors
    /// They are as before.
    pub async fn bring_forward(&self, deliveries: Vec<i64>) -> Result<(), StoreError> {
        self.ask(|reply| Command::BringForward { deliveries, reply }).await
    }

    /// Gives up deliveries of `destination` that were planned before `before`; at most a few hundred at once. Says how
    /// many.
    ///
    /// # Errors
    /// They are as before.
    pub async fn expire(&self, destination: &str, before: Timestamp, reason: &str) -> Result<usize, StoreError> {
        let (destination, reason) = (destination.to_owned(), reason.to_owned());
        self.ask(|reply| Command::Expire { destination, before, reason, reply }).await
    }

    /// Whether the store takes writes, tried with as much as a batch may need, and whether the trail keeps up.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Probe { reply }).await
    }

    /// Resolves when the store's thread has looked at this, whatever it can or cannot write, or has ended.
    pub async fn answers(&self) {
        let _whatever = self.ask(|reply| Command::Answer { reply }).await;
    }

    /// Changes what the store may hold, after a reload.
    pub fn set_bounds(&self, bounds: Bounds) {
        let _closed = self.commands.send(Command::SetBounds(bounds));
    }

    /// A follower has written all records up to `seq`. Kept with the next transaction: the follower itself can tell
    /// after a crash, or repeats the little that is missing.
    pub fn written(&self, follower: Follower, seq: u64) {
        let _closed = self.commands.send(Command::Written { follower, seq });
    }

    /// A follower is about to go on after record `seq` in a file that the store does not know: kept before the first
    /// record is written to it, so that it is found again wherever it is moved. Blocks; not for a task.
    ///
    /// # Errors
    /// It was not kept.
    pub fn will_write(&self, follower: Follower, seq: u64) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::WillWrite { follower, seq, reply }).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Numbers and links records after `last` of the audit file, where that is later than what the store knows of: it
    /// was made anew, or is from before there was a chain.
    ///
    /// # Errors
    /// It was not kept.
    pub async fn go_on(&self, last: Last) -> Result<(), StoreError> {
        self.ask(|reply| Command::GoOn { after: last, reply }).await
    }

    /// Keeps a checkpoint: `seal` makes it from its place in the trail.
    ///
    /// # Errors
    /// It was not kept.
    pub async fn seal(&self, seal: Seal) -> Result<(), StoreError> {
        self.ask(|reply| Command::Seal { seal, reply }).await
    }

    /// Asks at once; only the answer is waited for.
    fn ask<T: Send, C: FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, C> {
        let (reply, answer) = oneshot::channel();
        let asked = self.commands.send(command(reply)).map_err(|_| StoreError::Closed);
        async move {
            asked?;
            answer.await.map_err(|_| StoreError::Closed)?
        }
    }

    /// The first of what waits to be counted. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn uncounted(&self, limit: usize) -> Result<Vec<Matched>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        matched::waiting(&reads, limit).map_err(|error| unreadable(&self.dir, &error))
    }

    /// The records of events that count for something, by their numbers, each without its place. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counted_records(&self, numbers: &[i64]) -> Result<Vec<Vec<u8>>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        matched::records(&reads, numbers).map_err(|error| unreadable(&self.dir, &error))
    }

    /// The numbers of events that were counted and are still needed. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counted_and_held(&self) -> Result<Vec<i64>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        matched::held(&reads).map_err(|error| unreadable(&self.dir, &error))
    }

    /// All that the correlator knew last. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn correlated(&self) -> Result<Vec<Correlated>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        matched::states(&reads).map_err(|error| unreadable(&self.dir, &error))
    }

    /// Keeps what the correlator has come to.
    ///
    /// # Errors
    /// Nothing of it was kept.
    pub async fn correlate(&self, step: Step) -> Result<(), StoreError> {
        self.ask(|reply| Command::Correlate { step, reply }).await
    }

    /// What wakes the correlator when there is something to count.
    #[must_use]
    pub fn correlators_waker(&self) -> Arc<Waker> {
        self.waker(matched::CORRELATOR)
    }

    /// What wakes the worker of `destination` when there is something for it.
    #[must_use]
    pub fn waker(&self, destination: &str) -> Arc<Waker> {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(wakers.entry(destination.to_owned()).or_default())
    }

    /// The next deliveries for `destination`, in order: those due at `now`, and when the first of the others will be.
    /// Rows in `skip` are passed over. Nothing waits longer than `horizon`: what is due after that was given its time
    /// before the clock was set back, and is due as well.
    ///
    /// Blocks: a read of a few rows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn due(
        &self,
        destination: &str,
        now: Timestamp,
        horizon: Duration,
        limit: usize,
        skip: &HashSet<i64>,
    ) -> Result<(Vec<Delivery>, Option<Timestamp>), StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        outbox::due(&reads, destination, now, horizon, limit, skip).map_err(|error| unreadable(&self.dir, &error))
    }

    /// Deliveries for `destination` that were planned before `before` and that something follows even where they are given
    /// up, which [`Store::expire`] leaves: the first of those after `after`. Blocks: a read of a few rows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn overdue(
        &self,
        destination: &str,
        before: Timestamp,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        outbox::overdue(&reads, destination, before, after, limit).map_err(|error| unreadable(&self.dir, &error))
    }

    /// Deliveries for `destination` that wait for their time: an attempt failed, or a step is done. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn delayed(&self, destination: &str) -> Result<Vec<i64>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        outbox::delayed(&reads, destination).map_err(|error| unreadable(&self.dir, &error))
    }

    /// How many deliveries wait, by destination. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn waiting(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        outbox::waiting(&reads).map_err(|error| unreadable(&self.dir, &error))
    }

    /// How much is where, and whether the disk takes it. Waits for nothing.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shown.now()
    }

    /// Whether the writing thread is there; it is not after [`Store::close`], or when it broke off.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// When the oldest of the deliveries that wait for each of these destinations was planned; those where nothing waits
    /// are left out. Blocks: a read of a few rows each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn oldest_waiting<'a>(
        &self,
        destinations: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<(&'a str, Timestamp)>, StoreError> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = |destination| Ok(outbox::oldest_waiting(&reads, destination)?.map(|oldest| (destination, oldest)));
        let found: rusqlite::Result<Vec<_>> = destinations.into_iter().map(oldest).collect();
        found.map(|found| found.into_iter().flatten().collect()).map_err(|error| unreadable(&self.dir, &error))
    }

    /// The files that the store is in: the database, and SQLite's log of changes to it.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        ["", "-wal"].map(|end| self.dir.join(format!("{}{end}", schema::FILE))).into_iter()
    }

    /// Whether a delivery still waits. Where that cannot be read it counts as waiting: rather twice than never.
    #[must_use]
    pub fn is_waiting(&self, n: i64) -> bool {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        outbox::is_waiting(&reads, n).unwrap_or(true)
    }

    /// A reader of committed records, for a thread that follows the trail.
    ///
    /// # Errors
    /// When the store cannot be opened once more.
    pub fn reader(&self) -> Result<Reader, OpenError> {
        let connection = schema::open_beside(&self.dir)?;
        Ok(Reader::new(self.dir.clone(), connection, Arc::clone(&self.signal)))
    }

    /// Ends the thread after all that was asked of it, and lets the followers end when they have read everything.
    pub fn close(&self) {
        let _closed = self.commands.send(Command::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
    }

    /// Tells the followers that nothing will be added: they end when they have read everything.
    pub fn finish_readers(&self) {
        self.signal.close();
    }
}

fn unreadable(dir: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Unreadable { dir: dir.to_owned(), text: error.to_string() }
}

#[cfg(test)]
mod tests;
