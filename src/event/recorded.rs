//! Events of the trail's records, so that rules can be applied to them again.
//!
//! Its promise: the payload and the context are read anew, as a message's are; what was not in the message stays as it
//! stands in the record: names, where they were from, what an update changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Assignment, Change, Event, Origin, Unreadable, decode};
use crate::name::How;

/// A record's members, not yet looked into; docs/TRAIL.md.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// An envelope's members that stand in a record under their own names.
const SAME: [&str; 6] = ["message_id", "publisher_id", "event_type", "priority", "timestamp", "payload"];

/// Where a name was from.
#[derive(Deserialize)]
struct Told {
    how: String,
    at: Timestamp,
    deleted: Option<Timestamp>,
}

/// The event of a line of the trail; `None` where it is no event's record.
#[must_use]
pub fn of_record(line: &[u8]) -> Option<Result<Event, Unreadable>> {
    let inner: Members<'_> = serde_json::from_slice(line).ok()?;
    if inner.get("type")?.get() != "\"event\"" {
        return None;
    }
    read(&inner)
}

/// The event of its own normalised view, as it serializes, or stands in a record; `None` where it is none. What cannot be
/// read from the payload stays as it was, too: events of cadfd's own are not told in any format, and a large one is kept
/// without its payload ([`super::slim`]).
#[must_use]
pub fn of_view(json: &str) -> Option<Event> {
    let inner: Members<'_> = serde_json::from_str(json).ok()?;
    let mut event = read(&inner)?.ok()?;
    keep(&inner, "format", &mut event.format);
    keep(&inner, "request_id", &mut event.request_id);
    keep(&inner, "outcome", &mut event.outcome);
    keep(&inner, "reason", &mut event.reason);
    keep(&inner, "initiator", &mut event.initiator);
    keep(&inner, "resource", &mut event.resource);
    keep(&inner, "assignment", &mut event.assignment);
    keep(&inner, "member", &mut event.member);
    keep(&inner, "odd", &mut event.odd);
    Some(event)
}

fn read(inner: &Members<'_>) -> Option<Result<Event, Unreadable>> {
    let body = body(inner)?;
    Some(decode(body.as_bytes()).map(|mut event| {
        event.own = part(inner, "own").unwrap_or_default();
        event.change = part::<Option<Change>>(inner, "change").flatten();
        let names: BTreeMap<String, Told> = part(inner, "names").unwrap_or_default();
        for (field, told) in names {
            restore(&mut event, inner, &field, &told);
        }
        event
    }))
}

/// Takes a member as it stands there, where it does.
fn keep<'a, T: Deserialize<'a>>(inner: &Members<'a>, key: &str, field: &mut T) {
    if let Some(kept) = part(inner, key) {
        *field = kept;
    }
}

/// A message as it may have come: the envelope's members, and the context's in their order.
fn body(inner: &Members<'_>) -> Option<String> {
    // A null says that the message had none.
    let same = SAME.iter().filter_map(|key| Some((*key, inner.get(*key)?.get()))).filter(|(_, raw)| *raw != "null");
    let mut members: Vec<_> = same.map(|(key, raw)| format!("\"{key}\":{raw}")).collect();
    let context: Map<String, Value> = part(inner, "context").unwrap_or_default();
    for (key, value) in context {
        members.push(format!("{}:{value}", serde_json::to_string(&format!("_context_{key}")).ok()?));
    }
    Some(format!("{{{}}}", members.join(",")))
}

fn part<'a, T: Deserialize<'a>>(inner: &Members<'a>, key: &str) -> Option<T> {
    serde_json::from_str(inner.get(key)?.get()).ok()
}

/// Writes a name that the message did not have into the event.
fn restore(event: &mut Event, inner: &Members<'_>, field: &str, told: &Told) {
    let Some((member, path)) = field.split_once('.') else { return };
    let value: Option<Value> = part(inner, member);
    let pointer = format!("/{}", path.replace('.', "/"));
    let name = value.as_ref().and_then(|value| value.pointer(&pointer)).and_then(Value::as_str);
    if let (Some(name), Some(how), Some((field, slot))) = (name, How::of(&told.how), slot(event, field)) {
        *slot = Some(name.to_owned());
        event.names.insert(field, Origin { how, at: told.at, deleted: told.deleted });
    }
}

