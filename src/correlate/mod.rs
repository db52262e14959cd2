//! Rules that look at more than one event: so many within a time, those that come together, none for a time.
//!
//! Its promise: what an event counts for counts exactly once, in the order of the trail; what is known, what is not needed
//! any more, and what came of it (a record, deliveries, lines) change in one transaction. So whatever happens meanwhile, a
//! rule fires once.

mod absent;
mod book;
mod fire;
mod group;
mod keys;
mod of;
mod threshold;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::quiet::Quiet;
use crate::record::{self, Record};
use crate::retry::Schedule;
use crate::rule::RuleTable;
use crate::store::{Firing, Matched, Store, StoreError};
use book::{Book, Changes};

/// Events that are counted in one transaction at most.
const CHUNK: usize = 500;

/// The longest sleep: a missed wake-up costs no more than this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Between attempts to write while the disk takes nothing.
const RETRY: Schedule = Schedule { first: Duration::from_millis(500), max: Duration::from_secs(15) };

/// What came of it since the start, by rule.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// How often rules fired, by rule and cause.
    pub fired: BTreeMap<String, BTreeMap<String, u64>>,
    /// Actions planned by that, by rule and destination.
    pub planned: BTreeMap<String, BTreeMap<String, u64>>,
    /// Conditions and templates that could not be evaluated in that, by rule.
    pub failed: BTreeMap<String, u64>,
}

/// The same, shared between the correlator and whoever looks.
#[derive(Debug, Default)]
pub struct Shown(Mutex<Counts>);

