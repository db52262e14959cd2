//! Records that the command line asks for: messages that the trail lacked, and replays.
//!
//! Its promise: what is handed over waits in the store, also while no daemon runs, and gets its place in the trail exactly
//! once, together with what is to be delivered because of it: in one transaction with its row's end.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::command::Notice;
use super::work::Work;
use super::{MessageKey, NewDelivery, OpenError, schema};

/// Taken over in one transaction at most: so many, and so many bytes.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What waits to be taken over, at most.
const MOST: u64 = 100_000;

/// Why something is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The trail lacks this message; where it has it after all, nothing is added.
    Import,
    /// Rules were applied again; where that was done already in the same run, nothing is added.
    Replay,
}

/// A record that is to be added to the trail.
#[derive(Clone, Debug)]
pub struct Handed {
    /// What for.
    pub purpose: Purpose,
    /// Tells it from others: of the message for an import, of the run and the message for a replay.
    pub key: MessageKey,
    /// The trail's record without its place: what follows `{"seq":17,"prev":"…",`, without the line's end.
    pub record: Vec<u8>,
    /// What is to be delivered.
    pub deliveries: Vec<NewDelivery>,
}

/// What has become of a delivery that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for an attempt.
    Waiting,
    /// It was given up or discarded; why.
    GivenUp(String),
    /// It is not there any more.
    Done,
}

/// The command line's handle on what is handed over.
#[derive(Debug)]
pub struct HandOver(Connection);

impl HandOver {
    /// Opens the store in `dir`, which must exist.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        schema::open_beside_current(dir).map(Self)
    }

    /// Hands over all of these or none, in this order; those that wait already are left as they are. False where there is
    /// no room before the daemon has taken some over.
    ///
    /// # Errors
    /// When the store cannot be written: nothing was handed over.
    pub fn put(&mut self, all: &[Handed]) -> rusqlite::Result<bool> {
        if self.waiting()? + all.len() as u64 > MOST {
            return Ok(false);
        }
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for Handed { purpose, key, record, deliveries } in all {
            let deliveries = serde_json::to_string(deliveries)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            let sql = "INSERT OR IGNORE INTO handed (purpose, key, record, deliveries) VALUES (?1, ?2, ?3, ?4)";
            tx.prepare_cached(sql)?.execute(params![number(*purpose), key.bytes(), record, deliveries])?;
        }
        tx.commit()?;
        Ok(true)
    }

    /// How many wait to be taken over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn waiting(&self) -> rusqlite::Result<u64> {
        self.0.prepare_cached("SELECT count(*) FROM handed")?.query_row([], |row| row.get(0))
    }

    /// Whether this one waits to be taken over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_waiting(&self, key: MessageKey) -> rusqlite::Result<bool> {
        self.0.prepare_cached("SELECT 1 FROM handed WHERE key = ?1")?.exists([key.bytes()])
    }

    /// Whether this replay was taken over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_replayed(&self, key: MessageKey) -> rusqlite::Result<bool> {
        self.0.prepare_cached("SELECT 1 FROM replayed WHERE key = ?1")?.exists([key.bytes()])
    }

    /// What has become of a delivery, by its id, once what it was handed over with is taken over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn fate(&self, id: &str) -> rusqlite::Result<Fate> {
        let mut statement = self.0.prepare_cached("SELECT state, reason FROM delivery WHERE id = ?1")?;
        let found: Option<(i64, Option<String>)> =
            statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(match found {
            None => Fate::Done,
            Some((0, _)) => Fate::Waiting,
            Some((1, reason)) => Fate::GivenUp(reason.unwrap_or_default()),
            Some(_) => Fate::GivenUp("discarded by hand (cadfd outbox discard)".to_owned()),
        })
    }
}

fn number(purpose: Purpose) -> i64 {
    match purpose {
        Purpose::Import => 0,
        Purpose::Replay => 1,
    }
}

/// Whether something waits still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// There was more than one transaction takes.
    More,
    /// The trail is not written at the time, so that nothing is added to it.
    Held,
}

/// A row as it is: its number, purpose, key, record, deliveries.
type Row = (i64, i64, Vec<u8>, Vec<u8>, String);

impl Work<'_> {
    /// Gives what was handed over its place in the trail.
    pub(super) fn take_handed(&mut self) -> rusqlite::Result<Left> {
        let (rows, is_all) = self.handed()?;
        if rows.is_empty() {
            return Ok(Left::Nothing);
        }
        if self.books.backlog_bytes > self.bounds.backlog_max_bytes {
            return Ok(Left::Held);
        }
        for row in rows {
            self.tx.prepare_cached("DELETE FROM handed WHERE n = ?1")?.execute([row.0])?;
            self.take_row(row)?;
        }
        let remember = i64::try_from(self.bounds.remember.as_millis()).unwrap_or(i64::MAX);
        let before = self.now.as_millisecond().saturating_sub(remember);
        self.tx.prepare_cached("DELETE FROM replayed WHERE at < ?1")?.execute([before])?;
        Ok(if is_all { Left::Nothing } else { Left::More })
    }

    /// The first of them, and whether that is all.
    fn handed(&self) -> rusqlite::Result<(Vec<Row>, bool)> {
        let sql = "SELECT n, purpose, key, record, deliveries FROM handed ORDER BY n";
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut found = statement.query([])?;
        let (mut rows, mut bytes): (Vec<Row>, usize) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            if rows.len() >= AT_ONCE || bytes > BYTES_AT_ONCE {
                return Ok((rows, false));
            }
            let row: Row = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            bytes += row.3.len() + row.4.len();
            rows.push(row);
        }
        Ok((rows, true))
    }

    fn take_row(&mut self, (n, purpose, key, record, deliveries): Row) -> rusqlite::Result<()> {
        let deliveries = serde_json::from_str::<Vec<NewDelivery>>(&deliveries);
        let (Some(key), Ok(deliveries)) = (MessageKey::from_bytes(&key), deliveries) else {
            // It must not stand in the way of everything behind it for ever.
            let text = format!("what the command line handed over as number {n} cannot be read and is left out");
            self.notices.push(Notice { what: "handed".to_owned(), text });
            return Ok(());
        };
        let is_new = if purpose == number(Purpose::Import) {
            self.books.seen.take(self.tx, key)?
        } else {
            let sql = "INSERT OR IGNORE INTO replayed (key, at) VALUES (?1, ?2)";
            self.tx.prepare_cached(sql)?.execute(params![key.bytes(), self.now.as_millisecond()])? > 0
        };
        if is_new {
            let seq = self.add_record(&record, None)?;
            for delivery in &deliveries {
                self.add_delivery(seq, delivery)?;
            }
        }
        Ok(())
    }
}
