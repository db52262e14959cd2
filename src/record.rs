//! The records of the audit trail: what a line holds.
//!
//! Its promise: one ASCII JSON object a line, whose first members are the sequence number `seq`, the hash `prev` of the
//! line before and `type`; nothing in it can break the line. The store gives the first two, so what is made here is the
//! rest of the line.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::chain::Hash;
use crate::event::Event;
use crate::text::to_ascii_json;

/// What follows `{"seq":17,"prev":"…",` in the line of `record`, without the line's end.
#[must_use]
pub fn rest_of_line(record: &Record<'_>) -> Vec<u8> {
    // Serializing fails only for maps whose keys are no strings, which no record has.
    let mut json = to_ascii_json(record).unwrap_or_else(|_| br#"{"type":"unwritable"}"#.to_vec());
    // The brace is written by `line`.
    json.remove(0);
    json
}

/// Writes the whole line to `lines`; `prev` is the hash of the line before. Gives the hash of this one.
pub fn push_line(lines: &mut Vec<u8>, seq: u64, prev: &Hash, rest: &[u8]) -> Hash {
    let start = lines.len();
    lines.extend_from_slice(SEQ);
    lines.extend_from_slice(seq.to_string().as_bytes());
    lines.extend_from_slice(PREV);
    lines.extend_from_slice(&prev.hex());
    lines.extend_from_slice(b"\",");
    lines.extend_from_slice(rest);
    lines.push(b'\n');
    Hash::of(lines.get(start..).unwrap_or_default())
}

/// No line is longer, in bytes: a message has at most `[rabbitmq] max_body`, a few MiB, of which each byte takes at most
/// six. What is longer is none of ours, and need not be held in memory whole.
pub const LONGEST_LINE: u64 = 256 << 20;

/// No record has a greater number: the store could not keep it.
const MOST: u64 = i64::MAX.unsigned_abs();

const SEQ: &[u8] = b"{\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";

/// How a line begins: its place in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub seq: u64,
    /// The hash of the line before; `None` in a trail from before there was a chain.
    pub prev: Option<Hash>,
}

/// The place of a whole line, with or without its end; `None` where it is no record.
#[must_use]
pub fn link_of(line: &[u8]) -> Option<Link> {
    let (seq, rest) = number(line)?;
    if !line.trim_ascii_end().ends_with(b"}") {
        return None;
    }
    let prev = match rest.strip_prefix(PREV) {
        Some(rest) => {
            let (hex, rest) = rest.split_at_checked(Hash::DIGITS)?;
            rest.starts_with(b"\",").then(|| Hash::from_hex(hex))??.into()
        }
        None => None,
    };
    Some(Link { seq, prev })
}

/// The number that a line begins with, whatever the rest of it is.
#[must_use]
pub fn seq_at_head(line: &[u8]) -> Option<u64> {
    number(line).map(|(seq, _)| seq)
}

/// A line's number, and what follows it, which begins with a comma.
fn number(line: &[u8]) -> Option<(u64, &[u8])> {
    let rest = line.strip_prefix(SEQ)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    let place = |seq: u64, digit: &u8| seq.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let seq = number.iter().try_fold(0, place)?;
    // One way to write each number, so that none can be changed and mean the same.
    let is_number = (1..=MOST).contains(&seq) && !number.starts_with(b"0");
    (is_number && rest.first() == Some(&b',')).then_some((seq, rest))
}

/// The number of a whole line, with or without its end; `None` where it is no record.
#[must_use]
pub fn seq_of(line: &[u8]) -> Option<u64> {
    link_of(line).map(|link| link.seq)
}

/// The type of a line, which stands right behind its place and before anything that came in a message.
#[must_use]
pub fn type_of(line: &[u8]) -> Option<&[u8]> {
    let (_, rest) = number(line)?;
    let rest = match rest.strip_prefix(PREV) {
        Some(rest) => rest.get(Hash::DIGITS + 1..)?,
        None => rest,
    };
    let rest = rest.strip_prefix(b",\"type\":\"")?;
    rest.get(..rest.iter().position(|byte| *byte == b'"')?)
}

/// The types of all records: [`Record`]'s variants as a line names them.
pub const TYPES: [&str; 14] = [
    "event",
    "fired",
    "replay",
    "quarantine",
    "delivery",
    "start",
    "reload",
    "stop",
    "checkpoint",
    "broker_lost",
    "broker_found",
    "bound",
    "dropped",
    "removed",
];

