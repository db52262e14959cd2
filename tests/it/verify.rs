//! The trail's chain and checkpoints: of the real daemon, checked by `cadfd verify`, and by what the README shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cadfd::chain::Hash;
use cadfd::record::push_line;
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
        let whole = fs::read(&first).unwrap();
        let mut bytes = whole.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&first, bytes).unwrap();
        let output = site.cadfd(&["verify"]).await;
        assert!(output.status.code() == Some(1) && told(&output).contains("was changed"), "{}", told(&output));
        // Whoever does not read what is said has the exit status all the same.
        let (nobody_reads, out) = std::io::pipe().unwrap();
        drop(nobody_reads);
        let key = site.state_dir().join("trail.pub");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cadfd"));
        let status = command.args(["verify", "--key"]).arg(key).args(both).stdout(out).status().unwrap();
        assert_eq!(status.code(), Some(1));
        // All of it, or the file that was written last: the store knows.
        fs::write(&first, whole).unwrap();
        fs::write(&second, "").unwrap();
        let output = site.cadfd(&["verify"]).await;
        assert!(output.status.code() == Some(1) && told(&output).contains("cut off: the last"), "{}", told(&output));
        fs::remove_file(&first).unwrap();
        for is_there in [true, false] {
            if !is_there {
                fs::remove_file(&second).unwrap();
            }
            let output = site.cadfd(&["verify"]).await;
            let said = told(&output);
            assert!(output.status.code() == Some(1) && said.contains("cut off: there are no records"), "{said}");
        }
        fs::write(&second, "hello\n").unwrap();
        let output = site.cadfd(&["verify"]).await;
        assert!(output.status.code() == Some(1) && told(&output).contains("no file of a trail"), "{}", told(&output));
        fs::remove_dir_all(second.parent().unwrap()).unwrap();
        let output = site.cadfd(&["verify"]).await;
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let mistyped = site.cadfd(&["verify", "--checkpoints", knowing[3], second.to_str().unwrap()]).await;
        assert_eq!(mistyped.status.code(), Some(2), "{}", told(&mistyped));
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
        assert!(output.status.success() && told(&output).contains("whole from record 1 to "), "{}", told(&output));
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
        // Made by somebody without the key.
        let mut prev = Hash::START;
        for (path, seqs) in [(&first, 1..3), (&second, 3..5)] {
            let mut lines = Vec::new();
            for seq in seqs {
                prev = push_line(&mut lines, seq, &prev, br#""type":"stop","cause":"SIGTERM"}"#);
            }
            fs::write(path, lines).unwrap();
        }
        let output = run();
        assert!(!output.status.success() && told(&output).contains("there is no checkpoint"), "{}", told(&output));
    });
}

/// A sample of a whole trail with its key.
fn sample(name: &str) -> (PathBuf, String) {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trail");
    (samples.join(format!("{name}.log")), samples.join(format!("{name}.pub")).display().to_string())
}

fn cadfd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cadfd")).args(args).output().unwrap()
}

