//! Gaps in the record: when nothing could come in, what could not be read, and what is kept no longer.
//!
//! Its promise: pure. A gap that begins before the span or ends after it is told as far as the trail knows it.

use jiff::Timestamp;

use super::bindings::Bindings;
use super::bounded::Latest;
use super::changes::earlier;
use super::line::{BrokerFound, BrokerLost, Checkpoint, Dropped, Entry, Quarantine, Reload, Removed, Start, Stop};
use super::page::{Cell, Section, Table, counted, length};
use super::span::Span;

/// Without a checkpoint for longer, nobody can tell when within it the records were written. In seconds.
const SILENCE: i64 = 3600;

/// What kept the record from being whole, and what cadfd was told to do otherwise.
#[derive(Debug)]
pub(super) struct Gaps {
    span: Span,
    /// Times when nothing was recorded.
    absences: Latest<Vec<Cell>>,
    silences: Latest<Vec<Cell>>,
    unread: Latest<Vec<Cell>>,
    gone: Latest<Vec<Cell>>,
    settings: Latest<Vec<Cell>>,
    pub(super) bindings: Bindings,
    /// The outage that has not ended.
    outage: Option<(Timestamp, String)>,
    /// The stop that no start has followed.
    stopped: Option<(Timestamp, String)>,
    /// When it last ran before it was started last.
    ran_until: Option<Timestamp>,
    /// When the last record was written.
    last: Option<Timestamp>,
    /// When the last checkpoint was.
    signed: Option<Timestamp>,
    /// The rules in force.
    rules: Option<u64>,
    /// Checkpoints in the span.
    pub(super) checkpoints: u64,
    /// Outages that touch it,
    pub(super) outages: u64,
    /// times when cadfd did not run,
    pub(super) pauses: u64,
    /// and how long all of these were within it, in seconds.
    pub(super) seconds: i64,
    /// Messages that could not be read.
    pub(super) quarantined: u64,
    /// Settings read, at a start or while it ran.
    pub(super) reloads: u64,
}

impl Gaps {
    pub(super) fn new(span: Span, rows: usize) -> Self {
        Self {
            span,
            absences: Latest::new(rows),
            silences: Latest::new(rows),
            unread: Latest::new(rows),
            gone: Latest::new(rows),
            settings: Latest::new(rows),
            bindings: Bindings::new(span, rows),
            outage: None,
            stopped: None,
            ran_until: None,
            last: None,
            signed: None,
            rules: None,
            checkpoints: 0,
            outages: 0,
            pauses: 0,
            seconds: 0,
            quarantined: 0,
            reloads: 0,
        }
    }

