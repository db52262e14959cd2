//! A record as it is looked at: what it says of whom, when.
//!
//! Its promise: pure and total. Any line gives an entry; what cannot be understood in it is left out, and what the index
//! knows a record by is what filters compare, because both ask [`Entry::each_term`].

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::event::{self, Assignment, Change, Event, Initiator, Member, Outcome, Reason, Reference, Resource};
use crate::record::seq_of;

/// What a record says; members of all types together, those absent that it has not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// What it is: one of [`crate::record::TYPES`], or empty where it could not be understood.
    #[serde(rename = "type")]
    pub kind_of_record: String,
    /// The event's message.
    pub message_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The kind of thing that it happened to.
    pub kind: Option<String>,
    /// What happened to it.
    pub operation: Option<String>,
    /// Of an event or a delivery.
    pub outcome: Option<String>,
    /// An event's is an object, others' a text.
    pub reason: Value,
    /// When the notification was sent.
    pub timestamp: Option<Timestamp>,
    /// When cadfd received it.
    pub received: Option<Timestamp>,
    /// When it was, for what cadfd did itself.
    pub at: Option<Timestamp>,
    /// When an outage began, or the file and line that a replay read: see [`Entry::outage_began`], [`Entry::read_from`].
    pub from: Value,
    /// When it ended.
    pub to: Option<Timestamp>,
    /// The API request.
    pub request_id: Option<String>,
    /// Who did it.
    pub initiator: Initiator,
    /// What it was done to.
    pub resource: Resource,
    /// A role granted or taken.
    pub assignment: Option<Assignment>,
    /// Who came into a group or left it.
    pub member: Option<Member>,
    /// Where it was added from by hand, and when.
    pub imported: Option<Map<String, Value>>,
    /// What an update changed.
    pub change: Option<Change>,
    /// Which replay it was.
    pub run: Option<String>,
    /// What it led to.
    pub planned: Vec<Plan>,
    /// A delivery's id.
    pub delivery: Option<String>,
    /// The record that led to it.
    pub event_seq: Option<u64>,
    /// The rule that planned it.
    pub rule: Option<String>,
    /// Where it went.
    pub destination: Option<String>,
    /// Attempts made.
    pub attempts: Option<u64>,
    /// What the receiver told.
    pub detail: Option<Map<String, Value>>,
    /// What was dropped.
    pub what: Option<String>,
    /// How many.
    pub count: Option<u64>,
    /// Why it stopped, or why the broker was lost.
    pub cause: Option<String>,
    /// Of a queue that was bound.
    pub queue: Option<String>,
    /// What it was bound to.
    pub exchange: Option<String>,
    /// Of cadfd.
    pub version: Option<String>,
    /// The machine.
    pub host: Option<String>,
    /// What events were counted by, of a rule that fired.
    pub key: Option<String>,
    /// The messages of these events.
    pub events: Vec<String>,
    /// The time of the first of them, or when a silence began.
    pub since: Option<Timestamp>,
    /// The time of the last of them, or of the silence's end.
    pub until: Option<Timestamp>,
    /// Of what was removed.
    pub first: Option<u64>,
    /// Of what was removed.
    pub last: Option<u64>,
}

/// An action that an event led to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The rule's name.
    pub rule: String,
    /// Where to.
    pub to: String,
    /// The delivery's id; absent for `log`.
    pub delivery: Option<String>,
    /// Why it could not be evaluated.
    pub error: Option<String>,
}

/// What a term is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class<'a> {
    /// The id or a name of a thing of this kind: `user`.
    Thing(&'a str),
    /// The client's address.
    Address,
    /// The event's type.
    EventType,
    /// The outcome of an event or a delivery.
    Outcome,
    /// A rule's name.
    Rule,
    /// A destination.
    Destination,
    /// An API request.
    Request,
    /// A message's id.
    Message,
    /// A delivery's id.
    Delivery,
    /// The type of a record.
    Type,
}

/// Is given a thing: its kind, id and name.
type VisitThing<'a> = dyn FnMut(&str, Option<&str>, Option<&str>) + 'a;

