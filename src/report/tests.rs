//! A small trail with hostile names, and what both pages make of it.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::Path;

use aws_lc_rs::signature::Ed25519KeyPair;
use serde_json::{Value, json};

use super::*;
use crate::chain::Hash;
use crate::checkpoint::Signer;
use crate::record;
use crate::trail::{Expected, Line, Verifier};

const SINCE: &str = "2026-11-21T07:00:00Z";
const UNTIL: &str = "2026-11-21T09:00:00Z";
const HOSTILE: &str = "eve <script>alert(1)</script> | `x` [y](http://z.example) \u{202e}*b*";

/// Lines of a trail, chained.
struct Trail {
    lines: Vec<Vec<u8>>,
    head: Hash,
    signer: Signer,
}

impl Trail {
    fn new() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let signer = Signer::from_pkcs8(pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
        Self { lines: Vec::new(), head: Hash::START, signer }
    }

    fn push(&mut self, kind: &str, fields: &Value) -> u64 {
        let fields = fields.to_string();
        let rest = format!(r#""type":"{kind}",{}"#, fields.strip_prefix('{').unwrap());
        self.rest(rest.as_bytes())
    }

    fn rest(&mut self, rest: &[u8]) -> u64 {
        let (mut line, seq) = (Vec::new(), self.lines.len() as u64 + 1);
        self.head = record::push_line(&mut line, seq, &self.head, rest);
        self.lines.push(line);
        seq
    }

    fn sign(&mut self, at: &str) {
        let checkpoint = self.signer.sign(self.lines.len() as u64 + 1, &self.head, at.parse().unwrap());
        self.rest(&checkpoint.rest_of_line());
    }

    /// An event a second after its time; `rest` wins over what is usual.
    fn event(&mut self, at: &str, event_type: &str, outcome: &str, rest: &Value) -> u64 {
        let mut words = event_type.rsplitn(3, '.');
        let (operation, kind) = (words.next().unwrap(), words.next().unwrap());
        let kind = if operation == "authenticate" { "user" } else { kind };
        let received = at.replace('Z', ".900000Z");
        let mut fields = json!({
            "message_id": format!("m{}", self.lines.len()), "event_type": event_type, "kind": kind,
            "operation": operation, "outcome": outcome, "reason": {"code": null, "text": null}, "timestamp": at,
            "initiator": {"id": "a1", "name": "admin", "address": "192.0.2.7"},
            "resource": {"kind": kind, "id": "u1", "name": "bob"}, "assignment": null, "member": null, "change": null,
            "payload": {"type": "x"}, "source": {"queue": "cadfd.info"}, "received": received, "planned": [],
        });
        let map = fields.as_object_mut().unwrap();
        map.extend(rest.as_object().unwrap().clone());
        self.push("event", &fields)
    }

    fn report(&self, rows: usize) -> Report {
        let key = self.signer.public();
        let mut verifier = Verifier::new(Expected { keys: vec![key], ..Expected::default() });
        let span = Span { since: SINCE.parse().unwrap(), until: UNTIL.parse().unwrap() };
        let mut collector = Collector::new(span, rows);
        for (line, number) in self.lines.iter().zip(1..) {
            verifier.line(Path::new("audit.log"), &Line { number, bytes: line });
            collector.line(line);
        }
        collector.finish(&Origin {
            paths: vec!["/var/log/cadfd/audit.log".to_owned()],
            files: 1,
            bytes: self.lines.iter().map(|line| line.len() as u64).sum(),
            made: "2026-11-21T09:00:05Z".parse().unwrap(),
            version: "0.1.0",
            keys: vec![key],
            verified: verifier.finish(),
        })
    }
}

fn login(trail: &mut Trail, at: &str, outcome: &str, id: Option<&str>, name: &str, reason: Option<&str>) {
    let who = json!({"id": id, "name": name, "address": "198.51.100.9", "domain_name": "acme"});
    let reason = json!({"code": reason.map(|_| "401"), "text": reason});
    trail.event(at, "identity.authenticate", outcome, &json!({"initiator": who, "resource": who, "reason": reason}));
}

fn changes(trail: &mut Trail) {
    let planned = json!([
        {"rule": "gone | all", "to": "jenkins.ci", "delivery": "d1"}, {"rule": "readable", "to": "log"},
        {"rule": "gone | all", "to": "slack.ops", "delivery": "d2"}, {"rule": "gone | all", "to": "http.cmdb", "delivery": "d3"},
    ]);
    let of = trail.event("2026-11-21T07:10:00Z", "identity.user.deleted", "success", &json!({"planned": planned}));
    let who = json!({"id": "e1", "name": HOSTILE, "address": "203.0.113.4"});
    let change = json!({"derived": true, "enabled": false, "name": "new", "old_name": "old"});
    trail.event(
        "2026-11-21T07:11:00Z",
        "identity.user.updated",
        "success",
        &json!({"initiator": who, "change": change}),
    );
    let reason = json!({"code": "400", "text": "The password does not match"});
    trail.event(
        "2026-11-21T07:12:00Z",
        "identity.user.updated",
        "failure",
        &json!({"initiator": who, "reason": reason}),
    );
    let to = json!({"role": {"id": "r1", "name": "member"}, "user": {"id": "u1", "name": "bob"}, "group": null,
        "project": {"id": "p1", "name": null}, "domain": null, "inherited": false});
    let tag = json!({"assignment": to, "resource": {"id": null, "name": null}});
    trail.event("2026-11-21T07:13:00Z", "identity.role_assignment.created", "success", &tag);
    let of_group = json!({"role": {"id": "r1", "name": "member"}, "group": {"id": "g1", "name": "staff"}, "user": null,
        "project": null, "domain": {"id": "default", "name": "Default"}, "inherited": true});
    trail.event(
        "2026-11-21T07:14:00Z",
        "identity.role_assignment.deleted",
        "success",
        &json!({"assignment": of_group}),
    );
    trail.event("2026-11-21T07:15:00Z", "compute.instance.create.start", "unknown", &json!({"initiator": {}}));
    let delivery = |id: &str, to: &str, outcome: &str, rest: &Value| {
        let mut fields = json!({"at": "2026-11-21T07:20:00Z", "delivery": id, "event_seq": of, "message_id": "m",
            "event_type": "identity.user.deleted", "rule": "gone | all", "destination": to, "outcome": outcome, "attempts": 1});
        fields.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        fields
    };
    trail.push(
        "delivery",
        &delivery("d1", "jenkins.ci", "done", &json!({"detail": {"build": 17, "result": "SUCCESS"}})),
    );
    trail.push(
        "delivery",
        &delivery("d2", "slack.ops", "given_up", &json!({"reason": "answered 404: <channel_not_found>"})),
    );
}

/// Everything that a report can tell of, once or twice.
fn trail() -> Trail {
    let mut trail = Trail::new();
    let start = |at: &str, rules: u64| json!({"at": at, "version": "0.1.0", "host": "ctl-1", "pid": 7, "queues": ["cadfd.info"], "rules": rules, "key": "K="});
    trail.push("start", &start("2026-11-21T06:00:00Z", 2));
    trail.sign("2026-11-21T06:00:01Z");
    trail.event("2026-11-21T06:30:00Z", "identity.user.created", "success", &json!({}));
    changes(&mut trail);
    for at in ["07:30:00", "07:31:00", "07:32:00"] {
        login(&mut trail, &format!("2026-11-21T{at}Z"), "failure", Some("u1"), "bob", None);
    }
    login(
        &mut trail,
        "2026-11-21T07:33:00Z",
        "failure",
        Some("u1"),
        "bob",
        Some("The account is locked for user: u1."),
    );
    login(&mut trail, "2026-11-21T07:34:00Z", "failure", None, HOSTILE, Some("Could not find user"));
    login(&mut trail, "2026-11-21T07:50:00Z", "success", Some("u1"), "bob", None);
    trail.push(
        "quarantine",
        &json!({"received": "2026-11-21T07:51:00Z", "source": {"queue": "cadfd.info"},
        "reason": "no JSON | at all", "size": 3, "sha256": "00"}),
    );
    trail.push("broker_lost", &json!({"from": "2026-11-21T07:52:00Z", "cause": "connection refused"}));
    trail.push(
        "broker_found",
        &json!({"from": "2026-11-21T07:52:00Z", "to": "2026-11-21T07:54:10Z", "attempts": 3,
        "cause": "connection refused"}),
    );
    trail.event(
        "2026-11-21T06:59:00Z",
        "identity.user.created",
        "success",
        &json!({"received": "2026-11-21T07:54:11Z"}),
    );
    trail.push("reload", &json!({"at": "2026-11-21T07:55:00Z", "rules": 3}));
    trail.push(
        "dropped",
        &json!({"at": "2026-11-21T07:56:00Z", "what": "log_lines", "count": 12, "reason": "max_log_lines"}),
    );
    trail.push("stop", &json!({"at": "2026-11-21T08:00:00Z", "cause": "SIGTERM"}));
    trail.sign("2026-11-21T08:00:00Z");
    trail.push("start", &start("2026-11-21T08:10:00Z", 3));
    trail.push("start", &start("2026-11-21T08:20:00Z", 3));
    trail.push(
        "removed",
        &json!({"at": "2026-11-21T08:30:00Z", "first": 1, "last": 9, "hash": "00", "files": ["x"],
        "reason": "[audit] keep_for"}),
    );
    trail.sign("2026-11-21T08:40:00Z");
    trail.event("2026-11-21T10:00:00Z", "identity.user.deleted", "success", &json!({}));
    trail
}

#[test]
fn html() {
    insta::assert_snapshot!(trail().report(500).render(Format::Html).unwrap().replace(include_str!("page.css"), "…\n"));
}

#[test]
fn markdown() {
    insta::assert_snapshot!(trail().report(500).render(Format::Markdown).unwrap());
}

#[test]
fn of_nothing_it_says_none() {
    let report = Trail::new().report(500);
    assert_eq!((report.verdict.words, report.verdict.findings.len()), ("Nobody can tell", 1));
    let page = report.render(Format::Markdown).unwrap();
    let tables = report.sections.iter().flat_map(|section| &section.tables);
    assert_eq!(page.matches("\nNone.\n").count(), tables.count(), "{page}");
    assert!(page.contains("0 events: 0 succeeded, 0 failed"), "{page}");
    assert!(page.contains("No checkpoint was checked"), "{page}");
}

#[test]
fn the_numbers_are_those_of_the_trail() {
    let summary = trail().report(500).summary;
    assert_eq!(
        summary,
        [
            "12 events: 5 succeeded, 6 failed, 0 pending, 1 of unknown outcome.",
            "5 changes to Keystone's users, projects, roles and other things, by 2 initiators.",
            "1 role was granted, 1 revoked.",
            "5 logins failed, with 2 user names and from 1 address; 1 account was found locked.",
            "3 deliveries were triggered; 1 done, 1 given up, 1 waiting at the end of the range.",
            "1 loss of the broker and 2 times when cadfd did not run, together 22m 10s; 1 message could not be read.",
            "1 event recorded in this range happened outside it, because they came late or a clock was wrong; the report of \
             their own time has them.",
        ]
    );
}

#[test]
fn what_does_not_fit_is_said() {
    let page = trail().report(1).render(Format::Markdown).unwrap();
    for said in ["And 2 rows before these, counted above", "And 1 more initiators", "And 5 more types"] {
        assert!(page.contains(said), "{said}\n{page}");
    }
}

#[test]
fn names_that_a_stranger_invents_do_not_pile_up() {
    let mut trail = trail();
    for number in 0..10_050 {
        login(&mut trail, "2026-11-21T08:50:00Z", "failure", None, &format!("guess-{number}"), None);
    }
    login(&mut trail, "2026-11-21T08:51:00Z", "failure", Some("u9"), "carol", None);
    let report = trail.report(500);
    // One name was typed before, and two users are known.
    assert_eq!(
        report.summary[3],
        "10,056 logins failed, with more than 10,002 user names and from 1 address; 1 account was found locked."
    );
    let page = report.render(Format::Markdown).unwrap();
    assert!(page.contains("51 failed logins are counted in the totals only"), "{page}");
    assert!(page.contains("| carol (u9) | 1 |") && page.contains("| 198.51.100.9 | 10,056 | over 50 |"), "{page}");
}

/// The rows of a section's table, as text.
fn rows(report: &Report, section: &str, table: usize) -> Vec<String> {
    let section = report.sections.iter().find(|known| known.id == section).unwrap();
    let text = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>().join(" | ");
    section.tables[table].rows.iter().map(text).collect()
}

#[test]
fn a_success_before_the_last_failure_did_not_follow_it() {
    let mut trail = Trail::new();
    for (at, outcome) in [("07:01:00", "failure"), ("07:02:00", "success"), ("07:03:00", "failure")] {
        login(&mut trail, &format!("2026-11-21T{at}Z"), outcome, Some("u1"), "bob", None);
    }
    let first = "2026-11-21 07:01:00 | 2026-11-21 07:03:00";
    assert_eq!(rows(&trail.report(9), "logins", 0), [format!("bob | 2 | 1 | {first} | no")]);
    for at in ["07:05:00", "07:04:00"] {
        login(&mut trail, &format!("2026-11-21T{at}Z"), "success", Some("u1"), "bob", None);
    }
    let told = format!("bob | 2 | 1 | {first} | 2026-11-21 07:04:00");
    assert_eq!(rows(&trail.report(9), "logins", 0), [told]);
}

#[test]
fn a_grant_that_failed_is_told_and_not_counted() {
    let mut trail = Trail::new();
    let to = json!({"assignment": {"role": {"id": "r1"}, "user": {"id": "u1"}, "project": {"id": "p1"}}});
    trail.event("2026-11-21T07:01:00Z", "identity.role_assignment.created", "failure", &to);
    let report = trail.report(9);
    assert_eq!(report.summary[2], "0 roles were granted, 0 revoked.");
    assert!(rows(&report, "roles", 0)[0].contains("role granted: failed"));
}

#[test]
fn what_begins_before_the_range_and_ends_after_it_is_told() {
    let mut trail = Trail::new();
    trail.push("broker_lost", &json!({"from": "2026-11-21T06:30:00Z", "cause": "refused"}));
    let planned = json!([{"rule": "r", "to": "slack.ops", "delivery": "d1"}]);
    trail.event("2026-11-21T06:00:00Z", "identity.user.deleted", "success", &json!({"planned": planned}));
    trail.push(
        "broker_found",
        &json!({"from": "2026-11-21T06:30:00Z", "to": "2026-11-21T09:30:00Z", "attempts": 3, "cause": "refused"}),
    );
    trail.push("delivery", &json!({"at": "2026-11-21T09:40:00Z", "delivery": "d1", "rule": "r", "destination": "slack.ops", "outcome": "done"}));
    let report = trail.report(9);
    assert_eq!(
        rows(&report, "gaps", 0),
        ["2026-11-21 06:30:00 | not ended in the range | 2h 30m | the broker was lost | refused"]
    );
    assert_eq!(rows(&report, "triggered", 0), ["r | slack.ops | 0 | 0 | 0 | 1 | 0 | "]);
    assert!(report.summary[5].starts_with("1 loss of the broker and 0 times when cadfd did not run, together 2h;"));
}

#[test]
fn times_without_a_binding_are_told_as_far_as_they_are_known() {
    let mut trail = Trail::new();
    let start = |at: &str| json!({"at": at, "version": "1", "host": "h", "queues": ["cadfd.bound"], "rules": 1});
    let bound = |at: &str, exchange: &str, keys: &str, from: Option<&str>, cause: &str| json!({"at": at, "queue": "cadfd.bound", "exchange": exchange, "routing_keys": [keys], "from": from, "cause": cause});
    trail.push("start", &start("2026-11-21T06:00:00Z"));
    trail.push("bound", &bound("2026-11-21T06:00:01Z", "nova", "n.*", None, "cadfd began to consume"));
    trail.push("stop", &json!({"at": "2026-11-21T06:50:00Z", "cause": "SIGTERM"}));
    trail.push("start", &start("2026-11-21T07:09:59Z"));
    trail.push("bound", &bound("2026-11-21T07:10:00Z", "nova", "n.*", None, "cadfd began to consume"));
    trail.push("bound", &bound("2026-11-21T07:10:00Z", "glance", "n.*", None, "cadfd began to consume"));
    let from = Some("2026-11-21T07:30:00Z");
    trail.push("bound", &bound("2026-11-21T07:30:40Z", "nova", "n.*", from, "the connection was lost"));
    // Other routing keys are another binding.
    trail.push("bound", &bound("2026-11-21T08:00:00Z", "nova", "n.info", None, "cadfd began to consume"));
    trail.push("bound", &bound("2026-11-21T09:10:00Z", "nova", "n.info", Some("2026-11-21T09:00:00Z"), "later"));
    let report = trail.report(9);
    assert_eq!(
        rows(&report, "gaps", 4),
        [
            "2026-11-21 06:50:00 | 2026-11-21 07:10:00 | 20m | cadfd.bound | nova | cadfd began to consume",
            "bound for the first time | 2026-11-21 07:10:00 |  | cadfd.bound | glance | cadfd began to consume",
            "2026-11-21 07:30:00 | 2026-11-21 07:30:40 | 40s | cadfd.bound | nova | the connection was lost",
            "bound for the first time | 2026-11-21 08:00:00 |  | cadfd.bound | nova | cadfd began to consume",
        ]
    );
    assert!(report.summary.iter().any(|line| line.starts_with("2 times when a queue of cadfd's own may not")));
}

#[test]
fn no_more_is_done_than_was_triggered() {
    let mut trail = Trail::new();
    let planned = |id: &str| json!([{"rule": "r", "to": "slack.ops", "delivery": id}]);
    let of =
        trail.event("2026-11-21T07:01:00Z", "identity.user.deleted", "success", &json!({"planned": planned("d1")}));
    for (run, id) in [("run7", "d2"), ("run8", "d3"), ("run8", "d4")] {
        trail.push(
            "replay",
            &json!({"at": "2026-11-21T07:02:00Z", "run": run, "message_id": "m0", "from": "audit.log:1",
            "event_type": "identity.user.deleted", "planned": planned(id)}),
        );
    }
    for (id, event_type) in [("d1", "x"), ("d2", "x"), ("d3", "x"), ("c1", "cadfd.checkpoint.created")] {
        trail.push(
            "delivery",
            &json!({"at": "2026-11-21T07:03:00Z", "delivery": id, "event_seq": of, "message_id": "m0",
            "event_type": event_type, "rule": "r", "destination": "slack.ops", "outcome": "done", "attempts": 1}),
        );
    }
    let report = trail.report(9);
    assert_eq!(rows(&report, "triggered", 0), ["r | slack.ops | 5 | 4 | 0 | 1 | 0 | "]);
    assert!(report.summary[4].starts_with("5 deliveries were triggered; 4 done, 0 given up, 1 waiting"));
    assert_eq!(
        report.summary[6],
        "Among what was triggered is what 2 replays led to, for 3 events that went through the rules once more."
    );
}

#[test]
fn what_follows_a_delivery_is_counted_with_what_triggered_it() {
    let mut trail = Trail::new();
    let planned = |to: &str, id: &str| json!([{"rule": "r", "to": to, "delivery": id}]);
    let told = json!({"planned": planned("http.x", "d1")});
    let of = trail.event("2026-11-21T07:01:00Z", "identity.user.deleted", "success", &told);
    let own = "cadfd.checkpoint.created";
    for (id, event_type, to, then) in [
        ("d1", "x", "http.x", planned("http.y", "d2")),
        ("d2", "x", "http.y", planned("http.z", "d3")),
        ("c1", own, "http.x", planned("http.y", "c2")),
        ("c2", own, "http.y", json!([])),
    ] {
        trail.push(
            "delivery",
            &json!({"at": "2026-11-21T07:03:00Z", "delivery": id, "event_seq": of, "message_id": "m0", "planned": then,
            "event_type": event_type, "rule": "r", "destination": to, "outcome": "done", "attempts": 1}),
        );
    }
    let mut found = rows(&trail.report(9), "triggered", 0);
    found.sort();
    assert_eq!(
        found,
        ["r | http.x | 2 | 2 | 0 | 0 | 0 | ", "r | http.y | 2 | 2 | 0 | 0 | 0 | ", "r | http.z | 1 | 0 | 0 | 1 | 0 | "]
    );
}

#[test]
fn what_was_added_by_hand_is_said() {
    let mut trail = Trail::new();
    let imported = json!({"source": null, "imported": {"from": "keystone.log:17", "at": "2026-11-21T07:30:00Z"}});
    trail.event("2026-11-21T07:01:00Z", "identity.user.deleted", "success", &imported);
    trail.event("2026-11-21T07:02:00Z", "identity.user.deleted", "success", &json!({}));
    let summary = trail.report(9).summary;
    assert!(
        summary[0].starts_with("2 events:") && summary[6].starts_with("1 event was not received but added"),
        "{summary:?}"
    );
}

#[test]
fn a_change_to_the_trail_stands_at_the_top() {
    let mut trail = trail();
    let line = String::from_utf8(trail.lines[5].clone()).unwrap();
    trail.lines[5] = line.replace("203.0.113.4", "203.0.113.5").into_bytes();
    let verdict = trail.report(500).verdict;
    assert_eq!((verdict.tone, verdict.words), ("bad", "Altered"));
    assert!(verdict.findings[0].starts_with("audit.log:") && verdict.findings[0].contains("record 6 was changed"));
}

/// What begins an element or an attribute in the page, with what comes from a message left out.
#[test]
fn the_html_is_well_formed_and_loads_nothing() {
    let page = trail().report(500).render(Format::Html).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    for element in document.descendants().filter(roxmltree::Node::is_element) {
        assert!(
            !["script", "link", "img", "iframe", "object", "embed", "base", "form"]
                .contains(&element.tag_name().name())
        );
        for attribute in element.attributes() {
            assert!(!attribute.name().starts_with("on") && attribute.name() != "src", "{attribute:?}");
            assert!(attribute.name() != "href" || attribute.value().starts_with('#'), "{attribute:?}");
            assert!(!attribute.value().contains("://"), "{attribute:?}");
        }
    }
    let style = include_str!("page.css");
    assert!(!style.contains("url(") && !style.contains("@import") && !style.contains("://"));
    // The names are there, as text.
    let text: String = document.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect();
    assert!(text.contains("eve <script>alert(1)</script> | `x` [y](http://z.example) \\u{202e}*b*"), "{text}");
    // Every heading that is linked to is there.
    let ids: Vec<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    for link in document.descendants().filter_map(|node| node.attribute("href")) {
        assert!(ids.contains(&link.trim_start_matches('#')), "{link}");
    }
    for table in document.descendants().filter(|node| node.has_tag_name("table")) {
        let count = |tag| table.descendants().filter(|node| node.has_tag_name(tag)).count();
        assert_eq!(count("caption"), 1);
        assert_eq!(count("td") % count("th"), 0);
    }
}

#[test]
fn a_table_in_markdown_has_as_many_cells_as_columns() {
    let page = trail().report(500).render(Format::Markdown).unwrap();
    let cells = |line: &str| line.replace(r"\\", "").replace(r"\|", "").matches('|').count();
    let mut columns = 0;
    for (line, next) in page.lines().zip(page.lines().skip(1)) {
        if next.starts_with("|---") || next.starts_with("|---:") {
            columns = cells(line);
        }
        if line.starts_with('|') {
            assert_eq!(cells(line), columns, "{line}");
        }
    }
}

#[test]
fn what_was_counted_leads_to_what_fired() {
    let mut trail = Trail::new();
    let counted = json!({"planned": [{"rule": "r", "to": "threshold"}]});
    for minute in 1..4 {
        trail.event(&format!("2026-11-21T07:0{minute}:00Z"), "identity.authenticate", "failure", &counted);
    }
    let planned = json!([{"rule": "r", "to": "slack.ops", "delivery": "d1"}]);
    let of = trail
        .push("fired", &json!({"at": "2026-11-21T07:03:00Z", "rule": "r", "cause": "threshold", "planned": planned}));
    trail.push(
        "delivery",
        &json!({"at": "2026-11-21T07:04:00Z", "delivery": "d1", "event_seq": of, "message_id": "m0",
        "event_type": "cadfd.silence.begun", "rule": "r", "destination": "slack.ops", "outcome": "done", "attempts": 1}),
    );
    let report = trail.report(9);
    assert_eq!(
        rows(&report, "triggered", 0),
        ["r | slack.ops | 1 | 1 | 0 | 0 | 0 | ", "r | threshold | 3 | – | – | – | 0 | "]
    );
}
