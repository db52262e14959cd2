//! The trail's chain and checkpoints: of the real daemon, checked by `cadfd verify`, and by what the README shows.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Site, eventually, of_type};
use crate::ground::Ground;
use crate::run_test;
use crate::standins::Receiver;

const EVERY: &str = "CADFD_AUDIT__CHECKPOINT_EVERY";

/// A trail with events, deliveries, checkpoints while nothing happens, a kill and a stop; moved once on its way.
async fn written() -> Ground {
    let mut ground = Ground::new().await;
    ground.site = ground.site.variable(EVERY, "1s");
    let mut daemon = ground.site.consuming().await;
    ground.publish(3).await;
    ground.wait_done().await;
    ground.site.wait_trail(|trail| of_type(trail, "checkpoint").len() >= 2).await;
    let rotated = ground.site.audit_path().with_extension("log.1");
    fs::rename(ground.site.audit_path(), rotated).unwrap();
    ground.publish(3).await;
    ground.site.wait_trail(|trail| of_type(trail, "delivery").len() == 3).await;
    daemon.signal(Signal::KILL);
    daemon.ended().await;
    ground.site.consuming().await.stop().await;
    ground
}

fn verify(site: &Site, args: &[&str]) -> Output {
    let key = site.state_dir().join("trail.pub");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cadfd"));
    command.arg("verify").arg("--key").arg(key).args(args).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_daemons_trail_is_whole_and_anything_done_to_it_is_found() {
    run_test(async || {
        let ground = written().await;
        let site = &ground.site;
        fs::write(site.state_dir().join("trail.pub"), site.cadfd_ok(&["key"]).await).unwrap();
        let whole = site.cadfd_ok(&["verify"]).await;
        assert!(whole.ends_with("not altered\n") && whole.contains("in 2 files"), "{whole}");
        let json: Value = serde_json::from_str(&site.cadfd_ok(&["verify", "--json"]).await).unwrap();
        assert_eq!(
            (&json["verdict"], &json["uncovered"], &json["first"]),
            (&"not altered".into(), &0.into(), &1.into())
        );
        let key = site.cadfd_ok(&["key", "--short"]).await;
        assert_eq!(json["last_checkpoint"]["key"].as_str(), Some(key.trim()));

        // Anywhere else, with the key alone; packed as logrotate and as people pack.
        let elsewhere = tempfile::tempdir().unwrap();
        let [first, second] = ["audit.log.1", "audit.log"].map(|name| site.audit_path().with_file_name(name));
        let [to_first, to_second] = ["audit.log.1", "audit.log"].map(|name| elsewhere.path().join(name));
        fs::copy(&first, &to_first).unwrap();
        fs::copy(&second, &to_second).unwrap();
        let dir = elsewhere.path().to_str().unwrap();
        assert_eq!(verify(site, &[dir]).status.code(), Some(0));
        assert!(Command::new("gzip").arg(&to_first).status().unwrap().success());
        let output = verify(site, &[to_second.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        fs::remove_file(elsewhere.path().join("audit.log.1.gz")).unwrap();

        // Without its beginning nobody can tell, unless they know where it begins.
        let output = verify(site, &[dir]);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let begins = site.trail()[0]["seq"].to_string();
        assert_eq!(verify(site, &[dir, "--from", &begins]).status.code(), Some(0));

        // With another key, or none.
        let other = site.state_dir().join("other.pub");
        fs::write(&other, "MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=").unwrap();
        let output = site.cadfd(&["verify", "--key", other.to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(told(&output).contains("signed with another key"), "{}", told(&output));
        let output = site.cadfd(&["verify", "--key", "nonsense"]).await;
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let output = site.cadfd(&["verify", first.to_str().unwrap()]).await;
        assert!(output.status.code() == Some(2) && told(&output).contains("no key was given"), "{}", told(&output));

        // The end cut off: the store knows, or a checkpoint that was kept.
        let text = fs::read_to_string(&second).unwrap();
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        let kept = site.state_dir().join("kept.jsonl");
        fs::write(&kept, lines.last().unwrap()).unwrap();
        fs::write(&second, lines[..lines.len() - 1].concat()).unwrap();
        let output = site.cadfd(&["verify"]).await;
        assert!(output.status.code() == Some(1) && told(&output).contains("cut off"), "{}", told(&output));
        let both = [first.to_str().unwrap(), second.to_str().unwrap()];
        assert_eq!(verify(site, &both).status.code(), Some(0), "who knows no better");
        let knowing = [both[0], both[1], "--checkpoints", kept.to_str().unwrap()];
        assert_eq!(verify(site, &knowing).status.code(), Some(1));
        fs::write(&second, &text).unwrap();
        assert_eq!(verify(site, &knowing).status.code(), Some(0));

        // One byte.
        let mut bytes = fs::read(&first).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&first, bytes).unwrap();
        let output = site.cadfd(&["verify"]).await;
        assert!(output.status.code() == Some(1) && told(&output).contains("was changed"), "{}", told(&output));
    });
}

/// The first block of the README in this language that has this in it.
fn block_of_the_readme(language: &str, with: &str) -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let begins = format!("```{language}\n");
    let mut blocks = readme.split(&begins).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(with)).unwrap().to_owned()
}

#[test]
fn what_the_readme_does_by_hand_agrees() {
    run_test(async || {
        let ground = written().await;
        let shell = block_of_the_readme("sh", "sha256sum");
        let folder = ground.site.audit_path().parent().unwrap().to_owned();
        let output = Command::new("sh").args(["-ec", &shell]).current_dir(folder).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (digest, prev) = said.split_once("  -\n").unwrap_or_else(|| panic!("{said}"));
        assert_eq!(prev, format!("\"prev\":\"{digest}\"\n"));
    });
}

#[test]
fn the_script_of_the_readme_agrees() {
    run_test(async || {
        let ground = written().await;
        let site = &ground.site;
        let dir = tempfile::tempdir().unwrap();
        let (script, key) = (dir.path().join("verify.py"), dir.path().join("trail.pub"));
        fs::write(&script, block_of_the_readme("python", "hashlib")).unwrap();
        fs::write(&key, site.cadfd_ok(&["key"]).await).unwrap();
        let [first, second] = ["audit.log.1", "audit.log"].map(|name| site.audit_path().with_file_name(name));
        let run = || Command::new("python3").args([&script, &key, &first, &second]).output().unwrap();
        let output = run();
        assert!(output.status.success() && told(&output).contains("whole up to record"), "{}", told(&output));
        // What is changed is found by either.
        let text = fs::read_to_string(&first).unwrap();
        fs::write(&first, text.replacen("inventory", "Inventory", 1)).unwrap();
        assert!(!run().status.success());
        // A checkpoint that says another time.
        let (before, rest) = text.split_once("\"type\":\"checkpoint\",\"at\":\"20").unwrap();
        fs::write(&first, format!("{before}\"type\":\"checkpoint\",\"at\":\"21{rest}")).unwrap();
        assert!(!run().status.success());
        fs::write(&first, &text).unwrap();
        assert!(run().status.success());
    });
}

#[test]
fn checkpoints_go_where_a_rule_sends_them() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let witness = Receiver::start().await;
        let custody = ground.site.path("custody.jsonl");
        ground.site = ground
            .site
            .variable(EVERY, "1s")
            .settings(&format!(
                "[http.witness]\nurl = \"{}/\"\n[file.custody]\npath = {custody:?}\n",
                witness.url()
            ))
            .rules(
                "[[rule]]\nname = \"elsewhere\"\nevent_type = \"cadfd.checkpoint.created\"\n[[rule.http]]\nto = \"witness\"\n\
                 json = { line = \"{{ payload.line }}\" }\n[[rule.file]]\nline = \"{{ payload.line }}\"\n[[rule.log]]\ntext = \"signed up to {{ payload.seq }}\"\n",
            );
        let mut daemon = ground.site.consuming().await;
        ground.publish(1).await;
        ground.wait_done().await;
        eventually(|| (witness.calls().len() >= 2).then_some(())).await;
        daemon.wait_out(|out| out.contains("signed up to")).await;
        daemon.stop().await;
        // The rule that is about everything does not mean these, and they lead to nothing but themselves.
        assert_eq!(ground.receiver.calls().len(), 1);
        let lines: Vec<_> =
            witness.calls().iter().map(|call| call.json()["line"].as_str().unwrap().to_owned()).collect();
        let trail = fs::read_to_string(ground.site.audit_path()).unwrap();
        assert!(lines.iter().all(|line| trail.contains(&format!("{line}\n"))), "{lines:?}\n{trail}");
        let in_file = fs::read_to_string(&custody).unwrap();
        assert!(lines.iter().all(|line| in_file.contains(&format!("{line}\n"))), "{lines:?}\n{in_file}");
        let output = ground.site.cadfd(&["verify", "--checkpoints", custody.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", told(&output));
        let kept = ground.site.state_dir().join("witness.jsonl");
        fs::write(&kept, lines.join("\n")).unwrap();
        let output = ground.site.cadfd(&["verify", "--checkpoints", kept.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", told(&output));
        let told_of: Value = serde_json::from_str(&lines[0]).unwrap();
        let deliveries = ground.site.trail();
        let sent = of_type(&deliveries, "delivery");
        assert!(
            sent.iter().any(|it| it["event_seq"] == told_of["seq"] && it["destination"] == "http.witness"),
            "{sent:?}"
        );
    });
}

#[test]
fn a_key_that_was_given_is_used_or_refused() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let key = ground.site.audit_path().with_file_name("given.pem");
        fs::create_dir_all(key.parent().unwrap()).unwrap();
        let made =
            Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key).status().unwrap();
        assert!(made.success());
        ground.site = ground.site.variable("CADFD_AUDIT__KEY_FILE", key.to_str().unwrap());
        ground.site.consuming().await.stop().await;
        assert!(ground.site.cadfd_ok(&["verify"]).await.ends_with("not altered\n"));
        assert!(!ground.site.state_dir().join("trail.key").exists());
        let theirs = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).output().unwrap();
        assert_eq!(ground.site.cadfd_ok(&["key"]).await.into_bytes(), theirs.stdout);
        fs::write(&key, "no key").unwrap();
        let mut daemon = ground.site.start();
        daemon.ended().await;
        assert!(daemon.log_to_end().await.contains("holds no Ed25519 private key"), "{}", daemon.log());
    });
}

