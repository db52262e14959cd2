//! Events that go through today's rules once more: shown, compared, carried out.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::daemon::{Site, eventually, of_type};
use crate::ground::Ground;
use crate::run_test;
use crate::standins::{Call, Fault};

const RULES: &str = r#"
[[rule]]
name = "gone"
event_type = "identity.user.deleted"
  [[rule.slack]]
  text = "{{ resource.id }} is gone"
  [[rule.http]]
  path = "/users/{{ resource.id }}"

[[rule]]
name = "projects"
event_type = "identity.project.*"
  [[rule.log]]
  text = "{{ operation }} {{ resource.id }}"
"#;

/// Another text, an action less, one more.
const OTHERS: &str = r#"
[[rule]]
name = "gone"
event_type = "identity.user.deleted"
  [[rule.slack]]
  text = "{{ resource.id }} has gone"

[[rule]]
name = "projects"
event_type = "identity.project.*"
  [[rule.log]]
  text = "{{ operation }} {{ resource.id }}"

[[rule]]
name = "new"
event_type = "identity.domain.deleted"
  [[rule.http]]
"#;

/// Nothing of this is reached.
fn site() -> Site {
    let nobody =
        "[slack.ops]\nwebhook_url = \"http://127.0.0.1:1/services/T/B/x\"\n[http.x]\nurl = \"http://127.0.0.1:1/v1\"\n";
    Site::with_url("rabbit://u:p@127.0.0.1:1/").settings(nobody).rules(RULES)
}

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/notifications").join(name).display().to_string()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_dry_run_shows_what_would_be_done_and_does_nothing() {
    run_test(async || {
        let site = site();
        let captured = data("real/keystone-28.1-cadf-messagingv2.jsonl");
        let out = site.cadfd_ok(&["replay", "--dry-run", &captured]).await;
        let (_, summary) = out.rsplit_once("\n\n").unwrap();
        assert!(summary.starts_with("102 events; "), "{out}");
        for line in ["       2  gone  http.x\n", "       2  gone  slack.ops\n"] {
            assert!(summary.contains(line), "{line}: {summary}");
        }
        assert!(out.contains("    gone  slack.ops: {\"slack\":{\"text\":\"") && out.contains(" is gone\""), "{out}");
        let place = format!("{captured}:");
        assert!(out.lines().any(|line| line.starts_with(&place) && line.contains("USER DELETED")), "{out}");
        let only = site.cadfd_ok(&["replay", "--dry-run", "--only-rule", "projects", &captured]).await;
        assert!(!only.contains("gone") && only.contains("projects  log"), "{only}");
        let none = site.cadfd(&["replay", "--dry-run", "--only-rule", "nobody", &captured]).await;
        assert_eq!(none.status.code(), Some(2), "{}", told(&none));
        let range = site.cadfd_ok(&["replay", "--dry-run", "--until", "2020-01-01", &captured]).await;
        assert!(range.contains("0 events") && range.contains("102 events are out of the range"), "{range}");

        // Keystone's log, and other rules in the place of today's.
        fs::write(site.path("others.toml"), OTHERS).unwrap();
        let others = site.path("others.toml").display().to_string();
        let log = data("real/keystone-28.1-log-driver.log");
        let out = site.cadfd_ok(&["replay", "--dry-run", "--rules", &others, &log]).await;
        assert!(out.contains("160 events") && out.contains(" has gone\"") && !out.contains(" is gone\""), "{out}");
        let bad = site.path("bad.toml");
        fs::write(&bad, "[[rule]]\nname = \"x\"\n[[rule.http]]\nto = \"nowhere\"\n").unwrap();
        let output = site.cadfd(&["replay", "--dry-run", "--rules", bad.to_str().unwrap(), &log]).await;
        assert!(output.status.code() == Some(2) && told(&output).contains("bad.toml:"), "{}", told(&output));
        // Neither state nor trail was begun.
        assert!(!site.state_dir().exists() && !site.audit_path().exists());
    });
}

