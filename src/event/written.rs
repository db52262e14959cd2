//! Events as people write them down for the tests of their rules: fields of the view, laid over an event or over nothing.
//!
//! Its promise: what is not written stays as it was; what is written is in the view as it was written, or is a mistake.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::{Event, Payload, blank, kind};

/// The event with these fields of the view; without an event, all others are null and the outcome is unknown.
///
/// # Errors
/// What each field that cannot be read so expects.
pub fn rewritten(event: Option<Event>, fields: &Map<String, Value>) -> Result<Event, Vec<String>> {
    let written_type = fields.get("event_type").and_then(Value::as_str);
    let mut event = match (event, written_type) {
        (Some(event), _) => event,
        (None, Some(event_type)) => blank("test".to_owned(), event_type.to_owned()),
        (None, None) => {
            let text = "`event_type` is missing: write it, or take a `sample`, or the message of a `file`";
            return Err(vec![text.to_owned()]);
        }
    };
    if let Some(written) = written_type {
        written.clone_into(&mut event.event_type);
        (event.kind, event.operation) = kind::of(written);
        event.resource.kind.clone_from(&event.kind);
    }
    let set =
        |(key, value): (&String, &Value)| set(&mut event, key, value).map_err(|error| format!("`{key}`: {error}"));
    let wrong: Vec<_> = fields.iter().map(set).filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(event) } else { Err(wrong) }
}

fn set(event: &mut Event, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "message_id" => lay(&mut event.message_id, value),
        "event_type" => lay(&mut event.event_type, value),
        "kind" => lay(&mut event.kind, value),
        "operation" => lay(&mut event.operation, value),
        "outcome" => lay(&mut event.outcome, value),
        "reason" => lay(&mut event.reason, value),
        "timestamp" => lay(&mut event.timestamp, value)
            .map_err(|_| format!("expected a time such as \"2026-01-02T03:04:05Z\", found {value}")),
        "priority" => lay(&mut event.priority, value),
        "publisher_id" => lay(&mut event.publisher_id, value),
        "request_id" => lay(&mut event.request_id, value),
        "initiator" => lay(&mut event.initiator, value),
        "resource" => lay(&mut event.resource, value),
        "assignment" => lay(&mut event.assignment, value),
        "member" => lay(&mut event.member, value),
        "change" if event.change.is_none() && value.is_object() => {
            let begin = "1970-01-01T00:00:00Z";
            let least = json!({"derived": true, "added": [], "removed": [], "since": begin, "until": begin});
            event.change = Some(laid(least, value)?);
            Ok(())
        }
        "change" => lay(&mut event.change, value),
        "own" => lay(&mut event.own, value),
        "context" => lay(&mut event.context, value),
        "odd" => lay(&mut event.odd, value),
        "payload" => {
            let payload = over(event.payload.value().clone(), value);
            let raw = to_raw_value(&payload).map_err(|error| error.to_string())?;
            event.payload = Payload::of(&raw, "the payload").map_err(|error| error.to_string())?;
            Ok(())
        }
        _ => Err("cannot be written in a test; take a captured message that has it".to_owned()),
    }
}

/// Lays what is written over a field.
fn lay<T: Serialize + DeserializeOwned>(field: &mut T, value: &Value) -> Result<(), String> {
    *field = laid(serde_json::to_value(&*field).map_err(|error| error.to_string())?, value)?;
    Ok(())
}

fn laid<T: DeserializeOwned>(below: Value, value: &Value) -> Result<T, String> {
    serde_json::from_value(over(below, value)).map_err(|error| error.to_string())
}

/// Objects are laid over each other member by member; anything else takes the place of what was there.
fn over(below: Value, value: &Value) -> Value {
    match (below, value) {
        (Value::Object(mut members), Value::Object(written)) => {
            for (key, value) in written {
                let below = members.remove(key).unwrap_or_default();
                members.insert(key.clone(), over(below, value));
            }
            Value::Object(members)
        }
        (_, value) => value.clone(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_written_is_in_the_view_and_the_rest_is_null() {
        let written = json!({
            "event_type": "identity.user.updated", "outcome": "failure", "reason": {"code": "401"},
            "timestamp": "2026-01-02T03:04:05Z", "initiator": {"name": "alice"}, "resource": {"id": "b"},
            "assignment": {"role": {"id": "r"}}, "change": {"enabled": false}, "payload": {"n": [1, 2.5]},
            "context": {"user_name": "x"}, "own": true, "odd": ["o"], "priority": "INFO",
        });
        let event = rewritten(None, &fields(written)).unwrap();
        insta::assert_json_snapshot!("written", event.structured());
        // Over another, member by member.
        let again = json!({"initiator": {"id": "a"}, "payload": {"m": 1}, "event_type": "identity.group.created", "member": null});
        let event = rewritten(Some(event), &fields(again)).unwrap();
        assert_eq!((event.initiator.id.as_deref(), event.initiator.name.as_deref()), (Some("a"), Some("alice")));
        assert_eq!((event.kind.as_str(), event.operation.as_str()), ("group", "created"));
        assert_eq!((event.resource.kind.as_str(), event.resource.id.as_deref()), ("group", Some("b")));
        assert_eq!(event.payload.value(), &json!({"n": [1, 2.5], "m": 1}));
    }

    #[test]
    fn every_field_of_the_samples_can_be_written_down() {
        let view = |event: &Event| {
            let mut view = fields(serde_json::to_value(event.structured()).unwrap());
            // Where names are from, and how it was told: only a message has that.
            view.retain(|key, _| key != "names" && key != "format");
            view
        };
        for event in crate::rule::sample::events() {
            let written = view(event);
            let again = rewritten(None, &written).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", event.event_type));
            assert_eq!(view(&again), written, "{}", event.event_type);
        }
    }

    #[test]
    fn what_cannot_be_so_is_said_for_each_field() {
        let wrong = |value| rewritten(None, &fields(value)).unwrap_err();
        assert!(wrong(json!({"outcome": "success"}))[0].starts_with("`event_type` is missing"));
        let found = wrong(json!({"event_type": 1, "outcome": "lost"}));
        assert_eq!(found, ["`event_type` is missing: write it, or take a `sample`, or the message of a `file`"]);
        let found =
            wrong(json!({"event_type": "a.b", "outcome": "lost", "timestamp": "noon", "names": {}, "initiator": 7}));
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("`outcome`: unknown variant `lost`, expected one of `success`"), "{found:?}");
        assert_eq!(found[2], "`names`: cannot be written in a test; take a captured message that has it");
    }
}