#[test]
fn several_trails_are_verified_one_by_one() {
    let [(one, its_key), (other, others_key)] = ["version-2", "version-2-bound"].map(sample);
    let keys = ["--key", &its_key, "--key", &others_key];
    let paths = [one.to_str().unwrap(), other.to_str().unwrap()];
    let run = |more: &[&str]| cadfd(&[&["verify"][..], &keys, &paths, more].concat());
    let output = run(&[]);
    let said = told(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.matches("\nnot altered\n").count() == 2 && paths.iter().all(|path| said.contains(path)), "{said}");
    let objects = String::from_utf8(run(&["--json"]).stdout).unwrap();
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told_of: BTreeSet<_> = objects.iter().map(|object| object["trail"].as_str().unwrap()).collect();
    assert_eq!(told_of, paths.into());
    for output in [run(&["--from", "2"]), cadfd(&[&["report"][..], &keys, &paths].concat())] {
        assert!(!output.status.success() && told(&output).contains("these are several: "), "{}", told(&output));
    }
    let dir = tempfile::tempdir().unwrap();
    // Also where their beginnings were removed: nobody can tell, but nothing was altered.
    let late = ["one", "other"].map(|name| dir.path().join(name));
    for (late, whole) in late.iter().zip([&one, &other]) {
        let text = fs::read_to_string(whole).unwrap();
        fs::create_dir(late).unwrap();
        fs::write(late.join("audit.log"), text.split_inclusive('\n').skip(2).collect::<String>()).unwrap();
    }
    let late = late.each_ref().map(|late| late.to_str().unwrap());
    let output = cadfd(&[&["verify"][..], &keys, &late].concat());
    let said = told(&output);
    assert!(output.status.code() == Some(2) && said.matches("\nnobody can tell").count() == 2, "{said}");
    // What is wrong with one of them is all the same an alteration.
    let altered = dir.path().join("audit.log");
    fs::write(&altered, fs::read_to_string(&one).unwrap().replacen("\"success\"", "\"failure\"", 1)).unwrap();
    let output = cadfd(&[&["verify"][..], &keys, &[altered.to_str().unwrap(), paths[1]]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

#[test]
fn what_cannot_be_unpacked_is_told_and_the_rest_is_read() {
    let (whole, key) = sample("version-2");
    let whole = fs::read_to_string(whole).unwrap();
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    let dir = tempfile::tempdir().unwrap();
    let (path, at) = (dir.path().to_str().unwrap(), |name: &str| dir.path().join(name));
    let packed = |lines: &[&str]| zstd::encode_all(lines.concat().as_bytes(), 1).unwrap();
    let (first, second) = (packed(&lines[..3]), packed(&lines[3..6]));
    let last = lines[6..].concat();
    let seq = lines.len();
    let run = |args: &[&str]| cadfd(&[args, &[path]].concat());
    let cases = [
        // Its end is missing, its beginning is, and nothing is.
        (&second[..second.len() - 20], Some(1)),
        (&second[4..], Some(1)),
        (&second[..], Some(0)),
    ];
    for (second, status) in cases {
        fs::write(at("audit.log.2.zst"), &first).unwrap();
        fs::write(at("audit.log.1.zst"), second).unwrap();
        fs::write(at("audit.log"), &last).unwrap();
        let is_whole = status == Some(0);
        let output = run(&["verify", "--key", &key]);
        let said = told(&output);
        assert_eq!((output.status.code(), said.contains("cannot be unpacked")), (status, !is_whole), "{said}");
        // Nor does it hide what else was done.
        fs::write(at("audit.log"), last.replacen("\"seq\":8,", "\"seq\":9,", 1)).unwrap();
        let said = told(&run(&["verify", "--key", &key]));
        assert!(said.contains("record 8"), "{said}");
        fs::write(at("audit.log"), &last).unwrap();
        let output = run(&["search", "--json"]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(if is_whole { 0 } else { 2 }), "{}", told(&output));
        assert!(shown.starts_with(lines[0]) && shown.ends_with(lines[seq - 1]), "{shown}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.contains("audit.log.1.zst") && said.contains("not all there is"), !is_whole, "{said}");
        let output = run(&["tail", "--json", "-n", "1"]);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), lines[seq - 1].as_bytes()), "{}", told(&output));
        let output = run(&["report", "--key", &key, "--format", "markdown", "--since", "2020-01-01"]);
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(told(&output).contains("cannot be unpacked"), !is_whole, "{}", told(&output));
    }
}

#[test]
fn checkpoints_are_found_in_what_kept_them() {
    let (path, key) = sample("version-2");
    let trail = fs::read_to_string(&path).unwrap();
    let checkpoints: Vec<_> = trail.lines().filter(|line| line.contains("\"type\":\"checkpoint\"")).collect();
    assert!(checkpoints.len() >= 2, "{trail}");
    let last: u64 = serde_json::from_str::<Value>(checkpoints.last().unwrap()).unwrap()["seq"].as_u64().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let forms: [fn(&str) -> String; 4] = [
        |line| format!("{line}\n"),
        |line| format!("{line}\r\n"),
        |line| format!("<14>1 2026-11-21T10:00:00Z h cadfd 1 - - {line}\n"),
        |line| format!("{}\n", serde_json::json!({"line": line})),
    ];
    let known = trail.split_inclusive('\n').count() - 1;
    let cut = dir.path().join("audit.log");
    fs::write(&cut, trail.split_inclusive('\n').take(known.min(2)).collect::<String>()).unwrap();
    for form in forms {
        fs::write(&kept, checkpoints.iter().map(|line| form(line)).collect::<String>()).unwrap();
        let run = |path: &Path, more: &[&str]| {
            let (kept, path) = (kept.to_str().unwrap(), path.to_str().unwrap());
            cadfd(&[&["verify", "--key", &key, "--checkpoints", kept, path], more].concat())
        };
        let output = run(&path, &[]);
        let said = told(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let all = format!("{} checkpoints kept elsewhere compared; 0 there are", checkpoints.len());
        assert!(said.contains(&all) && !said.contains("hold no checkpoint"), "{said}");
        let output = run(&path, &["--from", &last.to_string()]);
        assert!(told(&output).contains("1 checkpoints kept elsewhere compared; "), "{}", told(&output));
        let output = run(&cut, &[]);
        assert!(output.status.code() == Some(1) && told(&output).contains("cut off"), "{}", told(&output));
        fs::write(&kept, format!("hello\n{}", form(checkpoints[0]))).unwrap();
        assert!(told(&run(&path, &[])).contains("1 of its 2 lines hold no checkpoint"));
    }
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
