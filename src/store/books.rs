//! What the writer knows without asking SQLite: the next number, how much waits where.
//!
//! Its promise: it says what the tables say; after a failed transaction it is made anew from them.

use std::collections::{HashMap, VecDeque};

use rusqlite::{Connection, OptionalExtension, params};

use crate::chain::Hash;

use super::seen::Seen;
use super::{Follower, Position};

/// A row's bytes beside its request or its message: the row itself, its indexes.
pub(super) const ROW_BYTES: usize = 256;

/// Rows and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.rows += 1;
        self.bytes += bytes;
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// A chunk on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) last: u64,
    pub(super) bytes: u64,
    /// Records with lines for standard output.
    pub(super) logs: usize,
}

#[derive(Debug)]
pub(super) struct Books {
    pub(super) next_seq: u64,
    /// The hash of the last record's line; `None` where the store is from before there was a chain, or new.
    pub(super) head: Option<Hash>,
    /// The last checkpoint's number, or 0.
    pub(super) checkpoint_seq: u64,
    pub(super) file_seq: u64,
    pub(super) file: Option<(u64, u64)>,
    pub(super) log_seq: u64,
    pub(super) waiting: HashMap<String, Tally>,
    pub(super) given_up: Tally,
    pub(super) quarantine: Tally,
    pub(super) backlog_bytes: u64,
    pub(super) seen: Seen,
    /// What waits to be counted.
    pub(super) uncounted: Tally,
    pending: VecDeque<Pending>,
    /// Whether `file_seq`, `file` or `log_seq` differ from the table `meta`.
    pub(super) marks_changed: bool,
}

impl Books {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let meta = |key: &str| -> rusqlite::Result<Option<u64>> {
            let value = connection
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, i64>(0))
                .optional()?;
            // Stored as SQLite's signed integers; a device number may use the highest bit.
            Ok(value.map(i64::cast_unsigned))
        };
        let mut books = Self {
            next_seq: meta("next_seq")?.unwrap_or(1),
            head: head(connection)?,
            checkpoint_seq: meta("checkpoint_seq")?.unwrap_or(0),
            file_seq: meta("file_seq")?.unwrap_or(0),
            file: meta("file_dev")?.zip(meta("file_ino")?),
            log_seq: meta("log_seq")?.unwrap_or(0),
            waiting: HashMap::new(),
            given_up: Tally::default(),
            quarantine: Tally::default(),
            backlog_bytes: 0,
            seen: Seen::load(connection)?,
            uncounted: uncounted(connection)?,
            pending: VecDeque::new(),
            marks_changed: false,
        };
        books.count_outbox(connection)?;
        let sql = "SELECT last, length(lines) + octet_length(log), logs FROM trail ORDER BY last";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            books.push(Pending { last: row.get(0)?, bytes: row.get(1)?, logs: row.get(2)? });
        }
        Ok(books)
    }

    /// Counts deliveries and quarantine anew: the command line changed them.
    pub(super) fn count_outbox(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT count(*), coalesce(sum(length(body)), 0) FROM quarantine";
        let (rows, bytes): (u64, u64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.quarantine = Tally { rows, bytes: bytes + rows * ROW_BYTES as u64 };
        self.waiting.clear();
        self.given_up = Tally::default();
        let mut statement =
            connection.prepare("SELECT destination, state, count(*), sum(bytes) FROM delivery GROUP BY 1, 2")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let tally = Tally { rows: row.get(2)?, bytes: row.get(3)? };
            match row.get(1)? {
                0 => drop(self.waiting.insert(row.get(0)?, tally)),
                1 => {
                    self.given_up.rows += tally.rows;
                    self.given_up.bytes += tally.bytes;
                }
                _discarded => {}
            }
        }
        Ok(())
    }

    pub(super) fn position(&self) -> Position {
        let Self { file_seq, file, log_seq, next_seq, checkpoint_seq, .. } = *self;
        Position { file_seq, file, log_seq, next_seq, checkpoint_seq }
    }

    /// All waiting deliveries.
    pub(super) fn outbox(&self) -> Tally {
        self.waiting
            .values()
            .fold(Tally::default(), |sum, tally| Tally { rows: sum.rows + tally.rows, bytes: sum.bytes + tally.bytes })
    }

    /// A chunk was added to the trail.
    pub(super) fn push(&mut self, chunk: Pending) {
        self.pending.push_back(chunk);
        self.backlog_bytes += chunk.bytes;
    }

    /// A follower has written all up to `seq`.
    pub(super) fn mark(&mut self, follower: Follower, seq: u64) {
        match follower {
            Follower::File { dev, ino } => {
                self.file_seq = self.file_seq.max(seq);
                self.file = Some((dev, ino));
            }
            Follower::Log => self.log_seq = self.log_seq.max(seq),
        }
        self.marks_changed = true;
    }

    /// The last record of the chunks that every follower has written, if there are rows to delete.
    pub(super) fn pop_written(&mut self) -> Option<u64> {
        let mut last = None;
        while let Some(front) = self.pending.front().copied()
            && front.last <= self.file_seq
            && (front.logs == 0 || front.last <= self.log_seq)
        {
            self.backlog_bytes -= front.bytes;
            self.pending.pop_front();
            last = Some(front.last);
        }
        last
    }

    /// Gives up the lines for standard output that keep records from going; says of how many.
    pub(super) fn drop_logs(&mut self) -> usize {
        let behind = |p: &&Pending| p.last > self.log_seq && p.last <= self.file_seq;
        let dropped = self.pending.iter().filter(behind).map(|chunk| chunk.logs).sum();
        if dropped > 0 {
            self.mark(Follower::Log, self.file_seq);
        }
        dropped
    }

    /// Where the next record stands.
    pub(super) fn save_place(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
        statement.execute(params!["next_seq", self.next_seq])?;
        statement.execute(params!["checkpoint_seq", self.checkpoint_seq])?;
        if let Some(head) = &self.head {
            statement.execute(params!["head", head.bytes()])?;
        }
        Ok(())
    }

    pub(super) fn save_marks(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
        statement.execute(params!["file_seq", self.file_seq])?;
        statement.execute(params!["log_seq", self.log_seq])?;
        if let Some((dev, ino)) = self.file {
            statement.execute(params!["file_dev", dev.cast_signed()])?;
            statement.execute(params!["file_ino", ino.cast_signed()])?;
        }
        self.marks_changed = false;
        Ok(())
    }
}

/// How many wait to be counted, and the bytes of their records.
fn uncounted(connection: &Connection) -> rusqlite::Result<Tally> {
    let sql = "SELECT count(*), coalesce(sum(length(event)), 0) FROM matched WHERE held = 0";
    connection.query_row(sql, [], |row| Ok(Tally { rows: row.get(0)?, bytes: row.get(1)? }))
}

/// What the next record is linked to. A store from before there was a chain may still hold the last record.
fn head(connection: &Connection) -> rusqlite::Result<Option<Hash>> {
    let sql = "SELECT value FROM meta WHERE key = 'head'";
    let kept: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    if let Some(kept) = kept {
        return Ok(Hash::from_bytes(&kept));
    }
    let sql = "SELECT lines FROM trail ORDER BY last DESC LIMIT 1";
    let lines: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(lines.and_then(|lines| lines.split_inclusive(|byte| *byte == b'\n').next_back().map(Hash::of)))
}
