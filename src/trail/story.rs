//! The story of one thing, as the trail tells it: a user, project, role, group or domain.
//!
//! Its promise: pure. Each record that names the thing is either told in words with its time, or counted; memory is
//! bounded by [`MOST`], and what is left out is counted too.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::entry::Entry;
use crate::event::{Assignment, Outcome, Reference};

/// Lines, and different addresses or types, that are told; the rest is counted.
const MOST: usize = 1000;

/// Messages whose deliveries are looked for.
const MOST_MESSAGES: usize = 10_000;

/// What can be meant by an id or a name.
#[derive(Clone, Debug)]
pub struct Candidates {
    kind: String,
    /// The id or name in lower case; empty: only the ids that are known.
    folded: String,
    /// By their ids.
    pub things: BTreeMap<String, Candidate>,
    /// Records that have the name, but no id: of somebody whom Keystone does not know.
    pub nameless: u64,
}

/// One of them.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// What it was called, in the order of the trail.
    pub names: Vec<String>,
    /// When it was named first and last.
    pub times: Times,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
}

/// How often, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: Option<Timestamp>,
    /// The last.
    pub last: Option<Timestamp>,
}

impl Times {
    fn add(&mut self, at: Option<Timestamp>) {
        self.count += 1;
        self.first = self.first.or(at);
        self.last = at.or(self.last);
    }
}

impl Candidates {
    /// Of a kind, by an id or a name.
    #[must_use]
    pub fn new(kind: &str, text: &str) -> Self {
        Self { kind: kind.to_owned(), folded: text.to_lowercase(), things: BTreeMap::new(), nameless: 0 }
    }

    /// The same things, of whose records nothing is known yet.
    #[must_use]
    pub fn anew(&self) -> Self {
        let things = self.things.keys().map(|id| (id.clone(), Candidate::default())).collect();
        Self { kind: self.kind.clone(), folded: String::new(), things, nameless: 0 }
    }

    /// Takes a record, in the order of the trail.
    pub fn add(&mut self, entry: &Entry) {
        let mut ids = Vec::new();
        entry.each_thing(&mut |kind, id, name| {
            let is_meant = |text: Option<&str>| text.is_some_and(|text| text.to_lowercase() == self.folded);
            let is_named = !self.folded.is_empty() && (is_meant(id) || is_meant(name));
            match id {
                Some(id) if kind == self.kind && (is_named || self.things.contains_key(id)) => {
                    let candidate = self.things.entry(id.to_owned()).or_default();
                    if let Some(name) = name.filter(|name| !candidate.names.iter().any(|known| known == name)) {
                        candidate.names.push(name.to_owned());
                    }
                    if !ids.iter().any(|known| known == id) {
                        ids.push(id.to_owned());
                    }
                }
                None if kind == self.kind && is_named => self.nameless += 1,
                _ => {}
            }
        });
        for id in ids {
            let Some(candidate) = self.things.get_mut(&id) else { continue };
            candidate.times.add(entry.time());
            let is_it = entry.resource.kind == self.kind && entry.resource.id.as_ref() == Some(&id);
            if is_it && entry.operation.as_deref() == Some("deleted") && entry.outcome() == Outcome::Success {
                candidate.deleted = entry.time();
            }
        }
        // An id is meant before any name.
        if self.things.keys().any(|id| id.to_lowercase() == self.folded) {
            self.things.retain(|id, _| id.to_lowercase() == self.folded);
        }
    }
}

/// A line of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// When.
    pub at: Option<Timestamp>,
    /// The record.
    pub seq: u64,
    /// What happened, in words. Names in it are as they came: it must be made safe to be shown.
    pub what: String,
    /// Who did it.
    pub by: Option<Reference>,
    /// From where.
    pub address: Option<String>,
}

/// What became of what it triggered, for one rule and destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Triggered {
    /// How often.
    pub planned: u64,
    /// Done.
    pub done: u64,
    /// Given up.
    pub given_up: u64,
}

/// The story of one thing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Story {
    /// What it is.
    pub kind: String,
    /// Its id; `None`: only the name is known.
    pub id: Option<String>,
    /// What it was called, in the order of the trail, and since when at the latest.
    pub names: Vec<(String, Option<Timestamp>)>,
    /// What happened to it, in order.
    pub history: Vec<Told>,
    /// Lines that were left out.
    pub more: u64,
    /// Successful logins, by address.
    pub logins: BTreeMap<String, Times>,
    /// Those that failed, by address and reason.
    pub failed_logins: BTreeMap<String, Times>,
    /// What they did to others, by event type and outcome; of a project or domain, what was done with its tokens.
    pub did: BTreeMap<String, Times>,
    /// What was triggered by what happened to it, by destination and rule.
    pub triggered: BTreeMap<String, Triggered>,
    /// The messages of that.
    #[serde(skip)]
    pub messages: Vec<String>,
    /// Deliveries of rules that counted some of these messages together with others.
    #[serde(skip)]
    pub together: Vec<String>,
    /// The deliveries of that without an outcome yet.
    #[serde(skip)]
    waiting: HashSet<String>,
    #[serde(skip)]
    folded_name: String,
}

