//! What has to go so that the store stays within its bounds, and what was discarded by hand.
//!
//! Its promise: nothing goes without a record of it in the trail; remembered ids go when their time is over.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};

use super::NewDelivery;
use super::books::ROW_BYTES;
use super::command::Notice;
use super::figures::Loss;
use super::outbox::OTHERWISE;
use super::work::Work;

use crate::record::{self, Record};

/// Deliveries given up for their age in one transaction.
pub(super) const EXPIRE: usize = 500;

/// Of so many, one is looked for that nothing follows all the same, when the outbox is full.
const LOOKED_AT: usize = 256;

impl Work<'_> {
    pub(super) fn keep_within_bounds(&mut self) -> rusqlite::Result<()> {
        let mut outbox = self.books.outbox();
        while outbox.rows > self.bounds.max_rows || outbox.bytes > self.bounds.max_bytes {
            if !self.evict()? {
                break;
            }
            outbox = self.books.outbox();
        }
        self.trim_given_up()?;
        self.trim_quarantine()?;
        if self.books.backlog_bytes > self.bounds.backlog_max_bytes / 2 {
            let count = self.books.drop_logs();
            self.note_dropped("log_lines", count, "standard output is not read; [audit] max_backlog")?;
        }
        Ok(())
    }

    /// Gives up the oldest delivery of the destination that holds the most; false when nothing waits.
    fn evict(&mut self) -> rusqlite::Result<bool> {
        let fullest = self.books.waiting.iter().max_by_key(|(_, tally)| (tally.bytes, tally.rows));
        let Some(destination) = fullest.map(|(destination, _)| destination.clone()) else { return Ok(false) };
        let Some(oldest) = self.oldest(&destination)? else { return Ok(false) };
        // What something follows all the same goes last: that would not be done either.
        let oldest = self.oldest_with_nothing_otherwise(&destination)?.unwrap_or(oldest);
        let reason = "the outbox is full ([outbox] max_rows, max_bytes); the oldest of its fullest destination goes";
        self.give_up_untried(&oldest, reason, "outbox_full")?;
        let text =
            format!("gave up the oldest delivery for {destination}: the outbox is full ([outbox] max_rows, max_bytes)");
        self.notices.push(Notice { what: format!("full {destination}"), text });
        Ok(true)
    }

    /// Gives up what has waited for too long for a destination that is down; at most [`EXPIRE`] at once. What something
    /// follows all the same is its worker's.
    pub(super) fn expire(&mut self, destination: &str, before: Timestamp, reason: &str) -> rusqlite::Result<usize> {
        let expired = self.expired(destination, before)?;
        for oldest in &expired {
            self.give_up_untried(oldest, reason, "expired")?;
        }
        Ok(expired.len())
    }

    fn give_up_untried(&mut self, oldest: &Oldest, reason: &str, kind: &'static str) -> rusqlite::Result<()> {
        self.give_up(oldest.n, reason, None, 0)?;
        self.lose(&oldest.delivery.destination, kind);
        let record = oldest.delivery.given_up(self.now, oldest.seq, oldest.attempts, reason);
        self.add_record(&record, None).map(drop)
    }

    fn oldest(&self, destination: &str) -> rusqlite::Result<Option<Oldest>> {
        let mut statement = self.tx.prepare_cached(
            "SELECT id, destination, rule, seq, message_id, event_type, attempts, n, created FROM delivery
             WHERE destination = ?1 AND state = 0 ORDER BY n LIMIT 1",
        )?;
        statement.query_row([destination], Oldest::of).optional()
    }

    /// Among the oldest [`LOOKED_AT`].
    fn oldest_with_nothing_otherwise(&self, destination: &str) -> rusqlite::Result<Option<Oldest>> {
        let mut statement = self.tx.prepare_cached(&format!(
            "SELECT id, destination, rule, seq, message_id, event_type, attempts, n, created FROM
             (SELECT * FROM delivery WHERE destination = ?1 AND state = 0 ORDER BY n LIMIT ?2)
             WHERE NOT {OTHERWISE} ORDER BY n LIMIT 1",
        ))?;
        statement.query_row(params![destination, LOOKED_AT], Oldest::of).optional()
    }

    /// The oldest that were planned before and that nothing follows all the same, at most [`EXPIRE`]. Looks no further than to
    /// the first that is younger.
    fn expired(&self, destination: &str, before: Timestamp) -> rusqlite::Result<Vec<Oldest>> {
        let mut statement = self.tx.prepare_cached(&format!(
            "SELECT id, destination, rule, seq, message_id, event_type, attempts, n, created, {OTHERWISE} FROM delivery
             WHERE destination = ?1 AND state = 0 ORDER BY n",
        ))?;
        let mut rows = statement.query([destination])?;
        let mut expired = Vec::new();
        while expired.len() < EXPIRE
            && let Some(row) = rows.next()?
        {
            let oldest = Oldest::of(row)?;
            if oldest.created >= before.as_millisecond() {
                break;
            }
            if !row.get::<_, bool>(9)? {
                expired.push(oldest);
            }
        }
        Ok(expired)
    }

    /// Deliveries that the command line marked as discarded: the trail must tell of them, and only this thread numbers it.
    pub(super) fn record_discarded(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.tx.prepare_cached(
            "DELETE FROM delivery WHERE state = 2
             RETURNING id, destination, rule, seq, message_id, event_type, attempts, n, created",
        )?;
        let rows = statement.query_map([], Oldest::of)?;
        for Oldest { seq, attempts, delivery, .. } in rows.collect::<rusqlite::Result<Vec<_>>>()? {
            let reason = "discarded by hand (cadfd outbox discard)";
            self.lose(&delivery.destination, "discarded");
            self.add_record(&delivery.given_up(self.now, seq, attempts, reason), None)?;
        }
        Ok(())
    }

    fn trim_given_up(&mut self) -> rusqlite::Result<()> {
        let mut dropped = 0;
        while self.books.given_up.rows > self.bounds.max_given_up || self.books.given_up.bytes > self.bounds.max_bytes {
            let mut statement = self.tx.prepare_cached(
                "DELETE FROM delivery WHERE n = (SELECT min(n) FROM delivery WHERE state = 1) RETURNING bytes",
            )?;
            let mut rows = statement.query([])?;
            let Some(row) = rows.next()? else { break };
            self.books.given_up.take(row.get(0)?);
            dropped += 1;
        }
        self.note_dropped("given_up_deliveries", dropped, "[outbox] max_given_up or max_bytes")
    }

    fn trim_quarantine(&mut self) -> rusqlite::Result<()> {
        let mut dropped = 0;
        while self.books.quarantine.bytes > self.bounds.quarantine_max_bytes {
            let mut statement = self.tx.prepare_cached(
                "DELETE FROM quarantine WHERE n = (SELECT min(n) FROM quarantine) RETURNING length(body)",
            )?;
            let mut rows = statement.query([])?;
            let Some(row) = rows.next()? else { break };
            self.books.quarantine.take(row.get::<_, u64>(0)? + ROW_BYTES as u64);
            dropped += 1;
        }
        self.note_dropped("quarantined_messages", dropped, "[outbox] quarantine_max_bytes")
    }

    fn note_dropped(&mut self, what: &'static str, count: usize, reason: &str) -> rusqlite::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let text = format!("dropped {}, the oldest first: {reason}", what.replace('_', " "));
        self.notices.push(Notice { what: what.to_owned(), text });
        self.losses.push(Loss::Dropped { what, count });
        let record = Record::Dropped { at: self.now, what, count, reason };
        self.add_record(&record::rest_of_line(&record), None).map(drop)
    }

    /// Keeps the ids that were taken, and forgets those whose time is over.
    pub(super) fn remember(&mut self) -> rusqlite::Result<()> {
        let remember = i64::try_from(self.bounds.remember.as_millis()).unwrap_or(i64::MAX);
        let now = self.now.as_millisecond();
        self.books.seen.save(self.tx, now, remember)?;
        self.books.seen.forget(self.tx, now.saturating_sub(remember))
    }
}

/// A delivery that ends without an attempt of its own.
struct Oldest {
    n: i64,
    seq: u64,
    attempts: u32,
    created: i64,
    delivery: NewDelivery,
}

impl Oldest {
    /// From `id, destination, rule, seq, message_id, event_type, attempts, n, created`.
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let delivery = NewDelivery {
            id: row.get(0)?,
            destination: row.get(1)?,
            rule: row.get(2)?,
            message_id: row.get(4)?,
            event_type: row.get(5)?,
            // Of no use for its end.
            request: Ok(String::new()),
            sent: None,
            steps: None,
        };
        Ok(Self { n: row.get(7)?, seq: row.get(3)?, attempts: row.get(6)?, created: row.get(8)?, delivery })
    }
}
