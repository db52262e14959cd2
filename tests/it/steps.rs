//! Chains of actions: what one captures, the next one uses, also when the daemon is killed between them.

use rustix::process::Signal;
use serde_json::Value;

use crate::broker::{Broker, Vhost};
use crate::daemon::{Daemon, Site, of_type};
use crate::fault::Fault as Broken;
use crate::ground::body;
use crate::run_test;
use crate::standins::{Fault, Jenkins, Job, Qualys, Receiver};

/// A scan, and a call and a line with its id.
const RULE: &str = r#"
[[rule]]
name = "scan"
event_type = "identity.user.deleted"

  [[rule.http]]
  to      = "qualys"
  path    = "api/2.0/fo/scan/"
  form    = { action = "launch", scan_title = "cadfd", ip = "192.0.2.7", option_title = "Initial Options" }
  capture = { scan_id = { xml = "/SIMPLE_RETURN/RESPONSE/ITEM_LIST/ITEM[KEY='ID']/VALUE" }, text = { xml = "//TEXT", optional = true } }

    [[rule.http.then.http]]
    to   = "inventory"
    json = { scan = "{{ captured.scan_id }}", text = "{{ captured.text }}", message_id = "{{ message_id }}" }

    [[rule.http.then.log]]
    text = "scan {{ captured.scan_id }} for {{ message_id }}"
"#;

struct Chain {
    vhost: Vhost,
    qualys: Qualys,
    receiver: Receiver,
    site: Site,
}

impl Chain {
    async fn new() -> Self {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let qualys = Qualys::start("cadfd", "hunter2").await;
        let receiver = Receiver::start().await;
        let site = Site::new(&vhost)
            .settings(&format!(
                "[http.qualys]\nurl = \"{}/\"\nuser = \"cadfd\"\npassword = \"hunter2\"\n\
                 headers = {{ X-Requested-With = \"cadfd\" }}\nretry_first = \"10ms\"\nretry_max = \"50ms\"\n",
                qualys.url()
            ))
            .settings(&format!(
                "[http.inventory]\nurl = \"{}/\"\nretry_first = \"10ms\"\nretry_max = \"50ms\"\n",
                receiver.url()
            ))
            .rules(RULE);
        Self { vhost, qualys, receiver, site }
    }

    async fn publish(&self, number: usize) -> String {
        let id = format!("cadfd000-0000-4000-8000-{number:012x}");
        self.vhost.publish("cadfd", [body(&id, 0)]).await;
        id
    }

    /// The deliveries' records, once there are so many.
    async fn deliveries(&self, count: usize) -> Vec<Value> {
        let trail = self.site.wait_trail(|trail| of_type(trail, "delivery").len() >= count).await;
        let found: Vec<_> = of_type(&trail, "delivery").into_iter().cloned().collect();
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }

    /// After an undisturbed run: nothing waits, and the trail is whole.
    async fn finish(&self, daemon: Daemon) -> String {
        let log = daemon.stop().await;
        assert_eq!(self.site.cadfd_ok(&["outbox", "list"]).await, "", "nothing waits");
        let verified = self.site.cadfd_ok(&["verify"]).await;
        assert!(verified.ends_with("not altered\n"), "{verified}");
        log
    }
}

async fn kill(mut daemon: Daemon) {
    daemon.signal(Signal::KILL);
    daemon.ended().await;
}