impl Entry {
    /// Of a line, with or without its end; `None` where it is no record at all.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let seq = seq_of(line)?;
        Some(serde_json::from_slice(line).unwrap_or_else(|_| Self { seq, ..Self::of_what_is_understood(line) }))
    }

    /// Of a record that says something differently than any version of cadfd: the rest of it counts all the same.
    fn of_what_is_understood(line: &[u8]) -> Self {
        let members: Map<String, Value> = serde_json::from_str(&String::from_utf8_lossy(line)).unwrap_or_default();
        let is_understood = |key: &String, value: &Value| {
            Self::deserialize(Value::Object(Map::from_iter([(key.clone(), value.clone())]))).is_ok()
        };
        let understood = members.into_iter().filter(|(key, value)| is_understood(key, value)).collect();
        Self::deserialize(Value::Object(understood)).unwrap_or_default()
    }

    /// When it happened: an event when its publisher sent it, if that is known; all else by cadfd's own clock.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.timestamp.or(self.at).or(self.to).or_else(|| self.outage_began()).or(self.received)
    }

    /// When an outage began.
    #[must_use]
    pub fn outage_began(&self) -> Option<Timestamp> {
        self.from.as_str()?.parse().ok()
    }

    /// The file and the line that a replay read its event from.
    #[must_use]
    pub fn read_from(&self) -> Option<&str> {
        self.from.as_str().filter(|_| self.kind_of_record == "replay")
    }

    /// The event, for what shows events; without its payload.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        if self.kind_of_record != "event" {
            return None;
        }
        let mut event = event::blank(self.message_id.clone()?, self.event_type.clone()?);
        event.kind = self.kind.clone().unwrap_or(event.kind);
        event.operation = self.operation.clone().unwrap_or(event.operation);
        event.outcome = self.outcome();
        event.reason = self.event_reason();
        event.timestamp = self.timestamp;
        event.request_id.clone_from(&self.request_id);
        event.initiator = self.initiator.clone();
        event.resource = self.resource.clone();
        event.assignment.clone_from(&self.assignment);
        event.member.clone_from(&self.member);
        event.change.clone_from(&self.change);
        Some(event)
    }

    /// An event's outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.outcome.as_deref() {
            Some("success") => Outcome::Success,
            Some("failure") => Outcome::Failure,
            Some("pending") => Outcome::Pending,
            _ => Outcome::Unknown,
        }
    }

    /// An event's reason.
    #[must_use]
    pub fn event_reason(&self) -> Reason {
        Reason::deserialize(&self.reason).unwrap_or_default()
    }

    /// Of what cadfd did itself.
    #[must_use]
    pub fn reason_text(&self) -> Option<&str> {
        self.reason.as_str()
    }

    /// Gives all that the record is known by to `visit`: what exact filters compare, and what the index holds.
    pub fn each_term(&self, visit: &mut dyn FnMut(Class<'_>, &str)) {
        visit(Class::Type, &self.kind_of_record);
        self.each_thing(&mut |kind, id, name| {
            id.iter().chain(name.iter()).for_each(|text| visit(Class::Thing(kind), text));
        });
        if let Some(address) = &self.initiator.address {
            visit(Class::Address, &canonical_address(address));
        }
        for (class, text) in [
            (Class::EventType, &self.event_type),
            (Class::Outcome, &self.outcome),
            (Class::Rule, &self.rule),
            (Class::Destination, &self.destination),
            (Class::Request, &self.request_id),
            (Class::Message, &self.message_id),
            (Class::Delivery, &self.delivery),
        ] {
            if let Some(text) = text {
                visit(class, text);
            }
        }
        for message in &self.events {
            visit(Class::Message, message);
        }
        for plan in &self.planned {
            visit(Class::Rule, &plan.rule);
            visit(Class::Destination, &plan.to);
            plan.delivery.iter().for_each(|id| visit(Class::Delivery, id));
        }
    }

    /// Gives every thing that the record names to `visit`: its kind, id and name as they stand there. What it was called
    /// before a change is given as another name of the same thing.
    pub fn each_thing(&self, visit: &mut VisitThing<'_>) {
        let Initiator { id, name, project_id, project_name, domain_id, domain_name, .. } = &self.initiator;
        for (kind, id, name) in
            [("user", id, name), ("project", project_id, project_name), ("domain", domain_id, domain_name)]
        {
            if id.is_some() || name.is_some() {
                visit(kind, id.as_deref(), name.as_deref());
            }
        }
        let Resource { kind, id, name } = &self.resource;
        if id.is_some() || name.is_some() {
            visit(kind, id.as_deref(), name.as_deref());
        }
        let assignment = self.assignment.as_ref();
        let part = |of: fn(&Assignment) -> Option<&Reference>| assignment.and_then(of);
        for (kind, thing) in [
            ("role", part(|it| it.role.as_ref())),
            ("user", part(|it| it.user.as_ref())),
            ("group", part(|it| it.group.as_ref())),
            ("project", part(|it| it.project.as_ref())),
            ("domain", part(|it| it.domain.as_ref())),
        ] {
            if let Some(thing) = thing {
                visit(kind, Some(&thing.id), thing.name.as_deref());
            }
        }
        if let Some(member) = &self.member {
            visit(member.kind.as_deref().unwrap_or("user"), member.id.as_deref(), member.name.as_deref());
        }
        if let Some(change) = &self.change {
            for name in change.name.iter().chain(&change.old_name) {
                visit(kind, id.as_deref(), Some(name));
            }
            for user in change.added.iter().chain(&change.removed) {
                visit("user", Some(&user.id), user.name.as_deref());
            }
        }
    }
}