/// The fields that can hold such a name.
fn slot<'a>(event: &'a mut Event, field: &str) -> Option<(&'static str, &'a mut Option<String>)> {
    let Event { initiator, resource, assignment, member, .. } = event;
    Some(match field {
        "initiator.name" => ("initiator.name", &mut initiator.name),
        "initiator.project_name" => ("initiator.project_name", &mut initiator.project_name),
        "initiator.domain_name" => ("initiator.domain_name", &mut initiator.domain_name),
        "resource.name" => ("resource.name", &mut resource.name),
        "member.name" => ("member.name", &mut member.as_mut()?.name),
        _ => {
            let Assignment { role, user, group, project, domain, inherited: _ } = assignment.as_mut()?;
            let (field, reference) = match field {
                "assignment.role.name" => ("assignment.role.name", role),
                "assignment.user.name" => ("assignment.user.name", user),
                "assignment.group.name" => ("assignment.group.name", group),
                "assignment.project.name" => ("assignment.project.name", project),
                "assignment.domain.name" => ("assignment.domain.name", domain),
                _ => return None,
            };
            (field, &mut reference.as_mut()?.name)
        }
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::event::Reference;
    use crate::record::{self, Source};

    fn recorded(event: &Event) -> Vec<u8> {
        let source = Source { queue: "q", exchange: "e", routing_key: "k", redelivered: false };
        let received = Timestamp::UNIX_EPOCH;
        let rest = record::rest_of_line(&record::Record::Event { event, source, received, planned: &[] });
        let mut line = Vec::new();
        record::push_line(&mut line, 7, &crate::chain::Hash::START, &rest);
        line
    }

    fn view(event: &Event) -> Value {
        serde_json::to_value(event.structured()).unwrap()
    }

    #[test]
    fn every_captured_event_is_read_from_its_record_as_it_was() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/notifications/real");
        let mut count = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
                let body =
                    serde_json::from_str::<Value>(line).ok().and_then(|it| it["body"].as_str().map(str::to_owned));
                let body = body.or_else(|| super::super::from_log_line(line).map(str::to_owned)).unwrap();
                let event = decode(body.as_bytes()).unwrap();
                let again = of_record(&recorded(&event)).unwrap().unwrap();
                // What was odd about the envelope is gone with it; the rest is the same.
                let (mut before, mut after) = (view(&event), view(&again));
                for view in [&mut before, &mut after] {
                    view["odd"].as_array_mut().unwrap().retain(|it| !it.as_str().unwrap().starts_with("oslo."));
                }
                assert_eq!(before, after);
                let json = serde_json::to_string(&event).unwrap();
                assert_eq!(view(&of_view(&json).unwrap()), view(&event));
                // Without its payload nothing else is lost.
                let small = super::super::slim(&event);
                let again = of_view(&String::from_utf8(recorded(&small)).unwrap()).unwrap();
                assert_eq!(view(&again), view(&small));
                count += 1;
            }
        }
        assert!(count > 400, "{count}");
    }

    #[test]
    fn an_event_of_our_own_is_read_from_its_view_as_it_was() {
        for event in crate::rule::sample::events() {
            let again = of_view(&serde_json::to_string(event.as_ref()).unwrap()).unwrap();
            assert_eq!(view(&again), view(event), "{}", event.event_type);
        }
    }

    #[test]
    fn what_the_message_did_not_have_stays() {
        let body = r#"{"message_id":"m","event_type":"identity.user.updated","payload":{"resource_info":"bob"}}"#;
        let mut event = decode(body.as_bytes()).unwrap();
        let at: Timestamp = "2026-11-21T07:00:00Z".parse().unwrap();
        event.resource.name = Some("Bob".to_owned());
        event.names.insert("resource.name", Origin { how: How::Lookup, at, deleted: None });
        event.own = true;
        event.change = Some(Change {
            derived: true,
            enabled: Some(false),
            name: None,
            old_name: None,
            added: vec![Reference { id: "x".to_owned(), name: None }],
            removed: Vec::new(),
            since: at,
            until: at,
        });
        let again = of_record(&recorded(&event)).unwrap().unwrap();
        assert_eq!(view(&again), view(&event));
        assert_eq!(view(&of_view(&serde_json::to_string(&event).unwrap()).unwrap()), view(&event));
        assert!(of_view("[]").is_none() && of_view("{}").is_none());
        assert!(of_record(br#"{"seq":1,"type":"stop","at":"x"}"#).is_none() && of_record(b"x").is_none());
    }
}
