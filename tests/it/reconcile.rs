//! Keystone's own log held against the trail, and what was missing added to it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::broker::Broker;
use crate::daemon::{Site, message_ids, of_type};
use crate::fault::Fault;
use crate::notification::{Notification, ids, v2};
use crate::run_test;
use crate::vhost::Vhost;

/// What two Keystone nodes say: one a minute, the first at 07:00.
fn said(publisher: &str, minutes: std::ops::Range<usize>) -> Vec<Notification> {
    minutes
        .map(|minute| said_at(publisher, &format!("2026-11-20 {:02}:{:02}:00.123456", 7 + minute / 60, minute % 60)))
        .collect()
}

fn said_at(publisher: &str, time: &str) -> Notification {
    let payload = json!({"resource_info": "af753ff647084a5d9c16ec273da4a823"});
    v2(
        &json!({"event_type": "identity.user.deleted", "publisher_id": publisher, "timestamp": time, "payload": payload}),
    )
}

/// The line that Keystone's driver `log` writes of it: the same message, without `_unique_id`.
fn line(notification: &Notification) -> String {
    let envelope: Value = serde_json::from_slice(&notification.body).unwrap();
    let mut inner: Value = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
    inner.as_object_mut().unwrap().remove("_unique_id");
    let event_type = inner["event_type"].as_str().unwrap();
    format!(
        "2026-11-20 08:03:38.303 29273 INFO oslo.messaging.notification.{event_type} [None req-b47a5081 - - - - -] {inner}\n"
    )
}

/// A log: notifications among what else Keystone says.
fn log(notifications: &[Notification]) -> String {
    let other = "2026-11-20 08:03:38.300 29273 INFO keystone.server [-] GET http://192.0.2.7/v3/ {\"event_type\": 1}\n";
    notifications.iter().map(|it| other.to_owned() + &line(it)).collect()
}

struct Scene {
    vhost: Vhost,
    site: Site,
}

impl Scene {
    async fn new() -> Self {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let site =
            Site::new(&vhost).rules("[[rule]]\nname = \"all\"\n[[rule.log]]\ntext = \"line {{ message_id }}\"\n");
        Self { vhost, site }
    }

