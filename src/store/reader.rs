//! Committed records on their way out, and who follows them.
//!
//! Its promise: a follower reads every record once it is committed, in order, however far it has fallen behind.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use crate::chain::Hash;

use super::chunk::Chunk;
use super::schema::{self, OpenError};
use super::{StoreError, unreadable};

/// Reading from the table ends with the chunk that reaches so many bytes.
const MOST_BYTES: u64 = 2 << 20;

/// Bytes of the chunks committed last that are kept in memory.
const LATEST_BYTES: u64 = 2 << 20;

/// Who reads the trail's records from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follower {
    /// The audit file.
    File {
        /// The device of the file last written.
        dev: u64,
        /// Its inode.
        ino: u64,
    },
    /// Standard output.
    Log,
}

/// Where the followers were when the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last record known to be in the audit file; the file itself may hold later ones.
    pub file_seq: u64,
    /// The device and inode of that file.
    pub file: Option<(u64, u64)>,
    /// The last record whose lines are known to be on standard output.
    pub log_seq: u64,
    /// The next record's number.
    pub next_seq: u64,
    /// The last checkpoint's number, or 0.
    pub checkpoint_seq: u64,
}

/// The last record of an audit file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Its number; 0 where there is none.
    pub seq: u64,
    /// The hash of its line, where the line is at hand.
    pub hash: Option<Hash>,
}

impl Last {
    /// The later of two; of two alike the one whose line is at hand.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if (other.seq, other.hash.is_some()) > (self.seq, self.hash.is_some()) { other } else { self }
    }
}

/// What the writer and the followers share: that there is more to read, and the latest of it.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<Latest>,
    changed: Condvar,
}

/// The chunks committed last, so that a follower who keeps up asks no table.
#[derive(Debug, Default)]
struct Latest {
    raised: u64,
    closed: bool,
    chunks: VecDeque<Arc<Chunk>>,
    bytes: u64,
}

impl Latest {
    fn push(&mut self, chunk: Arc<Chunk>) {
        self.bytes += chunk.bytes();
        self.chunks.push_back(chunk);
        while self.bytes > LATEST_BYTES
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }

    /// Those after `seq`, unless one of them may be in the table only.
    fn after(&self, seq: u64) -> Option<Vec<Arc<Chunk>>> {
        let from = self.chunks.partition_point(|chunk| chunk.last <= seq);
        // The chunk before has the record `seq` or one after it, or this one has the next: records are numbered without
        // gaps.
        let is_whole = from > 0 || self.chunks.front()?.first <= seq + 1;
        is_whole.then(|| self.chunks.range(from..).map(Arc::clone).collect())
    }
}

impl Signal {
    pub(super) fn raise(&self, chunks: Vec<Arc<Chunk>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.raised += 1;
        for chunk in chunks {
            state.push(chunk);
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

/// Reads committed records in order, on a thread of its own.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    connection: Connection,
    signal: Arc<Signal>,
    seen: u64,
}

impl Reader {
    pub(super) fn new(dir: PathBuf, connection: Connection, signal: Arc<Signal>) -> Self {
        Self { dir, connection, signal, seen: 0 }
    }

    /// Chunks with records after `seq`, the first of which may begin before it; no more than a few MiB of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn after(&self, seq: u64) -> Result<Vec<Arc<Chunk>>, StoreError> {
        let latest = self.signal.state.lock().unwrap_or_else(PoisonError::into_inner).after(seq);
        latest.map_or_else(|| self.stored(seq).map_err(|error| unreadable(&self.dir, &error)), Ok)
    }

    /// The same from the table.
    pub(super) fn stored(&self, seq: u64) -> rusqlite::Result<Vec<Arc<Chunk>>> {
        let sql = "SELECT last, first, lines, log, logs FROM trail WHERE last > ?1 ORDER BY last";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([seq])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while bytes < MOST_BYTES
            && let Some(row) = rows.next()?
        {
            let (last, first, lines, log, logs) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let chunk = Chunk { first, last, lines, log, logs };
            bytes += chunk.bytes();
            found.push(Arc::new(chunk));
        }
        Ok(found)
    }

    /// Waits until something was committed since the last call, at most `timeout`. False when nothing will ever be.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let guard = self.signal.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen;
        let waited =
            self.signal.changed.wait_timeout_while(guard, timeout, |latest| latest.raised == seen && !latest.closed);
        let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (raised, closed) = (guard.raised, guard.closed);
        let more = raised != self.seen || !closed;
        self.seen = raised;
        more
    }
}

/// The last record that the store in `dir` knows to be in the audit file, or 0; there may be later ones.
///
/// # Errors
/// When there is no store, or it cannot be read.
pub fn written(dir: &Path) -> Result<u64, OpenError> {
    let connection = schema::open_beside(dir)?;
    let sqlite = |source| OpenError::Sqlite { path: dir.join(schema::FILE), source };
    let sql = "SELECT value FROM meta WHERE key = 'file_seq'";
    let known: Option<u64> = connection.query_row(sql, [], |row| row.get(0)).optional().map_err(sqlite)?;
    Ok(known.unwrap_or(0))
}