impl Story {
    /// Of the thing with this id; without one, of whoever is called so and has none.
    #[must_use]
    pub fn new(kind: &str, id: Option<String>, name: &str) -> Self {
        Self { kind: kind.to_owned(), id, folded_name: name.to_lowercase(), ..Self::default() }
    }

    fn is(&self, id: Option<&str>, name: Option<&str>) -> bool {
        match &self.id {
            Some(own) => id == Some(own),
            None => id.is_none() && name.is_some_and(|name| name.to_lowercase() == self.folded_name),
        }
    }

    fn is_thing(&self, thing: Option<&Reference>) -> bool {
        thing.is_some_and(|thing| self.is(Some(&thing.id), thing.name.as_deref()))
    }

    /// Takes a record that names it, in the order of the trail.
    pub fn add(&mut self, entry: &Entry) {
        let mut is_named = false;
        let mut names = Vec::new();
        entry.each_thing(&mut |kind, id, name| {
            if kind == self.kind && self.is(id, name) {
                is_named = true;
                names.extend(name.filter(|name| !names.contains(&(*name).to_owned())).map(str::to_owned));
            }
        });
        if !is_named || entry.kind_of_record != "event" {
            return;
        }
        for name in names {
            if !self.names.iter().any(|(known, _)| *known == name) && self.names.len() < MOST {
                self.names.push((name, entry.time()));
            }
        }
        let is_resource =
            entry.resource.kind == self.kind && self.is(entry.resource.id.as_deref(), entry.resource.name.as_deref());
        if is_resource && entry.operation.as_deref() == Some("authenticate") {
            self.login(entry);
        } else if let Some(what) = self.what(entry, is_resource) {
            self.tell(entry, what);
        } else {
            let outcome = entry.outcome().as_str();
            let key = format!("{} {outcome}", entry.event_type.as_deref().unwrap_or("-"));
            count(&mut self.did, key, entry.time());
        }
    }

    fn login(&mut self, entry: &Entry) {
        let address = entry.initiator.address.clone().unwrap_or_else(|| "an unknown address".to_owned());
        if entry.outcome() == Outcome::Failure {
            let reason = entry.event_reason().text.map(|text| format!(": {text}")).unwrap_or_default();
            count(&mut self.failed_logins, address + &reason, entry.time());
        } else {
            count(&mut self.logins, address, entry.time());
        }
        self.planned(entry);
    }

    fn tell(&mut self, entry: &Entry, what: String) {
        if self.history.len() < MOST {
            let initiator = &entry.initiator;
            let name = initiator.name.clone();
            let by = initiator.id.clone().or_else(|| name.clone()).map(|id| Reference { id, name });
            let address = initiator.address.clone();
            self.history.push(Told { at: entry.time(), seq: entry.seq, what, by, address });
        } else {
            self.more += 1;
        }
        self.planned(entry);
    }

    fn planned(&mut self, entry: &Entry) {
        self.count_planned(entry);
        let deliveries = entry.planned.iter().filter_map(|plan| plan.delivery.clone());
        if self.messages.len() < MOST_MESSAGES {
            let known = self.waiting.len();
            self.waiting.extend(deliveries);
            // One that counts for a rule leads to something together with others.
            let is_counted = entry.planned.iter().any(|plan| matches!(plan.to.as_str(), "threshold" | "group"));
            if self.waiting.len() > known || is_counted {
                self.messages.extend(entry.message_id.clone());
            }
        }
    }

    /// Takes the record of a rule that fired because of one of [`Story::messages`].
    pub fn fired(&mut self, entry: &Entry) {
        self.planned(entry);
        if self.together.len() < MOST_MESSAGES {
            self.together.extend(entry.planned.iter().filter_map(|plan| plan.delivery.clone()));
        }
    }

    fn count_planned(&mut self, entry: &Entry) {
        for plan in &entry.planned {
            let key = format!("{}, rule {}", plan.to, plan.rule);
            if self.triggered.len() < MOST || self.triggered.contains_key(&key) {
                self.triggered.entry(key).or_default().planned += 1;
            }
        }
    }