    /// A trail with these, whose daemon has been stopped.
    async fn with(notifications: &[Notification]) -> Self {
        let scene = Self::new().await;
        let daemon = scene.site.consuming().await;
        scene.vhost.publish("cadfd", notifications.iter()).await;
        scene.site.wait_events(&ids(notifications)).await;
        daemon.stop().await;
        scene
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.site.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    async fn reconcile(&self, log: &Path, args: &[&str]) -> (Option<i32>, String) {
        let mut all = vec!["reconcile", log.to_str().unwrap()];
        all.extend(args);
        let output = self.site.cadfd(&all).await;
        (output.status.code(), told(&output))
    }

    async fn verified(&self) {
        let verified = self.site.cadfd_ok(&["verify"]).await;
        assert!(verified.ends_with("not altered\n"), "{verified}");
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn each_side_says_what_the_other_lacks() {
    run_test(async || {
        let one = said("identity.one", 0..60);
        let two = said("identity.two", 0..60);
        let mut in_trail = one.clone();
        in_trail.extend(two.clone());
        let scene = Scene::with(&in_trail).await;

        // One node's log, rotated and packed in every way; the name stands for all.
        scene.write("keystone.log.3.zst", zstd::encode_all(log(&one[..20]).as_bytes(), 1).unwrap());
        scene.write("keystone.log.2.gz", gzip(&log(&one[20..40])));
        scene.write("keystone.log-20261120", log(&one[40..50]));
        let newest = scene.write("keystone.log", log(&one[50..]));
        let (status, text) = scene.reconcile(&newest, &[]).await;
        assert_eq!(status, Some(0), "{text}");
        assert!(
            text.contains("identity.one: 60 messages, from 2026-11-20T07:00:00.123456Z to 2026-11-20T07:59:00.123456Z"),
            "{text}"
        );
        // The other node has a log of its own, which is not there: nothing is said to be lacking in it.
        assert!(text.contains("60 in both; the trail lacks 0; the log (4 files) lacks 0"), "{text}");

        // Both nodes' logs; one has lost two messages in the middle, and the trail two others, one told twice.
        let missed =
            [said_at("identity.one", "2026-11-20 07:30:30.5"), said_at("identity.two", "2026-11-20 07:30:31.5")];
        let mut logged = two.clone();
        let lost: Vec<_> = logged.drain(10..12).collect();
        logged.extend(missed.clone());
        logged.push(missed[0].clone());
        let other = scene.write("other.log", log(&logged));
        let both = [other.to_str().unwrap()];
        let (status, text) = scene.reconcile(&newest, &both).await;
        assert_eq!(status, Some(1), "{text}");
        // Nobody reads what is said.
        let (gone, out) = std::io::pipe().unwrap();
        drop(gone);
        let mut command = scene.site.command(&["reconcile", newest.to_str().unwrap(), both[0]]);
        assert_eq!(command.stdout(out).status().await.unwrap().code(), Some(1));
        let lines =
            |what: &str| text.lines().filter(|line| line.starts_with(what)).map(str::to_owned).collect::<Vec<_>>();
        let [trail_lacks, log_lacks] = ["the trail lacks  ", "the log lacks    "].map(lines);
        assert_eq!((trail_lacks.len(), log_lacks.len()), (2, 2), "{text}");
        for (line, message) in trail_lacks.iter().zip(&missed) {
            assert!(line.contains(&message.message_id) && line.contains("other.log:1"), "{line}");
        }
        for (line, message) in log_lacks.iter().zip(&lost) {
            assert!(
                line.contains(&message.message_id) && line.contains("USER DELETED") && line.contains("record "),
                "{line}"
            );
        }
        let (status, text) = scene.reconcile(&newest, &[both[0], "--json"]).await;
        let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |side: &str| all.iter().filter(|it| it["lacking"] == side).collect::<Vec<_>>();
        assert_eq!((status, of("trail").len(), of("log").len()), (Some(1), 2, 2), "{text}");
        assert_eq!(of("trail")[0]["line"], 118, "every second line of 58 messages, and then it");
        assert_eq!(of("log")[0]["message_id"], *lost[0].message_id);
        let summary = &all.last().unwrap()["summary"];
        assert_eq!(
            (&summary["both"], &summary["trail_lacks"], &summary["log_lacks"]),
            (&json!(118), &json!(2), &json!(2))
        );

        // Within a range that has none of them.
        let range = [both[0], "--since", "2026-11-20T07:31:00Z", "--until", "2026-11-20T07:50:00Z"];
        assert_eq!(scene.reconcile(&newest, &range).await.0, Some(0));
        let range = [both[0], "--until", "2026-11-20T07:12:00Z"];
        let (status, text) = scene.reconcile(&newest, &range).await;
        assert!(status == Some(1) && text.contains("the trail lacks 0; the log (5 files) lacks 2"), "{text}");
        // From standard input, against a trail that was named, without any settings.
        let trail = scene.site.audit_path();
        let mut child = scene.site.command(&["reconcile", "-", "--trail", trail.to_str().unwrap()]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(log(&two).as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success() && told(&output).contains("60 in both"), "{}", told(&output));
    });
}

#[test]
fn a_live_log_is_given_its_time_and_what_cannot_be_read_is_said() {
    run_test(async || {
        let known = said("identity.one", 0..3);
        let scene = Scene::with(&known).await;
        let now = jiff::Timestamp::now().to_string().replace('T', " ").replace('Z', "");
        let young = said_at("identity.one", &now);
        let torn = line(&said_at("identity.one", "2026-11-20 07:30:00.0"));
        let live = scene.write("keystone.log", log(&known) + &line(&young) + &torn[..torn.len() - 40]);
        let (status, text) = scene.reconcile(&live, &["--grace", "1h"]).await;
        assert!(status == Some(0) && text.contains("1 are younger than 1h and not in the trail yet"), "{text}");
        let (status, text) = scene.reconcile(&live, &["--grace", "0s"]).await;
        assert!(status == Some(1) && text.contains(&young.message_id), "{text}");
        // The same within the log is no torn end.
        let broken = log(&known[..1]) + &torn[..torn.len() - 40] + "\n" + &log(&known[1..]);
        let path = scene.write("broken.log", broken);
        let (status, text) = scene.reconcile(&path, &[]).await;
        assert!(status == Some(2) && text.contains("cannot be read") && text.contains("broken.log:3: "), "{text}");
        // Nothing to hold against the trail, or no trail, or no log: nobody can tell.
        let path = scene.write("none.log", "2026-11-20 08:03:38.300 29273 INFO keystone.server [-] GET /v3/\n");
        let (status, text) = scene.reconcile(&path, &[]).await;
        assert!(status == Some(2) && text.contains("does keystone.conf say driver = log?"), "{text}");
        let (status, text) = scene.reconcile(&live, &["--trail", "/nonexistent/audit.log"]).await;
        assert_eq!(status, Some(2), "{text}");
        let (status, text) = scene.reconcile(Path::new("/nonexistent.log"), &[]).await;
        assert!(status == Some(2) && text.contains("does not exist"), "{text}");
        let (status, text) = scene.reconcile(&live, &["--since", "someday"]).await;
        assert!(status == Some(2) && text.contains("is no time"), "{text}");
    });
}

#[test]
fn what_is_missing_is_imported_once_beside_the_running_daemon() {
    run_test(async || {
        let known = said("identity.one", 0..3);
        let missing = said("identity.one", 3..6);
        let scene = Scene::with(&known).await;
        let names = scene.write("names.csv", "kind,id,name\nuser,af753ff647084a5d9c16ec273da4a823,carol\n");
        scene.site.cadfd_ok(&["names", "import", names.to_str().unwrap()]).await;
        let mut daemon = scene.site.consuming().await;
        let both: Vec<_> = known.iter().chain(&missing).cloned().collect();
        let path = scene.write("keystone.log", log(&both));
        let (status, text) = scene.reconcile(&path, &["--import"]).await;
        assert!(status == Some(2) && text.contains("Add 3 messages") && text.contains("say --yes"), "{text}");
        assert_eq!(message_ids(&scene.site.trail()).len(), 3, "nobody agreed");

        let (status, text) = scene.reconcile(&path, &["--import", "--yes"]).await;
        assert!(status == Some(0) && text.contains("3 imported"), "{text}");
        let trail = scene.site.wait_events(&ids(&both)).await;
        let events = of_type(&trail, "event");
        assert_eq!(message_ids(&trail), ids(&both), "in the order of the log");
        for (event, at) in events[3..].iter().zip([8, 10, 12]) {
            assert_eq!(event["imported"]["from"], format!("{}:{at}", fs::canonicalize(&path).unwrap().display()));
            assert_eq!((&event["imported"]["at"], &event["source"]), (&event["received"], &Value::Null));
            assert_eq!((&event["planned"], &event["publisher_id"]), (&json!([]), &json!("identity.one")));
            assert_eq!(event["resource"]["name"], "carol", "a name that is known");
        }
        assert!(events[..3].iter().all(|event| event["imported"].is_null() && event["source"].is_object()));
        let (status, text) = scene.reconcile(&path, &["--import", "--yes"]).await;
        assert!(status == Some(0) && text.contains("6 in both"), "{text}");

        // It comes after all: it is known, and no rule applies.
        scene.vhost.publish("cadfd", missing.iter()).await;
        let last = said("identity.one", 6..7);
        scene.vhost.publish("cadfd", last.iter()).await;
        daemon.wait_out(|out| out.contains(&last[0].message_id)).await;
        let out = daemon.stop_and_out().await;
        assert!(missing.iter().all(|it| !out.contains(&it.message_id)), "{out}");
        assert_eq!(message_ids(&scene.site.trail()).len(), 7);
        scene.verified().await;
    });
}

#[test]
fn an_import_is_exact_whenever_the_daemon_is_killed() {
    run_test(async || {
        let scene = Scene::with(&said("identity.one", 0..1)).await;
        let mut imported = Vec::new();
        for nth in 1.. {
            assert!(nth < 100, "never outlived its work");
            let missing = said("identity.one", 2 * nth..2 * nth + 2);
            imported.extend(ids(&missing));
            let path = scene.write("new.log", log(&missing));
            // No daemon runs; typed twice, it is the same.
            for _ in 0..2 {
                let (status, text) = scene.reconcile(&path, &["--import", "--yes"]).await;
                assert!(status == Some(1) && text.contains("at its next start"), "{text}");
            }
            let fault = Fault::at("write,sync", "*/cadfd.db-wal", nth, "kill-after");
            let mut daemon = scene.site.start_under(&fault);
            let status = tokio::select! {
                status = daemon.ended() => status,
                _ = scene.site.wait_events(&imported) => {
                    daemon.terminate();
                    daemon.ended().await
                }
            };
            if status.success() {
                break;
            }
        }
        let trail = scene.site.trail();
        assert_eq!(message_ids(&trail)[1..], imported, "each once, in order");
        scene.verified().await;
    });
}

#[test]
fn an_import_that_is_killed_itself_is_typed_again() {
    run_test(async || {
        let scene = Scene::with(&said("identity.one", 0..1)).await;
        // More than one transaction hands over.
        let missing = said("identity.one", 1..700);
        let path = scene.write("keystone.log", log(&missing));
        let mut killed = 0;
        for nth in 1.. {
            assert!(nth < 100, "never outlived its work");
            let fault = Fault::at("write,sync", "*/cadfd.db-wal", nth, "kill-before");
            let mut command = scene.site.command(&["reconcile", path.to_str().unwrap(), "--import", "--yes"]);
            fault.arm(&mut command);
            let output = command.output().await.unwrap();
            if output.status.code().is_some() {
                assert!(told(&output).contains("699 handed over"), "{}", told(&output));
                break;
            }
            killed += 1;
        }
        assert!(killed > 2, "{killed}");
        let mut daemon = scene.site.start();
        scene.site.wait_events(&ids(&missing)).await;
        daemon.signal(Signal::KILL);
        daemon.ended().await;
        scene.site.consuming().await.stop().await;
        assert_eq!(message_ids(&scene.site.trail())[1..], ids(&missing));
        scene.verified().await;
    });
}

#[test]
fn whoever_sits_at_a_terminal_is_asked() {
    run_test(async || {
        let scene = Scene::with(&said("identity.one", 0..1)).await;
        let missing = said("identity.one", 1..3);
        let path = scene.write("keystone.log", log(&missing));
        let mut outcomes = Vec::new();
        for answer in ["n\n", "\n", "y\n"] {
            let typed = format!(
                "{} --config {} reconcile {} --import",
                env!("CARGO_BIN_EXE_cadfd"),
                scene.site.path("etc/cadfd.toml").display(),
                path.display()
            );
            // `script` gives it a terminal.
            let mut command = tokio::process::Command::new("script");
            command.args(["-qec", &typed, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(answer.as_bytes()).await.unwrap();
            let output = child.wait_with_output().await.unwrap();
            assert!(told(&output).contains("Add 2 messages to the trail"), "{}", told(&output));
            outcomes.push(told(&output).contains("2 handed over; no daemon runs"));
        }
        assert_eq!(outcomes, [false, false, true]);
    });
}