/// One record. Times are RFC 3339, UTC, microseconds.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record<'a> {
    /// A notification.
    Event {
        /// The normalised event, its fields beside the others.
        #[serde(flatten)]
        event: &'a Event,
        /// Where it came from.
        source: Source<'a>,
        /// When cadfd received it.
        #[serde(serialize_with = "rfc3339")]
        received: Timestamp,
        /// What it triggered.
        planned: &'a [Planned<'a>],
    },
    /// A notification that cadfd never received: Keystone's own log has it, and somebody had it added.
    #[serde(rename = "event")]
    Imported {
        /// The normalised event, its fields beside the others.
        #[serde(flatten)]
        event: &'a Event,
        /// Nowhere: always null.
        source: (),
        /// When it was added.
        #[serde(serialize_with = "rfc3339")]
        received: Timestamp,
        /// That it was, and where from.
        imported: Imported<'a>,
        /// Nothing: it is too late for that.
        planned: [Planned<'a>; 0],
    },
    /// A rule that looks at more than one event has seen what it looks for.
    Fired {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// The rule's name.
        rule: &'a str,
        /// `threshold`, `group`, `absent`, or `back`: what was absent came again.
        cause: &'static str,
        /// What the events were counted by.
        key: Option<&'a str>,
        /// How many events, or how many different values; none for a silence.
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// How many came after the last time, too soon to lead to anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        suppressed: Option<u64>,
        /// The time of the first event, or when the silence began.
        #[serde(serialize_with = "rfc3339")]
        since: Timestamp,
        /// The time of the last, or when the silence was noticed or ended.
        #[serde(serialize_with = "rfc3339")]
        until: Timestamp,
        /// The message of the event that the actions were given.
        message_id: &'a str,
        /// Its type.
        event_type: &'a str,
        /// The messages of the events, as many as the rule's `max` says.
        events: &'a [String],
        /// What it triggered.
        planned: &'a [Planned<'a>],
    },
    /// An event went through today's rules, because somebody said so.
    Replay {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// Which replay: the deliveries' ids depend on it.
        run: &'a str,
        /// The event's message.
        message_id: &'a str,
        /// The event's type.
        event_type: &'a str,
        /// The file and the line it was read from.
        from: &'a str,
        /// What it triggered.
        planned: &'a [Planned<'a>],
    },
    /// A message that could not be decoded; its bytes are in quarantine.
    Quarantine {
        /// When cadfd received it.
        #[serde(serialize_with = "rfc3339")]
        received: Timestamp,
        /// Where it came from.
        source: Source<'a>,
        /// Why.
        reason: &'a str,
        /// Its length in bytes.
        size: u64,
        /// SHA-256 of the kept bytes, in hexadecimal.
        sha256: &'a str,
    },
    /// The outcome of a delivery.
    Delivery {
        /// When it ended.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// Its id, as the receiver saw it.
        delivery: &'a str,
        /// The event's record.
        event_seq: u64,
        /// The event's message.
        message_id: &'a str,
        /// The event's type.
        event_type: &'a str,
        /// The rule that planned it.
        rule: &'a str,
        /// Where it went.
        destination: &'a str,
        /// `done` or `given_up`.
        outcome: &'static str,
        /// Attempts made, the last included.
        attempts: u32,
        /// Why it was given up.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        /// The first kilobyte of the receiver's answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        reply: Option<&'a str>,
        /// What the receiver told: a status, a build's number and result.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a serde_json::Map<String, Value>>,
        /// What it led to, where steps follow it.
        #[serde(skip_serializing_if = "<[Planned<'_>]>::is_empty")]
        planned: &'a [Planned<'a>],
    },
    /// cadfd started.
    Start {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// Its version.
        version: &'a str,
        /// The machine's name.
        host: &'a str,
        /// The process.
        pid: u32,
        /// The queues it consumes.
        queues: &'a [String],
        /// How many rules are in force.
        rules: usize,
        /// The public key of its checkpoints.
        key: &'a str,
    },
    /// Settings and rules were read again and are in force.
    Reload {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// How many rules are in force.
        rules: usize,
    },
    /// cadfd stopped as it was told to.
    Stop {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// What told it to: a signal's name.
        cause: &'a str,
    },
    /// All that stands before it, signed: see [`crate::checkpoint`].
    Checkpoint {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// The public key.
        key: &'a str,
        /// The signature.
        signature: &'a str,
    },
    /// The broker is lost.
    BrokerLost {
        /// When the outage began.
        #[serde(serialize_with = "rfc3339")]
        from: Timestamp,
        /// Why.
        cause: &'a str,
    },
    /// The broker is found again.
    BrokerFound {
        /// When the outage began.
        #[serde(serialize_with = "rfc3339")]
        from: Timestamp,
        /// When it ended.
        #[serde(serialize_with = "rfc3339")]
        to: Timestamp,
        /// Connections tried meanwhile.
        attempts: u32,
        /// Why it was lost.
        cause: &'a str,
    },
    /// A queue of cadfd's own was bound to an exchange. What was published there while it was not bound never came.
    Bound {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// The queue.
        queue: &'a str,
        /// The exchange.
        exchange: &'a str,
        /// With which routing keys.
        routing_keys: &'a [String],
        /// When the same binding was last known to be there; `None`: not since cadfd started.
        #[serde(serialize_with = "rfc3339_or_null")]
        from: Option<Timestamp>,
        /// Why it was made.
        cause: &'a str,
    },
    /// The oldest files of the trail are removed, as the settings say; written before they are.
    Removed {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// The first record in them.
        first: u64,
        /// The last.
        last: u64,
        /// The SHA-256 of the last one's line: what the first record that stays carries.
        head: &'a str,
        /// Their names.
        files: &'a [String],
        /// The setting.
        reason: &'a str,
    },
    /// Something that was kept had to be dropped to stay within a bound of the settings.
    Dropped {
        /// When.
        #[serde(serialize_with = "rfc3339")]
        at: Timestamp,
        /// What: `log_lines`, `quarantined_messages`, `given_up_deliveries`, `open_groups` or
        /// `counted_events` of a rule that is gone, or `firings` whose events cannot be read again.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        reason: &'a str,
    },
}

