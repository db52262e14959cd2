//! What is too much, too large, or not readable: bounded, told, and kept as far as it goes.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::daemon::of_type;
use crate::ground::{Ground, body};
use crate::run_test;
use crate::standins::{Fault as Trouble, Receiver};

#[test]
fn a_full_outbox_gives_up_the_oldest_of_the_fullest_destination() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let lost = Receiver::start().await;
        lost.fault(Trouble::Down).await;
        ground.site = ground
            .site
            .settings(&format!("[http.lost]\nurl = \"{}/\"\n[outbox]\nmax_rows = 20\n", lost.url()))
            .rules("[[rule]]\nname = \"also\"\n[[rule.http]]\nto = \"lost\"\n");
        let daemon = ground.site.consuming().await;
        let given_up = |trail: &[Value]| -> Vec<Value> {
            of_type(trail, "delivery").into_iter().filter(|record| record["outcome"] == "given_up").cloned().collect()
        };
        for batch in 1..=10 {
            ground.publish(10).await;
            ground.receiver.wait_for(10 * batch).await;
        }
        ground.wait_acknowledged().await;
        let trail = ground.site.wait_trail(|trail| given_up(trail).len() >= 80).await;
        // The oldest, in order, all of the destination that is down, each with the reason.
        let records = given_up(&trail);
        assert!(records.iter().all(|record| record["destination"] == "http.lost"), "{records:?}");
        assert!(records[0]["reason"].as_str().unwrap().contains("the outbox is full"), "{}", records[0]);
        let ids: Vec<_> = records.iter().map(|record| record["message_id"].as_str().unwrap()).collect();
        assert_eq!(ids, ground.ids[..ids.len()]);
        lost.heal().await;
        ground.site.cadfd_ok(&["outbox", "retry", "--state", "waiting"]).await;
        let trail = ground.site.wait_trail(|trail| of_type(trail, "delivery").len() == 200).await;
        let done = of_type(&trail, "delivery").iter().filter(|record| record["outcome"] == "done").count();
        assert_eq!(done, 200 - records.len());
        assert_eq!(lost.calls().len(), 100 - records.len());
        daemon.stop().await;
    });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[test]
fn what_cannot_be_read_is_kept_with_its_bytes() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let mut large = body("cadfd000-ffff-4000-8000-000000000000", 1 << 20).into_bytes();
        large.truncate((1 << 20) + 1);
        let bad: Vec<Vec<u8>> = vec![
            Vec::new(),
            b"\xff\xfe not UTF-8".to_vec(),
            body("cut", 0).as_bytes()[..40].to_vec(),
            deep,
            b"{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\\\"a\\\": \\\"\\\\ud800\\\"}\"}".to_vec(),
            b"[NaN]".to_vec(),
            b"{}".to_vec(),
            large,
        ];
        let mut daemon = ground.site.consuming().await;
        ground.vhost.publish("cadfd", &bad).await;
        daemon.wait_log("put into quarantine, from cadfd.info: ").await;
        ground.publish(1).await;
        ground.wait_done().await;
        ground.wait_acknowledged().await;
        assert_eq!(of_type(&ground.site.trail(), "quarantine").len(), bad.len());
        let list = ground.site.cadfd_ok(&["outbox", "list", "--quarantine"]).await;
        assert_eq!(list.lines().count(), bad.len(), "{list}");
        let shown = ground.site.cadfd_ok(&["outbox", "show", "--quarantine", "--json"]).await;
        let mut sums = HashSet::new();
        for (line, bytes) in shown.lines().zip(&bad) {
            let shown: Value = serde_json::from_str(line).unwrap();
            let hex = hex(bytes);
            let kept = shown["body_hex"].as_str().unwrap();
            let whole = bytes.len() <= 1 << 20;
            assert!(if whole { hex == kept } else { kept.len() >= 2048 && hex.starts_with(kept) }, "{}", bytes.len());
            assert_eq!(shown["size"], bytes.len());
            assert_ne!(shown["reason"], "");
            assert_eq!(shown["routing_key"], "cadfd.info");
            sums.insert(shown["sha256"].as_str().unwrap().to_owned());
        }
        assert_eq!(sums.len(), bad.len());
        daemon.stop().await;
        ground.assert_all_done().await;
    });
}

#[test]
fn a_million_bytes_are_kept_and_delivered() {
    run_test(async || {
        let mut ground = Ground::new().await;
        ground.publish_sized(1, 1_000_000 - body(&"x".repeat(36), 0).len()).await;
        ground.finish().await;
    });
}
