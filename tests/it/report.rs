//! `cadfd report`: of a trail made from captured notifications, compared with a count made here; of the real daemon.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cadfd::chain::Hash;
use cadfd::event;
use cadfd::record::{self, Record, Source};
use serde_json::Value;

use crate::captured;
use crate::daemon::{Site, of_type};
use crate::ground::Ground;
use crate::run_test;

const CAPTURES: [&str; 3] =
    ["keystone-28.1-cadf-messagingv2", "keystone-28.1-basic-messagingv2", "oslo-neutron-nova-cinder-messagingv2"];

/// What holds every captured notification.
const RANGE: [&str; 4] = ["--since", "2026-11-21T06:00:00Z", "--until", "2026-11-21T08:00:00Z"];

/// Writes a trail of captured notifications, as the daemon would. Gives its events.
fn write(path: &Path) -> Vec<Value> {
    let source = Source { queue: "cadfd.info", exchange: "keystone", routing_key: "cadfd.info", redelivered: false };
    let (mut lines, mut head, mut seq) = (Vec::new(), Hash::START, 0);
    for message in CAPTURES.iter().flat_map(|name| captured::read(name)) {
        let event = event::decode(&message.body).unwrap();
        let received = event.timestamp.unwrap();
        let record = Record::Event { event: &event, source, received, planned: &[] };
        seq += 1;
        head = record::push_line(&mut lines, seq, &head, &record::rest_of_line(&record));
    }
    fs::write(path, &lines).unwrap();
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// A site whose settings name no broker that anybody asks.
fn site() -> Site {
    Site::with_url("rabbit://u:p@127.0.0.1:1/")
}

fn count(events: &[Value], is: impl Fn(&Value) -> bool) -> usize {
    events.iter().filter(|event| is(event)).count()
}

#[test]
fn a_page_replaces_no_trail() {
    run_test(async || {
        let site = site();
        let (path, other) = (site.path("captured.log"), site.path("other.log"));
        write(&path);
        fs::copy(&path, &other).unwrap();
        // What is written next, and has no record yet.
        let live = site.path("live/audit.log");
        fs::create_dir(live.parent().unwrap()).unwrap();
        fs::copy(&path, live.with_extension("log.1")).unwrap();
        fs::write(&live, "").unwrap();
        let output = site.cadfd(&["report", "-o", live.to_str().unwrap(), live.to_str().unwrap()]).await;
        assert!(!output.status.success() && fs::read(&live).unwrap().is_empty());
        for file in [&path, &other] {
            let before = fs::read(file).unwrap();
            let output = site.cadfd(&["report", "-o", file.to_str().unwrap(), path.to_str().unwrap()]).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains("that is a file of a trail"), "{said}");
            assert!(fs::read(file).unwrap() == before);
        }
    });
}