/// Where a message that was added by hand is from.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Imported<'a> {
    /// Keystone's log, and the line in it: `/var/log/keystone/keystone.log:17`.
    pub from: &'a str,
    /// When it was added.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Source<'a> {
    /// The queue it was consumed from.
    pub queue: &'a str,
    /// The exchange it was published to.
    pub exchange: &'a str,
    /// Its routing key.
    pub routing_key: &'a str,
    /// Whether the broker had delivered it before.
    pub redelivered: bool,
}

/// What an event triggered, as the trail and `explain` tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// Where to: `log`, `slack.ops`; `when` for a condition; `threshold`, `group` or `absent` where it was only counted.
    pub to: &'a str,
    /// The delivery's id; absent for `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// Why the rule or its action could not be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A time as records write it: RFC 3339, UTC, microseconds.
#[must_use]
pub fn time(at: Timestamp) -> String {
    DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&at)
}

fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time(*at))
}

#[expect(clippy::ref_option, reason = "serde hands over the field as it is")]
fn rfc3339_or_null<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(time).serialize(serializer)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_line_starts_with_its_number_and_type() {
        let at = Timestamp::from_millisecond(1_795_244_603_274).unwrap();
        let rest = rest_of_line(&Record::Stop { at, cause: "SIGTERM\n\u{202e}" });
        let mut whole = Vec::new();
        let before = Hash::of(b"the line before\n");
        let hash = push_line(&mut whole, 17, &before, &rest);
        assert_eq!(hash, Hash::of(&whole));
        let text = std::str::from_utf8(&whole).unwrap();
        assert!(text.starts_with(&format!(r#"{{"seq":17,"prev":"{before}","type":"stop","at":""#)), "{text}");
        assert!(text.ends_with("\"cause\":\"SIGTERM\\n\\u202e\"}\n"), "{text}");
        assert_eq!(seq_of(&whole), Some(17));
        assert_eq!(seq_of(&whole[..whole.len() - 2]), None);
        assert_eq!(link_of(&whole), Some(Link { seq: 17, prev: Some(before) }));
        assert_eq!(link_of(br#"{"seq":17,"type":"stop"}"#), Some(Link { seq: 17, prev: None }));
        for wrong in [r#"{"seq":017,"x":1}"#, r#"{"seq":+7,"x":1}"#, r#"{"seq":17,"prev":"00","x":1}"#, "2026-11-21 x"]
        {
            assert_eq!(link_of(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(time(Timestamp::from_second(0).unwrap()), "1970-01-01T00:00:00.000000Z");
    }
}
