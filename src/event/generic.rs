//! Any other service's notification.
//!
//! Its promise: it guesses only where the services' own habits are clear; everything else stays in the payload and the
//! context.
//!
//! The habits: Neutron's `<kind>.<operation>.start|end` with `{"<kind>": {…}}` or `{"<kind>_id": …}`, Nova's and
//! Cinder's unversioned payloads, Nova's versioned objects (`nova_object.data`), and oslo.context's keys.

use serde_json::Value;

use super::{Event, Initiator, Outcome, Payload, Reason, kind};

/// Reads the payload and the context into the event.
pub(super) fn fill(event: &mut Event, payload: &Payload) {
    let whole = payload.value();
    let data = whole.get("nova_object.data").unwrap_or(whole);
    let own = data.get(&event.kind).unwrap_or(&Value::Null);
    event.outcome = outcome(event);
    if event.outcome == Outcome::Failure {
        event.reason = Reason { code: text(data.get("code")), text: text(data.get("message")) };
    }
    event.resource.id = text(own.get("id"))
        .or_else(|| text(data.get(format!("{}_id", event.kind))))
        .or_else(|| first(data, &["id", "uuid", "instance_id", "resource_id"]));
    event.resource.name = text(own.get("name")).or_else(|| first(data, &["name", "display_name"]));
    let context = &event.context;
    let known = |keys: &[&str]| keys.iter().find_map(|key| text(context.get(*key)));
    event.initiator = Initiator {
        id: known(&["user_id", "user"]),
        name: known(&["user_name", "username"]),
        project_id: known(&["project_id", "tenant_id", "project", "tenant"]),
        project_name: known(&["project_name", "tenant_name"]),
        domain_id: known(&["domain_id", "domain"]),
        domain_name: known(&["domain_name"]),
        address: known(&["remote_address"]),
        agent: None,
        federation: None,
    };
}

fn outcome(event: &Event) -> Outcome {
    let failed = event.priority.as_deref().is_some_and(|it| matches!(it, "ERROR" | "CRITICAL" | "error" | "critical"));
    match kind::phase(&event.event_type) {
        Some("start") => Outcome::Pending,
        Some("end") => Outcome::Success,
        Some(_) => Outcome::Failure,
        None if failed => Outcome::Failure,
        None => Outcome::Unknown,
    }
}

fn first(data: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| text(data.get(key)))
}

/// A value as text, if it is a string that says something, or a number.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