#[test]
fn trails_of_every_version_are_read() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trail");
    let key = samples.join("version-2.pub");
    let run = |sample: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cadfd"));
        command.arg("verify").arg("--key").arg(&key).arg(samples.join(sample)).output().unwrap()
    };
    // There was no chain: nobody can tell, and it says why.
    let output = run("version-1.log");
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(
        told(&output).contains("records 1 to 40 ") && told(&output).contains("those up to 40 "),
        "{}",
        told(&output)
    );
    let output = run("version-2.log");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    // By another daemon, with a queue of its own.
    let key = samples.join("version-2-bound.pub");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cadfd"));
    let output =
        command.arg("verify").arg("--key").arg(&key).arg(samples.join("version-2-bound.log")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn every_member_of_every_record_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/TRAIL.md")).unwrap();
    for record_type in cadfd::record::TYPES {
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{record_type}` |")));
        let section = docs.split("\n### ").find(|section| section.starts_with(&format!("`{record_type}`")));
        assert!(row.is_some() || section.is_some(), "{record_type} is not in docs/TRAIL.md");
    }
    for key in cadfd::event::KEYS {
        assert!(docs.contains(&format!("`{key}`")), "{key}");
    }
    for sample in ["version-1.log", "version-2.log", "version-2-bound.log"] {
        let text = fs::read_to_string(root.join("tests/data/trail").join(sample)).unwrap();
        for record in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            for key in record.as_object().unwrap().keys() {
                assert!(docs.contains(&format!("`{key}`")), "{key} of {}", record["type"]);
            }
        }
    }
}
