//! Other services' notifications, from several queues, through the whole daemon.
//!
//! Its promise: what the rules, the readable line and the trail say of them is what they say of Keystone's.

use std::fs;
use std::path::Path;

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::Value;

use crate::broker::{Broker, Vhost};
use crate::daemon::{Site, of_type};
use crate::run_test;

fn documented(name: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/notifications/documented");
    fs::read_to_string(data.join(format!("{name}.json"))).unwrap()
}

/// As oslo.messaging wraps it.
fn enveloped(inner: &str) -> String {
    serde_json::json!({"oslo.version": "2.0", "oslo.message": inner}).to_string()
}

/// The queue that oslo.messaging declares for notifications of another priority.
async fn declare_priority(vhost: &Vhost, queue: &str) {
    let (channel, none) = (vhost.channel().await, FieldTable::default);
    channel.queue_declare(queue.into(), QueueDeclareOptions::default(), none()).await.unwrap();
    channel
        .queue_bind(queue.into(), "keystone".into(), queue.into(), QueueBindOptions::default(), none())
        .await
        .unwrap();
}

/// Of the record of an event of this type, what a pointer points to.
fn at<'a>(trail: &'a [Value], event_type: &str, pointer: &str) -> &'a str {
    let record = of_type(trail, "event").into_iter().find(|record| record["event_type"] == event_type).unwrap();
    record.pointer(pointer).and_then(Value::as_str).unwrap_or("nothing")
}

#[test]
fn other_services_come_by_queues_of_their_own_and_rules_apply_to_them() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        vhost.declare("versioned_notifications").await;
        declare_priority(&vhost, "cadfd.error").await;
        let read = r"^(cadfd\.info|cadfd\.error|versioned_notifications\.info)$";
        vhost.permit(&vhost.user("cadfd"), ["^$", "^$", read]);
        let site = Site::new(&vhost)
            .variable("CADFD_RABBITMQ__QUEUES", "cadfd.info,cadfd.error,versioned_notifications.info")
            .rules(
                "[[rule]]\nname = \"failed servers\"\nevent_type = [\"instance.*\", \"compute.instance.*\"]\n\
                 outcome = \"failure\"\nwhen = \"kind == 'instance' and operation == 'create'\"\n\
                 [[rule.log]]\ntext = \"{{ resource.name }}: {{ reason.text }}\"\n\
                 [[rule]]\nname = \"all\"\n[[rule.log]]\n",
            );
        let mut daemon = site.start();
        daemon.wait_log_times("consuming queue.name", 3).await;
        vhost.publish("cadfd", [enveloped(&documented("cinder-volume-create-end"))]).await;
        vhost.publish("versioned_notifications", [enveloped(&documented("nova-instance-create-end-versioned"))]).await;
        let failed = [enveloped(&documented("nova-compute-instance-create-error"))];
        vhost.publish_as("cadfd.error", failed).await;
        let trail = site.wait_trail(|trail| of_type(trail, "event").len() == 3).await;

        let server = "instance.create.end";
        for (event_type, pointer, value) in [
            ("volume.create.end", "/source/queue", "cadfd.info"),
            ("volume.create.end", "/resource/name", "data-7"),
            ("volume.create.end", "/initiator/address", "203.0.113.24"),
            ("compute.instance.create.error", "/source/queue", "cadfd.error"),
            ("compute.instance.create.error", "/reason/text", "No valid host was found."),
            (server, "/source/queue", "versioned_notifications.info"),
            (server, "/kind", "instance"),
            (server, "/operation", "create"),
            (server, "/outcome", "success"),
            (server, "/resource/id", "c03c0bf9-f46e-4e4f-93f1-817568567ee2"),
            (server, "/initiator/name", "alice"),
            (server, "/initiator/project_name", "acme"),
            (server, "/request_id", "req-5f8e27f3-3ad2-4b55-9d9a-6f0f4fd3d0a1"),
        ] {
            assert_eq!(at(&trail, event_type, pointer), value, "{event_type} {pointer}");
        }
        let out = daemon.wait_out(|out| out.lines().count() == 4).await;
        for line in
            ["web-7: No valid host was found.", " INSTANCE CREATE failure: web-7 (", " VOLUME CREATE success: data-7 ("]
        {
            assert!(out.contains(line), "{line}: {out}");
        }
        daemon.stop().await;
        // As for Keystone's: by who did it, and what it was done to.
        let found = site.cadfd_ok(&["search", "--user", "alice"]).await;
        assert_eq!(found.lines().count(), 2, "{found}");
    });
}
