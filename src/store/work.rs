//! What a transaction does: keep a batch, settle a delivery.
//!
//! Its promise: it changes the tables and the books alike; on an error the transaction is rolled back and the books
//! are made anew.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::books::{Books, Pending, ROW_BYTES, Tally};
use super::chunk::Chunk;
use super::command::{Command, Done, Notice};
use super::figures::Loss;
use super::names;

use super::{Bounds, End, Entry, Kept, Key, Last, NewDelivery, Next, Session, Settlement, StoreError, Unreadable};
use crate::chain::Hash;

/// What the probe writes and leaves there: about what a batch of ordinary messages needs.
const PROBE_BYTES: usize = 1 << 20;

/// What may wait to be counted, at most. It waits for as long as a transaction takes, unless the correlator cannot go on.
pub(super) const UNCOUNTED: u64 = 100_000;

/// Bytes of the records that are kept with it, at most.
pub const UNCOUNTED_BYTES: u64 = 256 << 20;

/// One transaction under way.
pub(super) struct Work<'a> {
    pub(super) tx: &'a Transaction<'a>,
    pub(super) books: &'a mut Books,
    pub(super) bounds: &'a mut Bounds,
    pub(super) wake: &'a mut Vec<String>,
    pub(super) notices: &'a mut Vec<Notice>,
    pub(super) losses: &'a mut Vec<Loss>,
    /// Records of this transaction that are not in the table yet.
    pub(super) chunk: Chunk,
    /// Those that are.
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) now: Timestamp,
}

