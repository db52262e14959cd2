//! The readable line as people read it, and as strangers would like it to be read.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::decode;

fn event(object: &Value) -> Event {
    decode(object.to_string().as_bytes()).unwrap()
}

fn readable(event: &Event) -> String {
    line(event, LineFormat::Readable, false)
}

/// Bob is deleted by someone of this name, from this address.
fn deleted_by(name: &str, address: &str) -> Event {
    let mut event = event(&json!({
        "message_id": "m", "event_type": "identity.user.deleted", "timestamp": "2026-11-21 07:03:23.274999",
        "payload": {"outcome": "success", "resource_info": "e580", "target": {},
                    "initiator": {"user_id": "e4e1", "name": name, "project_id": "p1", "host": {"address": address}}},
    }));
    event.resource.name = Some("bob".to_owned());
    event.initiator.project_name = Some("admin".to_owned());
    event
}

#[test]
fn reads_as_promised() {
    let event = deleted_by("admin", "192.0.2.7");
    assert_eq!(
        readable(&event),
        "2026-11-21T07:03:23.274Z USER DELETED success: bob (e580) by admin (e4e1) in project admin from 192.0.2.7"
    );
    assert_eq!(
        line(&event, LineFormat::Readable, true),
        "2026-11-21T07:03:23.274Z \u{1b}[1mUSER DELETED\u{1b}[0m \u{1b}[32msuccess\u{1b}[0m: \
         bob (e580) by admin (e4e1) in project admin from 192.0.2.7"
    );
    assert_eq!(
        line(&event, LineFormat::Logfmt, false),
        "time=2026-11-21T07:03:23.274999Z message_id=m event_type=identity.user.deleted kind=user operation=deleted \
         outcome=success initiator.id=e4e1 initiator.name=admin initiator.project_id=p1 initiator.project_name=admin \
         initiator.address=192.0.2.7 resource.id=e580 resource.name=bob"
    );
    let view: Value = serde_json::from_str(&line(&event, LineFormat::Json, true)).unwrap();
    assert_eq!(view, serde_json::to_value(event.structured()).unwrap());
}

#[test]
fn role_assignments_read_as_sentences() {
    let assignment = |operation: &str, parts: Value| {
        let mut payload = json!({"outcome": "success", "role": "r1", "target": {"id": "x"}});
        payload.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
        let event_type = format!("identity.role_assignment.{operation}");
        readable(&event(&json!({"event_type": event_type, "payload": payload})))
    };
    assert_eq!(
        assignment("created", json!({"user": "u1", "project": "p1", "inherited_to_projects": true})),
        "- ROLE_ASSIGNMENT CREATED success: role r1 to user u1 on project p1 (inherited)"
    );
    assert_eq!(
        assignment("deleted", json!({"group": "g1", "domain": "d1", "inherited_to_projects": false})),
        "- ROLE_ASSIGNMENT DELETED success: role r1 of group g1 on domain d1"
    );
}

