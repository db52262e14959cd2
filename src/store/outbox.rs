//! What waits and what was given up: the workers' view of it, and the command line's beside a running daemon.
//!
//! Its promise: a change made here is a transaction of its own, which the daemon notices within a second.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Delivery, OpenError, schema};

const DELIVERY: &str = "n, id, rule, seq, message_id, event_type, request, progress, attempts, created, sent, steps";

pub(super) fn due(
    connection: &Connection,
    destination: &str,
    now: Timestamp,
    horizon: Duration,
    limit: usize,
    skip: &HashSet<i64>,
) -> rusqlite::Result<(Vec<Delivery>, Option<Timestamp>)> {
    let now = now.as_millisecond();
    let horizon = now.saturating_add(i64::try_from(horizon.as_millis()).unwrap_or(i64::MAX));
    let select = |range: &str, bound: i64| -> rusqlite::Result<Vec<Delivery>> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {DELIVERY} FROM delivery WHERE destination = ?1 AND state = 0 AND {range} ORDER BY due, n LIMIT ?3"
        ))?;
        let rows = statement.query_map(params![destination, bound, limit + skip.len()], delivery)?;
        let wanted = rows.filter(|row| row.as_ref().map_or(true, |row| !skip.contains(&row.n)));
        wanted.take(limit).collect()
    };
    let mut found = select("due <= ?2", now)?;
    if found.is_empty() {
        found = select("due > ?2", horizon)?;
    }
    let mut next = connection.prepare_cached(
        "SELECT due FROM delivery WHERE destination = ?1 AND state = 0 AND due > ?2 ORDER BY due LIMIT 1",
    )?;
    let next: Option<i64> = next.query_row(params![destination, now], |row| row.get(0)).optional()?;
    Ok((found, next.and_then(|due| Timestamp::from_millisecond(due).ok())))
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        n: row.get(0)?,
        id: row.get(1)?,
        rule: row.get(2)?,
        seq: row.get(3)?,
        message_id: row.get(4)?,
        event_type: row.get(5)?,
        request: row.get(6)?,
        progress: row.get(7)?,
        attempts: row.get(8)?,
        created: time(row, 9)?,
        sent: row.get::<_, Option<i64>>(10)?.and_then(|sent| Timestamp::from_millisecond(sent).ok()),
        steps: row.get(11)?,
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let milliseconds = row.get(column)?;
    Ok(Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Of a delivery that something follows even where it is given up.
pub(super) const OTHERWISE: &str =
    "(steps IS NOT NULL AND json_valid(steps) AND json_type(steps, '$.otherwise') IS NOT NULL)";

pub(super) fn overdue(
    connection: &Connection,
    destination: &str,
    before: Timestamp,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Delivery>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {DELIVERY} FROM delivery
         WHERE destination = ?1 AND state = 0 AND created < ?2 AND n > ?3 AND {OTHERWISE} ORDER BY n LIMIT ?4"
    ))?;
    statement.query_map(params![destination, before.as_millisecond(), after, limit], delivery)?.collect()
}

pub(super) fn waiting(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut statement = connection
        .prepare_cached("SELECT destination, count(*) FROM delivery WHERE state = 0 GROUP BY 1 ORDER BY 1")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Deliveries looked at for the oldest: those tried again by hand come first and are the youngest.
const OLDEST: usize = 256;

pub(super) fn oldest_waiting(connection: &Connection, destination: &str) -> rusqlite::Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT min(created) FROM
         (SELECT created FROM delivery WHERE destination = ?1 AND state = 0 ORDER BY n LIMIT ?2)",
    )?;
    let oldest: Option<i64> = statement.query_row(params![destination, OLDEST], |row| row.get(0))?;
    Ok(oldest.and_then(|oldest| Timestamp::from_millisecond(oldest).ok()))
}

pub(super) fn is_waiting(connection: &Connection, n: i64) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM delivery WHERE n = ?1 AND state = 0")?.exists([n])
}

