//! `format = "aodh"`: the body that Aodh's alarm callback sends, so that receivers written for Aodh keep working.
//!
//! Its promise: keys and their shapes are Aodh's; a trait that the event has nothing for is left out, as Ceilometer does.
//!
//! From Aodh's `aodh/notifier/rest.py` (the body), `aodh/evaluator/event.py` (`reason` and `reason_data`), Ceilometer's
//! `ceilometer/event/models.py` (an event as it is serialized) and `ceilometer/pipeline/data/event_definitions.yaml` with the
//! default traits of `ceilometer/event/converter.py` (which traits there are). What is not as there: `message_signature`, for
//! which one would need Ceilometer's own secret, is left out, and `identity.*` events have Keystone's ids in all kinds.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::event::Event;

/// How bad the alarm is, in Aodh's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// Aodh's default.
    #[default]
    Low,
    /// Between the others.
    Moderate,
    /// The worst.
    Critical,
}

impl Severity {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Self); 3] =
        [("low", Self::Low), ("moderate", Self::Moderate), ("critical", Self::Critical)];

    fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::Critical => "critical",
        }
    }
}

/// What a rule says of its alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// Default [`Severity::Low`].
    pub severity: Severity,
    /// `None` for one that is made of the rule's name.
    pub id: Option<Uuid>,
}

/// Ceilometer's numbers for the types of traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Text = 1,
    Int = 2,
    DateTime = 4,
}

/// Text is cut here (`Trait.convert_value`).
const TEXT_LIMIT: usize = 255;

