//! The ledgers against the trail.
//!
//! Its promise: pure; whatever differs is found and counted, each message at most once in each column.
//!
//! What is compared:
//! - *lost*: confirmed by the broker, not gone with a deleted queue, and not in the trail (an event's record, or the
//!   quarantine's record and the bytes in quarantine).
//! - *doubled*: more than one record. Undecodable messages have no id: one is doubled only where a later record says
//!   that the broker had marked it as delivered before; a broker that was killed forgets that mark.
//! - *out of order*: (1) against the wire: the trail is a beginning of what the first session delivered, then a beginning
//!   of what the second one did, and so on, without what was there before; nothing else is right, whatever happened
//!   between. (2) against the publisher: a record stands behind one that was published later only if the broker had
//!   delivered it before to a session that ended (then the broker itself gives it later), or if it was published again.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::follow::Line;
use super::ledger::{Sent, What, kept};

/// What a receiver got under one delivery id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) message_id: String,
    pub(crate) destination: String,
    pub(crate) count: usize,
}

/// All that is known after a run.
pub(crate) struct Evidence<'a> {
    pub(crate) sent: &'a [Sent],
    pub(crate) trail: &'a [Line],
    /// What the broker delivered: fingerprints, by session.
    pub(crate) sessions: &'a [Vec<u64>],
    /// The bytes in quarantine, by their digest.
    pub(crate) quarantine: &'a HashMap<String, Vec<u8>>,
    /// By delivery id.
    pub(crate) calls: &'a HashMap<String, Calls>,
    /// Message ids on standard output.
    pub(crate) printed: &'a HashSet<String>,
    /// Which destinations an event of this type is for.
    pub(crate) destinations: fn(&str) -> Vec<&'static str>,
}

/// What differs. Messages are numbers in the ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) lost: BTreeSet<usize>,
    pub(crate) doubled: BTreeSet<usize>,
    pub(crate) out_of_order: BTreeSet<usize>,
    /// Everything else that is not as promised, the first of each kind.
    pub(crate) wrong: Vec<String>,
    pub(crate) events: usize,
    pub(crate) undecodable: usize,
    /// Planned deliveries.
    pub(crate) deliveries: usize,
    /// Calls beyond the first of a delivery.
    pub(crate) repeated_calls: usize,
    /// Gone with a deleted queue.
    pub(crate) gone: usize,
    /// Of those, the ones that the daemon had all the same.
    pub(crate) gone_but_kept: usize,
    /// Records behind a later published one, because the broker gave them again.
    pub(crate) given_again: usize,
    /// Undecodable messages that came again without the broker's mark.
    pub(crate) unmarked_repeats: usize,
}

/// Lines about one kind of mistake.
const SHOWN: usize = 5;