#[test]
fn every_number_of_the_summary_is_that_of_the_trail() {
    run_test(async || {
        let site = site();
        let path = site.path("captured.log");
        let events = write(&path);
        let at = path.to_str().unwrap();
        let page = site.cadfd_ok(&[&["report", "--format", "markdown", at], RANGE.as_slice()].concat()).await;

        let outcome = |word: &'static str| count(&events, |event| event["outcome"] == word);
        assert!(outcome("failure") > 5 && outcome("success") > 50, "the captures hold both");
        let told = |text: String| assert!(page.contains(&text), "{text}\n{page}");
        told(format!(
            "- {} events: {} succeeded, {} failed, {} pending, {} of unknown outcome.",
            events.len(),
            outcome("success"),
            outcome("failure"),
            outcome("pending"),
            outcome("unknown")
        ));
        let keystone = |event: &&Value| event["event_type"].as_str().unwrap().starts_with("identity.");
        let changes: Vec<_> =
            events.iter().filter(keystone).filter(|event| event["operation"] != "authenticate").collect();
        let who = |event: &&Value| (event["initiator"]["id"].clone(), event["initiator"]["name"].clone());
        let initiators: BTreeSet<_> = changes.iter().map(|event| format!("{:?}", who(event))).collect();
        told(format!(
            "- {} changes to Keystone's users, projects, roles and other things, by {} initiators.",
            changes.len(),
            initiators.len()
        ));
        let roles = |operation: &str| {
            count(&events, |event| event["kind"] == "role_assignment" && event["operation"] == operation)
        };
        told(format!("- {} roles were granted, {} revoked.", roles("created"), roles("deleted")));
        let failed: Vec<_> = events
            .iter()
            .filter(|event| event["operation"] == "authenticate" && event["outcome"] == "failure")
            .collect();
        let users: BTreeSet<_> = failed.iter().map(|event| format!("{:?}", who(event))).collect();
        let locked: BTreeSet<_> = failed
            .iter()
            .filter(|event| event["reason"]["text"].as_str().is_some_and(|text| text.contains("is locked")))
            .map(|event| event["initiator"]["id"].to_string())
            .collect();
        assert!(!locked.is_empty());
        told(format!(
            "- {} logins failed, with {} user names and from 1 address; {} account{} found locked.",
            failed.len(),
            users.len(),
            locked.len(),
            if locked.len() == 1 { " was" } else { "s were" },
        ));
        // Without a key nobody can tell, and the report says so.
        told("## Nobody can tell".to_owned());
        // What a stranger chose is text in it.
        assert!(page.contains(r"山田 \<script\>") && !page.replace(r"\<", "").contains('<'), "{page}");
    });
}

#[test]
fn it_is_written_whole_where_it_is_wanted() {
    run_test(async || {
        let site = site();
        let path = site.path("captured.log");
        write(&path);
        let at = path.to_str().unwrap();
        for (name, begins) in [("report.html", "<!DOCTYPE html>"), ("report.md", "# Audit report")] {
            let file = site.path(name);
            fs::write(&file, "what was there").unwrap();
            let args = [&["report", at, "-o", file.to_str().unwrap()], RANGE.as_slice()].concat();
            assert_eq!(site.cadfd_ok(&args).await, "");
            let page = fs::read_to_string(&file).unwrap();
            assert!(page.starts_with(begins), "{page}");
        }
        let nowhere = site.path("none/report.html");
        let output = site.cadfd(&["report", at, "-o", nowhere.to_str().unwrap()]).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && told.contains("--output") && told.contains("No such file"),
            "{told}"
        );
        for [option, text] in
            [["--since", "someday"], ["--until", "2020-01-01T"], ["--since", "2999-01-01"], ["--key", "nonsense"]]
        {
            let output = site.cadfd(&["report", at, option, text]).await;
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && told.starts_with(&format!("cadfd: {option}")), "{told}");
        }
    });
}

#[test]
fn of_a_daemon_it_tells_what_was_done_and_whether_it_is_whole() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(3).await;
        ground.wait_done().await;
        daemon.stop().await;
        let site = &ground.site;
        let key = site.cadfd_ok(&["key", "--short"]).await;
        let args = ["report", "--format", "markdown", "--since", "2026-01-01"];
        let page = site.cadfd_ok(&args).await;
        for told in [
            "## Not altered",
            key.trim(),
            "| all | http.inventory | 3 | 3 | 0 | 0 | 0 |",
            "- 3 deliveries were triggered; 3 done",
        ] {
            assert!(page.contains(told), "{told}\n{page}");
        }
        let trail = site.trail();
        let records = format!("| Records in the trail | 1 to {} |", trail.len());
        assert!(page.contains(&records), "{page}");
        assert_eq!(of_type(&trail, "start").len(), 1);
        assert!(page.contains("started: version") && page.contains("### Times when nothing could come in"), "{page}");

        let text = fs::read_to_string(site.audit_path()).unwrap();
        fs::write(site.audit_path(), text.replacen("identity.keystone-1", "identity.keystone-2", 1)).unwrap();
        let page = site.cadfd_ok(&args).await;
        assert!(page.contains("## Altered") && page.contains("was changed"), "{page}");
    });
}
