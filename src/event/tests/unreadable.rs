//! What goes to quarantine, and what it is told as the reason.

use super::*;
use crate::event::unreadable::MAX_DEPTH;

fn reason(body: impl AsRef<[u8]>) -> String {
    decode(body.as_ref()).expect_err("is quarantined").to_string()
}

#[test]
fn each_reason_says_what_and_where() {
    for (body, expected) in [
        ("", "the body is empty"),
        ("  ", "the body is truncated: JSON ends early at line 1, column 2"),
        ("hello", "the body is not JSON at line 1, column 1"),
        ("{\"event_type\": \"a\"", "the body is truncated: JSON ends early at line 1, column 18"),
        ("{\"event_type\": \"a\",\n \"payload\": NaN}", "the body is not JSON at line 2, column 13"),
        ("{\"event_type\": \"a\"} x", "the body is not JSON at line 1, column 21"),
        ("[1]", "the body is an array, expected a JSON object"),
        ("\"secret\"", "the body is a string, expected a JSON object"),
        ("{}", "no event_type: not a notification, or one without its most important part"),
        ("{\"event_type\": \"\"}", "no event_type: not a notification, or one without its most important part"),
        ("{\"event_type\": null}", "no event_type: not a notification, or one without its most important part"),
        ("{\"event_type\": [1]}", "no event_type: not a notification, or one without its most important part"),
        ("{\"oslo.version\": \"2.0\"}", "the envelope has oslo.version but no oslo.message"),
        ("{\"oslo.version\": \"2.0\", \"oslo.message\": {}}", "oslo.message is an object, expected JSON as a string"),
        ("{\"oslo.version\": \"2.0\", \"oslo.message\": null}", "oslo.message is null, expected JSON as a string"),
        (
            "{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\"}",
            "oslo.message is truncated: JSON ends early at line 1, column 1",
        ),
        (
            "{\"oslo.version\": \"3.1\", \"oslo.message\": \"\\u0000\"}",
            "an envelope of unknown oslo.version 3.1 (2.x is known): oslo.message is not JSON at line 1, column 1",
        ),
    ] {
        assert_eq!(reason(body), expected, "{body}");
    }
    assert_eq!(reason(b"{\"event_type\": \"\xff\"}"), "not UTF-8 at byte 16 of the body");
    assert_eq!(reason(b"{\"a\": \"\xe5\xb1"), "not UTF-8 at byte 7 of the body");
}

/// Where a value can stand, each as a bare object with `@` for the value.
const PLACES: [(&str, &str); 6] = [
    (r#"{"event_type": "x", "payload": @}"#, "the payload"),
    (r#"{"event_type": "x", "payload": {"a": [@]}}"#, "the payload"),
    (r#"{"event_type": "x", "_context_a": @}"#, "the context"),
    (r#"{"event_type": "x", "_unique_id": @}"#, "the envelope"),
    (r#"{"event_type": "x", "message_id": @}"#, "the envelope"),
    (r#"{"event_type": @}"#, "the envelope"),
];

#[test]
fn lone_surrogates_are_found_wherever_they_stand() {
    for (place, part) in PLACES {
        for lone in
            [r#""\ud800""#, r#""\udc00 x""#, r#""\ud800\u0041""#, r#"{"\uDFFF": 1}"#, r#"["\ud83d\ud83d\ude00"]"#]
        {
            let body = place.replace('@', lone);
            for body in [v2(&body), body] {
                let reason = reason(&body);
                assert!(reason.starts_with(&format!("{part} has a lone surrogate")), "{reason}: {body}");
            }
        }
        decode(
            place
                .replace('@', r#"["\ud83d\ude00", "\\ud800"]"#)
                .replace(r#"event_type": ["#, r#"event_type": "a", "z": ["#)
                .as_bytes(),
        )
        .expect("a pair is a letter");
    }
    assert!(reason(r#"{"event_type": "x", "\ud800": 1}"#).starts_with("the body has a lone surrogate"));
    assert!(
        reason(r#"{"oslo.version": "2.0", "oslo.message": "\ud800"}"#).starts_with("the body has a lone surrogate")
    );
}

#[test]
fn nesting_is_bounded_wherever_it_is() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (place, part) in
        PLACES.into_iter().filter(|(place, _)| !place.contains("[@]") && !place.contains("event_type\": @"))
    {
        for wrap in [str::to_owned as fn(&str) -> String, v2] {
            let event = decode(wrap(&place.replace('@', &nested(MAX_DEPTH))).as_bytes()).expect("at the limit");
            let kept = serde_json::to_string(&json!([{"event": event.structured()}])).unwrap();
            serde_json::from_str::<Value>(&kept).expect("what is kept can be read");
            for depth in [MAX_DEPTH + 1, 100_000] {
                let reason = reason(wrap(&place.replace('@', &nested(depth))));
                assert!(reason.starts_with(&format!("{part} is nested too deep")), "{reason}");
            }
        }
    }
    assert!(reason("[".repeat(100_000)).starts_with("the body is"));
}

#[test]
fn another_envelope_version_is_tried() {
    let message = r#"{"event_type": "x.y", "message_id": "m", "timestamp": "2026-01-01 00:00:00", "payload": {}}"#;
    let body = |version: &str| format!(r#"{{"oslo.version": {version}, "oslo.message": {}}}"#, json!(message));
    for (version, odd) in [
        ("\"2.0\"", vec![]),
        ("\"2.9\"", vec![]),
        ("\"3.0\"", vec!["oslo.version: expected 2.x, found 3.0"]),
        ("\"hunter2\"", vec!["oslo.version: expected 2.x, found (not a version)"]),
    ] {
        assert_eq!(decode(body(version).as_bytes()).unwrap().odd, odd);
    }
    let unversioned = json!({"oslo.message": message}).to_string();
    assert_eq!(decode(unversioned.as_bytes()).unwrap().odd, ["oslo.version: missing"]);
}
