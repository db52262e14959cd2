//! What a report needs of a record, read from its line.
//!
//! Its promise: pure. What is not needed is passed over, and a field that another version of cadfd does not write is
//! none; a line that is no record is an error, and harms no other.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::event::{Assignment, Change, Initiator, Member, Reason, Resource};
use crate::record::{link_of, type_of};
use crate::trail::Plan;

/// A line that is no record, or one whose fields are not those of its type.
#[derive(Debug, thiserror::Error)]
#[error("no record that a report can read")]
pub(super) struct Unreadable;

/// What a record says.
#[derive(Debug)]
pub(super) enum Entry {
    Event(Box<Event>),
    Replay(Replay),
    Fired(Fired),
    Delivery(Delivery),
    Quarantine(Quarantine),
    Start(Start),
    Reload(Reload),
    Stop(Stop),
    Checkpoint(Checkpoint),
    BrokerLost(BrokerLost),
    BrokerFound(BrokerFound),
    Bound(Bound),
    Dropped(Dropped),
    Removed(Removed),
    /// Of a type that a later version may have.
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    #[serde(rename = "event_type")]
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) operation: String,
    pub(super) outcome: String,
    pub(super) reason: Reason,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) initiator: Initiator,
    pub(super) resource: Resource,
    pub(super) assignment: Option<Assignment>,
    pub(super) member: Option<Member>,
    pub(super) change: Option<Change>,
    pub(super) received: Option<Timestamp>,
    pub(super) planned: Vec<Plan>,
    /// Whether it was added by hand.
    pub(super) imported: Option<IgnoredAny>,
}

/// An event that went through the rules once more.
#[derive(Debug, Deserialize)]
pub(super) struct Replay {
    pub(super) at: Timestamp,
    #[serde(default)]
    pub(super) run: String,
    #[serde(default)]
    pub(super) planned: Vec<Plan>,
}

/// A rule that looks at more than one event has seen what it looks for.
#[derive(Debug, Deserialize)]
pub(super) struct Fired {
    pub(super) at: Timestamp,
    #[serde(default)]
    pub(super) planned: Vec<Plan>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Delivery {
    pub(super) at: Timestamp,
    #[serde(rename = "delivery")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) event_type: String,
    pub(super) rule: String,
    pub(super) destination: String,
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) detail: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) planned: Vec<Plan>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Quarantine {
    pub(super) received: Timestamp,
    #[serde(default)]
    pub(super) source: Source,
    pub(super) reason: String,
    pub(super) size: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    pub(super) queue: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Start {
    pub(super) at: Timestamp,
    pub(super) version: String,
    pub(super) host: String,
    #[serde(default)]
    pub(super) queues: Vec<String>,
    pub(super) rules: u64,
    #[serde(default)]
    pub(super) key: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reload {
    pub(super) at: Timestamp,
    pub(super) rules: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stop {
    pub(super) at: Timestamp,
    pub(super) cause: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) at: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct BrokerLost {
    pub(super) from: Timestamp,
    pub(super) cause: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct BrokerFound {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) cause: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Bound {
    pub(super) at: Timestamp,
    pub(super) queue: String,
    pub(super) exchange: String,
    #[serde(default)]
    pub(super) routing_keys: Vec<String>,
    #[serde(default)]
    pub(super) from: Option<Timestamp>,
    #[serde(default)]
    pub(super) cause: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Dropped {
    pub(super) at: Timestamp,
    pub(super) what: String,
    pub(super) count: u64,
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Removed {
    pub(super) at: Timestamp,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) reason: String,
}

impl Entry {
    /// When it was written, as far as the record tells: what the trail's own time is.
    pub(super) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(it) => it.received.or(it.timestamp),
            Self::Replay(it) => Some(it.at),
            Self::Fired(it) => Some(it.at),
            Self::Delivery(it) => Some(it.at),
            Self::Quarantine(it) => Some(it.received),
            Self::Start(it) => Some(it.at),
            Self::Reload(it) => Some(it.at),
            Self::Stop(it) => Some(it.at),
            Self::Checkpoint(it) => Some(it.at),
            Self::BrokerLost(it) => Some(it.from),
            Self::BrokerFound(it) => Some(it.to),
            Self::Bound(it) => Some(it.at),
            Self::Dropped(it) => Some(it.at),
            Self::Removed(it) => Some(it.at),
            Self::Other => None,
        }
    }
}

/// Reads a whole line.
///
/// # Errors
/// When it is no record, or lacks what one of its type has.
pub(super) fn read(line: &[u8]) -> Result<Entry, Unreadable> {
    link_of(line).ok_or(Unreadable)?;
    let kind = type_of(line).ok_or(Unreadable)?;
    Ok(match kind {
        b"event" => Entry::Event(parsed(line)?),
        b"replay" => Entry::Replay(parsed(line)?),
        b"fired" => Entry::Fired(parsed(line)?),
        b"delivery" => Entry::Delivery(parsed(line)?),
        b"quarantine" => Entry::Quarantine(parsed(line)?),
        b"start" => Entry::Start(parsed(line)?),
        b"reload" => Entry::Reload(parsed(line)?),
        b"stop" => Entry::Stop(parsed(line)?),
        b"checkpoint" => Entry::Checkpoint(parsed(line)?),
        b"broker_lost" => Entry::BrokerLost(parsed(line)?),
        b"broker_found" => Entry::BrokerFound(parsed(line)?),
        b"bound" => Entry::Bound(parsed(line)?),
        b"dropped" => Entry::Dropped(parsed(line)?),
        b"removed" => Entry::Removed(parsed(line)?),
        _ => Entry::Other,
    })
}

fn parsed<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(line).map_err(|_| Unreadable)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_every_version_wrote_is_read() {
        let old = br#"{"seq":3,"type":"event","event_type":"identity.user.deleted","received":"2026-11-21T10:00:00Z"}"#;
        let Entry::Event(event) = read(old).unwrap() else { panic!("another one") };
        assert_eq!(event.name, "identity.user.deleted");
        let new = format!(r#"{{"seq":4,"prev":"{}","type":"later","x":1}}"#, "0".repeat(64));
        assert!(matches!(read(new.as_bytes()).unwrap(), Entry::Other));
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        for wrong in [
            "",
            "text",
            r#"{"seq":1,"type":"stop"}"#,
            r#"{"seq":1,"type":"event","timestamp":7}"#,
            r#"{"seq":1,"x":",\"type\":\"stop\""}"#,
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
