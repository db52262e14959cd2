//! Rules that look at more than one event: thresholds, groups, silence.
//!
//! Its promise: whatever is repeated, killed or reloaded meanwhile, a rule fires once for what it has seen.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::broker::{Broker, Vhost};
use crate::daemon::{Site, assert_whole, eventually, of_type};
use crate::fault::Fault as Break;
use crate::notification::{Notification, cadf, ids, users_deleted, v2};
use crate::run_test;
use crate::standins::{Receiver, Slack};

const SPRAYING: &str = r#"
[[rule]]
name = "password spraying"
event_type = "identity.authenticate"
outcome = "failure"
threshold = { count = 5, within = "1m", by = "initiator.address", distinct = "resource.id", quiet = "10m" }
  [[rule.slack]]
  text = "{{ count }} users from {{ key }}: {{ events | map(attribute='resource.name') | join(', ') }}; {{ suppressed }} before"
"#;

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    vhost
}

async fn slack() -> Slack {
    let slack = Slack::start().await;
    slack.limit_rate(false);
    slack
}

fn site(vhost: &Vhost, slack: &Slack) -> Site {
    Site::new(vhost).settings(&format!("[slack.ops]\nwebhook_url = {:?}\nrate = \"unlimited\"\n", slack.webhook_url()))
}

/// A login that failed, so many seconds after an hour.
fn failed_login(user: &str, address: &str, second: u32) -> Notification {
    let payload = json!({
        "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event",
        "eventType": "activity",
        "id": "d58c2d10-e342-5f9a-8c31-66152d0312a9",
        "eventTime": "2026-11-21T07:02:29.704029+0000",
        "action": "authenticate",
        "outcome": "failure",
        "observer": {"id": "8d918543b5504bb5b786c12bec1323f4", "typeURI": "service/security"},
        "initiator": {"id": user, "typeURI": "service/security/account/user", "user_id": user, "name": user,
                      "host": {"address": address, "agent": "python-keystoneclient"}},
        "target": {"id": user, "typeURI": "service/security/account/user"},
    });
    let timestamp = format!("2026-11-21 05:{:02}:{:02}.000000", second / 60, second % 60);
    v2(&json!({"event_type": "identity.authenticate", "payload": payload, "timestamp": timestamp}))
}

fn fired(trail: &[Value]) -> Vec<&Value> {
    of_type(trail, "fired")
}

