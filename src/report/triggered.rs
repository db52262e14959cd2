//! What the rules triggered: by rule and destination, and why deliveries were given up.
//!
//! Its promise: pure. A delivery waits from the record of its event to the record of its outcome; how many are followed
//! at once is bounded, and what could not be followed is said.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::bounded::Tally;
use super::changes::more;
use super::line::{Delivery, Replay};
use super::page::{Cell, Section, Table, clipped, counted, grouped};
use super::span::Span;
use crate::rule::{CHECKPOINT, is_counting};
use crate::trail::Plan;

/// Pairs of rule and destination that are told apart; the settings have fewer.
const PAIRS: usize = 5_000;
/// Deliveries that are followed at once.
const OPEN: usize = 200_000;
/// Reasons that are told apart.
const REASONS: usize = 5_000;
/// Results of one destination that are told apart, such as Jenkins' `SUCCESS` and `FAILURE`.
const RESULTS: usize = 20;
/// Replays that are told apart.
const RUNS: usize = 1_000;

/// What was triggered in the span.
#[derive(Debug)]
pub(super) struct Triggered {
    span: Span,
    pairs: Tally<Pair>,
    /// Deliveries without an outcome yet, with their rule and destination.
    open: HashMap<Box<str>, (Box<str>, Box<str>)>,
    not_followed: u64,
    reasons: Tally<Reason>,
    /// Events that each replay led to something for.
    runs: Tally<u64>,
    /// All of these.
    replayed: u64,
    /// Deliveries planned,
    pub(super) planned: u64,
    /// done,
    pub(super) done: u64,
    /// and given up.
    pub(super) given_up: u64,
    rows: usize,
}

#[derive(Debug, Default)]
struct Pair {
    rule: String,
    to: String,
    planned: u64,
    done: u64,
    given_up: u64,
    errors: u64,
    results: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Reason {
    cells: [Cell; 3],
    count: u64,
    last: Timestamp,
}

impl Triggered {
    pub(super) fn new(span: Span, rows: usize) -> Self {
        Self {
            span,
            pairs: Tally::new(PAIRS),
            open: HashMap::new(),
            not_followed: 0,
            reasons: Tally::new(REASONS),
            runs: Tally::new(RUNS),
            replayed: 0,
            planned: 0,
            done: 0,
            given_up: 0,
            rows,
        }
    }

    /// Takes a replay from before the end of the span.
    pub(super) fn replay(&mut self, replay: &Replay) {
        self.plan(&replay.planned, replay.at);
        if self.span.holds(replay.at) {
            self.replayed += 1;
            if let Some(events) = self.runs.of(&clipped(&replay.run)) {
                *events += 1;
            }
        }
    }

    /// `2 replays led to something for 17 events`, where there were any.
    pub(super) fn replays_in_words(&self) -> Option<String> {
        let runs = self.runs.keys().words("replay", "replays");
        let events = counted(self.replayed, "event", "events");
        (self.replayed > 0).then(|| {
            format!(
                "Among what was triggered is what {runs} led to, for {events} that went through the rules once more."
            )
        })
    }

    /// Takes what an event planned that was recorded at this time, before the end of the span.
    pub(super) fn plan(&mut self, planned: &[Plan], at: Timestamp) {
        let within = self.span.holds(at);
        for planned in planned {
            if let Some(id) = &planned.delivery {
                if self.open.len() < OPEN {
                    let pair = (planned.rule.as_str().into(), planned.to.as_str().into());
                    self.open.insert(id.as_str().into(), pair);
                } else {
                    self.not_followed += 1;
                }
                self.planned += u64::from(within);
            }
            if let Some(pair) = within.then(|| pair(&mut self.pairs, &planned.rule, &planned.to)).flatten() {
                pair.planned += 1;
                pair.errors += u64::from(planned.error.is_some());
            }
        }
    }

    /// Takes an outcome from before the end of the span.
    pub(super) fn settle(&mut self, delivery: &Delivery) {
        let was_told = self.open.remove(delivery.id.as_str()).is_some();
        // What follows it.
        self.plan(&delivery.planned, delivery.at);
        if !self.span.holds(delivery.at) {
            return;
        }
        let done = delivery.outcome == "done";
        // A checkpoint's record does not say what it planned; what follows that is told.
        let is_own = delivery.event_type == CHECKPOINT && !was_told;
        self.planned += u64::from(is_own);
        self.done += u64::from(done);
        self.given_up += u64::from(!done);
        if let Some(pair) = pair(&mut self.pairs, &delivery.rule, &delivery.destination) {
            pair.planned += u64::from(is_own);
            pair.done += u64::from(done);
            pair.given_up += u64::from(!done);
            let result = delivery.detail.as_ref().and_then(|detail| detail.get("result")?.as_str()).map(clipped);
            if let Some(result) = result
                && (pair.results.len() < RESULTS || pair.results.contains_key(&result))
            {
                *pair.results.entry(result).or_default() += 1;
            }
        }
        if !done {
            self.give_up(delivery);
        }
    }

