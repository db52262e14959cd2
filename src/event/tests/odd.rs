//! A notification with an odd payload is still an event, which says what was odd.

use super::*;

/// Sets the value at a JSON pointer.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

#[test]
fn fields_of_the_wrong_type() {
    for (pointer, value, odd) in [
        ("/payload/initiator/id", json!([1]), vec!["payload.initiator.id: expected a string, found an array"]),
        (
            "/payload/initiator/user_id",
            json!({"a": [1]}),
            vec!["payload.initiator.user_id: expected a string, found an object"],
        ),
        ("/payload/initiator", json!("bob"), vec!["payload.initiator: expected an object, found a string"]),
        (
            "/payload/initiator/host",
            json!(false),
            vec!["payload.initiator.host: expected an object, found true or false"],
        ),
        (
            "/payload/initiator/credential",
            json!({"groups": "x"}),
            vec!["payload.initiator.credential.groups: expected an array, found a string"],
        ),
        ("/payload/target", json!(7), vec!["payload.target: expected an object, found a number"]),
        ("/payload/reason", json!([]), vec!["payload.reason: expected an object, found an array"]),
        (
            "/payload/attachments",
            json!([1, {"name": []}]),
            vec![
                "payload.attachments[]: expected an object, found a number",
                "payload.attachments[].name: expected a string, found an array",
            ],
        ),
        ("/payload/outcome", json!("maybe"), vec!["payload.outcome: expected success, failure, pending or unknown"]),
        ("/payload/outcome", json!(null), vec!["payload.outcome: missing"]),
        ("/payload/outcome", json!(true), vec!["payload.outcome: expected a string, found true or false"]),
        ("/payload/resource_info", json!({}), vec!["payload.resource_info: expected a string, found an object"]),
        ("/timestamp", json!("yesterday"), vec!["timestamp: not a time that could be read"]),
        ("/timestamp", json!({}), vec!["timestamp: expected a string, found an object"]),
        ("/priority", json!([]), vec!["priority: expected a string, found an array"]),
        ("/publisher_id", json!(true), vec!["publisher_id: expected a string, found true or false"]),
        ("/payload/initiator", json!(null), vec![]),
        ("/payload/target/id", json!(12), vec![]),
        ("/payload/new_key", json!({"a": [null]}), vec![]),
    ] {
        let object = with(user_deleted(), pointer, value);
        let event = decoded(&object);
        assert_eq!(event.odd, odd, "{pointer}");
        assert_eq!((event.format, event.kind.as_str(), event.operation.as_str()), (Format::Cadf, "user", "deleted"));
        assert_eq!(event.payload.value(), &object["payload"], "the rest stays in the payload");
    }
}

#[test]
fn payloads_that_are_no_objects() {
    for (payload, found) in [
        (json!(null), "null"),
        (json!([{"a": 1}]), "an array"),
        (json!("x"), "a string"),
        (json!(7), "a number"),
        (json!(true), "true or false"),
    ] {
        for (event_type, format) in [("identity.user.deleted", Format::Basic), ("port.create.end", Format::Generic)] {
            let event = decoded(&json!({"event_type": event_type, "message_id": "m", "payload": payload}));
            let remark = format!("payload: expected an object, found {found}");
            assert_eq!(event.odd, [remark, "timestamp: missing".to_owned()]);
            assert_eq!((event.format, event.payload.value()), (format, &payload));
        }
    }
    assert_eq!(decoded(&json!({"event_type": "x", "message_id": "m"})).payload.text(), "null");
}

