//! All that is known of rules that look at more than one event, and what an event or the time changes about it.
//!
//! Its promise: pure; what has changed since it was last asked is told whole, so that it can be kept in one transaction.
//! The keys of a rule are bounded, and so are the bytes of the events that they hold.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::absent::Told;
use super::group::Open;
use super::of::{AT_ONCE, Gone, Of, sum};
use super::threshold::{Match, Window};
use crate::rule::{RuleTable, SILENCE_CAUSES};
use crate::store::{Correlated, Matched, Step};

/// Bytes of events that one firing shows at most.
const SHOWN: usize = 4 << 20;

/// What a rule has seen. Times are in microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fired {
    pub(super) rule: String,
    pub(super) cause: &'static str,
    pub(super) key: String,
    pub(super) count: u64,
    pub(super) suppressed: u64,
    pub(super) since: i64,
    pub(super) until: i64,
    /// The row of the event that the actions are given; none for a silence.
    pub(super) of: Option<i64>,
    /// The rows of the events that are shown, by their times.
    pub(super) shown: Vec<i64>,
    /// The message and the type of the event that ended a silence.
    pub(super) came: Option<(String, String)>,
}

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) step: Step,
    pub(super) fired: Vec<Fired>,
    /// Open groups of rules that are gone, which nobody can say what to do about any more.
    pub(super) lost: usize,
    /// Events that count for nothing any more: their rule is gone, or what was known of it cannot be read.
    pub(super) lost_events: usize,
    /// Rules with more keys than there may be.
    pub(super) full: BTreeSet<String>,
}

/// All rules.
#[derive(Debug, Default)]
pub(super) struct Book {
    rules: HashMap<String, Of>,
    changes: Changes,
    changed: BTreeSet<(String, String)>,
    /// Groups of rules that are gone, which are still to be closed, by rule and key.
    leaving: VecDeque<(String, String, Open)>,
    /// When there is something to look at; nothing before.
    due: i64,
}

impl Book {
    /// Of these rules, about which nothing is known yet.
    pub(super) fn new(rules: &RuleTable, now: i64) -> Self {
        let mut book = Self::default();
        book.set_rules(rules, now);
        book
    }

    /// Puts other rules in force. Of those that are gone, or are of another kind now, open groups are closed: the first of
    /// them, and the next by [`Self::close_leaving`].
    pub(super) fn set_rules(&mut self, rules: &RuleTable, now: i64) {
        let mut old = std::mem::take(&mut self.rules);
        for rule in rules.rules().iter().filter(|rule| rule.enabled) {
            if let Some(correlation) = &rule.correlation {
                let mut new = Of::new(correlation, now);
                if old.get_mut(&rule.name).is_some_and(|old| new.takes_over(old)) {
                    old.remove(&rule.name);
                }
                self.rules.insert(rule.name.clone(), new);
            }
        }
        for (name, of) in old {
            self.forget(&name, of);
        }
        self.close_leaving();
        self.due = now;
    }

    /// Whether it counts for this rule.
    pub(super) fn knows(&self, rule: &str) -> bool {
        self.rules.contains_key(rule)
    }

    fn forget(&mut self, rule: &str, of: Of) {
        match of {
            Of::Threshold { mut keys, .. } => {
                while let Some(key) = keys.oldest().map(str::to_owned) {
                    let window = keys.remove(&key);
                    self.release(window.into_iter().flat_map(|window| window.matches));
                    self.has_changed(rule, &key);
                }
            }
            Of::Group { mut keys, .. } => {
                while let Some(key) = keys.oldest().map(str::to_owned) {
                    self.leaving.extend(keys.remove(&key).map(|open| (rule.to_owned(), key, open)));
                }
            }
            Of::Absent(_) => self.has_changed(rule, ""),
        }
    }

    /// Closes the next groups of rules that are gone, as many as one transaction takes; whether there were any.
    pub(super) fn close_leaving(&mut self) -> bool {
        let next: Vec<_> = self.leaving.drain(..self.leaving.len().min(AT_ONCE)).collect();
        let is_any = !next.is_empty();
        for (rule, key, open) in next {
            self.close(&rule, &key, open);
        }
        is_any
    }

    /// What is known of this key is to be kept anew, or forgotten.
    fn has_changed(&mut self, rule: &str, key: &str) {
        self.changed.insert((rule.to_owned(), key.to_owned()));
    }