    /// Takes the record of a delivery of one of [`Story::messages`]. What a replay of one led to is not counted.
    pub fn settle(&mut self, entry: &Entry) {
        if !entry.delivery.as_ref().is_some_and(|id| self.waiting.remove(id)) {
            return;
        }
        // What follows it is told by its record.
        self.count_planned(entry);
        self.waiting.extend(entry.planned.iter().filter_map(|plan| plan.delivery.clone()));
        let (Some(to), Some(rule)) = (&entry.destination, &entry.rule) else { return };
        if let Some(triggered) = self.triggered.get_mut(&format!("{to}, rule {rule}")) {
            match entry.outcome.as_deref() {
                Some("done") => triggered.done += 1,
                Some("given_up") => triggered.given_up += 1,
                _ => {}
            }
        }
    }

    /// What happened to it, in words; `None` where it only did something to another.
    fn what(&self, entry: &Entry, is_resource: bool) -> Option<String> {
        let operation = entry.operation.as_deref().unwrap_or("-");
        let done = if let Some(assignment) = &entry.assignment {
            self.granted(assignment, operation == "deleted")?
        } else if let Some(member) = entry.member.as_ref().filter(|it| self.is(it.id.as_deref(), it.name.as_deref())) {
            let to = if member.operation.as_deref() == Some("removed") { "removed from" } else { "added to" };
            format!("{to} {} {}", entry.resource.kind, of_resource(entry))
        } else if is_resource {
            resource(entry, operation)
        } else {
            self.moved(entry)?
        };
        Some(match entry.outcome() {
            Outcome::Failure => {
                let reason = entry.event_reason().text.map(|text| format!(": {text}")).unwrap_or_default();
                format!("{done}: refused{reason}")
            }
            _ => done,
        })
    }

    /// A role granted or taken, from where the thing stands.
    fn granted(&self, assignment: &Assignment, taken: bool) -> Option<String> {
        let Assignment { role, user, group, project, domain, .. } = assignment;
        let parts = [("role", role), ("user", user), ("group", group), ("project", project), ("domain", domain)];
        let is_part = parts.iter().any(|(kind, thing)| *kind == self.kind && self.is_thing(thing.as_ref()));
        if !is_part {
            return None;
        }
        let mut words = if taken { "taken:".to_owned() } else { "granted:".to_owned() };
        let to = if taken { "of" } else { "to" };
        for ((kind, thing), preposition) in parts.into_iter().zip(["", to, to, "on", "on"]) {
            if let Some(thing) = thing {
                let space = if preposition.is_empty() { "" } else { " " };
                let _ = write!(words, "{space}{preposition} {kind} {}", called(thing));
            }
        }
        if assignment.inherited == Some(true) {
            words += ", inherited";
        }
        Some(words)
    }

    /// Of a group's change that was found out: who came and who left.
    fn moved(&self, entry: &Entry) -> Option<String> {
        let change = entry.change.as_ref()?;
        let has = |users: &[Reference]| users.iter().any(|user| self.is_thing(Some(user)));
        let words = if has(&change.added) {
            "added to"
        } else if has(&change.removed) {
            "removed from"
        } else {
            return None;
        };
        Some(format!("{words} {} {}", entry.resource.kind, of_resource(entry)))
    }
}

fn count(counts: &mut BTreeMap<String, Times>, key: String, at: Option<Timestamp>) {
    let key = if counts.len() < MOST || counts.contains_key(&key) { key } else { "others".to_owned() };
    counts.entry(key).or_default().add(at);
}

/// What was done to the thing itself.
fn resource(entry: &Entry, operation: &str) -> String {
    let mut words = operation.to_owned();
    let Some(change) = &entry.change else {
        let is_password = entry.event_reason().text.is_some_and(|text| text.to_lowercase().contains("password"));
        return if is_password && operation == "updated" { "change of the password".to_owned() } else { words };
    };
    if let Some(enabled) = change.enabled {
        words = String::from(if enabled { "enabled" } else { "disabled" });
    }
    if let (Some(name), Some(old)) = (&change.name, &change.old_name) {
        let and = if change.enabled.is_some() { format!("{words} and ") } else { String::new() };
        words = format!("{and}renamed from {old} to {name}");
    }
    for (done, users) in [("added", &change.added), ("removed", &change.removed)] {
        for user in users.iter().take(3) {
            let _ = write!(words, ", user {} {done}", called(user));
        }
        if users.len() > 3 {
            let _ = write!(words, " and {} more {done}", users.len() - 3);
        }
    }
    words
}

fn called(thing: &Reference) -> String {
    thing.name.as_ref().map_or_else(|| thing.id.clone(), |name| format!("{name} ({})", thing.id))
}

