//! Committed records on their way out, and who follows them.
//!
//! Its promise: a follower reads every record once it is committed, in order, however far it has fallen behind.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, params};

use super::{StoreError, unreadable};

/// Reading ends with the row that reaches so many bytes.
const MOST_BYTES: usize = 4 << 20;

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
}

/// A committed record on its way out.
#[derive(Clone, Debug)]
pub struct Row<T> {
    /// Its number.
    pub seq: u64,
    /// The line or lines.
    pub text: T,
}

/// Tells threads that follow the trail that there is more to read.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Signal {
    pub(super) fn raise(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
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

    /// Records after `seq`, as whole lines with their ends; at most `limit`, and no more than a few MiB.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn lines(&self, seq: u64, limit: usize) -> Result<Vec<Row<Vec<u8>>>, StoreError> {
        self.rows("SELECT seq, line FROM trail WHERE seq > ?1 ORDER BY seq LIMIT ?2", seq, limit)
    }

    /// Lines for standard output that go with records after `seq`; at most `limit`, and no more than a few MiB.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn logs(&self, seq: u64, limit: usize) -> Result<Vec<Row<String>>, StoreError> {
        self.rows("SELECT seq, log FROM trail WHERE seq > ?1 AND log IS NOT NULL ORDER BY seq LIMIT ?2", seq, limit)
    }

    fn rows<T: FromSql + AsRef<[u8]>>(&self, query: &str, seq: u64, limit: usize) -> Result<Vec<Row<T>>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Row<T>>> {
            let mut statement = self.connection.prepare_cached(query)?;
            let mut rows = statement.query(params![seq, limit])?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            while bytes < MOST_BYTES
                && let Some(row) = rows.next()?
            {
                let row: Row<T> = Row { seq: row.get(0)?, text: row.get(1)? };
                bytes += row.text.as_ref().len();
                found.push(row);
            }
            Ok(found)
        };
        read().map_err(|error| unreadable(&self.dir, &error))
    }

    /// Waits until something was committed since the last call, at most `timeout`. False when nothing will ever be.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let guard = self.signal.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen;
        let waited =
            self.signal.changed.wait_timeout_while(guard, timeout, |(raised, closed)| *raised == seen && !*closed);
        let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (raised, closed) = *guard;
        let more = raised != self.seen || !closed;
        self.seen = raised;
        more
    }
}