#[test]
fn a_threshold_is_reached_across_a_kill_and_repeats_do_not_count() {
    run_test(async || {
        let (vhost, slack) = (vhost().await, slack().await);
        let site = site(&vhost, &slack).rules(SPRAYING);
        let logins: Vec<_> = (0..8).map(|n| failed_login(&format!("u{n}"), "192.0.2.9", 50 - 10 * (n % 6))).collect();
        let daemon = site.consuming().await;
        // The same user again and again, the same messages again, and others elsewhere: none of that makes five.
        vhost.publish("cadfd", &logins[..3]).await;
        vhost.publish("cadfd", &logins[..3]).await;
        let more: Vec<_> = (0..9).map(|n| failed_login("u0", "192.0.2.9", n)).collect();
        let elsewhere: Vec<_> = (0..4).map(|n| failed_login(&format!("u{n}"), "192.0.2.10", 5)).collect();
        vhost.publish("cadfd", more.iter().chain(&elsewhere)).await;
        let before: Vec<_> = logins[..3].iter().chain(&more).chain(&elsewhere).cloned().collect();
        site.wait_events(&ids(&before)).await;
        daemon.kill().await;
        let daemon = site.consuming().await;
        vhost.publish("cadfd", &logins[..4]).await;
        site.wait_events(&ids(&[&before[..], &logins[3..4]].concat())).await;
        daemon.kill().await;
        assert!(fired(&site.trail()).is_empty() && slack.messages().is_empty());
        // The fifth, and two that are too many.
        vhost.publish("cadfd", &logins[4..7]).await;
        let daemon = site.consuming().await;
        let messages = slack.wait_for(1).await;
        assert_eq!(messages[0].text, "5 users from 192.0.2.9: u4, u3, u2, u1, u0; 0 before");
        let all: Vec<_> = before.iter().chain(&logins[3..7]).cloned().collect();
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        site.wait_events(&ids(&all)).await;
        daemon.stop().await;
        let trail = site.trail();
        assert_whole(&trail, &ids(&all));
        let [record] = fired(&trail)[..] else { panic!("{:#?}", fired(&trail)) };
        assert_eq!(
            (&record["cause"], &record["key"], &record["count"]),
            (&json!("threshold"), &json!("192.0.2.9"), &json!(5))
        );
        // u0's is the last of many; they stand in the order of their times.
        let events: Vec<_> = record["events"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let wanted: Vec<_> = logins[..5].iter().rev().map(|it| it.message_id.as_str()).collect();
        assert_eq!(events, wanted);
        assert_eq!(
            (&record["message_id"], &record["event_type"]),
            (&json!(logins[4].message_id), &json!("identity.authenticate"))
        );
        let counted = of_type(&trail, "event");
        let counted =
            counted.iter().filter(|it| it["planned"] == json!([{"rule": "password spraying", "to": "threshold"}]));
        assert_eq!(counted.count(), all.len());
        let delivery = of_type(&trail, "delivery")[0];
        assert_eq!((&delivery["event_seq"], &delivery["outcome"]), (&record["seq"], &json!("done")));
        // For people: the firing and its delivery, also when another of the five is asked for.
        let shown = site.cadfd_ok(&["search", "--message", &logins[1].message_id]).await;
        assert!(shown.contains("FIRED rule \"password spraying\", threshold for 192.0.2.9: 5 events"), "{shown}");
        assert!(shown.contains("slack.ops done"), "{shown}");
        let who = site.cadfd_ok(&["who", "user:u1"]).await;
        assert!(who.contains("slack.ops, rule password spraying  once: 1 done, 0 given up, 0 open"), "{who}");
        let last = site.cadfd_ok(&["tail", "-n", "100"]).await;
        assert_eq!(last.matches(" FIRED ").count(), 1, "{last}");
        site.cadfd_ok(&["verify"]).await;
    });
}

#[test]
fn of_large_events_only_payload_and_context_are_not_seen() {
    run_test(async || {
        let (vhost, slack) = (vhost().await, slack().await);
        let rule = r#"
            [[rule]]
            name = "twice"
            threshold = { count = 2, within = "1m", by = "initiator.id" }
              [[rule.slack]]
              text = "{{ events | map(attribute='resource.id') | join(', ') }} by {{ initiator.id }}: {{ outcome }}, {{ format }}, {{ payload is none }}"
        "#;
        let site = site(&vhost, &slack).rules(rule);
        let daemon = site.consuming().await;
        let payload =
            |id: &str| json!({"initiator": {"id": "bob"}, "target": {"id": id}, "attachments": "x".repeat(65_536)});
        let messages = ["u1", "u2"].map(|id| cadf("identity.user.deleted", &payload(id)));
        vhost.publish("cadfd", &messages).await;
        let sent = slack.wait_for(1).await;
        assert_eq!(sent[0].text, "u1, u2 by bob: success, cadf, True");
        daemon.stop().await;
        assert_whole(&site.trail(), &ids(&messages));
    });
}

#[test]
fn three_hundred_deletions_are_one_message() {
    run_test(async || {
        let (vhost, slack) = (vhost().await, slack().await);
        let rule = r#"
            [[rule]]
            name = "deleted"
            event_type = "identity.user.deleted"
            group = { by = "initiator.id", wait = "5s", max = 3 }
              [[rule.slack]]
              text = "{{ initiator.name }} deleted {{ count }} users: {{ events | map(attribute='resource.id') | join(', ') }}, …"
              [[rule.log]]
              text = "{{ count }} by {{ key }}"
        "#;
        let site = site(&vhost, &slack).rules(rule);
        let mut daemon = site.consuming().await;
        let messages = users_deleted(300);
        vhost.publish("cadfd", &messages).await;
        let sent = slack.wait_for(1).await;
        assert_eq!(sent[0].text, "admin deleted 300 users: u0, u1, u2, …");
        daemon.wait_out(|out| out.starts_with("300 by ") && out.lines().count() == 1).await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        daemon.stop().await;
        let trail = site.trail();
        assert_whole(&trail, &ids(&messages));
        let [record] = fired(&trail)[..] else { panic!("{:#?}", fired(&trail)) };
        assert_eq!(
            (&record["cause"], &record["count"], &record["events"]),
            (&json!("group"), &json!(300), &json!(ids(&messages[..3])))
        );
        assert_eq!(slack.messages().len(), 1);
    });
}

#[test]
fn a_group_outlives_a_stop_and_is_closed_by_the_next_start() {
    run_test(async || {
        let (vhost, slack) = (vhost().await, slack().await);
        let rule = |wait: &str| {
            format!(
                "[[rule]]\nname = \"deleted\"\ngroup = {{ wait = \"{wait}\" }}\n[[rule.slack]]\ntext = \"{{{{ count }}}}\"\n"
            )
        };
        let mut site = site(&vhost, &slack).rules(&rule("1h"));
        let daemon = site.consuming().await;
        let messages = users_deleted(4);
        vhost.publish("cadfd", &messages[..2]).await;
        site.wait_events(&ids(&messages[..2])).await;
        daemon.stop().await;
        assert!(fired(&site.trail()).is_empty(), "nothing is fired early at a stop");
        let daemon = site.consuming().await;
        vhost.publish("cadfd", &messages[2..]).await;
        site.wait_events(&ids(&messages)).await;
        daemon.kill().await;
        site.rewrite_rules(&[&rule("1ms")]);
        let daemon = site.consuming().await;
        let sent = slack.wait_for(1).await;
        assert_eq!(sent[0].text, "4");
        daemon.stop().await;
        assert_eq!(fired(&site.trail()).len(), 1);
    });
}

#[test]
fn silence_is_told_once_and_once_more_when_it_ends() {
    run_test(async || {
        let (vhost, slack) = (vhost().await, slack().await);
        let rule = r#"
            [[rule]]
            name = "Keystone is silent"
            absent = "300ms"
              [[rule.slack]]
              text = "{{ rule }}: {{ cause }} {{ event_type }} {{ lasted }}"
        "#;
        let mut site = site(&vhost, &slack).rules(rule);
        let daemon = site.consuming().await;
        slack.wait_for(1).await;
        // A restart is no reason to say it again.
        daemon.stop().await;
        let daemon = site.consuming().await;
        let messages = users_deleted(2);
        vhost.publish("cadfd", &messages[..1]).await;
        slack.wait_for(2).await;
        let told = slack.wait_for(3).await;
        daemon.stop().await;
        let words: Vec<_> =
            told.iter().map(|it| it.text.split(' ').skip(3).take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(words, ["absent cadfd.silence.begun", "back cadfd.silence.ended", "absent cadfd.silence.begun"]);
        let trail = site.trail();
        let causes: Vec<_> = fired(&trail).iter().map(|it| it["cause"].as_str().unwrap().to_owned()).collect();
        assert_eq!(causes, ["absent", "back", "absent"]);
        assert_eq!(fired(&trail)[1]["events"], json!(ids(&messages[..1])));
        assert_eq!(fired(&trail)[1]["since"], fired(&trail)[0]["since"], "one silence");
        // While events come in time, nothing is said of them.
        site.rewrite_rules(&[&rule.replace("300ms", "1h")]);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", &messages[1..]).await;
        slack.wait_for(4).await;
        daemon.stop().await;
        assert_eq!(fired(&site.trail()).last().unwrap()["cause"], "back");
    });
}

#[test]
fn other_rules_close_the_groups_of_those_that_go() {
    run_test(async || {
        let (vhost, slack) = (vhost().await, slack().await);
        let group =
            "[[rule]]\nname = \"g\"\ngroup = { wait = \"1h\" }\n[[rule.slack]]\ntext = \"{{ count }} in {{ rule }}\"\n";
        let count = "[[rule]]\nname = \"t\"\nthreshold = { count = 4, within = \"1m\" }\n[[rule.slack]]\ntext = \"{{ count }} in {{ rule }}\"\n";
        let mut site = site(&vhost, &slack).rules(group).rules(count);
        let mut daemon = site.consuming().await;
        let messages = users_deleted(3);
        vhost.publish("cadfd", &messages[..2]).await;
        site.wait_events(&ids(&messages[..2])).await;
        site.rewrite_rules(&[&count.replace("count = 4", "count = 3")]);
        daemon.signal(Signal::HUP);
        let sent = slack.wait_for(1).await;
        assert_eq!(sent[0].text, "2 in g", "by the rule that opened it");
        daemon.wait_log("reloaded settings and rules").await;
        vhost.publish("cadfd", &messages[2..]).await;
        let sent = slack.wait_for(2).await;
        assert_eq!(sent[1].text, "3 in t", "what was counted stays, the new number counts");
        daemon.stop().await;
        let causes: Vec<_> = fired(&site.trail()).iter().map(|it| it["cause"].clone()).collect();
        assert_eq!(causes, ["group", "threshold"]);
    });
}

/// The events that counted for a rule, as their records say.
fn counted(trail: &[Value], rule: &str) -> u64 {
    let counts = |event: &&&Value| event["planned"].as_array().unwrap().iter().any(|planned| planned["rule"] == rule);
    of_type(trail, "event").iter().filter(counts).count() as u64
}

#[test]
fn what_is_planned_during_a_reload_counts_for_the_rule_that_planned_it() {
    run_test(async || {
        let vhost = vhost().await;
        let old = "[[rule]]\nname = \"old\"\ngroup = { wait = \"1h\", longest = \"2h\" }\n[[rule.log]]\ntext = \"old {{ count }}\"\n";
        let new = "[[rule]]\nname = \"new\"\nthreshold = { count = 2, within = \"1m\", quiet = \"0s\" }\n[[rule.log]]\ntext = \"new {{ count }}\"\n";
        let mut site = Site::new(&vhost).rules(old);
        let mut daemon = site.consuming().await;
        let messages = users_deleted(600);
        vhost.publish("cadfd", &messages[..1]).await;
        site.wait_events(&ids(&messages[..1])).await;
        site.rewrite_rules(&[new]);
        let publishing = async {
            for part in messages[1..].chunks(20) {
                vhost.publish("cadfd", part).await;
            }
        };
        tokio::join!(publishing, async { daemon.signal(Signal::HUP) });
        daemon.wait_log("reloaded settings and rules").await;
        let last = users_deleted(2);
        vhost.publish("cadfd", &last).await;
        let all = [messages, last].concat();
        let trail = site.wait_events(&ids(&all)).await;
        let (old, new) = (counted(&trail, "old"), counted(&trail, "new"));
        assert!(old > 0 && new > 1 && old + new == all.len() as u64, "{old} and {new}");
        let out = daemon.wait_out(|out| out.lines().count() as u64 == 1 + new / 2).await;
        daemon.stop().await;
        assert!(out.contains(&format!("old {old}\n")), "{old} of {out}");
        assert_eq!(fired(&site.trail()).len() as u64, 1 + new / 2);
    });
}

/// Breaks a write or a sync of the store, each `step`-th in turn, until the daemon outlives its work unharmed.
async fn fires_once_though_broken(action: &str, step: usize) {
    let vhost = vhost().await;
    let receiver = Receiver::start().await;
    let rules = "[[rule]]\nname = \"t\"\nthreshold = { count = 3, within = \"1m\", quiet = \"0s\" }\n[[rule.http]]\nto = \"x\"\n";
    let http = format!("[http.x]\nurl = \"{}/\"\nretry_first = \"10ms\"\nretry_max = \"50ms\"\n", receiver.url());
    let site = Site::new(&vhost).settings(&http).rules(rules);
    let (mut published, mut struck) = (Vec::new(), 0);
    for nth in (1..).step_by(step) {
        assert!(nth < 200, "it never outlived its work");
        // Exactly one firing's worth.
        let messages = users_deleted(3);
        vhost.publish("cadfd", &messages).await;
        published.extend(ids(&messages));
        let fault = Break::at("write,sync,truncate", "*/cadfd.db-wal", nth, action);
        let mut daemon = site.start_under(&fault);
        let wanted = published.len() / 3;
        tokio::select! {
            _ = daemon.ended() => {}
            _ = site.wait_trail(|trail| of_type(trail, "delivery").len() == wanted) => {
                daemon.terminate();
                daemon.ended().await;
            }
        }
        if fault.struck().is_empty() {
            break;
        }
        struck += 1;
    }
    assert!(struck > 3, "{struck}");
    let daemon = site.consuming().await;
    let wanted = published.len() / 3;
    site.wait_trail(|trail| of_type(trail, "delivery").len() == wanted).await;
    eventually(|| (vhost.held("cadfd.info") == 0).then_some(())).await;
    daemon.stop().await;
    let trail = site.trail();
    assert_whole(&trail, &published);
    assert_eq!(fired(&trail).len(), wanted);
    // Each message in one firing, and each firing delivered under one id.
    let mut members: Vec<_> = fired(&trail).iter().flat_map(|it| it["events"].as_array().unwrap().clone()).collect();
    members.sort_by_key(|it| it.as_str().unwrap().to_owned());
    published.sort();
    assert_eq!(members, published.iter().map(|id| json!(id)).collect::<Vec<_>>());
    let mut deliveries: Vec<_> = receiver.calls().iter().map(|call| call.header("x-cadfd-delivery")).collect();
    deliveries.sort();
    deliveries.dedup();
    assert_eq!(deliveries.len(), wanted);
}

#[test]
fn killed_before_any_call_it_fires_once() {
    run_test(async || fires_once_though_broken("kill-before", 1).await);
}

#[test]
fn killed_after_any_call_it_fires_once() {
    run_test(async || fires_once_though_broken("kill-after", 2).await);
}

#[test]
fn when_the_disk_fails_it_fires_once() {
    run_test(async || fires_once_though_broken("eio", 3).await);
}

#[test]
fn explain_and_replay_say_what_would_count() {
    run_test(async || {
        let (vhost, slack) = (vhost().await, slack().await);
        let plain = "[[rule]]\nname = \"plain\"\nevent_type = \"identity.user.*\"\n[[rule.log]]\ntext = \"x\"\n";
        let site = site(&vhost, &slack).rules(SPRAYING).rules(plain);
        let path = site.path("captured.json");
        let bodies = [failed_login("u1", "192.0.2.9", 0), cadf("identity.user.deleted", &json!({}))];
        let lines: Vec<_> = bodies.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let path = path.display().to_string();
        let out = site.cadfd_ok(&["explain", &path]).await;
        let wanted = "+ password spraying: matches, counts for its threshold of 192.0.2.9 with the value u1; if that were complete with it:";
        assert!(out.contains(wanted), "{out}");
        assert!(out.contains("5 users from 192.0.2.9: u1; 0 before"), "{out}");
        let out = site.cadfd_ok(&["replay", "--dry-run", &path]).await;
        assert!(out.contains("password spraying  threshold: it would count; a replay counts nothing"), "{out}");
        assert!(out.contains("plain  log: x"), "{out}");
    });
}

#[test]
fn explain_names_the_delivery_as_it_is_called_and_none_of_what_does_not_count() {
    run_test(async || {
        let (vhost, receiver) = (vhost().await, Receiver::start().await);
        let rules = r#"
            [[rule]]
            name = "twice"
            threshold = { count = 2, within = "1m", by = "initiator.id" }
              [[rule.http]]
              format = "cloudevents"
            [[rule]]
            name = "by nothing"
            threshold = { count = 2, within = "1m", by = "reason.code" }
              [[rule.log]]
              text = "never said"
        "#;
        let settings = format!("[http.x]\nurl = \"{}\"\n", receiver.url());
        let site = Site::new(&vhost).settings(&settings).rules(rules);
        let daemon = site.consuming().await;
        let messages = users_deleted(2);
        vhost.publish("cadfd", &messages).await;
        receiver.wait_for(1).await;
        daemon.stop().await;
        let trail = site.trail();
        let delivery = fired(&trail)[0]["planned"][0]["delivery"].as_str().unwrap().to_owned();
        let path = site.path("last.json");
        std::fs::write(&path, &messages[1].body).unwrap();
        let out = site.cadfd_ok(&["explain", path.to_str().unwrap()]).await;
        assert!(out.contains(&format!("\"id\":\"{delivery}\"")), "{delivery}\n{out}");
        let wanted =
            "+ by nothing: matches, but does not count for its threshold, and nothing is done: `reason.code` is null";
        assert!(out.contains(wanted) && !out.contains("never said"), "{out}");
    });
}
