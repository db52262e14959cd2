//! What came through, counted once a batch.
//!
//! Its promise: only what is kept counts, and each message once; nothing is locked or allocated for a single message.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;

use crate::delays::Delays;
use crate::event::{Event, Format};
use crate::record::Planned;

/// What came through since the start.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Events, by their format: CADF, Basic, generic.
    pub events: [u64; 3],
    /// Messages that could not be decoded.
    pub quarantined: u64,
    /// Messages that had been taken before.
    pub repeated: u64,
    /// Actions planned, by rule and destination (`log` for standard output).
    pub planned: BTreeMap<String, BTreeMap<String, u64>>,
    /// Conditions and templates that could not be evaluated, by rule.
    pub failed: BTreeMap<String, u64>,
    /// From the time that an event has of itself to its commit.
    pub delay: Delays,
    /// When an event of Keystone's was kept last.
    pub last_of_keystone: Option<Timestamp>,
    /// When a checkpoint was kept last.
    pub last_checkpoint: Option<Timestamp>,
}

/// What one batch comes to, until it is known what of it is kept.
#[derive(Default)]
pub(super) struct Tally<'a> {
    entries: Vec<Counted>,
    planned: Vec<(&'a str, &'a str, bool)>,
}

/// An entry of the batch.
struct Counted {
    what: What,
    planned: Range<usize>,
}

enum What {
    Own,
    Unreadable,
    Event { format: Format, of_keystone: bool, sent: Option<Timestamp> },
}

impl<'a> Tally<'a> {
    pub(super) fn own(&mut self) {
        self.push(What::Own, 0);
    }

    pub(super) fn unreadable(&mut self) {
        self.push(What::Unreadable, 0);
    }

    pub(super) fn event(&mut self, event: &Event, planned: &[Planned<'a>]) {
        self.planned.extend(planned.iter().map(|planned| (planned.rule, planned.to, planned.error.is_some())));
        let of_keystone = event.event_type.starts_with("identity.");
        let what = What::Event { format: event.format, of_keystone, sent: event.timestamp };
        self.push(what, planned.len());
    }

    fn push(&mut self, what: What, planned: usize) {
        let end = self.planned.len();
        self.entries.push(Counted { what, planned: end - planned..end });
    }
}

impl Counts {
    /// Adds a batch that was kept at that time, less what had been taken before.
    pub(super) fn add(&mut self, tally: &Tally<'_>, repeats: &[usize], at: Timestamp) {
        let mut repeats = repeats.iter().copied().peekable();
        let mut planned: HashMap<(&str, &str, bool), u64> = HashMap::new();
        for (place, entry) in tally.entries.iter().enumerate() {
            if repeats.next_if_eq(&place).is_some() {
                self.repeated += 1;
                continue;
            }
            match entry.what {
                What::Own => {}
                What::Unreadable => self.quarantined += 1,
                What::Event { format, of_keystone, sent } => {
                    self.events[format as usize] += 1;
                    if of_keystone {
                        self.last_of_keystone = Some(at);
                    }
                    // A clock that is ahead of ours makes no negative delay.
                    if let Some(sent) = sent {
                        self.delay.note(Duration::try_from(at.duration_since(sent)).unwrap_or_default());
                    }
                }
            }
            for of_rule in &tally.planned[entry.planned.clone()] {
                *planned.entry(*of_rule).or_default() += 1;
            }
        }
        for ((rule, to, failed), count) in planned {
            if failed {
                add(&mut self.failed, rule, count);
            }
            // A condition that failed has planned nothing.
            if to != "when" {
                match self.planned.get_mut(rule) {
                    Some(of_rule) => add(of_rule, to, count),
                    None => drop(self.planned.insert(rule.to_owned(), BTreeMap::from([(to.to_owned(), count)]))),
                }
            }
        }
    }

    /// Forgets rules that are gone, so that reloads without end need no memory.
    pub(super) fn retain_rules(&mut self, is_there: impl Fn(&str) -> bool) {
        self.planned.retain(|rule, _| is_there(rule));
        self.failed.retain(|rule, _| is_there(rule));
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    match counts.get_mut(name) {
        Some(known) => *known += count,
        None => drop(counts.insert(name.to_owned(), count)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::event::decode;

    #[test]
    fn repeats_count_as_such_and_as_nothing_else() {
        let body = r#"{"message_id":"m","event_type":"identity.user.deleted","priority":"INFO","publisher_id":"k",
                       "timestamp":"2026-11-21 07:03:00","payload":{"resource_info":"bob"}}"#;
        let event = decode(body.as_bytes()).unwrap();
        let planned =
            |rule, to, error: Option<&str>| Planned { rule, to, delivery: None, error: error.map(str::to_owned) };
        let both = [planned("a", "log", None), planned("a", "slack.ops", Some("no")), planned("b", "when", Some("no"))];
        let mut tally = Tally::default();
        tally.own();
        tally.event(&event, &both);
        tally.event(&event, &both[..1]);
        tally.unreadable();
        tally.event(&event, &both[..1]);
        let mut counts = Counts::default();
        let at = "2026-11-21T07:03:02Z".parse().unwrap();
        counts.add(&tally, &[2], at);
        let expected = BTreeMap::from([("log".to_owned(), 2), ("slack.ops".to_owned(), 1)]);
        assert_eq!(counts.planned, BTreeMap::from([("a".to_owned(), expected)]));
        assert_eq!(counts.failed, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]));
        assert_eq!((counts.events, counts.quarantined, counts.repeated), ([0, 2, 0], 1, 1));
        assert_eq!((counts.delay.count(), counts.delay.seconds()), (2, 4.0));
        assert_eq!(counts.last_of_keystone, Some(at));
        counts.retain_rules(|rule| rule == "b");
        assert_eq!((counts.planned.len(), counts.failed.len()), (0, 1));
    }
}