/// The one way to write an address that can be written in several.
#[must_use]
pub(super) fn canonical_address(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_canonical().to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::chain::Hash;
    use crate::record::{Imported, Planned, Record, Source, TYPES, push_line, rest_of_line};

    #[test]
    fn what_is_not_understood_loses_nothing_else() {
        let odd = br#"{"seq":7,"type":"event","initiator":"strange","message_id":"m","planned":7,"at":[1],
            "resource":{"kind":"user","id":"b2"},"timestamp":"2026-11-21T10:00:00Z","message_id":"m"}"#;
        let entry = Entry::read(odd).unwrap();
        assert_eq!((entry.seq, &*entry.kind_of_record, entry.message_id.as_deref()), (7, "event", Some("m")));
        assert_eq!(entry.resource.id.as_deref(), Some("b2"));
        assert_eq!(entry.time(), Some("2026-11-21T10:00:00Z".parse().unwrap()));
        assert_eq!(Entry::read(br#"{"seq":7,no JSON}"#).unwrap().seq, 7);
        assert!(Entry::read(b"no record").is_none() && Entry::read(br#"{"type":"event"}"#).is_none());
    }

    #[test]
    fn each_type_of_record_is_read_with_its_time() {
        let at: Timestamp = "2026-11-21T10:00:00.5Z".parse().unwrap();
        let from = "2026-11-21T09:00:00Z".parse().unwrap();
        let mut event = event::blank("m1".to_owned(), "identity.user.deleted".to_owned());
        event.timestamp = Some(at);
        let source = Source { queue: "q", exchange: "e", routing_key: "k", redelivered: false };
        let planned =
            [Planned { rule: "r", to: "http.x", delivery: Some("d1".to_owned()), error: Some("no".to_owned()) }];
        let detail = Map::from_iter([("status".to_owned(), 200.into())]);
        let (head, signature) = ("00", "s");
        let id = "m1";
        let event_type = "identity.user.deleted";
        let records = [
            Record::Event { event: &event, source, received: from, planned: &planned },
            Record::Imported {
                event: &event,
                source: (),
                received: from,
                imported: Imported { from: "keystone.log:1", at: from },
                planned: [],
            },
            Record::Fired {
                at,
                rule: "r",
                cause: "threshold",
                key: Some("192.0.2.7"),
                count: Some(2),
                suppressed: Some(0),
                since: from,
                until: at,
                message_id: id,
                event_type,
                events: &["m0".to_owned(), id.to_owned()],
                planned: &planned,
            },
            Record::Replay { at, run: "run7", message_id: id, event_type, from: "audit.log:12", planned: &planned },
            Record::Quarantine { received: at, source, reason: "no JSON", size: 1, sha256: head },
            Record::Delivery {
                at,
                delivery: "d1",
                event_seq: 1,
                message_id: id,
                event_type,
                rule: "r",
                destination: "http.x",
                outcome: "done",
                attempts: 1,
                reason: Some("x"),
                reply: Some("x"),
                detail: Some(&detail),
                planned: &planned,
            },
            Record::Start { at, version: "1", host: "h", pid: 1, queues: &[], rules: 1, key: "k" },
            Record::Reload { at, rules: 1 },
            Record::Stop { at, cause: "SIGTERM" },
            Record::Checkpoint { at, key: "k", signature },
            Record::BrokerLost { from: at, cause: "closed" },
            Record::BrokerFound { from, to: at, attempts: 1, cause: "closed" },
            Record::Bound { at, queue: "q", exchange: "e", routing_keys: &[], from: Some(from), cause: "lost" },
            Record::Removed { at, first: 1, last: 2, head, files: &[], reason: "age" },
            Record::Dropped { at, what: "log_lines", count: 1, reason: "bound" },
        ];
        let mut seen = Vec::new();
        for record in &records {
            let mut line = Vec::new();
            push_line(&mut line, 17, &Hash::of(b""), &rest_of_line(record));
            // At once, not member by member.
            serde_json::from_slice::<Entry>(&line).unwrap();
            let entry = Entry::read(&line).unwrap();
            assert_eq!((entry.seq, entry.time()), (17, Some(at)), "{record:?}");
            let (mut is_typed, mut is_found) = (false, false);
            entry.each_term(&mut |class, text| {
                is_typed |= class == Class::Type && text == entry.kind_of_record;
                is_found |= class == Class::Message && text == id;
            });
            assert!(is_typed && is_found == entry.event_type.is_some(), "{record:?}");
            assert_eq!(entry.read_from(), (entry.kind_of_record == "replay").then_some("audit.log:12"));
            seen.push(entry.kind_of_record);
        }
        for known in TYPES {
            assert!(seen.iter().any(|kind| kind == known), "{known}");
        }
        assert!(seen.iter().all(|kind| TYPES.contains(&kind.as_str())), "{seen:?}");
    }

    #[test]
    fn both_names_of_a_renamed_thing_are_terms() {
        let line = br#"{"seq":7,"type":"event","resource":{"kind":"user","id":"1","name":"new"},
            "change":{"derived":true,"name":"new","old_name":"old","added":[],"removed":[],
            "since":"2026-11-21T10:00:00Z","until":"2026-11-21T10:00:01Z"},"initiator":{"address":"::ffff:192.0.2.1"}}"#;
        let mut terms = Vec::new();
        Entry::read(line).unwrap().each_term(&mut |class, text| terms.push(format!("{class:?} {text}")));
        for term in ["Thing(\"user\") old", "Thing(\"user\") new", "Address 192.0.2.1", "Type event"] {
            assert!(terms.iter().any(|known| known == term), "{term}: {terms:?}");
        }
    }
}
