//! Any other service's notification.
//!
//! Its promise: it guesses only where the services' own habits are clear; everything else stays in the payload and the
//! context. Who owns a thing (`tenant_id`, `user_id`, `owner` of a payload) is never taken for who did something to it.
//!
//! The habits: Neutron's `<kind>.<operation>.start|end` with `{"<kind>": {…}}` or `{"<kind>_id": …}`, Nova's, Cinder's
//! and Heat's flat payloads, versioned objects (`nova_object.data`, one within another; Ironic's alike), Glance's and
//! Designate's types without a phase, which tell what is done, and oslo.context's keys, old and new.

use serde_json::Value;

use super::{Event, Initiator, Outcome, Payload, Reason, kind};

/// What holds an object's fields, behind the namespace that oslo.versionedobjects writes.
const OBJECT: &str = "_object.data";

/// Of types without a phase, these tell what is done; the last five are Glance's.
const DONE: [&str; 11] = [
    "create",
    "update",
    "delete",
    "created",
    "updated",
    "deleted",
    "upload",
    "send",
    "activate",
    "deactivate",
    "reactivate",
];

/// Reads the payload and the context into the event.
pub(super) fn fill(event: &mut Event, payload: &Payload) {
    let data = fields(payload.value());
    let thing = thing(data, &event.kind);
    event.outcome = outcome(event);
    if event.outcome == Outcome::Failure {
        event.reason = reason(data);
    }
    let [id_key, name_key] = ["id", "name"].map(|what| format!("{}_{what}", event.kind));
    event.resource.id = text(thing.get("id")).or_else(|| text(data.get(id_key))).or_else(|| {
        let keys = ["id", "uuid", "instance_id", "instance_uuid", "resource_id", "stack_identity", "flavorid"];
        text(thing.get("uuid")).or_else(|| first(data, &keys))
    });
    event.resource.name = first(thing, &["name", "display_name"])
        .or_else(|| first(data, &["name", "display_name", "key_name"]))
        .or_else(|| text(data.get(name_key)));
    event.initiator = initiator(event, data);
    // The context's is taken where there is one.
    if text(event.context.get("request_id")).is_none() {
        event.request_id = text(data.get("request_id"));
    }
}

/// An object's fields, which a versioned one has within.
fn fields(value: &Value) -> &Value {
    let within = value.as_object().and_then(|map| map.iter().find(|(key, _)| key.ends_with(OBJECT)));
    within.map_or(value, |(_, fields)| fields)
}

/// The part of the payload that is the thing itself: under its kind, or the only part that there is (Neutron's
/// `router_interface`, Cinder's `volume_types`).
fn thing<'a>(data: &'a Value, kind: &str) -> &'a Value {
    if let Some(own) = data.get(kind) {
        return fields(own);
    }
    let only = data.as_object().filter(|map| map.len() == 1).and_then(|map| map.values().next());
    only.map(fields).filter(|only| only.is_object()).unwrap_or(&Value::Null)
}

fn outcome(event: &Event) -> Outcome {
    let is = |words: &[&str]| {
        event.priority.as_deref().is_some_and(|it| words.iter().any(|word| it.eq_ignore_ascii_case(word)))
    };
    match kind::phase(&event.event_type) {
        Some("start") => Outcome::Pending,
        Some("end" | "success") => Outcome::Success,
        Some(_) => Outcome::Failure,
        None if is(&["error", "critical"]) => Outcome::Failure,
        None if is(&["info", "audit"]) && DONE.contains(&event.operation.as_str()) => Outcome::Success,
        None => Outcome::Unknown,
    }
}

/// Why it failed: Nova's `fault` or `reason` as an exception, what it said before there were versions, Cinder's and
/// Heat's own words, or a payload that is nothing but words (Glance's `image.upload`).
fn reason(data: &Value) -> Reason {
    let parts = ["fault", "reason"].into_iter().filter_map(|key| data.get(key).map(fields));
    let exception = parts.filter(|part| part.is_object()).chain([data]).find_map(|part| {
        let said = text(part.get("exception_message"))?;
        Some(text(part.get("exception")).map_or_else(|| said.clone(), |class| format!("{class}: {said}")))
    });
    let words = ["message", "reason", "fail_reason", "state_reason", "status_reason", "exception", "error"];
    let status = || data.get("status").filter(|status| status.is_number());
    Reason {
        code: text(data.get("code")).or_else(|| text(status())),
        text: exception.or_else(|| first(data, &words)).or_else(|| text(Some(data))),
    }
}