    /// Takes over what was known before a restart.
    pub(super) fn load(&mut self, states: Vec<Correlated>, now: i64) {
        let mut windows: BTreeMap<(i64, String, String), Window> = BTreeMap::new();
        let mut groups: BTreeMap<(i64, String, String), Open> = BTreeMap::new();
        for Correlated { rule, key, state } in states {
            let state = state.unwrap_or_default();
            match self.rules.get_mut(&rule) {
                Some(Of::Threshold { .. }) if let Ok(window) = serde_json::from_str::<Window>(&state) => {
                    windows.insert((window.heard, rule, key), window);
                }
                Some(Of::Group { limits, .. }) if let Ok(mut open) = serde_json::from_str::<Open>(&state) => {
                    open.wake(now);
                    groups.insert((open.due(limits), rule, key), open);
                }
                Some(Of::Absent(silence)) if let Ok(told) = serde_json::from_str::<Told>(&state) => silence.told = told,
                _ => self.lose(&rule, &key, &state),
            }
        }
        for ((_, rule, key), window) in windows {
            if let Some(Of::Threshold { keys, bytes, .. }) = self.rules.get_mut(&rule) {
                *bytes += sum(&window.matches);
                keys.add(&key, window);
            }
        }
        for ((_, rule, key), open) in groups {
            if let Some(Of::Group { keys, bytes, .. }) = self.rules.get_mut(&rule) {
                *bytes += sum(&open.matches);
                keys.add(&key, open);
            }
        }
        self.due = now;
    }

    /// What was known of a rule that is gone.
    fn lose(&mut self, rule: &str, key: &str, state: &str) {
        if let Ok(open) = serde_json::from_str::<Open>(state) {
            self.changes.lost += 1;
            self.release(open.matches);
        } else if let Ok(window) = serde_json::from_str::<Window>(state) {
            self.release(window.matches);
        }
        self.has_changed(rule, key);
    }

    /// Lets those of these rows go that nothing refers to which was loaded: what referred to them could not be read.
    pub(super) fn let_go_of_others(&mut self, held: &[i64]) {
        let mut known: HashSet<i64> = self.changes.step.released.iter().copied().collect();
        known.extend(self.rules.values().flat_map(Of::held));
        let others: Vec<_> = held.iter().filter(|n| !known.contains(n)).collect();
        self.changes.lost_events += others.len();
        self.changes.step.released.extend(others);
    }

    /// Nothing could come until now, and the time begins anew in which something has to.
    pub(super) fn listen_anew(&mut self, now: i64) {
        for of in self.rules.values_mut() {
            if let Of::Absent(silence) = of {
                silence.seen = now;
            }
        }
    }

    /// Counts an event.
    pub(super) fn take(&mut self, row: &Matched, now: i64) {
        self.changes.step.read += 1;
        self.changes.step.read_bytes += row.bytes as u64;
        let new = Match { n: row.n, at: row.at.as_microsecond(), value: row.value.clone(), bytes: row.bytes };
        match self.rules.get_mut(&row.rule) {
            Some(Of::Threshold { .. }) => self.take_threshold(row, new, now),
            Some(Of::Group { .. }) => self.take_group(row, new, now),
            Some(Of::Absent(silence)) => {
                let told = silence.take(now);
                self.due = self.due.min(silence.due().unwrap_or(i64::MAX));
                self.changes.step.released.push(row.n);
                if let Some(since) = told {
                    self.has_changed(&row.rule, "");
                    let came = Some((row.message_id.clone(), row.event_type.clone()));
                    let [_, cause] = SILENCE_CAUSES;
                    let (rule, until) = (row.rule.clone(), now);
                    self.changes.fired.push(Fired { rule, cause, since, until, came, ..Fired::default() });
                }
            }
            // It counted for a rule that is gone. What only says that an event came has no bytes, and is no loss.
            None => {
                self.changes.lost_events += usize::from(row.bytes > 0);
                self.changes.step.released.push(row.n);
            }
        }
    }

    fn take_threshold(&mut self, row: &Matched, new: Match, now: i64) {
        self.make_room(&row.rule, &row.key, now);
        let Some(Of::Threshold { limits, keys, bytes, look }) = self.rules.get_mut(&row.rule) else { return };
        if keys.get(&row.key).is_none() {
            keys.add(&row.key, Window::default());
        }
        keys.touch(&row.key);
        let Some(window) = keys.get_mut(&row.key) else { return };
        let size = new.bytes;
        let taken = window.take(new, limits, now);
        *bytes = (*bytes + if taken.is_held { size } else { 0 }).saturating_sub(sum(&taken.released));
        let max = limits.max;
        self.due = self.due.min(*look);
        if taken.is_held {
            self.changes.step.held.push(row.n);
        } else {
            self.changes.step.released.push(row.n);
        }
        if let Some((matches, suppressed)) = taken.reached {
            *bytes = bytes.saturating_sub(sum(&matches).saturating_sub(size));
            self.reached(row, matches, suppressed, max);
        }
        self.release(taken.released);
        self.has_changed(&row.rule, &row.key);
    }