impl Shown {
    /// As it is now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Our clock, which nobody sets while the daemon runs.
#[derive(Clone, Copy, Debug)]
struct Clock(Timestamp, Instant);

impl Clock {
    /// In microseconds since 1970.
    fn now(&self) -> i64 {
        self.0.as_microsecond().saturating_add(i64::try_from(self.1.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

/// What the correlator is told: which rules are in force.
#[derive(Clone, Debug)]
pub struct Order {
    /// The rules.
    pub rules: Arc<RuleTable>,
    /// Whether all that earlier rules planned is in the store.
    pub is_past: bool,
}

/// Counts what the store has to be counted, until the orders end.
pub struct Correlator {
    store: Arc<Store>,
    rules: Arc<RuleTable>,
    /// Whether standard output is a terminal.
    colour: bool,
    shown: Arc<Shown>,
    clock: Clock,
    /// `None`: to be made from what the store has.
    book: Option<Book>,
    /// Since when the store cannot be written.
    trouble: Option<Instant>,
    failures: u32,
    quiet: Quiet,
}

impl Correlator {
    /// One that counts for these rules; with `colour`, lines for standard output have ANSI colours.
    #[must_use]
    pub fn new(store: Arc<Store>, rules: Arc<RuleTable>, colour: bool, shown: Arc<Shown>) -> Self {
        let (clock, quiet) = (Clock(Timestamp::now(), Instant::now()), Quiet::default());
        Self { store, rules, colour, shown, clock, book: None, trouble: None, failures: 0, quiet }
    }

    /// Until the orders end.
    pub async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let waker = self.store.correlators_waker();
        loop {
            let pause = match self.round(&orders).await {
                Ok(true) if orders.has_changed().is_ok() => continue,
                Ok(_) => self.pause(),
                Err(StoreError::Closed) => return,
                Err(error) => self.fails(&error),
            };
            // Nothing that could be counted now is worth a try before the disk had its time.
            let is_well = self.trouble.is_none();
            tokio::select! {
                () = waker.notified(), if is_well => {}
                () = tokio::time::sleep(pause) => {}
                changed = orders.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Counts what there is to count, puts other rules in force when all is counted, and does what is due. Says whether there
    /// is more.
    async fn round(&mut self, orders: &watch::Receiver<Order>) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut book = match self.book.take() {
            Some(book) => book,
            None => self.load(now)?,
        };
        let rows = tokio::task::block_in_place(|| self.store.uncounted(CHUNK))?;
        // After the rows: they were planned by these rules or by earlier ones.
        let Order { rules: wanted, is_past } = orders.borrow().clone();
        let is_other = !Arc::ptr_eq(&wanted, &self.rules);
        // What only the new rules count comes after all that the old ones do.
        let is_of_new = |row: &&Matched| is_other && !book.knows(&row.rule) && counts(&wanted, &row.rule);
        let of_old = rows.iter().position(|row| is_of_new(&row)).unwrap_or(rows.len());
        for row in rows.iter().take(of_old) {
            book.take(row, now);
        }
        book.sweep(now);
        self.keep(book.changes()).await?;
        let mut is_more = rows.len() == CHUNK;
        if is_other && (of_old < rows.len() || (is_past && !is_more)) {
            // Groups of rules that go are closed, by the rules that opened them.
            book.set_rules(&wanted, now);
            self.keep(book.changes()).await?;
            while book.close_leaving() {
                self.keep(book.changes()).await?;
            }
            self.forget_counts(&wanted);
            self.rules = wanted;
            is_more = true;
        }
        self.book = Some(book);
        self.recovered();
        Ok(is_more)
    }

    fn load(&self, now: i64) -> Result<Book, StoreError> {
        let (states, held) =
            tokio::task::block_in_place(|| Ok((self.store.correlated()?, self.store.counted_and_held()?)))?;
        let mut book = Book::new(&self.rules, now);
        book.load(states, now);
        book.let_go_of_others(&held);
        book.listen_anew(now);
        Ok(book)
    }

    /// Keeps what has changed, with what came of it.
    async fn keep(&mut self, changes: Changes) -> Result<(), StoreError> {
        let Changes { mut step, fired, lost, lost_events, full } = changes;
        let rules = Arc::clone(&self.rules);
        let (mut noted, mut unread) = (Vec::new(), 0);
        for fired in &fired {
            let made = tokio::task::block_in_place(|| fire::make(&self.store, &rules, fired, self.colour))?;
            let Some((firing, planned)) = made else {
                let rule = &fired.rule;
                tracing::error!("rule {rule:?} has seen what it looks for, but none of its events can be read again");
                unread += 1;
                continue;
            };
            step.firings.push(firing);
            noted.push((fired, planned));
        }
        let dropped = [
            ("open_groups", lost, "the rule is gone, or groups no more"),
            ("counted_events", lost_events, "the rule is gone, or what was known of it cannot be read"),
            ("firings", unread, "none of their events can be read again"),
        ];
        step.firings.extend(dropped.into_iter().filter_map(self::dropped));
        if !step.is_empty() {
            self.store.correlate(step).await?;
        }
        for (fired, planned) in noted {
            self.note(&fired.rule, fired.cause, &planned);
        }
        if lost > 0 {
            tracing::warn!("{lost} open groups of rules that are gone were dropped; the trail says so");
        }
        if lost_events > 0 {
            tracing::warn!("{lost_events} events that counted for rules that are gone were dropped; the trail says so");
        }
        for rule in full {
            let text = format!("rule {rule:?} has too many keys at one time; the oldest is closed or forgotten");
            if let Some(count) = self.quiet.say(&text, Instant::now()) {
                tracing::warn!(count, "{text}");
            }
        }
        Ok(())
    }

    fn note(&mut self, rule: &str, cause: &str, planned: &[fire::Told]) {
        let mut counts = self.shown.lock();
        *counts.fired.entry(rule.to_owned()).or_default().entry(cause.to_owned()).or_default() += 1;
        for told in planned {
            *counts.planned.entry(rule.to_owned()).or_default().entry(told.to.clone()).or_default() += 1;
            if told.error.is_some() {
                *counts.failed.entry(rule.to_owned()).or_default() += 1;
            }
        }
        drop(counts);
        for told in planned.iter().filter(|told| !told.is_delivery) {
            if let Some(error) = &told.error
                && let Some(count) = self.quiet.say(&format!("{rule} {}", told.to), Instant::now())
            {
                tracing::warn!(count, "rule {rule:?}: its {} cannot be evaluated: {error}; the trail says so", told.to);
            }
        }
    }

    fn forget_counts(&self, rules: &RuleTable) {
        let is_there = |name: &String| rules.rules().iter().any(|rule| rule.name == *name);
        let mut counts = self.shown.lock();
        counts.fired.retain(|rule, _| is_there(rule));
        counts.planned.retain(|rule, _| is_there(rule));
        counts.failed.retain(|rule, _| is_there(rule));
    }

    /// Until there is something to do without an event.
    fn pause(&self) -> Duration {
        let due = self.book.as_ref().and_then(Book::due);
        let left = due.map(|due| u64::try_from(due.saturating_sub(self.clock.now())).unwrap_or(0));
        left.map_or(LOOK_AGAIN, |left| Duration::from_micros(left).min(LOOK_AGAIN))
    }

    /// What was in memory is forgotten: the store says what is so.
    fn fails(&mut self, error: &StoreError) -> Duration {
        self.book = None;
        if self.trouble.is_none() {
            tracing::error!("events cannot be counted for the rules that look at more than one: {error}; trying on");
            self.trouble = Some(Instant::now());
        }
        self.failures += 1;
        RETRY.delay(self.failures, rand::random())
    }

    fn recovered(&mut self) {
        self.failures = 0;
        if let Some(since) = self.trouble.take() {
            let after = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()));
            tracing::info!("events are counted again after {after}");
        }
    }
}

/// That so many were dropped, for this reason; nothing where there were none.
fn dropped((what, count, reason): (&'static str, usize, &str)) -> Option<Firing> {
    let record = Record::Dropped { at: Timestamp::now(), what, count, reason };
    (count > 0).then(|| Firing { record: record::rest_of_line(&record), ..Firing::default() })
}

/// Whether one of these rules looks at more than one event, and has this name.
fn counts(rules: &RuleTable, name: &str) -> bool {
    rules.rules().iter().any(|rule| rule.enabled && rule.correlation.is_some() && rule.name == name)
}

#[cfg(test)]
mod tests;