    /// Takes a record from before the end of the span.
    pub(super) fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::BrokerLost(lost) => self.lost(lost),
            Entry::BrokerFound(found) => self.found(found),
            Entry::Bound(bound) => self.bindings.take(bound, self.ran_until),
            Entry::Stop(stop) => self.stop(stop),
            Entry::Start(start) => self.start(start),
            Entry::Reload(reload) => self.reload(reload),
            Entry::Checkpoint(checkpoint) => self.checkpoint(checkpoint),
            Entry::Quarantine(message) => self.quarantine(message),
            Entry::Dropped(dropped) => self.drop(dropped),
            Entry::Removed(removed) => self.remove(removed),
            Entry::Event(_) | Entry::Replay(_) | Entry::Fired(_) | Entry::Delivery(_) | Entry::Other => {}
        }
        self.last = self.last.max(entry.at());
    }

    /// After the last record before the end of the span.
    pub(super) fn end(&mut self) {
        let until = self.span.until;
        if let Some((from, cause)) = self.outage.take() {
            self.absence("the broker was lost", from, None, &cause);
        }
        if let Some((from, cause)) = self.stopped.take() {
            self.absence("cadfd was stopped", from, None, &cause);
        }
        if let Some(from) = self.signed {
            self.silence(from, until, "the end of the range");
        }
    }

    fn lost(&mut self, lost: &BrokerLost) {
        self.outage.get_or_insert_with(|| (lost.from, lost.cause.clone()));
    }

    fn found(&mut self, found: &BrokerFound) {
        self.outage = None;
        self.absence("the broker was lost", found.from, Some(found.to), &found.cause);
    }

    fn stop(&mut self, stop: &Stop) {
        if let Some((from, cause)) = self.outage.take() {
            self.absence("the broker was lost", from, Some(stop.at), &cause);
        }
        self.stopped = Some((stop.at, stop.cause.clone()));
    }

    fn start(&mut self, start: &Start) {
        self.ran_until = self.stopped.as_ref().map(|(at, _)| *at).or(self.last);
        match (self.stopped.take(), self.last) {
            (Some((from, cause)), _) => self.absence("cadfd was stopped", from, Some(start.at), &cause),
            (None, Some(last)) => {
                if let Some((from, cause)) = self.outage.take() {
                    self.absence("the broker was lost", from, Some(last), &cause);
                }
                let why = "no stop is recorded: a crash, a kill or a loss of power; from is the last record before it";
                self.absence("cadfd did not run", last, Some(start.at), why);
            }
            (None, None) => {}
        }
        let told = format!("started: version {} on {}, queues {}", start.version, start.host, start.queues.join(", "));
        self.set(start.at, &told, start.rules, start.key.as_deref());
    }

    fn reload(&mut self, reload: &Reload) {
        self.set(reload.at, "settings and rules read again", reload.rules, None);
    }

    fn set(&mut self, at: Timestamp, what: &str, rules: u64, key: Option<&str>) {
        let before = self.rules.replace(rules);
        if !self.span.holds(at) {
            return;
        }
        self.reloads += 1;
        let before = before.filter(|before| *before != rules).map(|before| format!("{before} before"));
        let notes: Vec<_> = before.into_iter().chain(key.map(|key| format!("key {key}"))).collect();
        self.settings.push(vec![Cell::time(at), Cell::text(what), Cell::count(rules), Cell::text(notes.join("; "))]);
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.checkpoints += u64::from(self.span.holds(checkpoint.at));
        if let Some(before) = self.signed.replace(checkpoint.at) {
            self.silence(before, checkpoint.at, "");
        }
    }

    fn silence(&mut self, from: Timestamp, to: Timestamp, end: &str) {
        let seconds = to.as_second() - from.as_second();
        if seconds > SILENCE && self.span.overlap(from, to).is_some() {
            let end = if end.is_empty() { Cell::time(to) } else { Cell::text(end) };
            self.silences.push(vec![Cell::time(from), end, Cell::text(length(seconds))]);
        }
    }

    fn absence(&mut self, what: &str, from: Timestamp, to: Option<Timestamp>, why: &str) {
        let end = to.unwrap_or(self.span.until);
        let Some(within) = self.span.overlap(from, end) else { return };
        self.seconds += within;
        if what.starts_with("the broker") {
            self.outages += 1;
        } else {
            self.pauses += 1;
        }
        self.absences.push(vec![
            Cell::time(from),
            to.map_or_else(|| Cell::marked("not ended in the range"), Cell::time),
            Cell::text(length(end.as_second() - from.as_second())),
            Cell::text(what),
            Cell::text(why),
        ]);
    }

    fn quarantine(&mut self, message: &Quarantine) {
        if self.span.holds(message.received) {
            self.quarantined += 1;
            let (at, size) = (Cell::time(message.received), counted(message.size, "byte", "bytes"));
            let queue = Cell::text(&message.source.queue);
            self.unread.push(vec![at, queue, Cell::text(size), Cell::text(&message.reason)]);
        }
    }

    fn drop(&mut self, dropped: &Dropped) {
        if self.span.holds(dropped.at) {
            let what = format!("{} dropped", dropped.what.replace('_', " "));
            let (at, count) = (Cell::time(dropped.at), Cell::count(dropped.count));
            self.gone.push(vec![at, Cell::marked(what), count, Cell::text(&dropped.reason)]);
        }
    }

    fn remove(&mut self, removed: &Removed) {
        if self.span.holds(removed.at) {
            let what = format!("records {} to {} of the trail removed", removed.first, removed.last);
            let count = removed.last.saturating_sub(removed.first).saturating_add(1);
            self.gone.push(vec![
                Cell::time(removed.at),
                Cell::text(what),
                Cell::count(count),
                Cell::text(&removed.reason),
            ]);
        }
    }

    pub(super) fn sections(&self) -> [Section; 2] {
        let mut gaps = Section::new("gaps", "Gaps in the record");
        gaps.text.push(
            "While the broker is lost or cadfd does not run, messages wait in the broker's queue, and are recorded when \
             it comes back, unless the queue has a limit and reached it."
                .to_owned(),
        );
        gaps.tables = vec![
            table("Times when nothing could come in", &["From", "To", "For", "What", "Why"], &self.absences),
            table("Times of more than an hour without a checkpoint", &["From", "To", "For"], &self.silences),
            table(
                "Messages that could not be read, kept in quarantine",
                &["When", "Queue", "Size", "Why"],
                &self.unread,
            ),
            table("What is kept no longer", &["When", "What", "#Count", "Why"], &self.gone),
        ];
        gaps.tables.extend(self.bindings.table());
        let mut settings = Section::new("settings", "cadfd's own settings");
        let columns = ["When", "What", "#Rules in force", "Notes"];
        settings.tables.push(table("Each start and reload", &columns, &self.settings));
        [gaps, settings]
    }
}

fn table(caption: &str, columns: &[&'static str], rows: &Latest<Vec<Cell>>) -> Table {
    let mut table = Table::new(caption, columns);
    table.rows = rows.iter().cloned().collect();
    table.note = earlier(rows.left_out());
    table
}
