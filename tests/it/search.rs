//! `cadfd search` and `cadfd tail`: the real program on generated trails, packed in every way, and on a daemon's own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use cadfd::trail::{self, Class, Entry, Order, Query, Scan, TrailFile, Watch, index};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::generator::{Generator, Packing};
use crate::ground::Ground;
use crate::run_test;

fn cadfd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cadfd")).args(args).output().unwrap()
}

fn out(args: &[&str]) -> String {
    let output = cadfd(args);
    assert_eq!(output.status.code(), Some(0), "cadfd {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A trail in files of each kind, and its lines.
struct Made {
    _dir: TempDir,
    path: PathBuf,
    lines: Vec<String>,
}

fn read(trail: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in trail::find(trail).unwrap() {
        let mut from = file.lines().unwrap();
        while let Some(line) = from.next_line().unwrap() {
            lines.push(String::from_utf8(line.bytes.to_vec()).unwrap());
        }
    }
    lines
}

fn packing(number: u64) -> Packing {
    [Packing::Zstd, Packing::Plain, Packing::Gzip][usize::try_from(number % 3).unwrap()]
}

fn made(seed: u64, records: u64, per_file: u64) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let path = Generator::new(seed, 400).write(dir.path(), records, per_file, packing);
    let lines = read(&path);
    assert_eq!(lines.len() as u64, records);
    Made { _dir: dir, path, lines }
}

/// Nobody writes to it: indexes are all that is added.
static TRAIL: LazyLock<Made> = LazyLock::new(|| made(1, 1200, 250));

impl Made {
    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The lines of the records that are as wanted.
    fn expected(&self, wanted: impl Fn(&Value) -> bool) -> String {
        self.lines.iter().filter(|line| wanted(&serde_json::from_str(line).unwrap())).cloned().collect()
    }

    fn json(&self, args: &[&str]) -> String {
        let output = cadfd(&[&["search", "--json", self.path()], args].concat());
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(i32::from(output.stdout.is_empty())), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is found is what is wanted, byte for byte.
    fn finds(&self, args: &[&str], wanted: impl Fn(&Value) -> bool) {
        let numbers =
            |text: &str| text.lines().map(|line| Entry::read(line.as_bytes()).unwrap().seq).collect::<Vec<_>>();
        let (found, expected) = (self.json(args), self.expected(wanted));
        assert!(found == expected, "{args:?}: {:?} instead of {:?}", numbers(&found), numbers(&expected));
        assert!(!found.is_empty(), "{args:?}");
    }
}

/// Whether a user is named by this id or name anywhere that counts.
fn names_user(record: &Value, text: &str) -> bool {
    let at = |pointer: &str| record.pointer(pointer).and_then(Value::as_str) == Some(text);
    let is_user = record["resource"]["kind"] == "user";
    at("/initiator/id")
        || at("/initiator/name")
        || is_user && (at("/resource/id") || at("/resource/name"))
        || at("/assignment/user/id")
        || at("/assignment/user/name")
}

#[test]
fn each_filter_finds_what_it_says() {
    let trail = &*TRAIL;
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    for number in [3, 41, 42, 43] {
        for user in [Generator::user_id(number), Generator::user_name(number)] {
            trail.finds(&["--user", &user], |record| names_user(record, &user));
        }
    }
    let first = |wanted: &dyn Fn(&Value) -> bool| -> Value {
        trail.lines.iter().map(|line| serde_json::from_str(line).unwrap()).find(wanted).unwrap()
    };
    let event = first(&|record| record["initiator"]["project_id"].is_string() && record["request_id"].is_string());
    let project = event["initiator"]["project_id"].as_str().unwrap();
    trail.finds(&["--project", project], |record| {
        record["initiator"]["project_id"] == project
            || record["resource"]["kind"] == "project" && record["resource"]["id"] == project
            || record["assignment"]["project"]["id"] == project
    });
    let of_domain = first(&|record| record["resource"]["kind"] == "domain");
    let domain = of_domain["resource"]["id"].as_str().unwrap();
    trail.finds(&["--domain", domain], |record| record["resource"]["id"] == domain);
    let granted = first(&|record| record["assignment"]["role"]["id"].is_string());
    let role = granted["assignment"]["role"]["id"].as_str().unwrap();
    trail.finds(&["--role", role], |record| record["assignment"]["role"]["id"] == role);
    let address = event["initiator"]["address"].as_str().unwrap();
    trail.finds(&["--address", address], |record| record["initiator"]["address"].as_str() == Some(address));
    let is_of_network = |record: &Value| {
        let nets = ["198.51.4.", "198.51.5.", "198.51.6.", "198.51.7."];
        record["initiator"]["address"].as_str().is_some_and(|address| nets.iter().any(|net| address.starts_with(net)))
    };
    trail.finds(&["--address", "198.51.4.0/22"], is_of_network);
    trail.finds(&["--event", "identity.user.*", "--event", "!*.updated"], |record| {
        let event_type = text(record, "event_type");
        event_type.starts_with("identity.user.") && !event_type.ends_with(".updated")
    });
    trail.finds(&["-o", "failure", "-o", "given_up"], |record| {
        ["failure", "given_up"].contains(&&*text(record, "outcome"))
    });
    trail.finds(&["--rule", "Hand Over", "--type", "event"], |record| record["planned"][0]["rule"] == "hand over");
    trail.finds(&["--destination", "jenkins.ci", "--type", "delivery"], |record| record["type"] == "delivery");
    trail.finds(&["--text", "山田 \"43\"", "--user", &Generator::user_name(43)], |record| {
        names_user(record, &Generator::user_name(43))
    });
    let (since, until) = ("2026-01-01T00:10:00", "2026-01-01T00:15:00");
    let at = |record: &Value| text(record, if record["type"] == "event" { "timestamp" } else { "at" });
    trail.finds(&["--since", since, "--until", until], |record| (since..until).contains(&&*at(record)));
    trail.finds(&["--since", "2026-01-01T00:15:00Z", "-u", &Generator::user_id(3)], |record| {
        *at(record) >= *until && names_user(record, &Generator::user_id(3))
    });
    trail.finds(&[], |_| true);
    assert_eq!(trail.json(&["--user", "nobody of this name"]), "");
}

#[test]
fn the_newest_come_first_and_so_many() {
    let trail = &*TRAIL;
    let reversed: String = trail.lines.iter().rev().cloned().collect();
    assert_eq!(trail.json(&["--newest"]), reversed);
    let user = Generator::user_name(5);
    let found = trail.expected(|record| names_user(record, &user));
    let mut lines: Vec<_> = found.split_inclusive('\n').collect();
    assert_eq!(trail.json(&["--user", &user, "--limit", "3"]), lines[..3].concat());
    lines.reverse();
    assert_eq!(trail.json(&["--user", &user, "--newest", "-l", "3"]), lines[..3].concat());
    assert_eq!(out(&["tail", "--json", trail.path(), "--user", &user, "-n", "2"]), [lines[1], lines[0]].concat());
    assert_eq!(out(&["tail", "--json", trail.path()]), trail.lines[1190..].concat());
}

/// The sequence numbers that a scan finds.
fn scanned(trails: &[trail::Trail], query: &Query, order: Order) -> Vec<u64> {
    let mut scan = Scan::new(trails.to_vec(), query, order, Watch::none());
    let mut found = Vec::new();
    while let Some((_, hit)) = scan.next_hit().unwrap() {
        found.push(hit.entry.seq);
    }
    found
}

static INDEXED: LazyLock<(Made, Vec<(Entry, String)>)> = LazyLock::new(|| {
    let made = made(2, 1000, 180);
    for file in trail::find(&made.path).unwrap() {
        index::build(&file).unwrap();
    }
    let entries = made.lines.iter().map(|line| (Entry::read(line.as_bytes()).unwrap(), line.clone())).collect();
    (made, entries)
});

/// A filter of some kind, with values that are in a record of the trail, or in none.
fn filters() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
    prop::collection::vec((0..9_usize, prop::collection::vec(0..1050_usize, 1..4)), 0..4)
}

fn query_of(filters: &[(usize, Vec<usize>)], entries: &[(Entry, String)]) -> Query {
    let mut query = Query::new();
    for (kind, places) in filters {
        let of = |field: fn(&Entry) -> Option<String>| -> Vec<String> {
            places
                .iter()
                .map(|at| entries.get(*at).and_then(|(e, _)| field(e)).unwrap_or_else(|| "none".into()))
                .collect()
        };
        match kind {
            0 => _ = query.things("user", &of(|e| e.initiator.id.clone())).unwrap(),
            1 => _ = query.things("user", &of(|e| e.resource.name.clone())).unwrap(),
            2 => _ = query.things("project", &of(|e| e.initiator.project_id.clone())).unwrap(),
            3 => _ = query.from_addresses(&of(|e| e.initiator.address.clone())).unwrap(),
            4 => _ = query.event_types(&of(|e| e.event_type.clone())).unwrap(),
            5 => _ = query.any_of(&[(Class::Outcome, &of(|e| e.outcome.clone()))]).unwrap(),
            6 => _ = query.any_of(&[(Class::Message, &of(|e| e.message_id.clone()))]).unwrap(),
            7 => {
                _ = query
                    .any_of(&[
                        (Class::Request, &of(|e| e.request_id.clone())),
                        (Class::Delivery, &of(|e| e.delivery.clone())),
                    ])
                    .unwrap();
            }
            _ => {
                let time = |at: &usize| entries.get(*at).and_then(|(entry, _)| entry.time());
                _ = query.between(places.first().and_then(time), places.get(1).and_then(time));
            }
        }
    }
    query
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_index_finds_what_reading_all_finds(filters in filters()) {
        let (made, entries) = &*INDEXED;
        let trails = trail::trails(std::slice::from_ref(&made.path)).unwrap();
        let query = query_of(&filters, entries);
        let wanted = entries.iter().filter(|(entry, line)| query.matches(entry, line.as_bytes()));
        let mut wanted: Vec<u64> = wanted.map(|(entry, _)| entry.seq).collect();
        prop_assert_eq!(&scanned(&trails, &query, Order::Oldest), &wanted);
        wanted.reverse();
        prop_assert_eq!(&scanned(&trails, &query, Order::Newest), &wanted);
    }
}

#[test]
fn an_index_is_made_on_the_way_and_a_damaged_one_does_no_harm() {
    let trail = made(3, 900, 300);
    let indexes = || -> BTreeSet<PathBuf> {
        let dir = fs::read_dir(trail.path.parent().unwrap()).unwrap();
        dir.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "idx")).collect()
    };
    let user = Generator::user_name(7);
    let expected = trail.expected(|record| names_user(record, &user));
    assert_eq!(trail.json(&["--user", &user, "--no-index"]), expected);
    assert!(indexes().is_empty());
    assert_eq!(trail.json(&["--user", &user]), expected);
    assert_eq!(indexes().len(), 2, "of the file that is written to, none");
    for path in indexes() {
        let whole = fs::read(&path).unwrap();
        // The header, a page, the root.
        for at in [40, whole.len() / 2, whole.len() - 9] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let output = cadfd(&["search", "--json", "--no-index", trail.path(), "--user", &user]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
            // A page that nobody asked for is nobody's loss.
            assert_eq!(said.contains("is damaged"), at != whole.len() / 2 || !said.is_empty(), "{at}: {said}");
        }
        // It is made anew.
        cadfd(&["search", "--json", trail.path(), "--user", &user]);
        assert_eq!(trail.json(&["--user", &user]), expected);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    // Rotated the way logrotate does: the name stays, the file is another, and the index is of the one before.
    let dir = tempfile::tempdir().unwrap();
    let [live, rotated] = ["audit.log", "audit.log.1"].map(|name| dir.path().join(name));
    fs::write(&live, &trail.lines[899]).unwrap();
    for lines in [&trail.lines[..300], &trail.lines[300..600]] {
        fs::write(&rotated, lines.concat()).unwrap();
        let event = lines.iter().find(|line| line.contains("\"type\":\"event\"")).unwrap();
        let message = Entry::read(event.as_bytes()).unwrap().message_id.unwrap();
        let found = out(&["search", "--json", "--message", &message, "--type", "event", live.to_str().unwrap()]);
        assert_eq!(&found, event);
        assert!(index::Index::open(&TrailFile::of(&rotated).unwrap().unwrap()).is_ok());
    }
    // Somebody edits it in its middle.
    let text = fs::read_to_string(&rotated).unwrap();
    let (before, after) = text.split_at(text.len() / 2);
    let known = Entry::read(after.lines().nth(1).unwrap().as_bytes()).unwrap().message_id.unwrap();
    let other = "x".repeat(known.len());
    let found = || out(&["search", "--json", "--message", &other, live.to_str().unwrap()]);
    let output = cadfd(&["search", "--json", "--message", &other, live.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    fs::write(&rotated, [before, &after.replace(&known, &other)].concat()).unwrap();
    assert!(text.len() > 300 << 10 && found().contains(&other), "{} B", text.len());
}

#[test]
fn several_trails_are_one_by_time() {
    let (a, b) = (made(5, 300, 100), made(6, 300, 100));
    let args = ["search", "--json", a.path(), b.path()];
    let found = out(&args);
    let lines: Vec<_> = found.split_inclusive('\n').map(str::to_owned).collect();
    assert_eq!(lines.iter().collect::<BTreeSet<_>>(), a.lines.iter().chain(&b.lines).collect::<BTreeSet<_>>());
    let times: Vec<_> = lines.iter().map(|line| Entry::read(line.as_bytes()).unwrap().time().unwrap()).collect();
    assert!(times.is_sorted());
    let newest = out(&[&args[..], &["--newest"]].concat());
    let newest: Vec<_> = newest.split_inclusive('\n').map(str::to_owned).collect();
    assert!(newest.iter().eq(lines.iter().rev()));
    // Named by a shell's *, or by its directory, each file still counts once.
    let all: Vec<_> = trail::find(&a.path).unwrap().into_iter().map(|file| file.path.display().to_string()).collect();
    let args: Vec<&str> = ["search", "--json"].into_iter().chain(all.iter().map(String::as_str)).collect();
    assert_eq!(out(&args), a.lines.concat());
    let dir = a.path.parent().unwrap();
    assert_eq!(out(&["search", "--json", dir.to_str().unwrap()]), a.lines.concat());
    // Also while a file is packed: both are there.
    let plain = a.path.with_extension("log.0");
    fs::write(&plain, a.lines[..100].concat()).unwrap();
    fs::write(a.path.with_extension("log.0.zst"), zstd::encode_all(a.lines[..100].concat().as_bytes(), 1).unwrap())
        .unwrap();
    let both = [plain.to_str().unwrap().to_owned(), format!("{}.zst", plain.display())];
    assert_eq!(out(&["search", "--json", &both[0], &both[1]]), a.lines[..100].concat());
    // People are told which trail a line is of.
    assert!(out(&["search", a.path(), b.path()]).lines().all(|line| line.contains("audit.log: 2026-")));
}

#[test]
fn hostile_names_stay_text() {
    let trail = &*TRAIL;
    for number in [41, 42, 43] {
        let user = Generator::user_name(number);
        let shown = out(&["search", trail.path(), "--user", &user]);
        let records = trail.expected(|record| names_user(record, &user)).lines().count();
        assert_eq!(shown.lines().count(), records);
        assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control() && letter != '\u{202e}'), "{shown}");
        let table = out(&["search", "--csv", trail.path(), "--user", &user]);
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        assert_eq!(reader.headers().unwrap().len(), 29);
        let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
        assert_eq!(rows.len(), records);
        for cell in rows.iter().flatten() {
            assert!(!cell.starts_with(['=', '+', '-', '@']) && !cell.contains(char::is_control), "{cell}");
        }
    }
}