impl Work<'_> {
    pub(super) fn apply(&mut self, command: Command) -> (Done, rusqlite::Result<()>) {
        match command {
            Command::Put { session, entries, reply } => {
                if let Err(refused) = self.admit(&session) {
                    return (Done::Put(reply, Err(refused), session), Ok(()));
                }
                let kept = self.put(entries);
                let (kept, result) = kept.map_or_else(|e| (Kept::default(), Err(e)), |kept| (kept, Ok(())));
                (Done::Put(reply, Ok(kept), session), result)
            }
            Command::Settle { settlement, reply } => (Done::Unit(reply, Ok(())), self.settle(settlement)),
            Command::Correlate { step, reply } => {
                if self.books.backlog_bytes > self.bounds.backlog_max_bytes && !step.firings.is_empty() {
                    return (Done::Unit(reply, Err(StoreError::Backlog)), Ok(()));
                }
                (Done::Unit(reply, Ok(())), self.correlate(step))
            }
            Command::Learn { names, reply } => (Done::Unit(reply, Ok(())), names::keep(self.tx, &names)),
            Command::ForgetNames { before, reply } => (Done::Unit(reply, Ok(())), names::forget(self.tx, before)),
            Command::BringForward { deliveries, reply } => (Done::Unit(reply, Ok(())), self.bring_forward(&deliveries)),
            Command::Expire { destination, before, reason, reply } => {
                let expired = self.expire(&destination, before, &reason);
                let (count, result) = expired.map_or_else(|e| (0, Err(e)), |count| (count, Ok(())));
                (Done::Count(reply, count), result)
            }
            // That it was looked at is all.
            Command::Answer { reply } => (Done::Unit(reply, Ok(())), Ok(())),
            Command::Probe { reply } => {
                let result = self.admit(&Session::default());
                // What is known to be full is not filled further.
                let written = if result.is_ok() { self.probe() } else { Ok(()) };
                (Done::Unit(reply, result), written)
            }
            Command::Seal { seal, reply } => {
                let seq = self.books.next_seq;
                let entry = seal.make(seq, &self.books.head.unwrap_or(Hash::START));
                let kept = self.put(vec![entry]).map(|_new| self.books.checkpoint_seq = seq);
                (Done::Unit(reply, Ok(())), kept)
            }
            Command::GoOn { after, reply } => (Done::Unit(reply, Ok(())), self.go_on(after)),
            Command::Written { follower, seq } => {
                self.books.mark(follower, seq);
                (Done::Nothing, Ok(()))
            }
            Command::WillWrite { follower, seq, reply } => {
                self.books.mark(follower, seq);
                (Done::Unit(reply, Ok(())), Ok(()))
            }
            Command::SetBounds(bounds) => {
                *self.bounds = bounds;
                (Done::Nothing, Ok(()))
            }
            Command::Close => (Done::Nothing, Ok(())),
        }
    }

    /// Whether a batch may be taken at all.
    fn admit(&self, session: &Session) -> Result<(), StoreError> {
        if session.is_poisoned() {
            return Err(StoreError::Session);
        }
        if self.books.backlog_bytes > self.bounds.backlog_max_bytes {
            return Err(StoreError::Backlog);
        }
        let Tally { rows, bytes } = self.books.uncounted;
        if rows > UNCOUNTED || bytes > UNCOUNTED_BYTES {
            return Err(StoreError::Uncounted);
        }
        Ok(())
    }

    fn put(&mut self, entries: Vec<Entry>) -> rusqlite::Result<Kept> {
        let (mut kept, mut counted) = (Kept::default(), Vec::new());
        for (at, entry) in entries.into_iter().enumerate() {
            if self.is_repeat(&entry.key)? {
                kept.repeats.push(at);
                continue;
            }
            kept.new += 1;
            let seq = self.add_record(&entry.record, entry.log.as_deref())?;
            for delivery in &entry.deliveries {
                self.add_delivery(seq, delivery)?;
            }
            if let Some(unreadable) = &entry.unreadable {
                self.add_unreadable(unreadable)?;
            }
            names::keep(self.tx, &entry.names)?;
            counted.extend(entry.counted.into_iter().map(|new| (seq, new)));
        }
        self.count(&counted)?;
        Ok(kept)
    }

    fn is_repeat(&mut self, key: &Key) -> rusqlite::Result<bool> {
        match key {
            Key::Own | Key::Unreadable { redelivered: false, .. } => Ok(false),
            Key::Message(id) => Ok(!self.books.seen.take(self.tx, *id)?),
            Key::Unreadable { digest, redelivered: true } => {
                self.tx.prepare_cached("SELECT 1 FROM quarantine WHERE digest = ?1")?.exists([digest])
            }
        }
    }

    fn go_on(&mut self, Last { seq, hash }: Last) -> rusqlite::Result<()> {
        // Within a chunk the numbers have no gaps.
        if !self.chunk.lines.is_empty() {
            self.keep_chunk()?;
        }
        let next_seq = self.books.next_seq;
        if seq >= next_seq || (seq + 1 == next_seq && self.books.head.is_none()) {
            (self.books.next_seq, self.books.head) = (seq + 1, hash);
        }
        Ok(())
    }

    pub(super) fn add_record(&mut self, rest: &[u8], log: Option<&str>) -> rusqlite::Result<u64> {
        let seq = self.books.next_seq;
        self.books.next_seq += 1;
        let prev = self.books.head.unwrap_or(Hash::START);
        self.books.head = Some(self.chunk.push(seq, &prev, rest, log));
        if self.chunk.is_full() {
            self.keep_chunk()?;
        }
        Ok(seq)
    }

    fn keep_chunk(&mut self) -> rusqlite::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let Chunk { first, last, lines, log, logs } = &chunk;
        let sql = "INSERT INTO trail (last, first, lines, log, logs) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.tx.prepare_cached(sql)?.execute(params![last, first, lines, log, logs])?;
        self.books.push(Pending { last: *last, bytes: chunk.bytes(), logs: *logs });
        self.chunks.push(Arc::new(chunk));
        Ok(())
    }

    /// The records of this transaction, all in the table.
    pub(super) fn finish(mut self) -> rusqlite::Result<Vec<Arc<Chunk>>> {
        if !self.chunk.lines.is_empty() {
            self.keep_chunk()?;
        }
        Ok(self.chunks)
    }

    pub(super) fn add_delivery(&mut self, seq: u64, delivery: &NewDelivery) -> rusqlite::Result<()> {
        let NewDelivery { id, destination, rule, message_id, event_type, request, sent, steps } = delivery;
        let now = self.now.as_millisecond();
        let (request, reason) = (request.as_ref().ok(), request.as_ref().err());
        let long = request.map_or(0, String::len) + steps.as_ref().map_or(0, String::len);
        let bytes = (long + rule.len() + message_id.len() + ROW_BYTES) as u64;
        let mut statement = self.tx.prepare_cached(
            "INSERT OR IGNORE INTO delivery
             (id, destination, rule, seq, message_id, event_type, request, state, created, ended, reason, bytes, sent,
              steps)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?;
        let ended = reason.map(|_| now);
        let added = statement.execute(params![
            id,
            destination,
            rule,
            seq,
            message_id,
            event_type,
            request,
            reason.is_some(),
            now,
            ended,
            reason,
            bytes,
            sent.map(Timestamp::as_millisecond),
            steps
        ])?;
        if added == 0 {
            return Ok(());
        }
        match reason {
            None => {
                self.books.waiting.entry(destination.clone()).or_default().add(bytes);
                self.wake_up(destination);
                Ok(())
            }
            Some(reason) => {
                self.books.given_up.add(bytes);
                self.lose(destination, "template");
                let what = format!("{rule}: {destination} cannot be rendered: {reason}");
                self.notices.push(Notice { text: format!("rule {what}; see cadfd outbox show {id}"), what });
                self.add_record(&delivery.given_up(self.now, seq, 0, reason), None).map(drop)
            }
        }
    }

    /// Counts a delivery that ends without an attempt of its own.
    pub(super) fn lose(&mut self, destination: &str, reason: &'static str) {
        self.losses.push(Loss::GivenUp { destination: destination.to_owned(), reason });
    }

    pub(super) fn wake_up(&mut self, destination: &str) {
        if !self.wake.iter().any(|known| known == destination) {
            self.wake.push(destination.to_owned());
        }
    }

    fn add_unreadable(&mut self, message: &Unreadable) -> rusqlite::Result<()> {
        let Unreadable { digest, queue, exchange, routing_key, reason, size, body } = message;
        let mut statement = self.tx.prepare_cached(
            "INSERT INTO quarantine (digest, at, queue, exchange, routing_key, reason, size, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let at = self.now.as_millisecond();
        statement.execute(params![digest, at, queue, exchange, routing_key, reason, size, body])?;
        self.books.quarantine.add((body.len() + ROW_BYTES) as u64);
        let what = format!("quarantine {queue}");
        let text = format!("put into quarantine, from {queue}: {reason}; see cadfd outbox list --quarantine");
        self.notices.push(Notice { what, text });
        Ok(())
    }

    fn settle(&mut self, Settlement { n, end }: Settlement) -> rusqlite::Result<()> {
        match end {
            End::Done { record, next } => {
                self.remove_waiting(n)?;
                self.add_record(&record, next.log.as_deref())?;
                self.add_next(&next)
            }
            End::GivenUp { reason, reply, record, next, tried } => {
                // Where the bound or the command line took it meanwhile, the trail tells of its end already.
                if self.give_up(n, &reason, reply.as_deref(), u32::from(tried))? {
                    if !next.is_empty() {
                        self.tx.prepare_cached("UPDATE delivery SET steps = NULL WHERE n = ?1")?.execute([n])?;
                    }
                    self.add_record(&record, next.log.as_deref())?;
                    self.add_next(&next)?;
                }
                Ok(())
            }
            End::Later { due, attempts, reason, progress } => {
                let mut statement = self.tx.prepare_cached(
                    "UPDATE delivery SET due = ?2, attempts = ?3, reason = ?4, progress = coalesce(?5, progress)
                     WHERE n = ?1 AND state = 0",
                )?;
                statement.execute(params![n, due.as_millisecond(), attempts, reason, progress]).map(drop)
            }
        }
    }

    fn add_next(&mut self, next: &Next) -> rusqlite::Result<()> {
        next.deliveries.iter().try_for_each(|delivery| self.add_delivery(next.event_seq, delivery))
    }

    fn remove_waiting(&mut self, n: i64) -> rusqlite::Result<()> {
        let mut statement =
            self.tx.prepare_cached("DELETE FROM delivery WHERE n = ?1 RETURNING destination, state, bytes")?;
        let mut rows = statement.query([n])?;
        // Where the bound or the command line took it meanwhile, it was done all the same, and the trail tells so.
        while let Some(row) = rows.next()? {
            let (destination, state, bytes): (String, i64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            match state {
                0 => self.books.waiting.entry(destination).or_default().take(bytes),
                1 => self.books.given_up.take(bytes),
                _discarded => {}
            }
        }
        Ok(())
    }

    /// After an attempt, or (`tried` is 0) without one. False where it does not wait any more.
    pub(super) fn give_up(&mut self, n: i64, reason: &str, reply: Option<&str>, tried: u32) -> rusqlite::Result<bool> {
        let mut statement = self.tx.prepare_cached(
            "UPDATE delivery SET state = 1, ended = ?2, reason = ?3, reply = ?4, attempts = attempts + ?5
             WHERE n = ?1 AND state = 0 RETURNING destination, bytes",
        )?;
        let mut rows = statement.query(params![n, self.now.as_millisecond(), reason, reply, tried])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        let (destination, bytes): (String, u64) = (row.get(0)?, row.get(1)?);
        self.books.waiting.entry(destination).or_default().take(bytes);
        self.books.given_up.add(bytes);
        Ok(true)
    }

    fn bring_forward(&mut self, deliveries: &[i64]) -> rusqlite::Result<()> {
        let mut statement = self.tx.prepare_cached("UPDATE delivery SET due = 0 WHERE n = ?1 AND state = 0")?;
        for n in deliveries {
            statement.execute([n])?;
        }
        Ok(())
    }

    fn probe(&mut self) -> rusqlite::Result<()> {
        self.tx.execute("INSERT OR REPLACE INTO probe (n, filler) VALUES (1, zeroblob(?1))", [PROBE_BYTES]).map(drop)
    }
}