#[test]
fn a_change_of_rules_is_told_by_what_would_come_go_and_be_otherwise() {
    run_test(async || {
        let site = site();
        fs::create_dir(site.path("others")).unwrap();
        fs::write(site.path("others/00.toml"), OTHERS).unwrap();
        let others = site.path("others").display().to_string();
        let captured = data("real/keystone-28.1-cadf-messagingv2.jsonl");
        let out = site.cadfd_ok(&["replay", "--diff", &others, &captured]).await;
        let (shown, summary) = out.rsplit_once("\n\n").unwrap();
        for line in [
            "  0 come, 2 go, 0 are rendered otherwise: gone  http.x\n",
            "  0 come, 0 go, 2 are rendered otherwise: gone  slack.ops\n",
        ] {
            assert!(summary.contains(line), "{line}: {summary}");
        }
        assert!(!summary.contains("projects"), "what stays is not told: {summary}");
        let count = |begin: &str| shown.lines().filter(|line| line.starts_with(begin)).count();
        assert_eq!((count("  - gone  http.x"), count("  < gone  slack.ops"), count("  > gone  slack.ops")), (2, 2, 2));
        assert_eq!(count("  + new  http.x"), usize::from(summary.contains("1 come, 0 go")), "{out}");
        assert!(summary.contains(" come, 0 go, 0 are rendered otherwise: new  http.x"), "{summary}");
        // The same rules change nothing.
        let same = site.path("etc/rules.d").display().to_string();
        let out = site.cadfd_ok(&["replay", "--diff", &same, &captured]).await;
        assert_eq!(out, "\n102 events; 0 of them lead to something else\n");
        assert!(!site.state_dir().exists());
    });
}

#[test]
fn a_trail_is_replayed_as_it_was_told() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(4).await;
        ground.wait_done().await;
        daemon.stop().await;
        let trail = fs::read(ground.site.audit_path()).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&trail).unwrap();
        fs::write(ground.site.path("a.gz"), gzip.finish().unwrap()).unwrap();
        fs::write(ground.site.path("a.zst"), zstd::encode_all(trail.as_slice(), 1).unwrap()).unwrap();
        let mut shown = Vec::new();
        for path in [ground.site.audit_path(), ground.site.path("a.gz"), ground.site.path("a.zst")] {
            let path = path.display().to_string();
            shown.push(ground.site.cadfd_ok(&["replay", "--dry-run", &path]).await.replace(&path, "trail"));
        }
        assert!(shown[0].contains("\n4 events; 0 of them lead to nothing\n"), "{}", shown[0]);
        assert_eq!((&shown[0], &shown[0]), (&shown[1], &shown[2]));
        // What is sent is what was sent.
        let sent = shown[0].lines().find(|line| line.contains("http.inventory: ")).unwrap();
        let request: Value = serde_json::from_str(sent.split_once("http.inventory: ").unwrap().1).unwrap();
        let again = &request["http"]["body"]["json"];
        let calls = ground.receiver.calls();
        let first = calls.iter().map(Call::json).find(|call| call["message_id"] == again["message_id"]);
        assert_eq!(Some(again), first.as_ref(), "{request}");
    });
}

/// A replay under way.
struct Run {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    /// What it is called.
    name: String,
}

impl Run {
    async fn start(site: &Site, args: &[&str]) -> Self {
        let trail = site.audit_path().display().to_string();
        let mut all = vec!["replay", &trail, "--yes"];
        all.extend(args);
        let mut command = site.command(&all);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        let name =
            first.strip_prefix("replay ").unwrap_or_else(|| panic!("{first}")).split(';').next().unwrap().to_owned();
        Self { child, lines, name }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its exit status, and the rest of what it said.
    async fn ended(mut self) -> (Option<i32>, String, String) {
        let mut said = String::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
        }
        let output = self.child.wait_with_output().await.unwrap();
        (output.status.code(), said, String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The ids of deliveries as the receiver saw them.
fn delivered(ground: &Ground) -> Vec<String> {
    ground.receiver.calls().iter().map(|call| call.header("x-cadfd-delivery")).collect()
}

#[test]
fn a_replay_is_carried_out_by_the_daemon_and_stands_in_the_trail() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(3).await;
        ground.wait_done().await;
        let trail = ground.site.audit_path().display().to_string();
        // Nobody can be asked.
        let output = ground.site.cadfd(&["replay", &trail]).await;
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(
            told(&output).contains("for 3 events (http.inventory 3, log 3), one each 1s? Nobody can be asked"),
            "{}",
            told(&output)
        );
        // Only the first three: the trail grows meanwhile, but its new records are no events.
        let run = Run::start(&ground.site, &["--rate", "100/s"]).await;
        let name = run.name.clone();
        let (status, said, out) = run.ended().await;
        assert!(status == Some(0) && said.ends_with("3 events, 3 actions done, 0 given up\n"), "{said}");
        assert_eq!(
            out.lines().collect::<Vec<_>>(),
            ground.ids.iter().map(|id| format!("line {id}")).collect::<Vec<_>>()
        );
        let calls = delivered(&ground);
        assert_eq!(calls.iter().collect::<HashSet<_>>().len(), 6, "other ids than the first ones: {calls:?}");
        let records = ground.site.wait_trail(|trail| of_type(trail, "delivery").len() == 6).await;
        let replays = of_type(&records, "replay");
        assert_eq!(replays.len(), 3);
        for (replay, id) in replays.iter().zip(&ground.ids) {
            assert_eq!((replay["message_id"].as_str(), replay["run"].as_str()), (Some(&**id), Some(&*name)));
            let event = of_type(&records, "event").into_iter().find(|it| it["message_id"] == **id).unwrap();
            assert_eq!(replay["from"], format!("{trail}:{}", event["seq"]), "the line is the number here");
            let delivery = replay["planned"][1]["delivery"].as_str().unwrap();
            assert!(calls.iter().any(|call| call == delivery));
            let outcome = of_type(&records, "delivery").into_iter().find(|it| it["delivery"] == delivery).unwrap();
            assert_eq!((&outcome["event_seq"], &outcome["outcome"]), (&replay["seq"], &Value::from("done")));
        }
        // The same run again does nothing; another one does.
        let (status, said, _) = Run::start(&ground.site, &["--resume", &name]).await.ended().await;
        assert_eq!((status, ground.receiver.calls().len()), (Some(0), 6), "{said}");
        let (status, said, _) =
            Run::start(&ground.site, &["--rate", "100/s", "--only-rule", "all"]).await.ended().await;
        assert_eq!((status, ground.receiver.calls().len()), (Some(0), 9), "{said}");
        daemon.stop().await;
        let output = ground.site.cadfd(&["replay", &trail, "--yes"]).await;
        assert!(output.status.code() == Some(1) && told(&output).contains("no daemon runs"), "{}", told(&output));
        assert_eq!(of_type(&ground.site.trail(), "replay").len(), 6);
        assert!(ground.site.cadfd_ok(&["verify"]).await.ends_with("not altered\n"));
    });
}