pub(super) fn delayed(connection: &Connection, destination: &str) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection
        .prepare_cached("SELECT n FROM delivery WHERE destination = ?1 AND state = 0 AND due > 0 ORDER BY n")?;
    statement.query_map([destination], |row| row.get(0))?.collect()
}

/// Whether a delivery still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for an attempt.
    Waiting,
    /// It was given up and is kept for a look or a retry.
    GivenUp,
}

/// Which deliveries are meant. What is `None` or empty does not narrow.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Ids or beginnings of ids.
    pub ids: Vec<String>,
    /// A rule's name.
    pub rule: Option<String>,
    /// A destination's name.
    pub destination: Option<String>,
    /// A state.
    pub state: Option<State>,
}

/// A delivery as the command line shows it.
#[derive(Debug, Serialize)]
pub struct Held {
    /// The id that the receiver sees.
    pub id: String,
    /// Whether it still waits.
    pub state: State,
    /// Where it goes.
    pub destination: String,
    /// The rule that planned it.
    pub rule: String,
    /// The event's type.
    pub event_type: String,
    /// The event's message.
    pub message_id: String,
    /// The event's record in the trail.
    pub event_seq: u64,
    /// When it was planned.
    pub created: Timestamp,
    /// Not before; absent where it is due at once or was given up.
    pub due: Option<Timestamp>,
    /// Attempts that failed.
    pub attempts: u32,
    /// Why it waits or was given up.
    pub reason: Option<String>,
    /// The first kilobyte of the receiver's answer.
    pub reply: Option<String>,
    /// The request as it is sent; absent where its template failed.
    pub request: Option<Box<RawValue>>,
    /// What an action of several steps has reached.
    pub progress: Option<Box<RawValue>>,
    /// What is needed to plan what follows it once it is done; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Box<RawValue>>,
}

/// An undecodable message as the command line shows it.
#[derive(Debug, Serialize)]
pub struct Quarantine {
    /// Its number.
    pub n: i64,
    /// When it was received.
    pub at: Timestamp,
    /// The queue it came from.
    pub queue: String,
    /// The exchange it was published to.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// Why it could not be decoded.
    pub reason: String,
    /// Its whole length in bytes.
    pub size: u64,
    /// SHA-256 of the kept bytes, in hexadecimal.
    pub sha256: String,
    /// The kept bytes.
    #[serde(skip)]
    pub body: Vec<u8>,
}

/// The command line's handle on the outbox and the quarantine.
#[derive(Debug)]
pub struct Outbox {
    connection: Connection,
    /// Whether deliveries know what follows them; not before the daemon has carried an older store forward.
    has_steps: bool,
}

/// The WHERE clause of a [`Selection`] with one id; its parameters are named.
const SELECTED: &str = "(:id IS NULL OR substr(id, 1, length(:id)) = :id) AND (:rule IS NULL OR rule = :rule)
     AND (:destination IS NULL OR destination = :destination) AND (:state IS NULL OR state = :state) AND state < 2";