fn initiator(event: &Event, data: &Value) -> Initiator {
    let known = |keys: &[&str]| keys.iter().find_map(|key| text(event.context.get(*key)));
    // User, project, domain, the user's domain, the project's: a hyphen for what there is not.
    let identity = event.context.get("user_identity").and_then(Value::as_str).unwrap_or_default();
    let part = |at: usize| identity.split(' ').nth(at).filter(|part| !matches!(*part, "" | "-")).map(str::to_owned);
    Initiator {
        id: known(&["user_id", "user"])
            .or_else(|| part(0))
            .or_else(|| first(data, &["action_initiator_user", "receiver_user_id"])),
        name: known(&["user_name", "username"]),
        project_id: known(&["project_id", "tenant_id", "project", "tenant"])
            .or_else(|| part(1))
            .or_else(|| first(data, &["action_initiator_project", "receiver_tenant_id"])),
        project_name: known(&["project_name", "tenant_name"]),
        domain_id: known(&["domain_id", "domain"]).or_else(|| part(2)),
        domain_name: known(&["domain_name"]),
        address: known(&["remote_address"]),
        agent: None,
        federation: None,
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use serde_json::json;

    use super::*;

    fn decoded(event_type: &str, priority: &str, payload: &Value, context: &[(&str, Value)]) -> Event {
        let mut inner = json!({"message_id": "m", "event_type": event_type, "priority": priority, "payload": payload});
        for (key, value) in context {
            inner[format!("_context_{key}")] = value.clone();
        }
        super::super::decode(inner.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_phase_tells_the_outcome_then_the_priority_then_the_operation() {
        for (event_type, priority, outcome) in [
            ("port.create.start", "ERROR", Outcome::Pending),
            ("port.create.end", "INFO", Outcome::Success),
            ("baremetal.node.create.success", "info", Outcome::Success),
            ("task.failure", "INFO", Outcome::Failure),
            ("compute.exception", "Error", Outcome::Failure),
            ("dns.api.fault", "critical", Outcome::Failure),
            ("image.delete", "info", Outcome::Success),
            ("image.delete", "WARN", Outcome::Unknown),
            ("volume.usage", "INFO", Outcome::Unknown),
        ] {
            let event = decoded(event_type, priority, &json!({}), &[]);
            assert_eq!(event.outcome, outcome, "{event_type} {priority}");
        }
    }

    #[test]
    fn who_owns_a_thing_is_not_who_did_it() {
        let payload = json!({"id": "i", "tenant_id": "t", "project_id": "t", "user_id": "u", "owner": "t"});
        assert_eq!(decoded("image.update", "INFO", &payload, &[]).initiator, Initiator::default());
        // oslo.context's own, in the oldest spelling, and nothing but its summary.
        let old = [("user", json!("u1")), ("tenant", json!("p1"))];
        let summary = [("user_identity", json!("u1 p1 - - -")), ("user", Value::Null)];
        for context in [&old[..], &summary[..]] {
            let Initiator { id, project_id, domain_id, .. } = decoded("a.b", "INFO", &payload, context).initiator;
            assert_eq!((id.as_deref(), project_id.as_deref(), domain_id), (Some("u1"), Some("p1"), None));
        }
    }

    #[test]
    fn a_failure_says_why_in_whatever_shape() {
        let fault = json!({"nova_object.data": {"exception": "E", "exception_message": "m"}});
        for (payload, code, text) in [
            (json!({"code": 500, "message": "m"}), Some("500"), Some("m")),
            (json!({"nova_object.data": {"fault": fault}}), None, Some("E: m")),
            (json!({"nova_object.data": {"reason": fault}}), None, Some("E: m")),
            (json!({"exception": "e", "status": 503, "url": "/"}), Some("503"), Some("e")),
            (json!({"fail_reason": "f", "status": "error"}), None, Some("f")),
            (json!("words"), None, Some("words")),
            (json!({"fault": null, "reason": ["x"]}), None, None),
        ] {
            let Reason { code: found, text: said } = decoded("a.b.error", "ERROR", &payload, &[]).reason;
            assert_eq!((found.as_deref(), said.as_deref()), (code, text), "{payload}");
        }
    }
}
