//! Times when a queue of cadfd's own may not have been bound to an exchange.
//!
//! Its promise: pure. Each time that the trail tells is told, as far as it knows where it began; a binding that is made for
//! the first time ends nothing, and is told as that.

use std::collections::HashMap;

use jiff::Timestamp;

use super::bounded::Latest;
use super::changes::earlier;
use super::line::Bound;
use super::page::{Cell, Table, counted, length};
use super::span::Span;

/// Bindings that are told apart; more than any settings have.
const KNOWN: usize = 10_000;

/// All bindings that were made.
#[derive(Debug)]
pub(super) struct Bindings {
    span: Span,
    rows: Latest<Vec<Cell>>,
    /// The routing keys of each queue and exchange that were bound last.
    known: HashMap<(String, String), Vec<String>>,
    /// Times in the span when one may have been missing.
    missing: u64,
}

impl Bindings {
    pub(super) fn new(span: Span, rows: usize) -> Self {
        Self { span, rows: Latest::new(rows), known: HashMap::new(), missing: 0 }
    }

    /// Takes a record; `ran_until` is when cadfd last ran before it started.
    pub(super) fn take(&mut self, bound: &Bound, ran_until: Option<Timestamp>) {
        let key = (bound.queue.clone(), bound.exchange.clone());
        let is_same = self.known.get(&key) == Some(&bound.routing_keys);
        if self.known.contains_key(&key) || self.known.len() < KNOWN {
            self.known.insert(key, bound.routing_keys.clone());
        }
        let from = bound.from.or_else(|| ran_until.filter(|_| is_same));
        let (begin, time) = match from {
            Some(from) if self.span.overlap(from, bound.at).is_some() => {
                self.missing += 1;
                (Cell::time(from), length(bound.at.as_second() - from.as_second()))
            }
            None if self.span.holds(bound.at) => (Cell::text("bound for the first time"), String::new()),
            _ => return,
        };
        self.rows.push(vec![
            begin,
            Cell::time(bound.at),
            Cell::text(time),
            Cell::text(&bound.queue),
            Cell::text(&bound.exchange),
            Cell::text(&bound.cause),
        ]);
    }

    /// For the summary, where there is something to be said.
    pub(super) fn in_words(&self) -> Option<String> {
        (self.missing > 0).then(|| {
            format!(
                "{} when a queue of cadfd's own may not have been bound to an exchange: what was published there then \
                 is not in the trail.",
                counted(self.missing, "time", "times")
            )
        })
    }

    /// Where there are any.
    pub(super) fn table(&self) -> Option<Table> {
        let columns = ["From", "To", "For", "Queue", "Exchange", "Why it was bound"];
        let caption = "Times when a queue of cadfd's own may not have been bound to an exchange";
        let mut table = Table::new(caption, &columns);
        table.rows = self.rows.iter().cloned().collect();
        table.note = earlier(self.rows.left_out());
        (!table.rows.is_empty()).then_some(table)
    }
}