fn hand_made(lines: &[Value]) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut file = File::create(&path).unwrap();
    for (at, line) in lines.iter().enumerate() {
        let mut record = json!({"seq": at + 1});
        record.as_object_mut().unwrap().extend(line.as_object().unwrap().clone());
        writeln!(file, "{record}").unwrap();
    }
    let path = path.display().to_string();
    (dir, path)
}

fn user_event(at: &str, operation: &str, name: &str) -> Value {
    json!({"type": "event", "message_id": format!("m-{at}"), "event_type": format!("identity.user.{operation}"),
        "kind": "user", "operation": operation, "outcome": "success", "timestamp": format!("2026-11-21T{at}Z"),
        "request_id": format!("req-{at}"), "initiator": {"id": "a1", "name": "admin", "address": "192.0.2.1"},
        "resource": {"kind": "user", "id": "b2", "name": name}, "planned": []})
}

#[test]
fn a_name_finds_what_happened_while_it_was_in_force() {
    let mut renamed = user_event("11:00:00", "updated", "robert");
    renamed["change"] = json!({"derived": true, "name": "robert", "old_name": "bob", "added": [], "removed": [],
        "enabled": null, "since": "2026-11-21T10:00:00Z", "until": "2026-11-21T11:00:01Z"});
    let (_dir, path) =
        hand_made(&[user_event("10:00:00", "created", "bob"), renamed, user_event("12:00:00", "deleted", "robert")]);
    let seqs = |name: &str| -> Vec<u64> {
        let found = out(&["search", "--json", "--user", name, &path]);
        found.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!((seqs("bob"), seqs("ROBERT"), seqs("b2")), (vec![1, 2], vec![2, 3], vec![1, 2, 3]));
    let shown = out(&["search", "--user", "bob", "--event", "*.updated", &path]);
    assert!(shown.contains("USER UPDATED success: robert (b2) renamed from bob by admin (a1)"), "{shown}");
}

#[test]
fn a_request_is_shown_with_all_it_triggered() {
    let mut deleted = user_event("10:00:00", "deleted", "bob");
    deleted["planned"] = json!([
        {"rule": "everything", "to": "log"}, {"rule": "hand over", "to": "jenkins.ci", "delivery": "d1"},
        {"rule": "tell", "to": "slack.ops", "delivery": "d2"}, {"rule": "tell", "to": "http.cmdb", "delivery": "d3"},
        {"rule": "broken", "to": "slack.ops", "error": "no field x"}]);
    let delivery = |id: &str, outcome: &str, to: &str| {
        json!({"type": "delivery", "at": "2026-11-21T10:00:05.000000Z", "delivery": id, "event_seq": 1, "message_id": "m-10:00:00",
            "event_type": "identity.user.deleted", "rule": "r\u{1b}", "destination": to, "outcome": outcome, "attempts": 2})
    };
    let mut done = delivery("d1", "done", "jenkins.ci");
    done["detail"] = json!({"queue_item": 4, "build": 17, "result": "SUCCESS"});
    let mut given_up = delivery("d2", "given_up", "slack.ops");
    given_up["reason"] = "404 no_service".into();
    let (_dir, path) = hand_made(&[deleted, user_event("10:00:01", "created", "eve"), done, given_up]);
    let story = out(&["search", "--request", "req-10:00:00", &path]);
    insta::assert_snapshot!("request-tree", story);
    assert_eq!(out(&["search", "--message", "m-10:00:00", &path]), story);
    let lines = out(&["search", "--json", "--request", "req-10:00:00", &path]);
    let seqs: Vec<_> = lines.lines().map(|line| Entry::read(line.as_bytes()).unwrap().seq).collect();
    assert_eq!(seqs, [1, 3, 4]);
    let output = cadfd(&["search", "--request", "req-unknown", &path]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
}

#[test]
fn what_follows_a_firing_is_told_to_whoever_counted_for_it() {
    let counted = |at: &str, id: &str| {
        let mut event = user_event(at, "deleted", id);
        event["resource"]["id"] = id.into();
        event["planned"] = json!([{"rule": "mass", "to": "threshold"}]);
        event
    };
    let fired = json!({"type": "fired", "at": "2026-11-21T10:01:00.000000Z", "rule": "mass", "cause": "threshold", "key": null,
        "count": 2, "since": "2026-11-21T10:00:00.000000Z", "until": "2026-11-21T10:01:00.000000Z",
        "message_id": "m-10:01:00", "event_type": "identity.user.deleted", "events": ["m-10:00:00", "m-10:01:00"],
        "planned": [{"rule": "mass", "to": "http.a", "delivery": "d1"}]});
    let end = |id: &str, to: &str, planned: Value| {
        json!({"type": "delivery", "at": "2026-11-21T10:02:00.000000Z", "delivery": id, "event_seq": 3,
            "message_id": "m-10:01:00", "event_type": "identity.user.deleted", "rule": "mass", "destination": to,
            "outcome": "done", "attempts": 1, "planned": planned})
    };
    let then = |to: &str, id: &str| json!([{"rule": "mass", "to": to, "delivery": id}]);
    let (_dir, path) = hand_made(&[
        counted("10:00:00", "u1"),
        counted("10:01:00", "u2"),
        fired,
        end("d1", "http.a", then("http.b", "d2")),
        end("d2", "http.b", then("http.c", "d3")),
        end("d3", "http.c", json!([])),
    ]);
    for user in ["user:u1", "user:u2"] {
        let who = out(&["who", user, &path]);
        for to in ["http.a", "http.b", "http.c"] {
            assert!(who.contains(&format!("{to}, rule mass  once: 1 done, 0 given up, 0 open")), "{user}: {who}");
        }
    }
    for message in ["m-10:00:00", "m-10:01:00"] {
        let shown = out(&["search", "--message", message, &path]);
        let lines: Vec<_> = shown.lines().filter(|line| line.contains("http.")).collect();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.contains(" done, ")), "{message}: {shown}");
    }
}