    /// These were within the time; `row` is the last of them to come.
    fn reached(&mut self, row: &Matched, matches: Vec<Match>, suppressed: u64, max: usize) {
        let (since, until) = span(&matches);
        let mut shown = fitting(matches.iter().rev().take(max));
        shown.reverse();
        let (rule, key, count) = (row.rule.clone(), row.key.clone(), matches.len() as u64);
        let (cause, of) = ("threshold", Some(row.n));
        let fired = Fired { rule, cause, key, count, suppressed, since, until, of, shown, came: None };
        self.changes.fired.push(fired);
        self.release(matches.into_iter().filter(|it| it.n != row.n));
    }

    fn take_group(&mut self, row: &Matched, new: Match, now: i64) {
        self.make_room(&row.rule, &row.key, now);
        let Some(Of::Group { limits, keys, bytes }) = self.rules.get_mut(&row.rule) else { return };
        let size = new.bytes;
        let is_held = if let Some(open) = keys.get_mut(&row.key) {
            open.take(new, limits, now)
        } else {
            let open = Open::with(new, now);
            self.due = self.due.min(open.due(limits));
            keys.add(&row.key, open);
            true
        };
        if is_held {
            *bytes += size;
            self.changes.step.held.push(row.n);
        } else {
            self.changes.step.released.push(row.n);
        }
        self.has_changed(&row.rule, &row.key);
    }

    /// Lets the oldest key go, or closes the oldest group, where there is no room for one more.
    fn make_room(&mut self, rule: &str, key: &str, now: i64) {
        while let Some(gone) = self.rules.get_mut(rule).and_then(|of| of.make_room(key, now)) {
            match gone {
                Gone::Window(key, window, is_open) => {
                    if is_open {
                        self.changes.full.insert(rule.to_owned());
                    }
                    self.release(window.matches);
                    self.has_changed(rule, &key);
                }
                Gone::Group(key, open) => {
                    self.changes.full.insert(rule.to_owned());
                    self.close(rule, &key, open);
                }
            }
        }
    }

    /// What is due by now.
    pub(super) fn sweep(&mut self, now: i64) {
        if now < self.due {
            return;
        }
        self.due = i64::MAX;
        let mut names: Vec<_> = self.rules.keys().cloned().collect();
        names.sort();
        for rule in names {
            let Some((swept, due)) = self.rules.get_mut(&rule).map(|of| of.sweep(now)) else { continue };
            self.due = self.due.min(due.unwrap_or(i64::MAX));
            for (key, window) in swept.over {
                self.release(window.matches);
                self.has_changed(&rule, &key);
            }
            for (key, open) in swept.closed {
                self.close(&rule, &key, open);
            }
            if let Some(since) = swept.silent {
                self.has_changed(&rule, "");
                let [cause, _] = SILENCE_CAUSES;
                self.changes.fired.push(Fired { rule, cause, since, until: now, ..Fired::default() });
            }
        }
    }

    /// When there will be something to do without an event; `None` where there never will.
    pub(super) fn due(&self) -> Option<i64> {
        (self.due < i64::MAX).then_some(self.due)
    }

    fn close(&mut self, rule: &str, key: &str, open: Open) {
        let Open { count, mut matches, since, until, .. } = open;
        let of = matches.first().map(|first| first.n);
        let mut shown: Vec<_> = matches.clone();
        let fit = fitting(shown.iter());
        shown.retain(|it| fit.contains(&it.n));
        shown.sort_by_key(|it| (it.at, it.n));
        let fired = Fired {
            rule: rule.to_owned(),
            cause: "group",
            key: key.to_owned(),
            count,
            suppressed: 0,
            since,
            until,
            of,
            shown: shown.into_iter().map(|it| it.n).collect(),
            came: None,
        };
        self.changes.fired.push(fired);
        self.release(matches.drain(..));
        self.has_changed(rule, key);
    }

    fn release(&mut self, matches: impl IntoIterator<Item = Match>) {
        self.changes.step.released.extend(matches.into_iter().map(|it| it.n));
    }

    /// What has changed since this was last asked.
    pub(super) fn changes(&mut self) -> Changes {
        let mut changes = std::mem::take(&mut self.changes);
        for (rule, key) in std::mem::take(&mut self.changed) {
            let state = self.rules.get(&rule).and_then(|of| of.state(&key));
            changes.step.states.push(Correlated { rule, key, state });
        }
        changes
    }
}

/// The earliest and the latest of their times.
fn span(matches: &[Match]) -> (i64, i64) {
    let times = || matches.iter().map(|it| it.at);
    (times().min().unwrap_or_default(), times().max().unwrap_or_default())
}

/// The first of these that can be shown together; one at least.
fn fitting<'a>(matches: impl Iterator<Item = &'a Match>) -> Vec<i64> {
    let mut bytes = 0;
    let fits = |it: &&Match| {
        let is_first = bytes == 0;
        bytes += it.bytes;
        is_first || bytes <= SHOWN
    };
    matches.take_while(fits).map(|it| it.n).collect()
}

#[cfg(test)]
mod tests;
