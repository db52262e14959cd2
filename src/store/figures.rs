//! What the writing thread lets others see: how much is where, and whether the disk takes it.
//!
//! Its promise: reading it never waits for the disk; what it says was committed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::books::{Books, Tally};

/// The store at one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Rows and bytes of the deliveries that wait, by destination; also of destinations where nothing waits any more.
    pub waiting: BTreeMap<String, (u64, u64)>,
    /// Deliveries that were given up and are kept.
    pub given_up_rows: u64,
    /// Messages in quarantine, and their bytes.
    pub quarantine: (u64, u64),
    /// Bytes of the records that wait for the audit file or for standard output.
    pub backlog_bytes: u64,
    /// The last record's number.
    pub last_seq: u64,
    /// The last record that is known to be in the audit file.
    pub file_seq: u64,
    /// The last checkpoint's number, or 0.
    pub checkpoint_seq: u64,
    /// Transactions since the start: kept, and failed.
    pub commits: (u64, u64),
    /// Why the last transaction failed; `None` where it did not.
    pub failure: Option<String>,
    /// Deliveries given up since the start without an attempt of their own, by destination and kind of reason.
    pub given_up: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// What a bound made the store drop since the start, by kind.
    pub dropped: BTreeMap<&'static str, u64>,
    /// When the thread last looked for something to do.
    pub alive: Instant,
}

/// Something that is counted after the commit: before it, it may still be undone.
#[derive(Clone, Debug)]
pub(super) enum Loss {
    /// A delivery was given up without an attempt of its own.
    GivenUp {
        /// Where it was to go.
        destination: String,
        /// The kind of reason.
        reason: &'static str,
    },
    /// A bound made the store drop something.
    Dropped {
        /// What.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

/// Shared between the writing thread and whoever looks.
#[derive(Debug)]
pub(super) struct Shown(Mutex<Figures>);

impl Shown {
    pub(super) fn new(books: &Books) -> Self {
        let mut figures = Figures {
            waiting: BTreeMap::new(),
            given_up_rows: 0,
            quarantine: (0, 0),
            backlog_bytes: 0,
            last_seq: 0,
            file_seq: 0,
            checkpoint_seq: 0,
            commits: (0, 0),
            failure: None,
            given_up: BTreeMap::new(),
            dropped: BTreeMap::new(),
            alive: Instant::now(),
        };
        figures.copy(books);
        Self(Mutex::new(figures))
    }

    pub(super) fn now(&self) -> Figures {
        self.figures().clone()
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread is about to look for something to do.
    pub(super) fn beat(&self) {
        self.figures().alive = Instant::now();
    }

    /// What the books say now.
    pub(super) fn show(&self, books: &Books) {
        self.figures().copy(books);
    }

    /// A transaction was kept.
    pub(super) fn kept(&self, books: &Books, losses: &mut Vec<Loss>) {
        let mut figures = self.figures();
        figures.commits.0 += 1;
        figures.failure = None;
        for loss in losses.drain(..) {
            match loss {
                Loss::GivenUp { destination, reason } => {
                    *figures.given_up.entry(destination).or_default().entry(reason).or_default() += 1;
                }
                Loss::Dropped { what, count } => *figures.dropped.entry(what).or_default() += count as u64,
            }
        }
        figures.copy(books);
    }

    /// A transaction failed.
    pub(super) fn failed(&self, text: &str) {
        let mut figures = self.figures();
        figures.commits.1 += 1;
        figures.failure = Some(text.to_owned());
    }
}

impl Figures {
    fn copy(&mut self, books: &Books) {
        self.given_up_rows = books.given_up.rows;
        self.quarantine = (books.quarantine.rows, books.quarantine.bytes);
        self.backlog_bytes = books.backlog_bytes;
        self.last_seq = books.next_seq.saturating_sub(1);
        self.file_seq = books.file_seq;
        self.checkpoint_seq = books.checkpoint_seq;
        self.copy_waiting(&books.waiting);
    }

    /// In place: a commit allocates nothing here once a destination is known.
    fn copy_waiting(&mut self, waiting: &HashMap<String, Tally>) {
        self.waiting.retain(|destination, _| waiting.contains_key(destination));
        for (destination, tally) in waiting {
            let now = (tally.rows, tally.bytes);
            match self.waiting.get_mut(destination) {
                Some(known) => *known = now,
                None => drop(self.waiting.insert(destination.clone(), now)),
            }
        }
    }
}