#[test]
fn what_is_captured_goes_to_the_next_step_and_to_the_trail() {
    run_test(async || {
        let chain = Chain::new().await;
        let mut daemon = chain.site.consuming().await;
        let id = chain.publish(1).await;
        let [call] = chain.receiver.wait_for(1).await.try_into().unwrap();
        let wanted = serde_json::json!({"scan": "136992", "text": "New vm scan launched", "message_id": id});
        assert_eq!(call.json(), wanted);
        let [first, second] = chain.deliveries(2).await.try_into().unwrap();
        let captured = serde_json::json!({"scan_id": "136992", "text": "New vm scan launched"});
        assert_eq!(first["detail"], serde_json::json!({"status": 200, "captured": captured}));
        let planned = serde_json::json!([
            {"rule": "scan", "to": "http.inventory", "delivery": second["delivery"]}, {"rule": "scan", "to": "log"}
        ]);
        assert_eq!(first["planned"], planned);
        assert_eq!((&second["destination"], &second["outcome"]), (&"http.inventory".into(), &"done".into()));
        assert_eq!((&second["event_seq"], &second.get("planned")), (&first["event_seq"], &None));
        daemon.wait_out(|out| out == format!("scan 136992 for {id}\n")).await;
        let shown = chain.site.cadfd_ok(&["search", "--message", &id]).await;
        assert!(shown.contains("http.qualys done") && shown.contains("then http.inventory done"), "{shown}");
        assert!(shown.contains("then log, rule scan") && shown.contains(r#""scan_id":"136992""#), "{shown}");
        let who = chain.site.cadfd_ok(&["who", "user:e580c7b4f4f44b3eb6a3e3a3f4f0b0ad"]).await;
        assert!(who.contains("http.inventory, rule scan  once: 1 done, 0 given up, 0 open"), "{who}");
        let log = chain.finish(daemon).await;
        assert!(!log.contains("hunter2"), "{log}");
    });
}

#[test]
fn killed_between_the_steps_the_first_is_not_repeated() {
    run_test(async || {
        let chain = Chain::new().await;
        chain.receiver.fault(Fault::Hang).await;
        let daemon = chain.site.consuming().await;
        let id = chain.publish(1).await;
        // The first is in the trail, the second on its way.
        chain.deliveries(1).await;
        chain.receiver.wait_for_attempts(1).await;
        kill(daemon).await;
        chain.receiver.heal().await;
        let daemon = chain.site.consuming().await;
        let [first, second] = chain.deliveries(2).await.try_into().unwrap();
        assert_eq!((&first["destination"], &second["destination"]), (&"http.qualys".into(), &"http.inventory".into()));
        assert_eq!(chain.qualys.scans().len(), 1, "the first step is not repeated");
        let calls = chain.receiver.calls();
        assert!(calls.iter().all(|call| call.json()["scan"] == "136992" && call.json()["message_id"] == id.as_str()));
        chain.finish(daemon).await;
    });
}

/// Killed at each of the store's writes and syncs in turn: whatever it was, each step has one outcome, and the second is
/// done with what the first captured.
#[test]
fn killed_at_every_write_of_the_store_each_step_ends_once() {
    run_test(async || {
        let chain = Chain::new().await;
        let launched = |first: &Value| {
            let scans = chain.qualys.scans();
            scans.iter().filter(|scan| first["delivery"] == scan.delivery.as_str()).count()
        };
        let mut ids = Vec::new();
        let mut known = Vec::new();
        for nth in 1.. {
            assert!(nth < 200, "never outlived its work");
            let trail = chain.site.trail();
            let firsts =
                of_type(&trail, "delivery").into_iter().filter(|record| record["destination"] == "http.qualys");
            known.extend(firsts.map(|first| (first.clone(), launched(first))));
            ids.push(chain.publish(nth).await);
            let fault = Broken::at("write,sync", "*/cadfd.db-wal", nth, "kill-after");
            let mut daemon = chain.site.start_under(&fault);
            let done = chain.site.wait_trail(|trail| of_type(trail, "delivery").len() >= 2 * ids.len());
            let outlived = tokio::select! {
                _ = daemon.ended() => false,
                _ = done => true,
            };
            if outlived {
                daemon.terminate();
            }
            if daemon.ended().await.success() {
                break;
            }
        }
        assert!(ids.len() > 5, "killed {} times", ids.len() - 1);
        let daemon = chain.site.consuming().await;
        let records = chain.deliveries(2 * ids.len()).await;
        for (first, before) in &known {
            assert_eq!(launched(first), *before, "it was repeated though its end was in the trail: {first}");
        }
        for id in &ids {
            let of = |to: &str| -> Vec<&Value> {
                let is_it = |record: &&Value| record["message_id"] == id.as_str() && record["destination"] == to;
                records.iter().filter(is_it).collect()
            };
            let ([first], [second]) = (&*of("http.qualys"), &*of("http.inventory")) else { panic!("{records:#?}") };
            assert_eq!((&first["outcome"], &second["outcome"]), (&"done".into(), &"done".into()));
            let scan = &first["detail"]["captured"]["scan_id"];
            assert!(launched(first) > 0, "{id}");
            let calls = chain.receiver.calls();
            let calls: Vec<_> = calls.iter().filter(|call| call.json()["message_id"] == id.as_str()).collect();
            assert!(!calls.is_empty() && calls.iter().all(|call| call.json()["scan"] == *scan), "{id}");
        }
        chain.finish(daemon).await;
    });
}

#[test]
fn a_second_destination_that_is_down_is_waited_for() {
    run_test(async || {
        let chain = Chain::new().await;
        chain.receiver.fault(Fault::Status(503)).await;
        let mut daemon = chain.site.consuming().await;
        let ids = [chain.publish(1).await, chain.publish(2).await];
        chain.deliveries(2).await;
        daemon.wait_log("destination lost").await;
        let waiting = chain.site.cadfd_ok(&["outbox", "list"]).await;
        assert!(waiting.lines().count() == 2 && !waiting.contains("http.qualys"), "{waiting}");
        chain.receiver.heal().await;
        chain.deliveries(4).await;
        assert_eq!(chain.qualys.scans().len(), ids.len());
        chain.finish(daemon).await;
    });
}

#[test]
fn a_first_step_that_was_given_up_goes_on_when_it_is_retried() {
    run_test(async || {
        let chain = Chain::new().await;
        chain.qualys.fault_times(1, Fault::Status(409)).await;
        let daemon = chain.site.consuming().await;
        chain.publish(1).await;
        let [given_up] = chain.deliveries(1).await.try_into().unwrap();
        assert_eq!((&given_up["outcome"], given_up.get("planned")), (&"given_up".into(), None));
        let shown = chain.site.cadfd_ok(&["outbox", "show", given_up["delivery"].as_str().unwrap()]).await;
        assert!(shown.contains("then         http.inventory, log\n"), "{shown}");
        chain.site.cadfd_ok(&["outbox", "retry", "--all"]).await;
        let records = chain.deliveries(3).await;
        assert_eq!(records[2]["destination"], "http.inventory");
        assert_eq!((chain.qualys.scans().len(), chain.receiver.calls().len()), (1, 1));
        chain.finish(daemon).await;
    });
}

#[test]
fn what_cannot_be_captured_gives_up_what_should_follow() {
    run_test(async || {
        let mut chain = Chain::new().await;
        chain.site.rewrite_rules(&[&RULE.replace("[KEY='ID']", "[KEY='SCAN']")]);
        let mut daemon = chain.site.consuming().await;
        chain.publish(1).await;
        let [first, second] = chain.deliveries(2).await.try_into().unwrap();
        assert_eq!((&first["outcome"], &second["outcome"]), (&"done".into(), &"given_up".into()));
        let missing = "scan_id: the answer has nothing at \"/SIMPLE_RETURN/RESPONSE/ITEM_LIST/ITEM[KEY='SCAN']/VALUE\"";
        assert_eq!(first["detail"]["missing"], missing);
        assert!(second["reason"].as_str().unwrap().ends_with(missing), "{second}");
        assert!(
            first["planned"][1]["error"].as_str().unwrap().ends_with(missing),
            "the line is not passed over: {first}"
        );
        daemon.wait_log("its log cannot be evaluated").await;
        assert_eq!(
            (chain.qualys.scans().len(), chain.receiver.calls().len()),
            (1, 0),
            "it was done and is not repeated"
        );
        chain.site.cadfd_ok(&["outbox", "discard", "--all"]).await;
        chain.finish(daemon).await;
    });
}

#[test]
fn a_rule_that_changes_between_the_steps_is_followed_as_it_is_then() {
    run_test(async || {
        let mut chain = Chain::new().await;
        chain.qualys.fault(Fault::Status(503)).await;
        let mut daemon = chain.site.consuming().await;
        chain.publish(1).await;
        daemon.wait_log("destination lost").await;
        chain.site.rewrite_rules(&[&RULE.replace("{{ captured.text }}", "changed")]);
        daemon.signal(Signal::HUP);
        daemon.wait_log_times("reloaded", 1).await;
        chain.qualys.heal().await;
        let [call] = chain.receiver.wait_for(1).await.try_into().unwrap();
        assert_eq!((&call.json()["scan"], &call.json()["text"]), (&"136992".into(), &"changed".into()));
        chain.deliveries(2).await;
        // And one that is gone.
        chain.qualys.fault(Fault::Status(503)).await;
        chain.publish(2).await;
        daemon.wait_log_times("destination lost", 2).await;
        chain.site.rewrite_rules(&[&RULE.replace("name = \"scan\"", "name = \"another\"")]);
        daemon.signal(Signal::HUP);
        daemon.wait_log_times("reloaded", 2).await;
        chain.qualys.heal().await;
        let records = chain.deliveries(4).await;
        assert_eq!((&records[2]["outcome"], &records[3]["outcome"]), (&"done".into(), &"given_up".into()));
        assert_eq!(records[3]["destination"], "http.inventory");
        assert_eq!(records[3]["reason"], "the rule is no longer in force");
        assert_eq!((chain.qualys.scans().len(), chain.receiver.calls().len()), (2, 1));
        chain.site.cadfd_ok(&["outbox", "discard", "--all"]).await;
        chain.finish(daemon).await;
    });
}

#[test]
fn a_replay_tells_what_follows_and_waits_for_it() {
    run_test(async || {
        let chain = Chain::new().await;
        let daemon = chain.site.consuming().await;
        let id = chain.publish(1).await;
        chain.deliveries(2).await;
        let trail = chain.site.audit_path().display().to_string();
        let shown = chain.site.cadfd_ok(&["replay", "--dry-run", &trail]).await;
        assert!(shown.contains("    scan  http.qualys, then http.inventory: {\"http\":"), "{shown}");
        assert!(
            shown.contains("\"scan\":\"<scan_id>\"") && shown.contains("1  scan  http.qualys, then log\n"),
            "{shown}"
        );
        assert!(shown.contains(&format!("then log: scan <scan_id> for {id}\n")), "{shown}");
        // A change of what follows is a change.
        let other = RULE.replace("text = \"scan {{", "when = 'captured.text'\n    text = \"scan {{");
        std::fs::write(chain.site.path("other.toml"), other.replace("{{ captured.text }}", "changed")).unwrap();
        let other = chain.site.path("other.toml").display().to_string();
        let shown = chain.site.cadfd_ok(&["replay", "--diff", &other, &trail]).await;
        assert!(shown.contains("  > scan  http.qualys, then log: when `captured.text`: scan <scan_id>"), "{shown}");
        let differ = "0 come, 0 go, 1 are rendered otherwise: scan  http.qualys, then http.inventory\n";
        assert!(shown.contains(differ) && !shown.contains("scan  http.qualys\n"), "{shown}");
        for (rules, then) in [(None, "then http.inventory 1, then log 1"), (Some(&other), "then log up to 1")] {
            let rules = rules.map(|rules| ["--rules", rules]);
            let asked = [&["replay", &trail][..], rules.as_ref().map(<[_; 2]>::as_slice).unwrap_or_default()].concat();
            let asked = chain.site.cadfd(&asked).await;
            let asked = String::from_utf8_lossy(&asked.stderr).into_owned() + &String::from_utf8_lossy(&asked.stdout);
            assert!(asked.contains("for 1 events (http.qualys 1, ") && asked.contains(then), "{asked}");
        }
        chain.receiver.fault_times(1, Fault::Status(404)).await;
        let replayed = chain.site.cadfd(&["replay", "--yes", &trail]).await;
        let said = String::from_utf8_lossy(&replayed.stderr);
        assert_eq!(replayed.status.code(), Some(1), "{said}");
        assert!(said.contains("1 events, 1 actions done, 0 given up; 1 of what followed them given up\n"), "{said}");
        chain.site.cadfd_ok(&["outbox", "discard", "--all"]).await;
        chain.finish(daemon).await;
    });
}

#[test]
fn a_builds_result_decides_what_follows() {
    run_test(async || {
        let chain = Chain::new().await;
        let jenkins = Jenkins::start().await;
        for (name, result) in [("good", "SUCCESS"), ("bad", "FAILURE")] {
            jenkins.add(Job { result, ..Job::plain(name) });
        }
        let (user, token) = (Jenkins::USER, Jenkins::TOKEN);
        let url = jenkins.base_url();
        let settings = format!("[jenkins.ci]\nurl = \"{url}\"\nuser = \"{user}\"\ntoken = \"{token}\"\n");
        let mut site = chain.site.settings(&settings);
        let rule = |job: &str| {
            format!(
                "[[rule]]\nname = \"{job}\"\nevent_type = \"identity.user.deleted\"\n[[rule.jenkins]]\njob = \"{job}\"\nwait = \"result\"\n\
                 capture = {{ result = {{ json = \"/result\" }}, build = {{ json = \"/build\" }} }}\n\
                 [[rule.jenkins.then.log]]\ntext = \"{job} {{{{ captured.build }}}} is {{{{ captured.result }}}}\"\n\
                 [[rule.jenkins.then.http]]\nto = \"inventory\"\nwhen = \"captured.result != 'SUCCESS'\"\njson = {{ failed = \"{job}\" }}\n"
            )
        };
        site.rewrite_rules(&[&rule("good"), &rule("bad")]);
        let mut daemon = site.consuming().await;
        chain.vhost.publish("cadfd", [body("cadfd000-0000-4000-8000-000000000001", 0)]).await;
        daemon.wait_out(|out| out.contains("good 1 is SUCCESS\n") && out.contains("bad 1 is FAILURE\n")).await;
        let [call] = chain.receiver.wait_for(1).await.try_into().unwrap();
        assert_eq!(call.json(), serde_json::json!({"failed": "bad"}));
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() >= 3).await;
        let good = of_type(&trail, "delivery").into_iter().find(|record| record["rule"] == "good").unwrap();
        assert_eq!(good["detail"]["captured"], serde_json::json!({"result": "SUCCESS", "build": 1}));
        assert_eq!(good["planned"].as_array().unwrap().len(), 1);
        daemon.stop().await;
    });
}

#[test]
fn explain_shows_what_would_follow() {
    run_test(async || {
        let chain = Chain::new().await;
        let message = chain.site.path("message");
        std::fs::write(&message, body("m", 0)).unwrap();
        let message = message.to_str().unwrap();
        let shown = chain.site.cadfd_ok(&["explain", message]).await;
        let lines: Vec<_> = shown.lines().filter(|line| line.starts_with("      ")).collect();
        let [first, second, line] = lines.try_into().unwrap();
        assert!(first.starts_with(r#"      http.qualys: {"http":{"path":"api/2.0/fo/scan/""#), "{first}");
        let json = r#""body":{"json":{"scan":"<scan_id>","text":"<text>","message_id":"m"}}}}"#;
        assert!(second.starts_with("        then http.inventory: ") && second.ends_with(json), "{second}");
        assert_eq!(line, "        then log: scan <scan_id> for m");
        let json: Value = serde_json::from_str(&chain.site.cadfd_ok(&["explain", "--json", message]).await).unwrap();
        let then = &json["rules"][0]["actions"][0]["then"];
        assert_eq!((&then[0]["to"], &then[1]["line"]), (&"http.inventory".into(), &"scan <scan_id> for m".into()));
        assert_eq!(chain.qualys.attempts().len(), 0, "nothing is sent");
    });
}

#[test]
fn an_answer_that_breaks_off_is_not_asked_for_again() {
    run_test(async || {
        let chain = Chain::new().await;
        chain.qualys.fault_times(1, Fault::Truncate).await;
        let daemon = chain.site.consuming().await;
        chain.publish(1).await;
        let [first, second] = chain.deliveries(2).await.try_into().unwrap();
        assert_eq!((&first["outcome"], &second["outcome"]), (&"done".into(), &"given_up".into()));
        let missing = first["detail"]["missing"].as_str().unwrap();
        assert!(missing.starts_with("scan_id: the answer is not XML ("), "{missing}");
        assert!(missing.ends_with("; it broke off, or is longer than the 64 KiB that are read"), "{missing}");
        assert_eq!(first["detail"]["captured"], serde_json::json!({"text": null}), "what may be absent is");
        assert_eq!((chain.qualys.scans().len(), chain.qualys.attempts().len()), (1, 1), "the scan was launched");
        chain.site.cadfd_ok(&["outbox", "discard", "--all"]).await;
        chain.finish(daemon).await;
    });
}
