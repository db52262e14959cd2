//! `format = "cloudevents"`: the event as CloudEvents 1.0 has it, in the structured JSON form.
//!
//! Its promise: what CloudEvents demands of its attributes holds whatever is in the event: none is empty, none holds a control
//! character, `source` is a URI reference.
//!
//! From the specification, cloudevents.io, version 1.0.2, and its JSON event format.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::event::Event;

/// What `type` begins with.
const TYPE: &str = "org.openstack.";

/// What `source` begins with.
const SOURCE: &str = "/openstack";

/// Everything but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The event with `data` in it.
///
/// Its `id` is the delivery's: the same whenever the same is sent again, another for another rule, and in a replay. So who
/// drops what has the same source and id, as CloudEvents allows, drops repeats and nothing else.
pub(super) fn body(event: &Event, delivery: &str, data: Value) -> Value {
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("specversion", json!("1.0"));
    set("id", json!(delivery));
    set("source", json!(source(event.publisher_id.as_deref())));
    set("type", json!(format!("{TYPE}{}", word(&event.event_type))));
    if let Some(id) = event.resource.id.as_deref().map(word).filter(|id| !id.is_empty()) {
        set("subject", json!(format!("{}/{id}", word(&event.kind))));
    }
    if let Some(time) = event.time() {
        set("time", json!(time));
    }
    set("datacontenttype", json!("application/json"));
    set("data", data);
    Value::Object(body)
}

/// `/openstack/identity.keystone-1`
fn source(publisher: Option<&str>) -> String {
    match publisher.filter(|publisher| !publisher.is_empty()) {
        Some(publisher) => format!("{SOURCE}/{}", utf8_percent_encode(publisher, SEGMENT)),
        None => SOURCE.to_owned(),
    }
}

/// Without spaces (`identity.project tag.created`), control characters and what Unicode calls noncharacters.
fn word(text: &str) -> String {
    let bad = |char: char| {
        char.is_whitespace()
            || char.is_control()
            || matches!(char as u32 & 0xFFFF, 0xFFFE | 0xFFFF)
            || matches!(char, '\u{fdd0}'..='\u{fdef}')
    };
    text.chars().map(|char| if bad(char) { '_' } else { char }).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::event::decode;
    use crate::rule::sample;

    #[test]
    fn a_deleted_user_is_a_cloud_event() {
        let event = sample::typical().find(|event| event.event_type == "identity.user.deleted").unwrap();
        let wanted = json!({
            "specversion": "1.0",
            "id": "d1",
            "source": "/openstack/identity.vm",
            "type": "org.openstack.identity.user.deleted",
            "subject": "user/af753ff647084a5d9c16ec273da4a823",
            "time": "2026-11-21T07:02:29.70417Z",
            "datacontenttype": "application/json",
            "data": {"a": 1},
        });
        assert_eq!(body(event, "d1", json!({"a": 1})), wanted);
    }

    #[test]
    fn what_strangers_chose_stays_within_the_rules() {
        let inner = json!({
            "message_id": "m", "event_type": "identity.project tag.created\n", "publisher_id": "identity.a b/../\u{fdd0}?x#y",
            "payload": {"resource_info": "t\r\nx: y"},
        });
        let event = decode(inner.to_string().as_bytes()).unwrap();
        let body = body(&event, "d1", Value::Null);
        assert_eq!(body["type"], "org.openstack.identity.project_tag.created_");
        assert_eq!(body["source"], "/openstack/identity.a%20b%2F..%2F%EF%B7%90%3Fx%23y");
        assert_eq!(body.get("time"), None);
        assert!(body.get("subject").is_none_or(|it| !it.as_str().unwrap().contains(['\r', '\n', ' '])), "{body}");
        let nobody = decode(br#"{"message_id": "m", "event_type": "x.y", "payload": {}}"#).unwrap();
        let body = super::body(&nobody, "d1", Value::Null);
        assert_eq!((&body["source"], body.get("subject")), (&json!("/openstack"), None));
    }
}
