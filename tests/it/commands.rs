//! What a person types: check, run with mistakes, explain, outbox beside the running daemon.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::broker::Broker;
use crate::daemon::{Site, of_type};
use crate::notification::users_deleted;
use crate::run_test;
use crate::standins::{Fault, Receiver};

const RULES: &str = r#"
[[rule]]
name = "gone"
event_type = "identity.user.deleted"
outcome = "success"
  [[rule.slack]]
  text = "{{ initiator.name | default('someone') }} deleted user {{ resource.id }}"
  [[rule.http]]
  path = "/users/{{ resource.id }}"
  json = { id = "{{ resource.id }}", rule = "{{ rule }}" }

[[rule]]
name = "failed logins"
event_type = "identity.authenticate"
when = "outcome == 'failure' and reason.code == '401'"
final = true
  [[rule.log]]

[[rule]]
name = "off"
enabled = false

[[rule]]
name = "rest"
event_type = ["identity.*", "!*.updated"]
  [[rule.log]]
"#;

/// Nothing of this is reached: `explain` and `check` send nothing.
fn site() -> Site {
    let nobody =
        "[slack.ops]\nwebhook_url = \"http://127.0.0.1:1/services/T/B/x\"\n[http.x]\nurl = \"http://127.0.0.1:1/v1\"\n";
    Site::with_url("rabbit://u:p@127.0.0.1:1/").settings(nobody).rules(RULES)
}

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/notifications").join(name).display().to_string()
}

#[test]
fn check_and_run_refuse_the_same_mistakes() {
    run_test(async || {
        let good = site();
        let out = good.cadfd_ok(&["check"]).await;
        assert!(out.ends_with(": in order. Rules: 4, destinations: 2, queues: cadfd.info\n"), "{out}");
        let bad = site()
            .settings("[http.y]\nurl = \"http://h/\"\nbearer = \"a\\u0001b\"\n")
            .rules("[[rule]]\nnmae = \"x\"\n[[rule.jenkins]]\n");
        let check = bad.cadfd(&["check"]).await;
        let run = bad.cadfd(&["run"]).await;
        let said = String::from_utf8(check.stderr).unwrap();
        assert_eq!((check.status.code(), run.status.code()), (Some(2), Some(2)), "{said}");
        assert_eq!(said, String::from_utf8(run.stderr).unwrap());
        assert!(check.stdout.is_empty() && run.stdout.is_empty());
        for words in ["etc/cadfd.toml:18: `bearer`: ", "01.toml:2: ", "did you mean `name`?", "mistakes\n"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!bad.state_dir().exists(), "nothing was begun");
    });
}

const TESTS: &str = r#"
[[rule]]
name = "outside"
event_type = "identity.authenticate"
when = "initiator.address not in cidr('192.0.2.0/24')"
  [[rule.log]]
  text = "{{ initiator.address }}"

[[test]]
name = "from the office"
event = { sample = "identity.authenticate", initiator = { address = "192.0.2.7" } }
matches = []

[[test]]
name = "from elsewhere"
event = { sample = "identity.authenticate", initiator = { address = "198.51.100.7" } }
actions = [{ rule = "outside", to = "log", line = "198.51.100.7" }]
"#;