impl Verdict {
    fn wrong(&mut self, kind: &str, detail: impl FnOnce() -> String) {
        let known = self.wrong.iter().filter(|line| line.starts_with(kind)).count();
        if known < SHOWN {
            self.wrong.push(format!("{kind}: {}", detail()));
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.out_of_order.is_empty() && self.wrong.is_empty()
    }
}

pub(crate) fn compare(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    numbers(evidence, &mut verdict);
    let first = messages(evidence, &mut verdict);
    wire_order(evidence, &first, &mut verdict);
    publishing_order(evidence, &first, &mut verdict);
    deliveries(evidence, &mut verdict);
    verdict
}

/// From 1, without a gap.
fn numbers(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let mut expected = 1;
    for line in evidence.trail {
        match line {
            Line::Broken { text } => verdict.wrong("a line is no record", || text.chars().take(200).collect()),
            line => {
                let seq = line.seq().unwrap_or_default();
                if seq != expected {
                    verdict.wrong("numbers", || format!("{seq} follows {}", expected - 1));
                }
                expected = seq + 1;
            }
        }
    }
}

/// A message's first record.
#[derive(Clone, Copy)]
struct First {
    message: usize,
    redelivered: bool,
}

/// Counts each message's records; the first records in the trail's order.
fn messages(evidence: &Evidence<'_>, verdict: &mut Verdict) -> Vec<First> {
    let by_key: HashMap<&str, usize> = evidence.sent.iter().enumerate().map(|(at, sent)| (sent.key(), at)).collect();
    let mut records = vec![0; evidence.sent.len()];
    let mut first = Vec::new();
    for line in evidence.trail {
        let Some(key) = line.key() else { continue };
        let Some(&message) = by_key.get(key) else {
            verdict.wrong("nobody published", || format!("{line:?}"));
            continue;
        };
        let redelivered =
            matches!(line, Line::Event { redelivered: true, .. } | Line::Quarantine { redelivered: true, .. });
        records[message] += 1;
        match (records[message], line) {
            (1, _) => first.push(First { message, redelivered }),
            (_, Line::Quarantine { redelivered: false, .. }) => verdict.unmarked_repeats += 1,
            _ => drop(verdict.doubled.insert(message)),
        }
    }
    for (at, sent) in evidence.sent.iter().enumerate() {
        let is_there = records[at] > 0 && is_kept(sent, evidence);
        match &sent.what {
            What::Event { .. } => verdict.events += 1,
            What::Undecodable { .. } => verdict.undecodable += 1,
        }
        verdict.gone += usize::from(sent.gone);
        verdict.gone_but_kept += usize::from(sent.gone && is_there);
        if !sent.confirmed {
            verdict.wrong("never confirmed", || sent.key().to_owned());
        } else if !is_there && (!sent.gone || records[at] > 0) {
            verdict.lost.insert(at);
        }
    }
    first
}

/// Whether what the trail does not hold itself is where it belongs.
fn is_kept(sent: &Sent, evidence: &Evidence<'_>) -> bool {
    match &sent.what {
        What::Event { .. } => true,
        What::Undecodable { digest } => evidence.quarantine.get(digest).is_some_and(|bytes| bytes == kept(&sent.body)),
    }
}

fn wire_order(evidence: &Evidence<'_>, first: &[First], verdict: &mut Verdict) {
    let by_fingerprint: HashMap<u64, usize> =
        evidence.sent.iter().enumerate().map(|(at, sent)| (sent.fingerprint, at)).collect();
    let mut sessions = Vec::new();
    for session in evidence.sessions {
        sessions.push(session.iter().filter_map(|fingerprint| by_fingerprint.get(fingerprint)).collect::<Vec<_>>());
    }
    let mut taken = vec![false; evidence.sent.len()];
    let mut rest = first.iter().map(|first| first.message).peekable();
    while rest.peek().is_some() {
        for session in &sessions {
            for &&message in session {
                if taken[message] {
                    continue;
                }
                if rest.next_if_eq(&message).is_some() {
                    taken[message] = true;
                } else if !verdict.lost.contains(&message) {
                    break;
                }
            }
        }
        // No session explains why this one comes here. The rest is judged without it.
        if let Some(message) = rest.next() {
            taken[message] = true;
            verdict.out_of_order.insert(message);
        }
    }
}

fn publishing_order(evidence: &Evidence<'_>, first: &[First], verdict: &mut Verdict) {
    let mut latest = 0;
    for &First { message, redelivered } in first {
        if message >= latest {
            latest = message;
        } else if redelivered || evidence.sent[message].times > 1 {
            verdict.given_again += 1;
        } else {
            verdict.out_of_order.insert(message);
        }
    }
}

/// Each planned delivery: as the rules say, performed, one outcome.
fn deliveries(evidence: &Evidence<'_>, verdict: &mut Verdict) {
    let types: HashMap<&str, &str> = evidence.sent.iter().filter_map(of_type).collect();
    let mut outcomes: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in evidence.trail {
        if let Line::Delivery { id, outcome, .. } = line {
            outcomes.entry(id).or_default().push(outcome);
        }
    }
    let mut planned_ids = HashSet::new();
    for line in evidence.trail {
        let Line::Event { message_id, planned, .. } = line else { continue };
        let wanted = types.get(message_id.as_str()).map(|event_type| (evidence.destinations)(event_type));
        let names: Vec<_> = planned.iter().map(|(to, _)| to.as_str()).collect();
        if wanted.is_some_and(|wanted| wanted != names) {
            verdict.wrong("planned otherwise", || format!("{message_id}: {names:?}"));
        }
        for (to, id) in planned {
            planned_ids.insert(id.as_str());
            verdict.deliveries += 1;
            match evidence.calls.get(id) {
                None => verdict.wrong("never performed", || format!("{id} of {message_id} for {to}")),
                Some(calls) if calls.message_id == *message_id && calls.destination == *to => {
                    verdict.repeated_calls += calls.count - 1;
                }
                Some(calls) => verdict.wrong("performed elsewhere", || format!("{id}: {message_id}, {to}: {calls:?}")),
            }
            let outcomes = outcomes.get(id.as_str()).map_or(&[][..], Vec::as_slice);
            if outcomes != ["done"] {
                verdict.wrong("not one outcome", || format!("{id} of {message_id} for {to}: {outcomes:?}"));
            }
        }
        if !evidence.printed.contains(message_id) {
            verdict.wrong("not on standard output", || message_id.clone());
        }
    }
    for id in outcomes.keys().copied().chain(evidence.calls.keys().map(String::as_str)) {
        if !planned_ids.contains(id) {
            verdict.wrong("never planned", || id.to_owned());
        }
    }
}

fn of_type(sent: &Sent) -> Option<(&str, &str)> {
    match &sent.what {
        What::Event { message_id, event_type } => Some((message_id, event_type)),
        What::Undecodable { .. } => None,
    }
}