#[test]
fn a_missing_message_id_is_derived_from_the_body() {
    for id in [json!(null), json!(""), json!([]), json!(false)] {
        let body = with(user_deleted(), "/message_id", id).to_string();
        let event = decode(body.as_bytes()).unwrap();
        assert_eq!(event.message_id, digest(body.as_bytes()));
        assert_eq!(event.odd.last().unwrap(), "message_id: missing, so it is derived from the body's digest");
    }
    // `printf '{"event_type": "x"}' | sha256sum`
    let event = decode(br#"{"event_type": "x"}"#).unwrap();
    assert_eq!(event.message_id, "sha256:ee61192658ba30e9bba7992e20e21425");
    assert_eq!(decoded(&json!({"event_type": "x", "message_id": 7})).message_id, "7");
}

#[test]
fn keys_given_twice_and_numbers_out_of_range() {
    let body = r#"{"event_type": "a", "event_type": "identity.user.deleted", "message_id": "m",
        "timestamp": "2026-01-01 00:00:00",
        "payload": {"outcome": "success", "initiator": {"user_id": "x", "user_id": "y"}, "target": {"id": 1e999}}}"#;
    let event = decode(body.as_bytes()).unwrap();
    assert_eq!((event.initiator.id.as_deref(), event.resource.id.as_deref()), (Some("y"), Some("1e999")));
    assert_eq!(
        event.odd,
        [
            "event_type: given more than once, the last one counts",
            "payload: a field is given more than once, the last one counts",
        ]
    );
    let event = decode(br#"{"event_type": "identity.user.x", "payload": {"resource_info": 1e999}}"#).unwrap();
    assert_eq!(event.resource.id.as_deref(), Some("1e999"));
    assert!(event.odd.contains(&"payload: a number is out of range, it is read as its text".to_owned()));
}

#[test]
fn times() {
    for (text, time) in [
        ("2026-11-21 07:03:23.274482", "2026-11-21T07:03:23.274482Z"),
        ("2026-11-21 07:03:23", "2026-11-21T07:03:23Z"),
        ("2026-11-21T07:03:23.5", "2026-11-21T07:03:23.5Z"),
        ("2026-11-21T07:03:23.244635+0000", "2026-11-21T07:03:23.244635Z"),
        ("2014-02-14T01:20:47.932842+00:00", "2014-02-14T01:20:47.932842Z"),
        ("2026-11-21T07:03:23Z", "2026-11-21T07:03:23Z"),
        ("2026-11-21 09:03:23.000001+0200", "2026-11-21T07:03:23.000001Z"),
        ("2026-11-21T07:03:23.123456789Z", "2026-11-21T07:03:23.123456Z"),
        ("0000-01-01 00:00:00", "0000-01-01T00:00:00Z"),
    ] {
        let event = decoded(&json!({"event_type": "x", "timestamp": text, "payload": {}}));
        assert_eq!(event.time().as_deref(), Some(time), "{text}");
    }
    for text in
        ["-000001-01-01 00:00:00", "2026-13-01 00:00:00", "2026", "1700000000", "now", "9999-12-31T23:59:59-23:00"]
    {
        let event = decoded(&json!({"event_type": "x", "timestamp": text, "payload": {}}));
        assert_eq!(event.timestamp, None, "{text}");
        assert!(event.odd.contains(&"timestamp: not a time that could be read".to_owned()));
    }
    let mut object = user_deleted();
    object.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(decoded(&object).time().unwrap(), "2016-09-26T07:08:01.210879Z", "the event's own time stands in");
}

#[test]
fn kinds_and_operations() {
    for (event_type, kind, operation) in [
        ("identity.user.deleted", "user", "deleted"),
        ("identity.authenticate", "user", "authenticate"),
        ("identity.authenticate.failure", "user", "authenticate"),
        ("identity.OS-TRUST:trust.created", "trust", "created"),
        ("identity.OS-OAUTH1:access_token.deleted", "access_token", "deleted"),
        ("identity.project tag.created", "project tag", "created"),
        ("identity.role_assignment.created", "role_assignment", "created"),
        ("identity.authenticated", "identity", "authenticated"),
        ("security_group_rule.create.end", "security_group_rule", "create"),
        ("compute.instance.create.error", "instance", "create"),
        ("volume.usage", "volume", "usage"),
        ("Image.Create", "Image", "Create"),
        ("create.end", "create", "end"),
        ("boom", "boom", "boom"),
        ("end", "end", "end"),
        ("..", "..", ".."),
        (".end", ".end", "end"),
        ("a:.b", "a:.b", "b"),
    ] {
        assert_eq!(kind::of(event_type), (kind.to_owned(), operation.to_owned()), "{event_type}");
    }
}

#[test]
fn initiators() {
    let read = |initiator: Value| {
        decoded(
            &json!({"event_type": "identity.user.updated", "payload": {"outcome": "success", "initiator": initiator}}),
        )
        .initiator
        .id
    };
    let made_up = "61402033-6ad1-525b-8014-38b701b458b8";
    assert_eq!(read(json!({"id": "openstack:abc"})).as_deref(), Some("abc"));
    assert_eq!(read(json!({"id": made_up, "user_id": "u"})).as_deref(), Some("u"));
    assert_eq!(read(json!({"id": made_up})), None);
    assert_eq!(read(json!({"id": made_up, "user_name": "nobody"})), None);
    assert_eq!(read(json!({"id": made_up, "credential": {"user": "fed"}})).as_deref(), Some("fed"));
    assert_eq!(read(json!({"id": made_up, "credential": {"user": "unknown", "type": "t"}})), None);
    assert_eq!(
        read(json!({"id": "61402033-6ad1-425b-8014-38b701b458b8"})).as_deref(),
        Some("61402033-6ad1-425b-8014-38b701b458b8")
    );
}

#[test]
fn other_services() {
    let event = decoded(&json!({
        "event_type": "instance.create.end", "priority": "INFO", "_context_remote_address": "192.0.2.1",
        "_context_request_id": "req-1", "_context_user": "u", "_context_tenant": "t",
        "payload": {"nova_object.name": "InstanceCreatePayload",
                    "nova_object.data": {"uuid": "i-1", "display_name": "web", "image_uuid": "x"}},
    }));
    assert_eq!((event.resource.id.as_deref(), event.resource.name.as_deref()), (Some("i-1"), Some("web")));
    assert_eq!((event.initiator.id.as_deref(), event.initiator.project_id.as_deref()), (Some("u"), Some("t")));
    assert_eq!((event.initiator.address.as_deref(), event.request_id.as_deref()), (Some("192.0.2.1"), Some("req-1")));
    let audit = decoded(&json!({"event_type": "audit.http.request", "payload": {
        "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event", "outcome": "pending",
        "initiator": {"id": "openstack:u", "name": "bob", "credential": {"token": "xxxx", "identity_status": "Confirmed"}},
        "target": {"id": "nova", "name": "nova"},
    }}));
    assert_eq!((audit.format, audit.outcome, audit.initiator.federation), (Format::Cadf, Outcome::Pending, None));
    let lookalike = decoded(&json!({"event_type": "stack.x.end", "payload": {"outcome": "odd", "target": "x"}}));
    assert_eq!((lookalike.format, lookalike.outcome), (Format::Generic, Outcome::Success));
}

#[test]
fn remarks_are_bounded() {
    let event = decoded(&with(user_deleted(), "/payload/attachments", json!(vec![1; 1000])));
    assert_eq!((event.odd.len(), event.odd.last().map(String::as_str)), (MAX_ODD + 1, Some("and 980 more")));
}
