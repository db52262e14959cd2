//! What is known of one rule: its keys, within their bounds.
//!
//! Its promise: pure; it holds no more keys than [`KEYS`], and hardly more bytes of events than [`HELD`].

use std::time::Duration;

use super::absent::Silence;
use super::group::{self, Open};
use super::keys::Keys;
use super::threshold::{self, Match, Window};
use crate::rule::Correlation;

/// Keys of one rule at most.
pub(super) const KEYS: usize = 10_000;

/// Bytes of events that the keys of one rule hold at most, before another event is taken.
pub(super) const HELD: usize = 64 << 20;

/// Between two looks for windows that are over, in microseconds: a minute.
const LOOK: i64 = 60_000_000;

/// Groups that are closed in one transaction; the next are in the next.
pub(super) const AT_ONCE: usize = 200;

/// Windows that are looked at for one that does not matter any more, before the oldest has to go.
const LOOKED_AT: usize = 100;

#[derive(Debug)]
pub(super) enum Of {
    Threshold { limits: threshold::Limits, keys: Keys<Window>, bytes: usize, look: i64 },
    Group { limits: group::Limits, keys: Keys<Open>, bytes: usize },
    Absent(Silence),
}

/// What the time has ended, of one rule.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Windows that nothing can belong to any more.
    pub(super) over: Vec<(String, Window)>,
    /// Groups that are complete, by their keys; the earliest first.
    pub(super) closed: Vec<(String, Open)>,
    /// Since when nothing came, where that is to be told.
    pub(super) silent: Option<i64>,
}

/// What had to go for another key.
#[derive(Debug)]
pub(super) enum Gone {
    /// A window, and whether it still mattered.
    Window(String, Window, bool),
    Group(String, Open),
}

/// A duration of the settings, in microseconds.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn sum(matches: &[Match]) -> usize {
    matches.iter().map(|it| it.bytes).sum()
}

impl Of {
    /// Of a rule about which nothing is known yet.
    pub(super) fn new(correlation: &Correlation, now: i64) -> Self {
        match correlation {
            Correlation::Threshold(it) => {
                let (within, quiet) = (micros(it.within), micros(it.quiet));
                let limits = threshold::Limits { count: it.count, within, quiet, max: it.max };
                Self::Threshold { limits, keys: Keys::default(), bytes: 0, look: 0 }
            }
            Correlation::Group(it) => {
                let limits = group::Limits { wait: micros(it.wait), longest: micros(it.longest), max: it.max };
                Self::Group { limits, keys: Keys::default(), bytes: 0 }
            }
            Correlation::Absent(it) => Self::Absent(Silence::new(micros(it.after), now)),
        }
    }

    /// Takes over what was known by an earlier version of the rule; false where that was of another kind.
    pub(super) fn takes_over(&mut self, old: &mut Self) -> bool {
        match (self, old) {
            (Self::Threshold { keys, bytes, .. }, Self::Threshold { keys: old, bytes: known, .. }) => {
                (*keys, *bytes) = (std::mem::take(old), *known);
            }
            (Self::Group { keys, bytes, .. }, Self::Group { keys: old, bytes: known, .. }) => {
                (*keys, *bytes) = (std::mem::take(old), *known);
            }
            (Self::Absent(silence), Self::Absent(old)) => {
                (silence.seen, silence.told) = (old.seen, std::mem::take(&mut old.told));
            }
            _ => return false,
        }
        true
    }

    /// The rows of the events that it holds.
    pub(super) fn held(&self) -> Vec<i64> {
        match self {
            Self::Threshold { keys, .. } => {
                keys.iter().flat_map(|(_, window)| &window.matches).map(|it| it.n).collect()
            }
            Self::Group { keys, .. } => keys.iter().flat_map(|(_, open)| &open.matches).map(|it| it.n).collect(),
            Self::Absent(_) => Vec::new(),
        }
    }

    /// The key as JSON, as it is kept; `None` where nothing is known of it.
    pub(super) fn state(&self, key: &str) -> Option<String> {
        let json = match self {
            Self::Threshold { keys, .. } => serde_json::to_string(keys.get(key)?),
            Self::Group { keys, .. } => serde_json::to_string(keys.get(key)?),
            Self::Absent(silence) => serde_json::to_string(silence.told.since.map(|_| &silence.told)?),
        };
        json.ok()
    }

    /// Lets a key go where there is no room for an event of this one: the oldest, or an old one that does not matter any more.
    pub(super) fn make_room(&mut self, key: &str, now: i64) -> Option<Gone> {
        match self {
            Self::Threshold { limits, keys, bytes, .. } => {
                let gone = is_full(keys, *bytes, key).then(|| least(keys, limits, *bytes > HELD, key, now))??;
                let window = keys.remove(&gone)?;
                *bytes = bytes.saturating_sub(sum(&window.matches));
                let is_open = window.is_open(limits, now);
                Some(Gone::Window(gone, window, is_open))
            }
            Self::Group { keys, bytes, .. } => {
                let oldest = keys.oldest().filter(|oldest| is_full(keys, *bytes, key) && *oldest != key)?.to_owned();
                let open = keys.remove(&oldest)?;
                *bytes = bytes.saturating_sub(sum(&open.matches));
                Some(Gone::Group(oldest, open))
            }
            Self::Absent(_) => None,
        }
    }

    /// What is due by now, and when there will be something next.
    pub(super) fn sweep(&mut self, now: i64) -> (Swept, Option<i64>) {
        let mut swept = Swept::default();
        let due = match self {
            Self::Threshold { limits, keys, bytes, look } => {
                while *look <= now
                    && let Some(oldest) = keys.oldest().map(str::to_owned)
                    && keys.get(&oldest).is_some_and(|window| window.is_over(limits, now))
                    && let Some(window) = keys.remove(&oldest)
                {
                    *bytes = bytes.saturating_sub(sum(&window.matches));
                    swept.over.push((oldest, window));
                }
                if *look <= now {
                    *look = now.saturating_add(LOOK);
                }
                (keys.len() > 0).then_some(*look)
            }
            Self::Group { limits, keys, bytes } => {
                let due = keys.iter().filter(|(_, open)| open.due(limits) <= now);
                let mut due: Vec<_> = due.map(|(key, open)| (open.since, key.to_owned())).collect();
                due.sort();
                for (_, key) in due.into_iter().take(AT_ONCE) {
                    if let Some(open) = keys.remove(&key) {
                        *bytes = bytes.saturating_sub(sum(&open.matches));
                        swept.closed.push((key, open));
                    }
                }
                keys.iter().map(|(_, open)| open.due(limits)).min()
            }
            Self::Absent(silence) => {
                swept.silent = silence.sweep(now);
                silence.due()
            }
        };
        (swept, due)
    }
}

/// Whether there is no room for an event of this key beside the others.
fn is_full<S>(keys: &Keys<S>, bytes: usize, key: &str) -> bool {
    bytes > HELD || (keys.len() >= KEYS && keys.get(key).is_none())
}

/// The key whose window is missed least, this one aside: the oldest that does not matter any more, or else the oldest. For
/// `bytes`, of those that hold some.
fn least(keys: &Keys<Window>, limits: &threshold::Limits, bytes: bool, key: &str, now: i64) -> Option<String> {
    let may_go = |(known, window): &(&str, &Window)| *known != key && !(bytes && window.matches.is_empty());
    let mut old = keys.by_age().filter(may_go).take(LOOKED_AT).peekable();
    let (oldest, _) = *old.peek()?;
    let over = old.find(|(_, window)| !window.is_open(limits, now));
    Some(over.map_or(oldest, |(over, _)| over).to_owned())
}
