//! One pass over the records.
//!
//! Its promise: pure. An event counts at the time at which it happened, as its publisher tells it; what was recorded in
//! the report's time and happened outside it is counted apart, so that no event is in no report.

use jiff::Timestamp;

use super::bounded::Tally;
use super::changes::{Changes, more};
use super::gaps::Gaps;
use super::line::{self, Entry, Event};
use super::logins::Logins;
use super::page::{Cell, Figure, Section, Table, clipped, clock, counted, grouped, length};
use super::series::{self, Counts, Series};
use super::span::Span;
use super::triggered::Triggered;
use super::{Fact, Origin, Report, plot, verdict};

/// Event types that are told apart.
const TYPES: usize = 2_000;

/// Takes the records of a trail, in their order, and makes the report.
#[derive(Debug)]
pub struct Collector {
    span: Span,
    rows: usize,
    series: Series,
    totals: Counts,
    types: Tally<Counts>,
    changes: Changes,
    logins: Logins,
    triggered: Triggered,
    gaps: Gaps,
    /// Records that were written in the span.
    records: u64,
    /// Events that were recorded in the span and happened outside it.
    elsewhere: u64,
    /// Events that were added by hand in the span.
    imported: u64,
    /// Lines that are no records.
    unreadable: u64,
}

impl Collector {
    /// One for a time; no table gets more rows than `rows`.
    #[must_use]
    pub fn new(span: Span, rows: usize) -> Self {
        Self {
            span,
            rows,
            series: Series::new(&span),
            totals: Counts::default(),
            types: Tally::new(TYPES),
            changes: Changes::new(rows),
            logins: Logins::new(rows),
            triggered: Triggered::new(span, rows),
            gaps: Gaps::new(span, rows),
            records: 0,
            elsewhere: 0,
            imported: 0,
            unreadable: 0,
        }
    }

    /// Takes a whole line.
    pub fn line(&mut self, line: &[u8]) {
        let Ok(entry) = line::read(line) else {
            self.unreadable += 1;
            return;
        };
        let written = entry.at();
        self.records += u64::from(written.is_some_and(|at| self.span.holds(at)));
        if written.is_none_or(|at| at < self.span.until) {
            self.gaps.take(&entry);
        }
        match &entry {
            Entry::Event(event) => self.event(event, written),
            Entry::Replay(replay) if replay.at < self.span.until => self.triggered.replay(replay),
            Entry::Fired(fired) if fired.at < self.span.until => self.triggered.plan(&fired.planned, fired.at),
            Entry::Delivery(delivery) if delivery.at < self.span.until => self.triggered.settle(delivery),
            _ => {}
        }
    }

    fn event(&mut self, event: &Event, written: Option<Timestamp>) {
        if let Some(written) = written.filter(|written| *written < self.span.until) {
            self.triggered.plan(&event.planned, written);
        }
        let is_imported = event.imported.is_some() && written.is_some_and(|written| self.span.holds(written));
        self.imported += u64::from(is_imported);
        let Some(at) = event.timestamp.or(written).filter(|at| self.span.holds(*at)) else {
            self.elsewhere += u64::from(written.is_some_and(|written| self.span.holds(written)));
            return;
        };
        let outcome = series::place_of(&event.outcome);
        self.series.add(at, outcome);
        for counts in [Some(&mut self.totals), self.types.of(&clipped(&event.name))].into_iter().flatten() {
            if let Some(count) = counts.get_mut(outcome) {
                *count += 1;
            }
        }
        if event.operation == "authenticate" {
            self.logins.take(event, at);
        } else {
            self.changes.take(event, at);
        }
    }

    /// The report, after the last line.
    #[must_use]
    pub fn finish(mut self, origin: &Origin) -> Report {
        self.gaps.end();
        let [changes, roles] = self.changes.sections();
        let [logins, lockouts] = self.logins.sections();
        let [gaps, settings] = self.gaps.sections();
        let sections = vec![self.events(), changes, roles, logins, lockouts, self.triggered.section(), gaps, settings];
        Report {
            range: format!("{} to {} UTC", clock(self.span.since), clock(self.span.until)),
            about: self.about(origin),
            verdict: verdict::of(origin, self.gaps.checkpoints),
            figures: self.figures(),
            summary: self.summary(),
            sections,
        }
    }

    fn about(&self, origin: &Origin) -> Vec<Fact> {
        let mut about: Vec<_> = origin.paths.iter().map(|path| Fact::code("Trail", path)).collect();
        let files = counted(origin.files, "file", "files");
        about.push(Fact::new("Files", format!("{files}, {}", counted(origin.bytes, "byte", "bytes"))));
        let range = match origin.verified.range {
            Some((first, last)) => format!("{} to {}", grouped(first), grouped(last)),
            None => "none".to_owned(),
        };
        about.push(Fact::new("Records in the trail", range));
        about.push(Fact::new("Records written in the range", grouped(self.records)));
        about.push(Fact::new(
            "Range",
            format!("from {} until before {}", clock(self.span.since), clock(self.span.until)),
        ));
        about.push(Fact::new("Time zone", "UTC, all times"));
        about.push(Fact::new("Made", format!("{} by cadfd {}", clock(origin.made), origin.version)));
        about
    }

