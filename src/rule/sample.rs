//! Sample events: what `check` tries rules on, and what it knows the event's fields from.
//!
//! Captured from Keystone 28.1 and from Keystone's documentation: one of each event type, and of each shape that
//! carries fields of its own. Of other services some of each habit: with names and without, failed, of nobody, versioned.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde_json::Value;

use crate::chain::Hash;
use crate::checkpoint::Checkpoint;
use crate::event::{Change, Event, Format, decode};
use crate::template::Fields;

use super::Correlation;
use super::own::of_checkpoint;

const SAMPLES: &str = include_str!("samples.jsonl");

static EVENTS: LazyLock<Vec<Arc<Event>>> = LazyLock::new(|| {
    let decoded = SAMPLES.lines().filter_map(|line| decode(line.as_bytes()).ok());
    decoded.chain(checkpoint()).map(|event| Arc::new(with_change(event))).collect()
});

/// What cadfd itself tells.
fn checkpoint() -> Option<Event> {
    let (prev, at) = (Hash::START, Timestamp::UNIX_EPOCH);
    let key = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=".parse().ok()?;
    let signature = "c2lnbmF0dXJl".to_owned();
    Some(of_checkpoint(&Checkpoint { seq: 17, prev, at, key, signature }))
}

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let mut fields = Fields::default();
    for event in EVENTS.iter() {
        if let Ok(Value::Object(view)) = serde_json::to_value(event.structured()) {
            for (key, value) in view {
                match key.as_str() {
                    "payload" | "context" => drop(fields.open.insert(key)),
                    _ => gather(&key, &value, &mut fields),
                }
            }
        }
    }
    // What is null in one sample and an object in another is known by its parts.
    fields
});

/// Fields that only actions of rules with `threshold` or `group` see; `events` holds views of events.
const OF_COUNTS: [&str; 6] = ["cause", "key", "count", "suppressed", "since", "until"];

/// Fields that only actions of rules with `absent` see.
const OF_SILENCE: [&str; 4] = ["cause", "since", "until", "lasted"];

/// Fields that only actions see.
const OF_ACTIONS: [&str; 2] = ["delivery_id", "rule"];

fn gather(path: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::Object(parts) => parts.iter().for_each(|(key, part)| gather(&format!("{path}.{key}"), part, fields)),
        _ => drop(fields.closed.insert(path.to_owned())),
    }
}

/// What no message has, because it is found out by asking Keystone.
fn with_change(mut event: Event) -> Event {
    if event.operation == "updated" {
        event.change = Some(Change {
            derived: true,
            enabled: Some(false),
            name: Some("new name".to_owned()),
            old_name: Some("old name".to_owned()),
            added: Vec::new(),
            removed: Vec::new(),
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
        });
    }
    event
}

/// The sample events.
#[must_use]
pub fn events() -> &'static [Arc<Event>] {
    &EVENTS
}

/// The samples that rules are tried on: those that say who did it. Keystone's Basic format tells so little that most
/// useful templates need `default('…')` for it, which is the writer's choice, not a mistake.
pub fn typical() -> impl Iterator<Item = &'static Arc<Event>> {
    EVENTS.iter().filter(|event| event.format != Format::Basic)
}

/// The fields a condition may name.
#[must_use]
pub fn fields() -> &'static Fields {
    &FIELDS
}

/// The fields a template of an action may name, in a rule that looks at more than one event or at each for itself.
#[must_use]
pub fn fields_of_actions(correlation: Option<&Correlation>) -> Fields {
    let mut fields = fields_of_conditions(correlation);
    fields.closed.extend(OF_ACTIONS.map(String::from));
    fields
}

/// The fields a condition of an action may name, in such a rule.
#[must_use]
pub fn fields_of_conditions(correlation: Option<&Correlation>) -> Fields {
    let mut fields = FIELDS.clone();
    match correlation {
        None => {}
        Some(Correlation::Absent(_)) => fields.closed.extend(OF_SILENCE.map(String::from)),
        Some(Correlation::Threshold(_) | Correlation::Group(_)) => {
            fields.closed.extend(OF_COUNTS.map(String::from));
            fields.open.insert("events".to_owned());
        }
    }
    fields
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::rule::Subject;

    #[test]
    fn the_fields_of_counting_rules_are_those_that_their_actions_are_given() {
        let (second, event) = (std::time::Duration::from_secs(1), typical().next().unwrap());
        let group = Correlation::Group(crate::rule::Group { by: None, wait: second, longest: second, max: 5 });
        let absent = Correlation::Absent(crate::rule::Absent { after: second });
        for correlation in [group, absent] {
            let (_, extras) = correlation.as_if_fired("r", &Subject::new(event));
            let fields = fields_of_actions(Some(&correlation));
            let more = fields.closed.len() + fields.open.len() - FIELDS.closed.len() - FIELDS.open.len();
            assert_eq!(more, extras.len() + OF_ACTIONS.len());
            assert!(extras.keys().all(|name| fields.has(name)), "{extras:?}");
        }
    }

    #[test]
    fn every_sample_decodes_and_shows_the_fields_of_its_shape() {
        // And what cadfd itself tells.
        assert_eq!(events().len(), SAMPLES.lines().count() + 1);
        for field in [
            "message_id",
            "outcome",
            "reason.code",
            "initiator.name",
            "initiator.federation.identity_provider",
            "resource.id",
            "assignment.role.id",
            "assignment.user.name",
            "assignment.group.id",
            "assignment.project.id",
            "assignment.domain.id",
            "assignment.inherited",
            "member.operation",
            "change.enabled",
            "change.added",
            "own",
            "payload.anything.at.all",
            "context.user_name",
            "odd",
        ] {
            assert!(fields().has(field), "{field}");
        }
        assert!(!fields().has("initiator.nmae") && !fields().has("delivery_id"));
        let plain = fields_of_actions(None);
        assert!(plain.has("delivery_id") && !plain.has("events") && !plain.has("count") && !plain.has("lasted"));
    }
}
