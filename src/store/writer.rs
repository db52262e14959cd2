//! The store's one writing thread.
//!
//! Its promise: commands take effect in the order they were given; those that wait together share one transaction and
//! its one sync to disk; each is answered after that, all with the same success or failure.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;
use tokio::time::Instant;

use super::books::Books;
use super::chunk::Chunk;
use super::command::{Command, Done, Notice, answer, refuse};
use super::figures::{Loss, Shown};
use super::handed::Left;
use super::names;
use super::reader::Signal;
use super::work::Work;
use super::{Bounds, StoreError, Wakers};
use crate::quiet::Quiet;

/// How long the thread sleeps when nothing is asked of it; also how soon a change by the command line is noticed.
const IDLE: Duration = Duration::from_millis(500);

/// No version is negative.
const UNSEEN: i64 = -1;

/// Rows that one transaction gathers from waiting commands; bounds its length and its memory.
const GROUP_ROWS: usize = 4096;

/// Whom a commit is news for.
pub(super) struct Signals {
    /// Those who follow the trail.
    pub(super) trail: Arc<Signal>,
    /// The workers.
    pub(super) wakers: Wakers,
    /// Whoever holds names: the command line changed some.
    pub(super) names_changed: watch::Sender<i64>,
    /// Whoever looks.
    pub(super) shown: Arc<Shown>,
}

pub(super) struct Writer {
    dir: PathBuf,
    connection: Connection,
    books: Option<Books>,
    bounds: Bounds,
    signals: Signals,
    /// SQLite's counter of changes by other connections.
    data_version: i64,
    /// Destinations to wake after the commit.
    wake: Vec<String>,
    /// Whether they are woken because the command line changed something.
    nudge: bool,
    /// What is to be said after the commit.
    notices: Vec<Notice>,
    /// What is to be counted after the commit.
    losses: Vec<Loss>,
    quiet: Quiet,
    /// How often the command line has changed names.
    names_changes: i64,
    /// What is left of what the command line handed over.
    handed: Left,
}

impl Writer {
    pub(super) fn new(dir: &Path, connection: Connection, books: Books, bounds: Bounds, signals: Signals) -> Self {
        let dir = dir.to_owned();
        // What the command line did while no daemon ran is looked at first of all.
        Self {
            dir,
            connection,
            books: Some(books),
            bounds,
            signals,
            data_version: UNSEEN,
            wake: Vec::new(),
            nudge: false,
            notices: Vec::new(),
            losses: Vec::new(),
            quiet: Quiet::default(),
            names_changes: 0,
            handed: Left::Nothing,
        }
    }