#[test]
fn check_runs_the_tests_of_rules_and_the_daemon_starts_whatever_they_find() {
    run_test(async || {
        let out = site().rules(TESTS).cadfd_ok(&["check"]).await;
        assert!(out.ends_with("queues: cadfd.info\ntests of the rules: 2 passed\n"), "{out}");
        let bad = site().rules(&TESTS.replace("not in cidr", "in cidr"));
        let check = bad.cadfd(&["check"]).await;
        let (said, out) = (String::from_utf8(check.stderr).unwrap(), String::from_utf8(check.stdout).unwrap());
        assert_eq!((check.status.code(), out.as_str()), (Some(2), ""), "{said}");
        let when = "`initiator.address in cidr('192.0.2.0/24')`";
        for words in [
            "01.toml:9: test \"from the office\": the rule \"outside\" matches too; name it in `matches`, or narrow it\n",
            &format!("01.toml:14: test \"from elsewhere\": the rule \"outside\" does not match: {when} is not true\n"),
            "2 mistakes\n",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let mut daemon = bad.start();
        daemon.wait_log("rules=5").await;
        daemon.stop().await;
    });
}

#[test]
fn explain_shows_events_rules_and_requests() {
    run_test(async || {
        let site = site();
        let one = |name: &str, id: &str| {
            let text = fs::read_to_string(data(name)).unwrap();
            text.lines().find(|line| line.contains(id)).unwrap().to_owned()
        };
        let capture = one("real/keystone-28.1-cadf-messagingv2.jsonl", "cf60f65e-3c34-47b2-a257-33b87c47f787");
        let body: Value = serde_json::from_str(&capture).unwrap();
        let envelope = body["body"].as_str().unwrap().to_owned();
        let inner: Value = serde_json::from_str(&envelope).unwrap();
        let inner = inner["oslo.message"].as_str().unwrap().to_owned();
        let log = one("real/keystone-28.1-log-driver.log", "identity.user.deleted");
        let mut shown = Vec::new();
        for (name, text) in [("capture", &capture), ("envelope", &envelope), ("inner", &inner), ("log", &log)] {
            fs::write(site.path(name), text).unwrap();
            shown.push(site.cadfd_ok(&["explain", site.path(name).to_str().unwrap()]).await);
        }
        // However it was captured, it is the same.
        assert_eq!((&shown[0], &shown[0]), (&shown[1], &shown[2]));
        assert!(shown[3].contains("+ gone: matches"), "{}", shown[3]);
        insta::assert_snapshot!("explain-user-deleted", shown[0]);
        let expired = site.cadfd_ok(&["explain", &data("documented/authenticate-expired-password.json")]).await;
        insta::assert_snapshot!("explain-expired-password", expired);

        let json = site.cadfd_ok(&["explain", "--json", &data("real/keystone-28.1-cadf-messagingv2.jsonl")]).await;
        let all: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(all.len(), 102);
        let deleted: Vec<_> = all.iter().filter(|it| it["event"]["event_type"] == "identity.user.deleted").collect();
        for explained in &deleted {
            let rules = explained["rules"].as_array().unwrap();
            assert_eq!(rules.len(), 4);
            assert_eq!(
                rules[0]["actions"][0]["request"]["slack"]["text"].as_str().map(|text| text.contains(" deleted user ")),
                Some(true)
            );
            assert_eq!(
                (&rules[2]["matches"], &rules[2]["why_not"]),
                (&Value::from(false), &Value::from("enabled = false"))
            );
        }
        assert_eq!(deleted.len(), 2);
        // The whole log of a Keystone, notifications among much else.
        let log = site.cadfd_ok(&["explain", "--json", &data("real/keystone-28.1-log-driver.log")]).await;
        assert!(log.lines().count() > 100 && !log.contains("\"unreadable\""));
    });
}

#[test]
fn explain_takes_standard_input_and_garbage() {
    run_test(async || {
        let site = site();
        site.cadfd_ok(&["check"]).await;
        let explain = |input: &[u8]| {
            use std::io::Write as _;
            let mut command = Command::new(env!("CARGO_BIN_EXE_cadfd"));
            command.arg("--config").arg(site.path("etc/cadfd.toml")).args(["explain", "-"]);
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(input).unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
            String::from_utf8(output.stdout).unwrap()
        };
        let garbage =
            ["", "no json", "{\"a\": ", "[1, 2]", "{}", "\u{1b}[31m{\"event_type\": 7}", "{\"oslo.message\": \"{\"}"];
        let shown: Vec<_> = garbage.iter().map(|input| format!("{input:?}\n{}", explain(input.as_bytes()))).collect();
        let shown = shown.concat();
        insta::assert_snapshot!("explain-garbage", shown);
        assert!(explain(b"\xff\xfe").contains("would go to quarantine"));
        let two = users_deleted(2).into_iter().flat_map(|it| it.body).collect::<Vec<_>>();
        assert_eq!(explain(&two).matches("+ gone: matches").count(), 2);
        let missing = site.cadfd(&["explain", "/nowhere"]).await;
        assert_eq!(missing.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere cannot be read"));
    });
}

#[test]
fn colours_are_for_a_terminal_only() {
    run_test(async || {
        let site = site();
        let file = data("documented/authenticate-expired-password.json");
        let plain = site.cadfd_ok(&["explain", &file]).await;
        assert!(!plain.contains('\u{1b}'));
        let typed = format!(
            "{} --config {} explain {file}",
            env!("CARGO_BIN_EXE_cadfd"),
            site.path("etc/cadfd.toml").display()
        );
        let script = |no_colour: &str| {
            // `script` gives it a terminal.
            let mut command = Command::new("script");
            command.args(["-qec", &typed, "/dev/null"]).env("NO_COLOR", no_colour).stdin(Stdio::null());
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        assert!(script("").contains("\u{1b}[31mfailure\u{1b}[0m"));
        assert!(!script("1").contains('\u{1b}'));
    });
}

#[test]
fn the_outbox_is_worked_beside_the_daemon() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let (refuses, down) = (Receiver::start().await, Receiver::start().await);
        refuses.fault(Fault::Status(404)).await;
        down.fault(Fault::Down).await;
        let site = Site::new(&vhost)
            .settings(&format!("[http.refuses]\nurl = \"{}/\"\n[http.down]\nurl = \"{}/\"\nretry_first = \"50ms\"\nretry_max = \"100ms\"\n", refuses.url(), down.url()))
            .rules("[[rule]]\nname = \"one\"\n[[rule.http]]\nto = \"refuses\"\n")
            .rules("[[rule]]\nname = \"two\"\n[[rule.http]]\nto = \"down\"\nbody = \"none\"\n");
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(3)).await;
        vhost.publish("cadfd", [&b"not json"[..], b"\xff\x1b"]).await;
        let trail = site
            .wait_trail(|trail| of_type(trail, "delivery").len() == 3 && of_type(trail, "quarantine").len() == 2)
            .await;
        daemon.wait_log("destination lost").await;

        let list = async |args: &[&str]| site.cadfd_ok(&[&["outbox", "list"], args].concat()).await;
        for (args, count) in [
            (&[][..], 6),
            (&["--rule", "one"], 3),
            (&["--destination", "http.down"], 3),
            (&["--state", "waiting"], 3),
            (&["--state", "given-up", "--rule", "two"], 0),
            (&["--json"], 6),
        ] {
            assert_eq!(list(args).await.lines().count(), count, "{args:?}");
        }
        let json: Vec<Value> =
            list(&["--json"]).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let id = |at: usize, rule: &str| {
            json.iter().filter(|it| it["rule"] == rule).nth(at).unwrap()["id"].as_str().unwrap().to_owned()
        };
        let text = list(&[&id(0, "one")[..10]]).await;
        assert!(text.contains("given up  http.refuses  identity.user.deleted  one  1 failed: answered 404"), "{text}");
        let shown = site.cadfd_ok(&["outbox", "show", &id(0, "one")[..10]]).await;
        assert!(
            shown.contains("\nrequest      {\"http\":{") && shown.contains("\nreply        stand-in told"),
            "{shown}"
        );
        assert_eq!(site.cadfd(&["outbox", "show", "ffffffffffff"]).await.status.code(), Some(1));
        for command in ["retry", "discard"] {
            assert_eq!(site.cadfd(&["outbox", command]).await.status.code(), Some(1), "it wants to know which");
            assert_eq!(site.cadfd(&["outbox", command, ""]).await.status.code(), Some(1), "an unset variable is no id");
        }

        // Report, as an operator asks for it.
        daemon.signal(Signal::USR1);
        daemon.wait_log("http.down is lost since ").await;
        daemon.wait_log("http.refuses works; 0 waiting, 0 done, 3 given up").await;
        assert!(daemon.log().contains(": connection refused; 3 waiting, 0 done, 0 given up"), "{}", daemon.log());

        // One discarded, which the trail tells; one tried again, now that it is mended; then the rest of its rule.
        assert_eq!(site.cadfd_ok(&["outbox", "discard", &id(0, "two")]).await, "1 discarded\n");
        let trail_ = site.wait_trail(|trail| of_type(trail, "delivery").len() == 4).await;
        let discarded = of_type(&trail_, "delivery")[3];
        assert_eq!(
            (&discarded["delivery"], &discarded["outcome"]),
            (&Value::from(id(0, "two")), &Value::from("given_up"))
        );
        assert!(discarded["reason"].as_str().unwrap().contains("discard"), "{discarded:#}");
        refuses.heal().await;
        assert_eq!(site.cadfd_ok(&["outbox", "retry", &id(1, "one")[..12]]).await, "1 of 1 due at once\n");
        let call = &refuses.wait_for(1).await[0];
        assert_eq!(call.header("x-cadfd-delivery"), id(1, "one"));
        // Until it is kept that it is done, it can be tried again.
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 5).await;
        assert_eq!(site.cadfd_ok(&["outbox", "retry", "--rule", "one"]).await, "2 of 2 due at once\n");
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 7).await;
        assert_eq!(refuses.calls().len(), 3);
        assert_eq!(site.cadfd_ok(&["outbox", "discard", "--all"]).await, "2 discarded\n");
        down.heal().await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 9).await;

        // The quarantine.
        let quarantined = list(&["--quarantine"]).await;
        assert!(quarantined.lines().count() == 2 && quarantined.contains("cadfd.info  8 bytes: "), "{quarantined}");
        let shown = site.cadfd_ok(&["outbox", "show", "--quarantine", "2", "--json"]).await;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(
            (&shown["body_hex"], &shown["sha256"]),
            (&Value::from("ff1b"), &of_type(&trail, "quarantine")[1]["sha256"])
        );
        assert_eq!(site.cadfd_ok(&["outbox", "discard", "--quarantine", "1"]).await, "1 forgotten\n");
        assert_eq!(list(&["--quarantine"]).await.lines().count(), 1);
        daemon.stop().await;
        assert_eq!(down.calls().len(), 0, "what was discarded is not sent");
    });
}