fn of_resource(entry: &Entry) -> String {
    let resource = &entry.resource;
    let id = resource.id.clone().unwrap_or_else(|| "-".to_owned());
    called(&Reference { id, name: resource.name.clone() })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(seq: u64, operation: &str, more: &serde_json::Value) -> Entry {
        let mut record = json!({"seq": seq, "type": "event", "message_id": format!("m{seq}"), "kind": "user",
            "event_type": format!("identity.user.{operation}"), "operation": operation, "outcome": "success",
            "timestamp": format!("2026-11-21T10:00:{seq:02}Z"), "initiator": {"id": "a1", "name": "admin"},
            "resource": {"kind": "user", "id": "b2", "name": "bob"}, "planned": []});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Entry::read(record.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn each_record_is_told_or_counted() {
        let role = json!({"role": {"id": "r1", "name": "member"}, "user": {"id": "b2"}, "project": {"id": "p1"}});
        let change = |more: &serde_json::Value| {
            let mut change = json!({"derived": true, "added": [], "removed": [], "since": "2026-11-21T10:00:00Z", "until": "2026-11-21T10:00:00Z"});
            change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "change": change })
        };
        let failed = json!({"outcome": "failure", "reason": {"code": "400", "text": "The password is too short"}});
        let from = |address: &str| json!({"initiator": {"id": "b2", "address": address}});
        let mut locked = from("192.0.2.9");
        locked["outcome"] = "failure".into();
        let planned = json!({"planned": [{"rule": "r", "to": "http.x", "delivery": "d1"}]});
        let entries = vec![
            entry(1, "created", &planned),
            entry(2, "x", &json!({"assignment": role, "resource": {"kind": "role_assignment"}})),
            entry(3, "updated", &change(&json!({"enabled": false, "name": "rob", "old_name": "bob"}))),
            entry(4, "updated", &failed),
            entry(5, "authenticate", &from("192.0.2.7")),
            entry(6, "authenticate", &from("192.0.2.7")),
            entry(7, "authenticate", &locked),
            entry(8, "deleted", &json!({"initiator": {"id": "b2"}, "resource": {"kind": "user", "id": "c3"}})),
            entry(9, "deleted", &json!({"resource": {"kind": "user", "id": "other", "name": "bob"}})),
        ];
        let mut story = Story::new("user", Some("b2".into()), "");
        for entry in &entries {
            story.add(entry);
        }
        let told: Vec<_> = story.history.iter().map(|told| &*told.what).collect();
        assert_eq!(
            told,
            [
                "created",
                "granted: role member (r1) to user b2 on project p1",
                "disabled and renamed from bob to rob",
                "change of the password: refused: The password is too short"
            ]
        );
        assert_eq!((story.logins["192.0.2.7"].count, story.failed_logins["192.0.2.9"].count), (2, 1));
        assert_eq!(story.did["identity.user.deleted success"].count, 1);
        // A replay's, which was not planned by any of these; the event's own; and that once more.
        for id in ["d9", "d1", "d1"] {
            let settled =
                json!({"type": "delivery", "delivery": id, "destination": "http.x", "rule": "r", "outcome": "done"});
            story.settle(&entry(10, "", &settled));
        }
        assert_eq!(story.triggered["http.x, rule r"], Triggered { planned: 1, done: 1, given_up: 0 });
        assert_eq!(story.messages, ["m1"]);

        let mut meant = Candidates::new("user", "BOB");
        for entry in &entries {
            meant.add(entry);
        }
        assert_eq!(meant.things.keys().collect::<Vec<_>>(), ["b2", "other"]);
        assert!(meant.things["other"].deleted.is_some() && meant.things["b2"].deleted.is_none());
    }

    #[test]
    fn what_followed_a_delivery_is_counted_with_it() {
        let mut story = Story::new("user", Some("b2".to_owned()), "b2");
        let planned = |to: &str, id: &str| json!([{"rule": "r", "to": to, "delivery": id}, {"rule": "r", "to": "log"}]);
        story.add(&entry(1, "created", &json!({"planned": planned("http.x", "d1")})));
        for (to, id, then) in [("http.x", "d1", Some(planned("http.y", "d2"))), ("http.y", "d2", None)] {
            let line = json!({"seq": 2, "type": "delivery", "delivery": id, "destination": to, "rule": "r",
                "outcome": "done", "planned": then.unwrap_or(json!([]))});
            story.settle(&Entry::read(line.to_string().as_bytes()).unwrap());
        }
        for to in ["http.x", "http.y"] {
            assert_eq!(story.triggered[&format!("{to}, rule r")], Triggered { planned: 1, done: 1, given_up: 0 });
        }
        assert_eq!(story.triggered["log, rule r"].planned, 2);
    }
}
