//! Secrets are in no field, payload, context, debug print, line or reason.

use super::*;
use crate::action::log::{LineFormat, line};
use crate::text::to_ascii_json;

const CANARY: &str = "CANARY-5eec7e7";

/// Everything that can be made of an event.
fn everything(event: &Event) -> String {
    let mut all = format!("{event:?} {event:#?} {} {}", event.payload.text(), event.payload.value());
    all += &serde_json::to_string(event).unwrap();
    all += &serde_json::to_string(&event.structured()).unwrap();
    all += &String::from_utf8(to_ascii_json(event).unwrap()).unwrap();
    for format in [LineFormat::Readable, LineFormat::Logfmt, LineFormat::Json] {
        all += &line(event, format, true);
    }
    all
}

/// Puts a secret into each place where one can be.
fn plant(object: &mut Value) {
    let secret = || json!({"deep": [CANARY]});
    for key in ["auth_token", "password", "adminPass", "auth_token_info", "X-Auth-Token"] {
        object[format!("_context_{key}")] = json!(CANARY);
    }
    object["_context_nested"] = json!({"a": [{"Secret": secret()}]});
    let Some(payload) = object["payload"].as_object_mut() else { return };
    payload.insert(
        "attachments".to_owned(),
        json!([
            {"typeURI": "mime:text/plain", "content": CANARY, "name": "partial_password_hash"},
            {"name": "harmless", "content": "kept"},
        ]),
    );
    for key in [
        "partial_password_hash",
        "auth_token",
        "password",
        "original_password",
        "adminPass",
        "admin_pass",
        "admin_password",
        "secret",
    ] {
        payload.insert(key.to_owned(), secret());
        payload.insert(format!("nested_{key}"), json!([{key: CANARY, "kept": 1}, [[{key.to_uppercase(): [CANARY]}]]]));
    }
    let initiator = payload.entry("initiator").or_insert_with(|| json!({}));
    initiator["credential"] = json!({"token": CANARY, "type": "saml", "identity_provider": "ACME", "user": "u"});
    initiator["attachments"] = json!([{"content": [CANARY], "name": "partial_password_hash"}]);
}

#[test]
fn planted_secrets_appear_nowhere() {
    for mut object in inner_objects() {
        let plain = decoded(&object);
        // Glance's `image.upload` may be nothing but words.
        let has_fields = object["payload"].is_object();
        plant(&mut object);
        for text in [object.to_string(), serde_json::to_string_pretty(&object).unwrap()] {
            for body in [v2(&text), text] {
                let event = decode(body.as_bytes()).unwrap();
                let all = everything(&event);
                assert!(!all.contains(CANARY), "{all}");
                assert!(!has_fields || event.payload.text().contains("kept"), "what is harmless stays");
                assert_eq!((&event.message_id, &event.kind), (&plain.message_id, &plain.kind));
                if event.format == Format::Cadf {
                    assert_eq!(event.initiator.federation.unwrap().identity_provider.as_deref(), Some("ACME"));
                }
            }
        }
    }
}

#[test]
fn a_key_spelled_with_escapes_is_found() {
    let body = format!(
        r#"{{"event_type": "x", "payload": {{"pass\u0077ord": "{CANARY}", "a\n": 1}},
        "_context_auth\u005ftoken": "{CANARY}"}}"#
    );
    let event = decode(body.as_bytes()).unwrap();
    assert!(!everything(&event).contains(CANARY));
    assert_eq!(event.payload.text(), r#"{"a\n": 1}"#);
}

#[test]
fn cutting_leaves_the_rest_as_it_came() {
    for (came, kept) in [
        (r#"{"password": "x"}"#, "{}"),
        (r#"{ "password" : "x" , "b" : 1.50 }"#, r#"{"b" : 1.50 }"#),
        (
            r#"{"a": 1, "token": [1, {"b": "]"}], "c": [ [], {}, [1, "é"] ]}"#,
            r#"{"a": 1, "c": [ [], {}, [1, "\u00e9"] ]}"#,
        ),
        (r#"{"a": "\"password\": x", "secret": "\"", "z": -1e5}"#, r#"{"a": "\"password\": x", "z": -1e5}"#),
        (r#"[{"secret": null}, [{"secret": true, "a": {"secret": 1}}]]"#, r#"[{}, [{"a": {}}]]"#),
        (r#"{"password_expires_at": "2026", "tokens": 1}"#, r#"{"password_expires_at": "2026", "tokens": 1}"#),
        (r#"{"name": "Partial-Password_hash", "content": 1, "b": 2}"#, r#"{"name": "Partial-Password_hash", "b": 2}"#),
        (r#"{"name": "notes", "content": 1}"#, r#"{"name": "notes", "content": 1}"#),
    ] {
        assert_eq!(secrets::clean(came), kept);
    }
}

#[test]
fn reasons_quote_nothing() {
    for body in [
        format!("\"{CANARY}\""),
        format!("[\"{CANARY}\"]"),
        format!("{{\"password\": \"{CANARY}\""),
        format!("{{\"password\": {CANARY}}}"),
        format!("{{\"oslo.version\": \"{CANARY}\", \"oslo.message\": \"{CANARY}\"}}"),
        format!("{{\"oslo.message\": [\"{CANARY}\"]}}"),
        format!("{{\"event_type\": [\"{CANARY}\"]}}"),
        format!("{{\"event_type\": \"x\", \"payload\": \"{CANARY}\\ud800\"}}"),
    ] {
        let unreadable = decode(body.as_bytes()).unwrap_err();
        assert!(!format!("{unreadable} {unreadable:?}").contains(CANARY), "{unreadable}");
    }
}

#[test]
fn every_name_on_the_list_is_found_in_any_spelling() {
    for name in secrets::NAMES.map(|name| std::str::from_utf8(name).unwrap()) {
        let (head, tail) = name.split_at(2);
        for key in [name.to_owned(), name.to_uppercase(), format!("{head}_{tail}"), format!("-{head}-{tail}_")] {
            assert!(secrets::is_secret(&key) && secrets::is_suspicious(key.as_bytes()), "{key}");
        }
    }
    for key in ["", "id", "name", "password_expires_at", "tokens", "user_id"] {
        assert!(!secrets::is_secret(key), "{key}");
    }
}
