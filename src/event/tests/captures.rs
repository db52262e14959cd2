//! Every captured and documented notification, held by a snapshot.

use std::collections::BTreeSet;

use super::*;
use crate::action::log::{LineFormat, line};

fn readable(event: &Event) -> String {
    line(event, LineFormat::Readable, false)
}

#[test]
fn documented() {
    let mut files: Vec<PathBuf> = fs::read_dir(data("documented")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 27);
    for file in files {
        let event = decode(&fs::read(&file).unwrap()).unwrap();
        let view = serde_json::to_string_pretty(&event.structured()).unwrap();
        let name = format!("documented-{}", file.file_stem().unwrap().to_str().unwrap());
        insta::assert_snapshot!(name, format!("{}\n{view}", readable(&event)));
    }
}

#[test]
fn real_as_readable_lines() {
    for capture in CAPTURES {
        let lines: Vec<String> =
            bodies(capture).iter().map(|body| readable(&decode(body.as_bytes()).unwrap())).collect();
        insta::assert_snapshot!(capture, lines.join("\n"));
    }
}

/// One view for each event type, outcome and set of known parts.
#[test]
fn real_as_views() {
    let mut seen = BTreeSet::new();
    let mut views = Vec::new();
    for capture in CAPTURES {
        for body in bodies(capture) {
            let event = decode(body.as_bytes()).unwrap();
            assert!(event.odd.is_empty(), "{:?}", event.odd);
            let parts = [event.initiator.id.is_some(), event.initiator.name.is_some(), event.reason.code.is_some()];
            let member = event.member.as_ref().and_then(|member| member.operation.clone());
            let shape = (event.event_type.clone(), event.format as u8, event.outcome.as_str(), parts, member);
            if seen.insert(shape) {
                let mut view = serde_json::to_value(event.structured()).unwrap();
                // It is held to be what came by `the_payload_is_what_came`.
                view.as_object_mut().unwrap().shift_remove("payload");
                views.push(view.to_string());
            }
        }
    }
    insta::assert_snapshot!(views.join("\n"));
}

#[test]
fn v1_and_v2_and_bare_say_the_same() {
    for body in bodies("keystone-28.1-cadf-messaging-v1") {
        let bare = decode(body.as_bytes()).unwrap();
        let enveloped = decode(v2(&body).as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&bare).unwrap(), serde_json::to_string(&enveloped).unwrap());
    }
}

#[test]
fn log_driver() {
    let log = fs::read_to_string(data("real/keystone-28.1-log-driver.log")).unwrap();
    let mut count = 0;
    for log_line in log.lines() {
        let json = from_log_line(log_line).unwrap();
        let event = decode(json.as_bytes()).unwrap();
        assert!(log_line.contains(&format!("oslo.messaging.notification.{} ", event.event_type)));
        assert_eq!((event.odd, log_line.ends_with(json)), (vec![], true));
        count += 1;
    }
    assert_eq!(count, 160);
    let braces = r#"syslog: INFO oslo.messaging.notification.a.b [{"x": {}] {"event_type": "a.b"} "#;
    assert_eq!(from_log_line(braces), Some(r#"{"event_type": "a.b"}"#));
    for other in ["", "INFO keystone.server {\"event_type\": \"a\"}", "oslo.messaging.notification.a {\"event_type\": "]
    {
        assert_eq!(from_log_line(other), None);
    }
}

#[test]
fn the_payload_is_what_came() {
    for body in CAPTURES.iter().flat_map(|capture| bodies(capture)) {
        let event = decode(body.as_bytes()).unwrap();
        let came = inner(&body)["payload"].clone();
        assert_eq!(event.payload.value(), &came);
        let message = serde_json::from_str::<Value>(&body).unwrap();
        let text = message["oslo.message"].as_str().unwrap_or(&body);
        assert!(text.contains(event.payload.text()), "kept byte for byte");
    }
    let odd = r#"{"event_type":"x.y","payload":{"z": 1.50,"a":[12345678901234567890123,1e999],
	"b":"é山😀"}}"#;
    let event = decode(odd.as_bytes()).unwrap();
    let text = r#"{"z": 1.50,"a":[12345678901234567890123,1e999],  "b":"\u00e9\u5c71\ud83d\ude00"}"#;
    assert_eq!(event.payload.text(), text);
    assert_eq!(event.payload.value()["a"][1], "1e999");
    assert!(serde_json::to_string(&event).unwrap().contains(text));
}

#[test]
fn every_key_is_in_the_view_in_order() {
    let view = serde_json::to_value(decoded(&json!({"event_type": "x"})).structured()).unwrap();
    let keys: Vec<_> = view.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "message_id event_type kind operation outcome reason timestamp priority publisher_id request_id \
                    initiator resource assignment member change names own payload context format odd";
    assert_eq!(keys.join(" "), expected);
}
