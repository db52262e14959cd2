//! HTTP as others want it: Aodh's alarms, CloudEvents, Splunk's collector, a client certificate.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::broker::{Broker, Vhost};
use crate::certificates::{Authority, mutual};
use crate::daemon::{Site, of_type};
use crate::example::Example;
use crate::notification::{ADMIN, Notification, cadf, user_deleted, v2};
use crate::run_test;
use crate::standins::{Call, Fault, Receiver, Splunk};

/// Impatient enough for a test.
const LIMITS: &str = "retry_first = \"40ms\"\nretry_max = \"200ms\"\n";

/// Reads one HTTP message, as JSON on its input, with the SDK; writes what it says.
const READ: &str = r#"
import json, sys
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
given = json.load(sys.stdin)
event = from_http_event(HTTPMessage(headers=given["headers"], body=given["body"].encode()))
assert type(event).__module__ == "cloudevents.core.v1.event", type(event)
attributes = {key: str(value) for key, value in event.get_attributes().items()}
json.dump({"attributes": attributes, "data": event.get_data()}, sys.stdout)
"#;

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    vhost
}

/// What a rule of this format makes of these, in their order.
async fn called(rule: &str, receiver: &Receiver, events: &[Notification]) -> (Vec<Call>, Vec<Value>) {
    let vhost = vhost().await;
    let settings = format!("[http.x]\nurl = \"{}/alarms\"\nconcurrency = 1\n{LIMITS}", receiver.url());
    let site = Site::new(&vhost).settings(&settings).rules(rule);
    let daemon = site.consuming().await;
    vhost.publish("cadfd", events).await;
    let calls = receiver.wait_for(events.len()).await;
    let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == events.len()).await;
    daemon.stop().await;
    assert!(of_type(&trail, "delivery").iter().all(|it| it["outcome"] == "done"), "{trail:?}");
    (calls, trail)
}

#[test]
fn a_receiver_that_was_written_for_aodh_is_called_as_aodh_calls() {
    run_test(async || {
        let receiver = Receiver::start().await;
        let rule =
            "[[rule]]\nname = \"a user was deleted\"\n[[rule.http]]\nformat = \"aodh\"\nseverity = \"moderate\"\n";
        let event = user_deleted("u1");
        let (calls, _) = called(rule, &receiver, std::slice::from_ref(&event)).await;
        let [call] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/alarms"));
        assert_eq!(call.header("content-type"), "application/json");
        let request = call.header("x-openstack-request-id");
        let uuid = request.strip_prefix("req-").unwrap_or_else(|| panic!("{request}"));
        assert!(uuid.len() == 36 && uuid.split('-').count() == 5, "{request}");
        let body = call.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        let aodhs = ["alarm_name", "alarm_id", "severity", "previous", "current", "reason", "reason_data"];
        assert_eq!(keys, aodhs);
        assert_eq!((&body["alarm_name"], &body["severity"]), (&json!("a user was deleted"), &json!("moderate")));
        assert_eq!((&body["previous"], &body["current"]), (&json!("insufficient data"), &json!("alarm")));
        let told = &body["reason_data"]["event"];
        assert_eq!(
            (&told["message_id"], &told["event_type"]),
            (&json!(event.message_id), &json!("identity.user.deleted"))
        );
        assert_eq!(told["generated"], "2026-11-21T07:02:29.704170");
        // As a receiver reads traits: by their names.
        let traits = told["traits"].as_array().unwrap();
        let get = |name: &str| traits.iter().find(|it| it[0] == name).map(|it| it[2].clone());
        assert_eq!((get("resource_id"), get("initiator_id")), (Some(json!("u1")), Some(json!(ADMIN))));
        assert_eq!(get("service"), Some(json!("identity.ctl1")));
    });
}

#[test]
fn the_cloudevents_sdk_reads_what_is_sent() {
    run_test(async || {
        let receiver = Receiver::start().await;
        let rule = "[[rule]]\nname = \"r\"\n[[rule.http]]\nformat = \"cloudevents\"\n";
        let hostile = "t\r\nx-injected: y\u{1}\u{202e} \"%";
        let tag = cadf("identity.project tag.created", &json!({"resource_info": hostile, "target": {"id": hostile}}));
        let other = json!({
            "event_type": "compute.instance.create.end", "publisher_id": "compute.node 1/ü", "payload": {"instance_id": "i1"},
            "timestamp": "2026-11-21 07:00:00",
        });
        let events = [user_deleted("u1"), tag, v2(&other)];
        let (calls, trail) = called(rule, &receiver, &events).await;
        for (call, event) in calls.iter().zip(&events) {
            assert_eq!(call.header("content-type"), "application/cloudevents+json");
            assert_eq!(call.header("x-injected"), "");
            let read = read_with_sdk(call).await;
            let attributes = &read["attributes"];
            assert_eq!(
                (&attributes["specversion"], &attributes["id"]),
                (&json!("1.0"), &json!(call.header("x-cadfd-delivery")))
            );
            assert_eq!(read["data"]["message_id"], event.message_id, "the normalised event: {read}");
            // The same as a rule without a format sends, and as the trail has it.
            let record = of_type(&trail, "event").into_iter().find(|it| it["message_id"] == event.message_id).unwrap();
            for key in ["event_type", "outcome", "initiator", "resource", "payload"] {
                assert_eq!(read["data"][key], record[key], "{key}");
            }
        }
        let [user, tag, other] = [0, 1, 2].map(|at| calls[at].json());
        assert_eq!(
            [&user["type"], &user["source"], &user["subject"], &user["time"]],
            [
                "org.openstack.identity.user.deleted",
                "/openstack/identity.ctl1",
                "user/u1",
                "2026-11-21T07:02:29.70417Z"
            ]
        );
        assert_eq!(tag["type"], "org.openstack.identity.project_tag.created");
        assert_eq!(other["source"], "/openstack/compute.node%201%2F%C3%BC");
        assert_eq!(other["time"], "2026-11-21T07:00:00Z");
    });
}