    fn figures(&self) -> Vec<Figure> {
        let figure = |label, count, mark| Figure { label, value: grouped(count), mark: mark && count > 0 };
        let [_, failed, ..] = self.totals;
        vec![
            figure("events", self.totals.iter().sum(), false),
            figure("failures", failed, false),
            figure("changes", self.changes.count, false),
            figure("roles granted", self.changes.granted, false),
            figure("roles revoked", self.changes.revoked, false),
            figure("failed logins", self.logins.failed, false),
            figure("locked accounts", self.logins.locked().count, true),
            figure("deliveries given up", self.triggered.given_up, true),
        ]
    }

    fn summary(&self) -> Vec<String> {
        let mut text = self.events_in_words();
        text.extend(self.work_in_words());
        text.extend(self.remarks());
        text
    }

    fn events_in_words(&self) -> Vec<String> {
        let [succeeded, failed, pending, unknown] = self.totals.map(grouped);
        let (changes, logins) = (&self.changes, &self.logins);
        vec![
            format!(
                "{}: {succeeded} succeeded, {failed} failed, {pending} pending, {unknown} of unknown outcome.",
                counted(self.totals.iter().sum(), "event", "events"),
            ),
            format!(
                "{} to Keystone's users, projects, roles and other things, by {}.",
                counted(changes.count, "change", "changes"),
                changes.initiators().words("initiator", "initiators")
            ),
            format!(
                "{} granted, {} revoked.",
                counted(changes.granted, "role was", "roles were"),
                grouped(changes.revoked)
            ),
            format!(
                "{} failed, with {} and from {}; {} found locked.",
                counted(logins.failed, "login", "logins"),
                logins.users().words("user name", "user names"),
                logins.addresses().words("address", "addresses"),
                logins.locked().words("account was", "accounts were"),
            ),
        ]
    }

    fn work_in_words(&self) -> [String; 2] {
        let (triggered, gaps) = (&self.triggered, &self.gaps);
        [
            format!(
                "{} triggered; {} done, {} given up, {} waiting at the end of the range.",
                counted(triggered.planned, "delivery was", "deliveries were"),
                grouped(triggered.done),
                grouped(triggered.given_up),
                grouped(triggered.waiting()),
            ),
            format!(
                "{} of the broker and {} when cadfd did not run, together {}; {} could not be read.",
                counted(gaps.outages, "loss", "losses"),
                counted(gaps.pauses, "time", "times"),
                length(gaps.seconds),
                counted(gaps.quarantined, "message", "messages"),
            ),
        ]
    }

    /// What the numbers leave out.
    fn remarks(&self) -> Vec<String> {
        let mut text = Vec::from_iter(self.triggered.replays_in_words());
        text.extend(self.gaps.bindings.in_words());
        if self.imported > 0 {
            text.push(format!(
                "{} not received but added in this range by hand, from Keystone's own log (cadfd reconcile --import); no rule \
                 was applied to what was added.",
                counted(self.imported, "event was", "events were"),
            ));
        }
        if self.elsewhere > 0 {
            text.push(format!(
                "{} recorded in this range happened outside it, because they came late or a clock was wrong; the report of \
                 their own time has them.",
                counted(self.elsewhere, "event", "events"),
            ));
        }
        if self.unreadable > 0 {
            text.push(format!(
                "{} of the trail could not be read as records, and are not counted.",
                counted(self.unreadable, "line", "lines")
            ));
        }
        text
    }

    fn events(&self) -> Section {
        let mut section = Section::new("events", "Events over time");
        section.plot = Some(plot::draw(&self.series));
        let columns = ["From", "#Success", "#Failure", "#Pending", "#Unknown", "#All"];
        let mut steps = Table::new(&format!("By time, each {}", self.series.step_in_words()), &columns);
        let all = self.series.steps();
        let filled = all.filter(|(_, counts)| counts.iter().sum::<u64>() > 0);
        steps.rows = filled.map(|(label, counts)| row(Cell::text(label), counts)).collect();
        steps.note = (!steps.rows.is_empty()).then(|| "Times without events are left out.".to_owned());
        let columns = ["Event type", columns[1], columns[2], columns[3], columns[4], columns[5]];
        let mut types = Table::new("By type", &columns);
        let ranked = self.types.ranked(|counts| counts.iter().sum());
        types.rows = ranked.iter().take(self.rows).map(|(kind, counts)| row(Cell::text(kind), counts)).collect();
        types.note = more(ranked.len().saturating_sub(self.rows), "types", self.types.left_out(), "events");
        section.tables = vec![steps, types];
        section
    }
}

fn row(first: Cell, counts: &Counts) -> Vec<Cell> {
    let all = counts.iter().sum();
    std::iter::once(first).chain(counts.iter().copied().chain([all]).map(Cell::count)).collect()
}