#[test]
fn hostile_names_forge_nothing() {
    for (name, shown) in [
        ("bob (x) by admin from 10.0.0.1", r#""bob (x) by admin from 10.0.0.1""#),
        ("a\nUSER DELETED", r#""a\nUSER DELETED""#),
        ("\u{1b}[31mred\u{9b}0m", r#""\u{1b}[31mred\u{9b}0m""#),
        ("\u{202e}nimda", r#""\u{202e}nimda""#),
        ("a\" by \"b", r#""a\" by \"b""#),
        ("a\\\" by", r#""a\\\" by""#),
        ("x\u{2028}y\u{200b}", r#""x\u{2028}y\u{200b}""#),
        ("by", r#""by""#),
        ("-", r#""-""#),
        ("bob:", r#""bob:""#),
        ("from=x", r#""from=x""#),
        ("e580f8e3cb8240e1a5b26cd3a7f15e2a", r#""e580f8e3cb8240e1a5b26cd3a7f15e2a""#),
        ("Zoë", r#""Zoë""#),
        ("svc.nova+1@example.org/x_y-z", "svc.nova+1@example.org/x_y-z"),
    ] {
        let line = readable(&deleted_by(name, "192.0.2.7"));
        assert!(
            line.ends_with(&format!(" success: bob (e580) by {shown} (e4e1) in project admin from 192.0.2.7")),
            "{line}"
        );
    }
    let line = readable(&deleted_by("admin", "10.0.0.1 by root"));
    assert!(line.ends_with(r#" from "10.0.0.1 by root""#), "{line}");
    let ipv6 = readable(&deleted_by("admin", "2001:db8::1"));
    assert!(ipv6.ends_with(" from 2001:db8::1"), "{ipv6}");
}

#[test]
fn hostile_reasons_and_types_forge_nothing() {
    let hostile = event(&json!({
        "event_type": "identity.user DELETED success; x\n.up\u{7}dated",
        "payload": {"outcome": "failure", "target": {},
                    "reason": {"reasonCode": "401) by root (", "reasonType": "Could not find user: a (200)\nUSER"}},
    }));
    assert_eq!(
        readable(&hostile),
        r#"- "user DELETED success; x\n" "up\u{7}dated" failure: -: "Could not find user: a (200)\nUSER" ("401) by root (")"#
    );
    let member = event(&json!({
        "event_type": "identity.group.updated",
        "payload": {"resource_info": "g", "actor_id": "a b", "actor_type": "user x", "actor_operation": "added to"},
    }));
    assert_eq!(readable(&member), r#"- GROUP UPDATED success: "user x" "a b" "added to" to group g"#);
}

#[test]
fn what_an_update_changed_is_said() {
    let updated = |kind: &str, change: Change| {
        let body = json!({"event_type": format!("identity.{kind}.updated"), "payload": {"resource_info": "x"}});
        Event { change: Some(change), ..event(&body) }
    };
    let (since, until) = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH);
    let (added, removed) = (vec![], vec![]);
    let none = Change { derived: true, enabled: None, name: None, old_name: None, added, removed, since, until };
    let renamed =
        Change { enabled: Some(false), name: Some("eve".into()), old_name: Some("by".into()), ..none.clone() };
    let mut renamed = updated("user", renamed);
    renamed.resource.name = Some("eve".into());
    assert_eq!(readable(&renamed), r#"- USER UPDATED success: eve (x) disabled renamed from "by""#);
    let user = |id: &str| Reference { id: id.into(), name: (id == "a").then(|| "and".into()) };
    let users = ["a", "b", "c", "d", "e"].map(user).to_vec();
    let grown = updated("group", Change { added: users, removed: vec![user("f")], ..none });
    assert_eq!(
        readable(&grown),
        r#"- GROUP UPDATED success: x added user "and" (a) added user b added user c and 2 more removed user f"#
    );
    let logged = line(&grown, LineFormat::Logfmt, false);
    assert!(logged.ends_with(r#"change.added="a,b,c,d,e" change.removed=f"#), "{logged}");
    let logged = line(&renamed, LineFormat::Logfmt, false);
    assert!(logged.ends_with("change.enabled=false change.name=eve change.old_name=by"), "{logged}");
}

proptest! {
    #[test]
    fn one_event_is_one_line(name in any::<String>(), address in any::<String>(), id in any::<String>()) {
        let mut event = deleted_by(&name, &address);
        event.resource.id = Some(id);
        for format in [LineFormat::Readable, LineFormat::Logfmt, LineFormat::Json] {
            let line = line(&event, format, false);
            let breaks = |letter: char| letter.is_control() || ('\u{2028}'..='\u{202e}').contains(&letter);
            prop_assert!(!line.chars().any(breaks));
        }
    }

    /// Without what stands in quotes, a line is the same whatever the name is.
    #[test]
    fn names_stay_in_their_place(name in "[ -~é\n\u{202e}]{1,20}") {
        let line = readable(&deleted_by(&name, "192.0.2.7"));
        let rest = line.split_once(" success: bob (e580) by ").unwrap().1;
        let rest = rest.strip_suffix(" (e4e1) in project admin from 192.0.2.7").unwrap();
        if let Some(inside) = rest.strip_prefix('"') {
            let inside = inside.strip_suffix('"').unwrap();
            prop_assert!(!inside.replace(r"\\", "").replace("\\\"", "").contains('"'), "{}", line);
        } else {
            prop_assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@.+-/_".contains(&byte)));
        }
    }
}