#[test]
fn what_is_given_up_is_said() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(2).await;
        ground.wait_done().await;
        ground.receiver.fault_times(1, Fault::Status(404)).await;
        let (status, said, _) = Run::start(&ground.site, &["--rate", "100/s"]).await.ended().await;
        assert_eq!(status, Some(1), "{said}");
        assert!(
            said.contains("given up: ") && said.contains("404") && said.contains("1 actions done, 1 given up"),
            "{said}"
        );
        daemon.stop().await;
        assert!(ground.site.cadfd_ok(&["verify"]).await.ends_with("not altered\n"));
    });
}

#[test]
fn the_rate_is_kept_and_an_interruption_says_what_is_left() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(3).await;
        ground.wait_done().await;
        let run = Run::start(&ground.site, &["--rate", "1/h"]).await;
        let name = run.name.clone();
        ground.receiver.wait_for(4).await;
        run.signal(Signal::INT);
        let (status, said, _) = run.ended().await;
        assert_eq!(status, Some(1), "{said}");
        assert!(said.starts_with("interrupted: 1 of 3 events were handed over; "), "{said}");
        assert!(said.contains(&format!("--resume {name}")), "{said}");
        assert_eq!(ground.receiver.calls().len(), 4, "the others wait for their hour");
        let (status, said, _) = Run::start(&ground.site, &["--resume", &name, "--rate", "100/s"]).await.ended().await;
        assert_eq!((status, ground.receiver.calls().len()), (Some(0), 6), "{said}");
        assert_eq!(delivered(&ground).iter().collect::<HashSet<_>>().len(), 6);
        daemon.stop().await;
    });
}

#[test]
fn whatever_is_killed_each_action_is_done_and_told_once() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let mut daemon = ground.site.consuming().await;
        ground.publish(40).await;
        ground.wait_done().await;
        // The command, in the middle.
        let run = Run::start(&ground.site, &["--rate", "100/s"]).await;
        let name = run.name.clone();
        ground.receiver.wait_for(45).await;
        run.signal(Signal::KILL);
        assert_eq!(run.ended().await.0, None);
        // The daemon, in the middle; the command waits for it.
        let run = Run::start(&ground.site, &["--resume", &name, "--rate", "100/s"]).await;
        ground.receiver.wait_for(55).await;
        daemon.signal(Signal::KILL);
        daemon.ended().await;
        let daemon = ground.site.consuming().await;
        let (status, said, _) = run.ended().await;
        assert!(status == Some(0) && said.contains("40 events, 40 actions done, 0 given up"), "{said}");
        eventually(|| (of_type(&ground.site.trail(), "delivery").len() == 80).then_some(())).await;
        daemon.stop().await;
        let trail = ground.site.trail();
        let replayed: Vec<_> = of_type(&trail, "replay").iter().map(|it| it["message_id"].clone()).collect();
        assert_eq!(replayed, ground.ids, "each once, in order");
        assert_eq!(delivered(&ground).iter().collect::<HashSet<_>>().len(), 80, "one id for each, however often sent");
        assert!(ground.site.cadfd_ok(&["verify"]).await.ends_with("not altered\n"));
    });
}