#[test]
fn who_tells_the_story_of_one_thing() {
    let by = |mut event: Value, id: &str, name: &str, address: &str| {
        event["initiator"] = json!({"id": id, "name": name, "address": address});
        event
    };
    let mut created = user_event("10:00:00", "created", "bob");
    created["planned"] = json!([{"rule": "tell", "to": "slack.ops", "delivery": "d1"}, {"rule": "all", "to": "log"}]);
    let told = json!({"type": "delivery", "at": "2026-11-21T10:00:01.000000Z", "delivery": "d1", "event_seq": 1,
        "message_id": "m-10:00:00", "event_type": "identity.user.created", "rule": "tell", "destination": "slack.ops",
        "outcome": "done", "attempts": 1});
    let mut granted = user_event("10:01:00", "created", "x");
    granted["kind"] = "role_assignment".into();
    granted["resource"] = json!({"kind": "role_assignment", "id": null, "name": null});
    granted["assignment"] = json!({"role": {"id": "r1", "name": "member"}, "user": {"id": "b2", "name": "bob"},
        "group": null, "project": {"id": "p1", "name": "dev\u{1b}"}, "domain": null, "inherited": false});
    let login = |at: &str, address: &str| by(user_event(at, "authenticate", "bob"), "b2", "bob", address);
    let mut failed = login("10:04:00", "192.0.2.9");
    failed["outcome"] = "failure".into();
    failed["reason"] = json!({"code": "401", "text": "Invalid password"});
    let mut renamed = user_event("10:05:00", "updated", "robert");
    renamed["change"] = json!({"derived": true, "name": "robert", "old_name": "bob", "added": [], "removed": [],
        "enabled": false, "since": "2026-11-21T10:00:00Z", "until": "2026-11-21T11:00:01Z"});
    let mut other = by(user_event("10:06:00", "created", "eve"), "b2", "robert", "192.0.2.7");
    other["resource"]["id"] = "c3".into();
    let mut namesake = user_event("10:08:00", "created", "bob");
    namesake["resource"]["id"] = "z9".into();
    let lines = [
        created,
        told,
        granted,
        login("10:02:00", "192.0.2.7"),
        login("10:03:00", "192.0.2.7"),
        failed,
        renamed,
        other,
        user_event("10:07:00", "deleted", "robert"),
        namesake,
    ];
    let (_dir, path) = hand_made(&lines);
    let story = out(&["who", "user:robert", &path]);
    insta::assert_snapshot!("who-user", story);
    assert_eq!(out(&["who", "user:b2", &path]), story);
    assert!(
        out(&["who", "role:member", &path])
            .contains("granted: role member (r1) to user bob (b2) on project dev\\u{1b} (p1)")
    );
    let output = cadfd(&["who", "user:BOB", &path]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true));
    assert!(said.contains("2 users are or were called BOB") && said.contains("cadfd who user:z9  bob; once"), "{said}");
    assert!(
        said.contains("cadfd who user:b2  bob, robert; ") && said.contains("deleted 2026-11-21T10:07:00Z"),
        "{said}"
    );
    let nobody = cadfd(&["who", "project:none", &path]);
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert_eq!((nobody.status.code(), nobody.stdout), (Some(1), vec![]), "{said}");
    assert!(said.starts_with("cadfd: the trail knows no project with the id or name none; "), "{said}");
    let json: Value = serde_json::from_str(&out(&["who", "user:b2", "--json", &path])).unwrap();
    assert_eq!((&json["logins"]["192.0.2.7"]["count"], &json["id"]), (&2.into(), &"b2".into()));
    assert_eq!(json["triggered"]["slack.ops, rule tell"], json!({"planned": 1, "done": 1, "given_up": 0}));
}