#[test]
fn a_repeat_has_the_id_of_the_first_time() {
    run_test(async || {
        let receiver = Receiver::start().await;
        // Taken, and the answer lost: it comes again.
        receiver.fault_times(1, Fault::Cut(0)).await;
        let rule = "[[rule]]\nname = \"r\"\n[[rule.http]]\nformat = \"cloudevents\"\n";
        let vhost = vhost().await;
        let settings = format!("[http.x]\nurl = \"{}/\"\n{LIMITS}", receiver.url());
        let site = Site::new(&vhost).settings(&settings).rules(rule);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", [user_deleted("u1")]).await;
        let calls = receiver.wait_for(2).await;
        daemon.stop().await;
        assert_eq!(calls[0].json()["id"], calls[1].json()["id"]);
        assert_eq!(calls[0].body, calls[1].body);
    });
}

#[test]
fn a_receiver_that_wants_a_client_certificate_gets_the_settings_one() {
    run_test(async || {
        let (vhost, authority) = (vhost().await, Authority::new());
        let server = mutual(&authority, &authority.issue(&["localhost"]));
        let receiver = Receiver::start_with(0, Some(server)).await;
        let (ca, ours) = (authority.ca_file(), authority.issue(&["cadfd"]));
        let (ca, cert, key) = (ca.display(), ours.cert_file.display(), ours.key_file.display());
        let with = format!("cert_file = \"{cert}\"\nkey_file = \"{key}\"\n");
        let table = |name: &str, more: &str| {
            format!("[http.{name}]\nurl = \"{}/{name}\"\nca_file = \"{ca}\"\n{LIMITS}{more}", receiver.url())
        };
        let site = Site::new(&vhost)
            .settings(&table("with", &with))
            .settings(&table("without", ""))
            .rules("[[rule]]\nname = \"r\"\n[[rule.http]]\nto = \"with\"\n[[rule.http]]\nto = \"without\"\n");
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", [user_deleted("u1")]).await;
        let calls = receiver.wait_for(1).await;
        daemon.wait_log("destination lost: ").await;
        let log = daemon.stop().await;
        assert!(log.contains("http.without") && !log.contains("http.with "), "{log}");
        assert_eq!(calls.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), ["/with"]);
    });
}

async fn read_with_sdk(call: &Call) -> Value {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cloudevents/bin/python");
    assert!(python.exists(), "{} is missing: .ci/cloudevents", python.display());
    let headers: serde_json::Map<_, _> = call
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
        .collect();
    let given = json!({"headers": headers, "body": String::from_utf8(call.body.clone()).unwrap()}).to_string();
    let mut process = Command::new(python)
        .args(["-I", "-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
    let output = process.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}\n{given}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn splunk_example(splunk: &Splunk, token: &str) -> Example {
    Example::read("splunk-hec.toml")
        .with("https://splunk.example.org:8088", &splunk.url())
        .secret("password", "splunk.token", token)
        .with("[http.splunk]\n", &format!("[http.splunk]\n{LIMITS}"))
}

#[test]
fn the_shipped_example_brings_events_to_splunk() {
    run_test(async || {
        let (vhost, splunk) = (vhost().await, Splunk::start().await);
        let example = splunk_example(&splunk, Splunk::TOKEN);
        let site = Site::new(&vhost).settings(&example.settings).rules(&example.rules);
        let daemon = site.consuming().await;
        // Busy once: code 9 in the documentation.
        splunk.fault_times(1, Fault::Status(503)).await;
        let grant = cadf("identity.role_assignment.created", &json!({"role": "r1", "user": "u\"1\n", "project": "p1"}));
        let events = [user_deleted("u1"), grant];
        vhost.publish("cadfd", &events).await;
        let indexed = splunk.wait_for(2).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 2).await;
        daemon.stop().await;
        assert!(of_type(&trail, "delivery").iter().all(|it| it["outcome"] == "done"), "{trail:?}");
        let find = |kind: &str| indexed.iter().find(|it| it["event"]["event_type"] == kind).unwrap();
        let user = find("identity.user.deleted");
        assert_eq!(user["time"].to_string(), "1795244549.70417", "2026-11-21T07:02:29.704170Z");
        assert_eq!((&user["host"], &user["sourcetype"]), (&json!("identity.ctl1"), &json!("cadfd:event")));
        assert_eq!(
            (&user["event"]["initiator"]["name"], &user["event"]["resource"]["id"]),
            (&json!("admin"), &json!("u1"))
        );
        assert_eq!(find("identity.role_assignment.created")["event"]["assignment"]["user"]["id"], "u\"1\n");
    });
}

#[test]
fn a_wrong_token_is_said_in_splunks_words_and_not_shown() {
    run_test(async || {
        let (vhost, splunk) = (vhost().await, Splunk::start().await);
        let example = splunk_example(&splunk, "wrong-hunter2");
        let site = Site::new(&vhost).settings(&example.settings).rules(&example.rules);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", [user_deleted("u1")]).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        daemon.stop().await;
        let delivery = of_type(&trail, "delivery")[0];
        assert_eq!(delivery["outcome"], "given_up");
        assert_eq!(delivery["reply"], "{\"text\":\"Invalid token\",\"code\":4}", "{delivery}");
        assert!(!delivery.to_string().contains("hunter2") && splunk.events().is_empty(), "{delivery}");
    });
}