    fn give_up(&mut self, delivery: &Delivery) {
        let why = delivery.reason.as_deref().unwrap_or("not told");
        let texts = [delivery.rule.as_str(), delivery.destination.as_str(), why].map(clipped);
        let Some(reason) = self.reasons.of(&texts.join("\0")) else { return };
        if reason.count == 0 {
            reason.cells = texts.map(Cell::text);
        }
        reason.count += 1;
        reason.last = reason.last.max(delivery.at);
    }

    /// Deliveries that wait at the end of the span.
    pub(super) fn waiting(&self) -> u64 {
        self.open.len() as u64
    }

    pub(super) fn section(&self) -> Section {
        let mut section = Section::new("triggered", "What was triggered");
        if self.not_followed > 0 {
            section.text.push(format!(
                "More than {} deliveries waited at once; {} were not followed, and may wait as well.",
                grouped(OPEN as u64),
                grouped(self.not_followed)
            ));
        }
        section.tables.push(self.by_rule());
        let mut reasons = Table::new("Given up, and why", &["Rule", "Destination", "Reason", "#Times", "Last"]);
        let ranked = self.reasons.ranked(|reason| reason.count);
        for (_, reason) in ranked.iter().take(self.rows) {
            let mut row = reason.cells.to_vec();
            row.extend([Cell::count(reason.count), Cell::time(reason.last)]);
            reasons.rows.push(row);
        }
        let rest = ranked.len().saturating_sub(self.rows);
        reasons.note = more(rest, "reasons", self.reasons.left_out(), "deliveries given up");
        section.tables.push(reasons);
        section
    }

    fn by_rule(&self) -> Table {
        let mut waiting: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (rule, to) in self.open.values() {
            *waiting.entry((rule, to)).or_default() += 1;
        }
        let columns =
            ["Rule", "Destination", "#Triggered", "#Done", "#Given up", "#Waiting at the end", "#Errors", "Results"];
        let mut table = Table::new("By rule and destination", &columns);
        let mut pairs: Vec<_> = self.pairs.ranked(|_| 0).into_iter().map(|(_, pair)| pair).collect();
        pairs.sort_by(|a, b| (&a.rule, &a.to).cmp(&(&b.rule, &b.to)));
        let mut row = |pair: &Pair, waiting: u64| {
            // A line on standard output is done with its record; nothing is told of it afterwards.
            // Nor where an event was only counted.
            let line = pair.to == "log" || is_counting(&pair.to);
            let or_none = |cell| if line { Cell::text("–") } else { cell };
            let results =
                pair.results.iter().map(|(result, count)| format!("{result}\u{a0}×\u{a0}{}", grouped(*count)));
            table.rows.push(vec![
                Cell::text(&pair.rule),
                Cell::text(&pair.to),
                Cell::count(pair.planned),
                or_none(Cell::count(pair.done)),
                or_none(Cell::warning(pair.given_up)),
                or_none(Cell::count(waiting)),
                Cell::warning(pair.errors),
                Cell::text(results.collect::<Vec<_>>().join(", ")),
            ]);
        };
        for pair in pairs.iter().take(self.rows) {
            row(pair, waiting.remove(&(&pair.rule, &pair.to)).unwrap_or(0));
        }
        // Triggered before the span, and nothing since.
        let rest = pairs.len().saturating_sub(self.rows);
        if rest == 0 {
            for ((rule, to), count) in waiting {
                row(&Pair { rule: rule.to_owned(), to: to.to_owned(), ..Pair::default() }, count);
            }
        }
        table.note = more(rest, "rows", self.pairs.left_out(), "deliveries");
        table
    }
}

fn pair<'a>(pairs: &'a mut Tally<Pair>, rule: &str, to: &str) -> Option<&'a mut Pair> {
    let pair = pairs.of(&format!("{rule}\0{to}"))?;
    if pair.rule.is_empty() && pair.to.is_empty() {
        (pair.rule, pair.to) = (rule.to_owned(), to.to_owned());
    }
    Some(pair)
}
