//! What holds for every input.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::action::log::{LineFormat, line};
use crate::text::to_ascii_json;

static OBJECTS: LazyLock<Vec<Value>> = LazyLock::new(inner_objects);
static BODIES: LazyLock<Vec<String>> = LazyLock::new(|| CAPTURES.iter().flat_map(|capture| bodies(capture)).collect());

/// What must hold for whatever comes out.
fn check(result: &Result<Event, Unreadable>) {
    match result {
        Ok(event) => {
            let json = to_ascii_json(event).unwrap();
            assert!(json.iter().all(|byte| matches!(byte, b' '..=b'~')));
            let view: Value = serde_json::from_slice(&json).unwrap_or_else(|_| payload_free(event));
            assert_eq!(view["message_id"], event.message_id.as_str());
            assert!(!event.message_id.is_empty() && !event.kind.is_empty() && !event.operation.is_empty());
            for format in [LineFormat::Readable, LineFormat::Logfmt, LineFormat::Json] {
                assert!(!line(event, format, false).chars().any(char::is_control));
            }
        }
        Err(unreadable) => assert!(!unreadable.to_string().chars().any(char::is_control)),
    }
}

/// The view where a number in the payload is one that no tree can hold.
fn payload_free(event: &Event) -> Value {
    serde_json::to_value(event.structured()).unwrap()
}

/// All places in a tree, as pointers.
fn places(value: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                places(member, &format!("{here}/{}", escape(key)), all);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                places(item, &format!("{here}/{at}"), all);
            }
        }
        _ => {}
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z_.:]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("id|name|host|token|content|user|[a-zé]{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&decode(&body));
    }

    #[test]
    fn any_text_like_json_gives_an_answer(body in r#"[{}\[\]",:\\ud8c0enltrufas1.e\-+ \n]{0,60}"#) {
        check(&decode(body.as_bytes()));
        check(&decode(format!(r#"{{"event_type": "identity.a.b", "payload": {body}}}"#).as_bytes()));
    }

    #[test]
    fn damaged_captures_give_an_answer(
        which in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut body = which.get(&BODIES).clone().into_bytes();
        for (at, byte) in flips {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if is_cut {
            body.truncate(cut.index(body.len()));
        }
        check(&decode(&body));
    }

    #[test]
    fn any_part_can_be_anything(
        which in any::<prop::sample::Index>(),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4),
    ) {
        let mut object = which.get(&OBJECTS).clone();
        for (place, value) in swaps {
            let mut all = Vec::new();
            places(&object, "", &mut all);
            all.retain(|place| !place.is_empty() && place != "/event_type");
            *object.pointer_mut(&all[place.index(all.len())]).unwrap() = value;
        }
        let result = decode(object.to_string().as_bytes());
        check(&result);
        let event = result.expect("an odd payload is still an event");
        prop_assert_eq!(&event.event_type, object["event_type"].as_str().unwrap());
    }

    #[test]
    fn cleaning_keeps_json_well_formed(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let cleaned = secrets::clean(&text);
            prop_assert!(cleaned.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            // Parsed again, because serde_json's reading of a float is not exact to the last bit.
            let mut expected: Value = serde_json::from_str(&text).unwrap();
            without_secrets(&mut expected);
            prop_assert_eq!(serde_json::from_str::<Value>(&cleaned).unwrap(), expected);
        }
    }
}

fn without_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !secrets::is_secret(key));
            members.values_mut().for_each(without_secrets);
        }
        Value::Array(items) => items.iter_mut().for_each(without_secrets),
        _ => {}
    }
}