impl Outbox {
    /// Opens the store in `dir`, which must exist.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let connection = schema::open_beside(dir)?;
        let sql = "SELECT 1 FROM pragma_table_info('delivery') WHERE name = 'steps'";
        let has_steps = connection.prepare(sql).and_then(|mut statement| statement.exists([])).unwrap_or_default();
        Ok(Self { connection, has_steps })
    }

    /// The deliveries meant, in the order of their planning.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self, selection: &Selection) -> rusqlite::Result<Vec<Held>> {
        let steps = if self.has_steps { "steps" } else { "NULL" };
        let sql = format!(
            "SELECT n, id, state, destination, rule, event_type, message_id, seq, created, due, attempts, reason, reply,
             request, progress, {steps} FROM delivery WHERE {SELECTED} ORDER BY n"
        );
        let mut found = Vec::new();
        each(selection, |parameters| {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map(parameters, |row| Ok((row.get::<_, i64>(0)?, held(row)?)))?;
            rows.for_each(|row| found.push(row));
            Ok(())
        })?;
        let mut found = found.into_iter().collect::<rusqlite::Result<Vec<_>>>()?;
        found.sort_by_key(|(n, _)| *n);
        found.dedup_by_key(|(n, _)| *n);
        Ok(found.into_iter().map(|(_, held)| held).collect())
    }

    /// Makes the deliveries meant due at once, those that were given up as if they were new. One whose template failed
    /// has no request to send and stays. Says how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn retry(&self, selection: &Selection, now: Timestamp) -> rusqlite::Result<usize> {
        let sql = format!(
            "UPDATE delivery SET due = 0, reply = NULL,
               created = CASE state WHEN 1 THEN :now ELSE created END,
               attempts = CASE state WHEN 1 THEN 0 ELSE attempts END,
               progress = CASE state WHEN 1 THEN NULL ELSE progress END,
               ended = NULL, state = 0
             WHERE request IS NOT NULL AND {SELECTED}"
        );
        let mut changed = 0;
        each(selection, |parameters| {
            let now = now.as_millisecond();
            let mut all = parameters.to_vec();
            all.push((":now", &now));
            changed += self.connection.prepare_cached(&sql)?.execute(all.as_slice())?;
            Ok(())
        })?;
        Ok(changed)
    }

    /// Discards the deliveries meant; the trail will tell of it. Says how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn discard(&self, selection: &Selection) -> rusqlite::Result<usize> {
        let mut changed = 0;
        each(selection, |parameters| {
            let sql = format!("UPDATE delivery SET state = 2 WHERE {SELECTED}");
            changed += self.connection.prepare_cached(&sql)?.execute(parameters)?;
            Ok(())
        })?;
        Ok(changed)
    }

    /// The messages in quarantine, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn quarantine(&self) -> rusqlite::Result<Vec<Quarantine>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT n, at, queue, exchange, routing_key, reason, size, digest, body FROM quarantine ORDER BY n",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Quarantine {
                n: row.get(0)?,
                at: time(row, 1)?,
                queue: row.get(2)?,
                exchange: row.get(3)?,
                routing_key: row.get(4)?,
                reason: row.get(5)?,
                size: row.get(6)?,
                sha256: row.get(7)?,
                body: row.get(8)?,
            })
        })?;
        rows.collect()
    }

    /// Forgets messages in quarantine by their numbers, or all of them. Says how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn discard_quarantine(&self, numbers: &[i64]) -> rusqlite::Result<usize> {
        if numbers.is_empty() {
            return self.connection.execute("DELETE FROM quarantine", []);
        }
        let mut deleted = 0;
        for n in numbers {
            deleted += self.connection.execute("DELETE FROM quarantine WHERE n = ?1", [n])?;
        }
        Ok(deleted)
    }
}

fn each(
    selection: &Selection,
    mut run: impl FnMut(&[(&str, &dyn rusqlite::ToSql)]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let Selection { ids, rule, destination, state } = selection;
    let state = state.map(|state| i64::from(state == State::GivenUp));
    let ids = if ids.is_empty() { vec![None] } else { ids.iter().map(Some).collect() };
    for id in ids {
        run(named_params! { ":id": id, ":rule": rule, ":destination": destination, ":state": state })?;
    }
    Ok(())
}

fn held(row: &Row<'_>) -> rusqlite::Result<Held> {
    let raw = |column| -> rusqlite::Result<Option<Box<RawValue>>> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|text| RawValue::from_string(text).ok()))
    };
    let state = if row.get::<_, i64>(2)? == 0 { State::Waiting } else { State::GivenUp };
    let due = time(row, 9)?;
    Ok(Held {
        id: row.get(1)?,
        state,
        destination: row.get(3)?,
        rule: row.get(4)?,
        event_type: row.get(5)?,
        message_id: row.get(6)?,
        event_seq: row.get(7)?,
        created: time(row, 8)?,
        due: (state == State::Waiting && due > Timestamp::UNIX_EPOCH).then_some(due),
        attempts: row.get(10)?,
        reason: row.get(11)?,
        reply: row.get(12)?,
        request: raw(13)?,
        progress: raw(14)?,
        steps: raw(15)?,
    })
}
