//! What events count for, until the correlator has dealt with it, and what it knows meanwhile.
//!
//! Its promise: what an event counts for is kept in one transaction with its record, so that it counts exactly once; it is
//! taken in that order, in one transaction with what comes of it.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::NewDelivery;
use super::books::Tally;
use super::work::Work;

/// Who is woken when there is something to count: no destination's name.
pub(super) const CORRELATOR: &str = "correlator";

/// What an event counts for.
#[derive(Clone, Debug)]
pub struct NewMatch {
    /// The rule's name.
    pub rule: String,
    /// What it is counted by.
    pub key: String,
    /// The value of which only different ones count.
    pub value: Option<String>,
    /// When it was.
    pub at: Timestamp,
    /// The event's message.
    pub message_id: String,
    /// Its type.
    pub event_type: String,
    /// Its record without its place, if that is wanted later. Without it only the last of a batch counts.
    pub event: Option<Vec<u8>>,
}

/// The same, in the order in which it came.
#[derive(Clone, Debug)]
pub struct Matched {
    /// Its place in that order.
    pub n: i64,
    /// The rule's name.
    pub rule: String,
    /// What it is counted by.
    pub key: String,
    /// The value of which only different ones count.
    pub value: Option<String>,
    /// When it was.
    pub at: Timestamp,
    /// The event's message.
    pub message_id: String,
    /// Its type.
    pub event_type: String,
    /// Bytes of its record.
    pub bytes: usize,
}

/// What is known of the events of one rule and key.
#[derive(Clone, Debug)]
pub struct Correlated {
    /// The rule's name.
    pub rule: String,
    /// What they are counted by.
    pub key: String,
    /// What is known, as JSON; `None` where nothing is any more.
    pub state: Option<String>,
}

/// A record of the correlator's, and what is to be done.
#[derive(Clone, Debug, Default)]
pub struct Firing {
    /// The trail's record without its place.
    pub record: Vec<u8>,
    /// Lines for standard output, each with its end.
    pub log: Option<String>,
    /// What is to be delivered.
    pub deliveries: Vec<NewDelivery>,
}

/// What the correlator has come to.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// How many it has read since the last step,
    pub read: u64,
    /// and the bytes of their records.
    pub read_bytes: u64,
    /// Those that it still needs,
    pub held: Vec<i64>,
    /// and those that it does not need any more, of whatever step.
    pub released: Vec<i64>,
    /// What it knows now.
    pub states: Vec<Correlated>,
    /// What came of it.
    pub firings: Vec<Firing>,
}

impl Step {
    /// Whether there is anything to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read == 0 && self.released.is_empty() && self.states.is_empty() && self.firings.is_empty()
    }
}

impl Work<'_> {
    /// Keeps what the events of a batch count for; of those that are not wanted later, the last for each rule.
    pub(super) fn count(&mut self, matches: &[(u64, NewMatch)]) -> rusqlite::Result<()> {
        if matches.is_empty() {
            return Ok(());
        }
        let mut last = HashMap::new();
        for (at, (_, of_rule)) in matches.iter().enumerate() {
            if of_rule.event.is_none() {
                last.insert(of_rule.rule.clone(), at);
            }
        }
        for (at, (seq, new)) in matches.iter().enumerate() {
            if new.event.is_some() || last.get(&new.rule) == Some(&at) {
                let NewMatch { rule, key, value, at, message_id, event_type, event } = new;
                let sql = "INSERT INTO matched (seq, rule, key, value, at, message_id, event_type, event)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
                let at = at.as_microsecond();
                let row = params![seq, rule, key, value, at, message_id, event_type, event];
                self.tx.prepare_cached(sql)?.execute(row)?;
                self.books.uncounted.add(event.as_ref().map_or(0, |event| event.len() as u64));
            }
        }
        self.wake_up(CORRELATOR);
        Ok(())
    }

    pub(super) fn correlate(&mut self, step: Step) -> rusqlite::Result<()> {
        let Step { read, read_bytes, held, released, states, firings } = step;
        for n in held {
            self.tx.prepare_cached("UPDATE matched SET held = 1 WHERE n = ?1")?.execute([n])?;
        }
        for n in released {
            self.tx.prepare_cached("DELETE FROM matched WHERE n = ?1")?.execute([n])?;
        }
        let Tally { rows, bytes } = self.books.uncounted;
        self.books.uncounted = Tally { rows: rows.saturating_sub(read), bytes: bytes.saturating_sub(read_bytes) };
        for Correlated { rule, key, state } in states {
            if let Some(state) = state {
                let sql = "INSERT OR REPLACE INTO correlated (rule, key, state) VALUES (?1, ?2, ?3)";
                self.tx.prepare_cached(sql)?.execute([rule, key, state])?;
            } else {
                let sql = "DELETE FROM correlated WHERE rule = ?1 AND key = ?2";
                self.tx.prepare_cached(sql)?.execute([rule, key])?;
            }
        }
        for Firing { record, log, deliveries } in firings {
            let seq = self.add_record(&record, log.as_deref())?;
            for delivery in &deliveries {
                self.add_delivery(seq, delivery)?;
            }
        }
        Ok(())
    }
}

/// The first of those that wait to be counted.
pub(super) fn waiting(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Matched>> {
    let sql = "SELECT n, rule, key, value, at, message_id, event_type, coalesce(length(event), 0) FROM matched
               WHERE held = 0 ORDER BY n LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([limit], |row| {
        Ok(Matched {
            n: row.get(0)?,
            rule: row.get(1)?,
            key: row.get(2)?,
            value: row.get(3)?,
            at: Timestamp::from_microsecond(row.get(4)?).unwrap_or(Timestamp::UNIX_EPOCH),
            message_id: row.get(5)?,
            event_type: row.get(6)?,
            bytes: row.get(7)?,
        })
    })?;
    rows.collect()
}

/// The records of these, each without its place; those left out that are not there.
pub(super) fn records(connection: &Connection, numbers: &[i64]) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT event FROM matched WHERE n = ?1")?;
    let mut found = Vec::with_capacity(numbers.len());
    for n in numbers {
        let mut rows = statement.query([n])?;
        if let Some(record) = rows.next()?.map(|row| row.get::<_, Option<Vec<u8>>>(0)).transpose()?.flatten() {
            found.push(record);
        }
    }
    Ok(found)
}

/// Those that were counted and are still needed.
pub(super) fn held(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT n FROM matched WHERE held = 1")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// All that is known.
pub(super) fn states(connection: &Connection) -> rusqlite::Result<Vec<Correlated>> {
    let mut statement = connection.prepare_cached("SELECT rule, key, state FROM correlated")?;
    let rows =
        statement.query_map([], |row| Ok(Correlated { rule: row.get(0)?, key: row.get(1)?, state: row.get(2)? }))?;
    rows.collect()
}