    /// Until the handle is dropped or says `Close`.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            self.signals.shown.beat();
            let mut group = match commands.recv_timeout(self.pause()) {
                Ok(first) => vec![first],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => vec![Command::Close],
            };
            let mut rows: usize = group.iter().map(Command::rows).sum();
            while rows < GROUP_ROWS
                && let Ok(command) = commands.try_recv()
            {
                rows += command.rows();
                group.push(command);
            }
            let closing = group.iter().any(|command| matches!(command, Command::Close));
            if !group.is_empty() || self.has_idle_work() {
                self.commit(group);
            }
            if closing {
                return;
            }
        }
    }

    /// For how long to wait for a command.
    fn pause(&self) -> Duration {
        // After a failure the disk is given its time.
        if self.handed == Left::More && self.books.is_some() { Duration::ZERO } else { IDLE }
    }

    /// Whether there is something to write though nobody asked.
    fn has_idle_work(&mut self) -> bool {
        let changed = data_version(&self.connection).is_ok_and(|version| version != self.data_version);
        changed || self.handed != Left::Nothing || self.books.as_ref().is_none_or(|books| books.marks_changed)
    }

    fn commit(&mut self, group: Vec<Command>) {
        // Marks alone are not worth a sync of their own while there is work: they go with the next transaction.
        let only_marks = group.iter().all(|c| matches!(c, Command::Written { .. } | Command::SetBounds(_)));
        if only_marks && !group.is_empty() {
            for command in group {
                self.remember(command);
            }
            if let Some(books) = &self.books {
                self.signals.shown.show(books);
            }
            return;
        }
        let mut books = self.books.take();
        let mut done = Vec::with_capacity(group.len());
        let mut unanswered = group.into_iter();
        let result = self.transact(&mut books, &mut unanswered, &mut done);
        let (chunks, failure) = match result {
            Ok(chunks) => (chunks, None),
            Err(error) => (Vec::new(), Some(self.disk(&error))),
        };
        if let Some(failure) = &failure {
            self.signals.shown.failed(&failure.to_string());
            // What the command line changed is looked at again.
            self.data_version = UNSEEN;
        }
        if failure.is_none() {
            if let Some(books) = &books {
                self.signals.shown.kept(books, &mut self.losses);
            }
            self.books = books;
            // Before the answers: whoever ends the readers after an answer must not end them before they know of it.
            self.signals.trail.raise(chunks);
        }
        for done in done {
            answer(done, failure.as_ref());
        }
        // A transaction that could not even begin leaves commands that were not looked at.
        for command in unanswered {
            answer(refuse(command), failure.as_ref());
        }
        if failure.is_none() {
            self.wake_workers();
            self.say();
            let changes = self.names_changes;
            self.signals.names_changed.send_if_modified(|known| std::mem::replace(known, changes) != changes);
        }
    }

    /// Takes commands that need no transaction now.
    fn remember(&mut self, command: Command) {
        match command {
            Command::Written { follower, seq } => {
                if let Some(books) = &mut self.books {
                    books.mark(follower, seq);
                }
            }
            Command::SetBounds(bounds) => self.bounds = bounds,
            _ => {}
        }
    }

    fn transact(
        &mut self,
        books: &mut Option<Books>,
        group: &mut impl Iterator<Item = Command>,
        done: &mut Vec<Done>,
    ) -> rusqlite::Result<Vec<Arc<Chunk>>> {
        self.wake.clear();
        self.nudge = false;
        self.notices.clear();
        self.losses.clear();
        let tx = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let mut fresh = match books.take() {
            Some(books) => books,
            // The last transaction failed: what we thought we knew may be wrong.
            None => Books::load(&tx)?,
        };
        let version = data_version(&tx)?;
        let version_known = self.data_version != UNSEEN;
        let changed_beside = version != self.data_version;
        if changed_beside {
            fresh.count_outbox(&tx)?;
            self.data_version = version;
            self.wake.extend(fresh.waiting.keys().cloned());
            // Not at the very first look, which every start takes.
            self.nudge = version_known;
            self.names_changes = names::changes(&tx)?;
        }
        let place = (fresh.next_seq, fresh.head);
        let now = Timestamp::now();
        let mut work = Work {
            tx: &tx,
            books: &mut fresh,
            bounds: &mut self.bounds,
            wake: &mut self.wake,
            notices: &mut self.notices,
            losses: &mut self.losses,
            chunk: Chunk::default(),
            chunks: Vec::new(),
            now,
        };
        for command in group {
            let (command, result) = work.apply(command);
            done.push(command);
            result?;
        }
        if changed_beside {
            work.record_discarded()?;
        }
        let handed = if changed_beside || self.handed != Left::Nothing { work.take_handed()? } else { Left::Nothing };
        work.keep_within_bounds()?;
        work.remember()?;
        let chunks = work.finish()?;
        if let Some(last) = fresh.pop_written() {
            tx.prepare_cached("DELETE FROM trail WHERE last <= ?1")?.execute([last])?;
        }
        if fresh.marks_changed {
            fresh.save_marks(&tx)?;
        }
        if (fresh.next_seq, fresh.head) != place {
            fresh.save_place(&tx)?;
        }
        tx.commit()?;
        self.handed = handed;
        *books = Some(fresh);
        Ok(chunks)
    }

    fn wake_workers(&mut self) {
        if self.wake.is_empty() {
            return;
        }
        let wakers = self.signals.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        for destination in self.wake.drain(..) {
            if let Some(waker) = wakers.get(&destination) {
                waker.wake(self.nudge);
            }
        }
    }

    /// What was lost or put away is said, once in a while; before the commit it may still be undone.
    fn say(&mut self) {
        for Notice { what, text } in self.notices.drain(..) {
            if let Some(count) = self.quiet.say(&what, Instant::now()) {
                tracing::warn!(count, "{text}");
            }
        }
    }

    fn disk(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::Disk { dir: self.dir.clone(), text: error.to_string() }
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