/// Where a trait's value is: in the view, which has Keystone's fields for what they mean, or in the payload.
#[derive(Clone, Copy, Debug)]
enum Found {
    View(fn(&Event) -> Option<&str>),
    Payload(&'static str),
}

/// A trait's name, type, and where it is from.
type Trait = (&'static str, Type, Found);

use Found::{Payload, View};
use Type::{DateTime, Int, Text};

/// `DEFAULT_TRAITS` of the converter.
const USUAL: [Trait; 5] = [
    ("service", Text, View(|event| event.publisher_id.as_deref())),
    ("request_id", Text, View(|event| event.request_id.as_deref())),
    ("project_id", Text, View(|event| event.initiator.project_id.as_deref())),
    ("user_id", Text, View(|event| event.initiator.id.as_deref())),
    ("tenant_id", Text, View(|event| event.initiator.project_id.as_deref())),
];

/// `&identity_crud`, for all kinds of things that Keystone has.
const IDENTITY: [Trait; 4] = [
    ("resource_id", Text, View(|event| event.resource.id.as_deref())),
    ("initiator_id", Text, View(|event| event.initiator.id.as_deref())),
    ("project_id", Text, View(|event| event.initiator.project_id.as_deref())),
    ("domain_id", Text, View(|event| event.initiator.domain_id.as_deref())),
];

/// `&identity_role_assignment`
const ASSIGNMENT: [Trait; 5] = [
    ("role", Text, Payload("/role")),
    ("group", Text, Payload("/group")),
    ("domain", Text, Payload("/domain")),
    ("user", Text, Payload("/user")),
    ("project", Text, Payload("/project")),
];

/// `&identity_authenticate`
const AUTHENTICATE: [Trait; 15] = [
    ("typeURI", Text, Payload("/typeURI")),
    ("id", Text, Payload("/id")),
    ("action", Text, Payload("/action")),
    ("eventType", Text, Payload("/eventType")),
    ("eventTime", Text, Payload("/eventTime")),
    ("outcome", Text, Payload("/outcome")),
    ("initiator_typeURI", Text, Payload("/initiator/typeURI")),
    ("initiator_id", Text, Payload("/initiator/id")),
    ("initiator_name", Text, Payload("/initiator/name")),
    ("initiator_host_agent", Text, Payload("/initiator/host/agent")),
    ("initiator_host_addr", Text, Payload("/initiator/host/address")),
    ("target_typeURI", Text, Payload("/target/typeURI")),
    ("target_id", Text, Payload("/target/id")),
    ("observer_typeURI", Text, Payload("/observer/typeURI")),
    ("observer_id", Text, Payload("/observer/id")),
];

/// `&instance_traits`
const INSTANCE: [Trait; 20] = [
    ("tenant_id", Text, Payload("/tenant_id")),
    ("user_id", Text, Payload("/user_id")),
    ("instance_id", Text, Payload("/instance_id")),
    ("display_name", Text, Payload("/display_name")),
    ("resource_id", Text, Payload("/instance_id")),
    ("cell_name", Text, Payload("/cell_name")),
    ("host", Text, View(|event| Some(event.publisher_id.as_deref()?.split_once('.')?.1))),
    ("service", Text, View(|event| event.publisher_id.as_deref()?.split('.').next())),
    ("memory_mb", Int, Payload("/memory_mb")),
    ("disk_gb", Int, Payload("/disk_gb")),
    ("root_gb", Int, Payload("/root_gb")),
    ("ephemeral_gb", Int, Payload("/ephemeral_gb")),
    ("vcpus", Int, Payload("/vcpus")),
    ("instance_type_id", Text, Payload("/instance_type_id")),
    ("instance_type", Text, Payload("/instance_type")),
    ("state", Text, Payload("/state")),
    ("old_state", Text, Payload("/old_state")),
    ("availability_zone", Text, Payload("/availability_zone")),
    ("launched_at", DateTime, Payload("/launched_at")),
    ("deleted_at", DateTime, Payload("/deleted_at")),
];

/// `&cinder_traits` and those of volumes and snapshots.
const VOLUME: [Trait; 11] = [
    ("user_id", Text, Payload("/user_id")),
    ("project_id", Text, Payload("/tenant_id")),
    ("availability_zone", Text, Payload("/availability_zone")),
    ("display_name", Text, Payload("/display_name")),
    ("replication_status", Text, Payload("/replication_status")),
    ("status", Text, Payload("/status")),
    ("created_at", Text, Payload("/created_at")),
    ("host", Text, Payload("/host")),
    ("size", Text, Payload("/size")),
    ("type", Text, Payload("/volume_type")),
    ("volume_id", Text, Payload("/volume_id")),
];

/// `&glance_crud`
const IMAGE: [Trait; 6] = [
    ("project_id", Text, Payload("/owner")),
    ("name", Text, Payload("/name")),
    ("status", Text, Payload("/status")),
    ("created_at", Text, Payload("/created_at")),
    ("deleted_at", Text, Payload("/deleted_at")),
    ("size", Text, Payload("/size")),
];

/// What the definitions of other services have in common.
const OTHER: [Trait; 2] = [
    ("resource_id", Text, View(|event| event.resource.id.as_deref())),
    ("name", Text, View(|event| event.resource.name.as_deref())),
];

/// The body of the callback for this event.
pub(super) fn body(event: &Event, rule: &str, alarm: Alarm) -> Value {
    let Event { message_id, event_type, .. } = event;
    let raised = json!({
        "message_id": message_id, "event_type": event_type, "generated": event.timestamp.map(naive),
        "traits": traits(event), "raw": {},
    });
    json!({
        "alarm_name": rule,
        "alarm_id": alarm.id.unwrap_or_else(|| id(rule)).to_string(),
        "severity": alarm.severity.as_str(),
        // What an event alarm has before it first fires, each time: a rule is in no state, also one that counts events.
        "previous": "insufficient data",
        "current": "alarm",
        "reason": format!("Event <id={message_id},event_type={event_type}> hits the query <query=[]>."),
        "reason_data": {"type": "event", "event": raised},
    })
}

/// The same rule always has the same id: the UUID (version 5) of its name as a URL.
fn id(rule: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("cadfd:rule:{rule}").as_bytes())
}

/// Python's `isoformat()` of a UTC time that does not say so: no fraction or six digits of it.
fn naive(at: jiff::Timestamp) -> String {
    let format = if at.subsec_microsecond() == 0 { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
    at.strftime(format).to_string()
}

/// Later definitions of a name win over earlier ones; a definition that finds nothing leaves the default's.
fn traits(event: &Event) -> Vec<Value> {
    let of_type: &[Trait] = match event.event_type.as_str() {
        "identity.authenticate" => &AUTHENTICATE,
        kind if kind.starts_with("identity.role_assignment.") => &ASSIGNMENT,
        kind if kind.starts_with("identity.") => &IDENTITY,
        kind if kind.starts_with("compute.instance.") => &INSTANCE,
        kind if kind.starts_with("volume.") || kind.starts_with("snapshot.") => &VOLUME,
        kind if kind.starts_with("image.") => &IMAGE,
        _ => &[],
    };
    let other = if event.event_type.starts_with("identity.") { &[][..] } else { &OTHER };
    let mut found: Vec<(&str, Type, Value)> = Vec::new();
    for (name, kind, from) in USUAL.iter().chain(other).chain(of_type) {
        let Some(value) = value(event, *from).and_then(|value| converted(&value, *kind)) else { continue };
        found.retain(|(known, ..)| known != name);
        found.push((name, *kind, value));
    }
    found.into_iter().map(|(name, kind, value)| json!([name, kind as u8, value])).collect()
}

fn value(event: &Event, from: Found) -> Option<Value> {
    match from {
        View(get) => get(event).map(Value::from),
        Payload(pointer) => event.payload.value().pointer(pointer).filter(|value| !value.is_null()).cloned(),
    }
}

/// As `Trait.convert_value`; `None` where that would fail.
fn converted(value: &Value, kind: Type) -> Option<Value> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match kind {
        Text => Some(text.chars().take(TEXT_LIMIT).collect::<String>().into()),
        Int => value.as_i64().or_else(|| text.trim().parse().ok()).map(Value::from),
        DateTime => {
            let zoned = text.parse::<jiff::Timestamp>().ok();
            let plain = || text.parse::<jiff::civil::DateTime>().ok();
            let at = zoned.or_else(|| plain()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp()));
            at.map(|at| naive(at).into())
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::event::decode;
    use crate::rule::sample;

    fn sampled(event_type: &str) -> &'static Event {
        sample::typical().find(|event| event.event_type == event_type).unwrap()
    }

    #[test]
    fn a_deleted_user_is_told_as_aodh_tells_it() {
        let body = body(sampled("identity.user.deleted"), "hand over", Alarm::default());
        let wanted = json!({
            "alarm_name": "hand over",
            "alarm_id": "d54213e5-bdf1-567e-a2f8-218f11edcd68",
            "severity": "low",
            "previous": "insufficient data",
            "current": "alarm",
            "reason": "Event <id=cf60f65e-3c34-47b2-a257-33b87c47f787,event_type=identity.user.deleted> hits the query <query=[]>.",
            "reason_data": {"type": "event", "event": {
                "message_id": "cf60f65e-3c34-47b2-a257-33b87c47f787",
                "event_type": "identity.user.deleted",
                "generated": "2026-11-21T07:02:29.704170",
                "traits": [
                    ["service", 1, "identity.vm"],
                    ["request_id", 1, "req-3885fd22-007a-4bd3-bf8c-2b3d0b55f908"],
                    ["user_id", 1, "e65b313b046a4810a3c1146b7d030076"],
                    ["tenant_id", 1, "f8f69a8bd756458b91ce753011e06fb3"],
                    ["resource_id", 1, "af753ff647084a5d9c16ec273da4a823"],
                    ["initiator_id", 1, "e65b313b046a4810a3c1146b7d030076"],
                    ["project_id", 1, "f8f69a8bd756458b91ce753011e06fb3"],
                ],
                "raw": {},
            }},
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn the_rule_says_severity_and_id() {
        let given = "0ca2845e-c142-4d4b-a346-e495553628ce";
        let alarm = Alarm { severity: Severity::Critical, id: Some(given.parse().unwrap()) };
        let body = body(sampled("identity.user.deleted"), "r", alarm);
        assert_eq!((&body["severity"], &body["alarm_id"]), (&json!("critical"), &json!(given)));
        assert_eq!(id("a"), id("a"));
        assert_ne!(id("a"), id("b"));
    }

    #[test]
    fn logins_and_grants_have_the_traits_of_their_own_definitions() {
        let named =
            |event: &Event| traits(event).iter().map(|it| it[0].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let login = named(sampled("identity.authenticate"));
        assert!(
            login.contains(&"initiator_host_addr".to_owned()) && login.contains(&"outcome".to_owned()),
            "{login:?}"
        );
        let grant = named(sampled("identity.role_assignment.created"));
        assert!(grant.contains(&"role".to_owned()) && grant.contains(&"user".to_owned()), "{grant:?}");
    }

    #[test]
    fn numbers_and_times_have_their_types() {
        let inner = json!({
            "message_id": "m", "event_type": "compute.instance.create.end", "publisher_id": "compute.node-1.example",
            "timestamp": "2026-11-21 07:00:00", "_context_user_id": "u", "_context_project_id": "p",
            "payload": {"instance_id": "i", "vcpus": 2, "memory_mb": "512", "disk_gb": null, "state": "x".repeat(300),
                        "launched_at": "2026-11-21T06:59:58.000000", "deleted_at": ""},
        });
        let event = decode(inner.to_string().as_bytes()).unwrap();
        let found = traits(&event);
        let get = |name: &str| found.iter().find(|it| it[0] == name).map(|it| (it[1].clone(), it[2].clone()));
        assert_eq!(get("vcpus"), Some((json!(2), json!(2))));
        assert_eq!(get("memory_mb"), Some((json!(2), json!(512))));
        assert_eq!(get("launched_at"), Some((json!(4), json!("2026-11-21T06:59:58"))));
        assert_eq!((get("deleted_at"), get("disk_gb")), (None, None));
        assert_eq!(get("host"), Some((json!(1), json!("node-1.example"))));
        assert_eq!(get("service"), Some((json!(1), json!("compute"))));
        assert_eq!(get("user_id"), Some((json!(1), json!("u"))));
        assert_eq!(get("state").unwrap().1.as_str().unwrap().len(), TEXT_LIMIT);
        let whole = body(&event, "r", Alarm::default());
        assert_eq!(whole["reason_data"]["event"]["generated"], "2026-11-21T07:00:00");
    }
}