#[test]
fn the_commands_of_the_pages_are_understood() {
    commands_are_understood("docs/AUDIT.md", "\n## Reading the trail\n", |_| true);
    // Others have tests of their own.
    let of_people = |line: &str| [" tail ", " search ", " who "].iter().any(|command| line.contains(command));
    commands_are_understood("README.md", "\n## The audit trail\n", of_people);
}

/// The lines of a section's first block of commands, each tried if it is `wanted`.
fn commands_are_understood(page: &str, heading: &str, wanted: impl Fn(&str) -> bool) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let section = page.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let mut commands = BTreeSet::new();
    for line in block.lines().filter(|line| wanted(line)) {
        let line = line.split("  #").next().unwrap().trim();
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        // What follows does not end, and other places have no trail.
        let line = line.replace(" -f", "").replace(" audit/", "");
        let words = line.replace("cadfd ", &format!("{} ", env!("CARGO_BIN_EXE_cadfd")));
        let output = Command::new("sh").arg("-c").arg(format!("{words} {}", TRAIL.path())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // The pages' user is not in this trail.
        let is_understood = said.is_empty() || said.starts_with("cadfd: the trail knows no user ");
        assert!(matches!(output.status.code(), Some(0 | 1)) && is_understood, "{line}: {said}");
        commands.extend(line.split(' ').nth(1).map(str::to_owned));
    }
    assert_eq!(commands.into_iter().collect::<Vec<_>>(), ["search", "tail", "who"]);
}

#[test]
fn mistakes_are_said_with_status_2() {
    let path = TRAIL.path();
    for (args, words) in [
        (&["search", path, "--since", "soon"][..], "\"soon\" is no time; write 2d"),
        (&["search", path, "--since", "2026-11-20T10:03:00[Europe/Nowhere]"], "is no time"),
        (&["search", path, "--since", "1d", "--until", "2d"], "--since is not before --until"),
        (&["replay", "--dry-run", "--since", "1d", "--until", "2d", path], "--since is not before --until"),
        (&["search", path, "--address", "1.2.3/99"], "\"1.2.3/99\" is neither an address nor a network"),
        (&["search", path, "--address", "300.1.1.1"], "\"300.1.1.1\" is neither"),
        (&["search", path, "--event", "a.[b"], "the glob \"a.[b\" does not parse"),
        (&["search", path, "--user", ""], "--user: an empty text matches nothing"),
        (&["search", "/nowhere/audit.log"], "/nowhere"),
        (&["tail", path, "--until", "later"], "is no time"),
        (&["search", path, "--type", "x"], "[possible values: event"),
        (&["who", "bob", path], "user:bob"),
    ] {
        let output = cadfd(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words), "{args:?}: {:?} {said}", output.status);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn tail_follows_over_rotations() {
    run_test(async || {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("audit.log");
        let mut generator = Generator::new(9, 50);
        let append = |text: &[u8]| {
            File::options().append(true).create(true).open(&live).unwrap().write_all(text).unwrap();
        };
        let mut written = Vec::new();
        let mut lines = |count: usize| {
            let mut lines = Vec::new();
            (0..count).for_each(|_| generator.push(&mut lines));
            written.extend_from_slice(&lines);
            lines
        };
        append(&lines(20));
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_cadfd"))
            .args(["tail", "-f", "--json", "-n", "20", live.to_str().unwrap()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut shown = BufReader::new(child.stdout.take().unwrap());
        let mut seen = Vec::new();
        for round in 0..6 {
            // What was written is there before anything else is done to the file.
            let count = if round == 0 { 20 } else { 30 };
            for _ in 0..count {
                assert!(shown.read_until(b'\n', &mut seen).await.unwrap() > 0, "it ended");
            }
            let torn = lines(30);
            let (half, rest) = torn.split_at(torn.len() / 3);
            append(half);
            let moved = dir.path().join(format!("audit.log.{round}"));
            match round % 3 {
                0 => append(rest),
                1 => {
                    // Moved while the daemon is in the middle of it; it goes on in the old file, then in a new one.
                    fs::rename(&live, &moved).unwrap();
                    let end = half.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
                    fs::write(&moved, [fs::read(&moved).unwrap(), Vec::new()].concat()).unwrap();
                    let next = torn[end..].iter().position(|byte| *byte == b'\n').unwrap() + 1 + end;
                    File::options().append(true).open(&moved).unwrap().write_all(&torn[half.len()..next]).unwrap();
                    append(&torn[next..]);
                }
                _ => {
                    append(rest);
                    fs::rename(&live, &moved).unwrap();
                }
            }
        }
        for _ in 0..30 {
            shown.read_until(b'\n', &mut seen).await.unwrap();
        }
        assert!(seen == written, "{}", String::from_utf8_lossy(&seen));
        child.kill().await.unwrap();
    });
}

#[test]
fn a_daemons_own_trail_is_read_without_saying_where() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(3).await;
        ground.wait_done().await;
        ground.site.wait_settled().await;
        let site = &ground.site;
        let whole = fs::read_to_string(site.audit_path()).unwrap();
        assert_eq!(site.cadfd_ok(&["search", "--json"]).await, whole);
        let story = site.cadfd_ok(&["search", "--message", &ground.ids[1]]).await;
        assert!(
            story.contains("├─ log, rule all\n") && story.contains("└─ http.inventory done, rule all, at "),
            "{story}"
        );
        let last = site.cadfd_ok(&["tail", "--json", "-n", "1"]).await;
        assert!(whole.ends_with(&last) && last.lines().count() == 1);
        let shown = site.cadfd_ok(&["search", "--type", "start", "--type", "delivery"]).await;
        assert!(
            shown.contains(" START cadfd 0.1.0 on ") && shown.contains(" DELIVERY done: http.inventory for "),
            "{shown}"
        );
        daemon.stop().await;
    });
}
