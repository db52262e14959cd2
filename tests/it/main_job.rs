//! The main job, end to end: captured notifications in; trail, log, Jenkins, Slack and HTTP out.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::captured;
use crate::daemon::{Site, assert_whole, of_type};
use crate::run_test;
use crate::standins::{Call, Expect, Fault, Jenkins, Job, Receiver, Slack};

#[test]
fn captured_events_reach_trail_log_and_destinations() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let jenkins = Jenkins::start().await;
        jenkins.add(Job::parameterized("team/transfer_ownership", &["INITIATOR_ID", "USER_ID", "PROJECT_ID"]));
        let slack = Slack::start().await;
        slack.limit_rate(false);
        let site = Site::new(&vhost)
            .settings(&format!(
                "[jenkins.ci]\nurl = {:?}\nuser = {:?}\ntoken = {:?}\n[slack.ops]\nwebhook_url = {:?}\nrate = \"unlimited\"\n",
                jenkins.base_url(),
                Jenkins::USER,
                Jenkins::TOKEN,
                slack.webhook_url()
            ))
            .rules("[[rule]]\nname = \"log\"\n[[rule.log]]\n")
            .rules(
                r#"
                [[rule]]
                name = "hand over"
                event_type = "identity.user.deleted"
                outcome = "success"
                when = "initiator.id != resource.id"
                  [[rule.jenkins]]
                  to = "ci"
                  job = "team/transfer_ownership"
                  wait = "result"
                  parameters = { INITIATOR_ID = "{{ initiator.id }}", USER_ID = "{{ resource.id }}", PROJECT_ID = "{{ initiator.project_id }}" }
                  [[rule.slack]]
                  to = "ops"
                  text = "{{ initiator.name }} deleted user {{ resource.name }}"
                "#,
            );
        let mut daemon = site.consuming().await;
        let ids = vhost.publish_captured("cadfd", "keystone-28.1-cadf-messagingv2").await;
        let trail = site.wait_events(&ids).await;
        let deleted = of_type(&trail, "event").iter().filter(|r| r["event_type"] == "identity.user.deleted").count();
        assert!(deleted >= 2, "{deleted}");
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 2 * deleted).await;
        let builds: Vec<_> =
            of_type(&trail, "delivery").into_iter().filter(|r| r["destination"] == "jenkins.ci").collect();
        assert!(
            builds.iter().all(|build| build["outcome"] == "done" && build["detail"]["result"] == "SUCCESS"),
            "{builds:#?}"
        );
        assert_eq!(jenkins.builds().len(), deleted);
        assert_eq!(slack.messages().len(), deleted);
        let out = daemon.wait_out(|out| out.lines().count() == ids.len()).await;
        assert!(out.contains("USER DELETED success: "), "{out}");
        assert_eq!(vhost.depth("cadfd.info").await, 0);
        daemon.stop().await;
        assert_whole(&site.trail(), &ids);
        let ends: Vec<_> = site.trail().iter().rev().take(2).map(|record| record["type"].clone()).collect();
        assert_eq!(ends, ["checkpoint", "stop"]);
    });
}

/// All files captured from real publishers.
const CAPTURES: [&str; 4] = [
    "keystone-28.1-cadf-messagingv2",
    "keystone-28.1-cadf-messaging-v1",
    "keystone-28.1-basic-messagingv2",
    "oslo-neutron-nova-cinder-messagingv2",
];

/// One of each thing an action can do.
const RULES: &str = r#"
[[rule]]
name = "log"
  [[rule.log]]
  [[rule.log]]
  format = "logfmt"
  [[rule.log]]
  format = "json"
  [[rule.log]]
  text = "own {{ message_id }} {{ kind }} {{ operation }} by {{ initiator.name }}"

[[rule]]
name = "start"
event_type = "identity.project.deleted"
  [[rule.jenkins]]
  to = "ci"
  job = "clean_up"

[[rule]]
name = "result"
event_type = "identity.domain.deleted"
  [[rule.jenkins]]
  to = "ci"
  job = "team/report"
  wait = "result"
  parameters = { DOMAIN_ID = "{{ resource.id }}", DELIVERY = "{{ delivery_id }}", FIXED = 7 }

[[rule]]
name = "granted"
event_type = "identity.role_assignment.created"
  [[rule.slack]]

[[rule]]
name = "new user"
event_type = "identity.user.created"
  [[rule.slack]]
  text = "*new user* {{ resource.id }} by {{ initiator.name }}"

[[rule]]
name = "new domain"
event_type = "identity.domain.created"
  [[rule.slack]]
  text = "a new domain"
  blocks = [{ type = "section", text = { type = "mrkdwn", text = "*{{ kind | upper }}* {{ resource.id }}" } }]

[[rule]]
name = "user gone"
event_type = "identity.user.deleted"
  [[rule.http]]
  to = "rest"
  path = "/users/{{ resource.id }}"
  query = { rule = "{{ rule }}", by = "{{ initiator.name | default('?') }}" }
  json = { id = "{{ resource.id }}", payload = "{{ payload }}", text = "{{ kind }} {{ operation }}", n = [1, true, "{{ initiator.name }}"] }
  [[rule.http]]
  to = "form"
  form = { id = "{{ resource.id }}", outcome = "{{ outcome }}" }

[[rule]]
name = "other services"
event_type = ["compute.*", "volume.*", "port.*"]
  [[rule.http]]
  to = "hook"
"#;

const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The destinations that [`RULES`] need.
struct Destinations {
    jenkins: Jenkins,
    slack: Slack,
    rest: Receiver,
    form: Receiver,
    hook: Receiver,
}

impl Destinations {
    async fn start() -> Self {
        let (jenkins, slack) = (Jenkins::start_with(0, "/jenkins").await, Slack::start().await);
        jenkins.require_crumbs();
        jenkins.add(Job { queue_polls: 0, build_polls: 0, ..Job::plain("clean_up") });
        let report = Job::parameterized("team/report", &["DOMAIN_ID", "DELIVERY", "FIXED"]);
        jenkins.add(Job { queue_polls: 0, build_polls: 0, result: "UNSTABLE", ..report });
        slack.limit_rate(false);
        let (rest, form, hook) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
        rest.expect(Expect::Bearer("b3arer".into()));
        form.expect(Expect::Basic("cadfd".into(), "pa55".into()));
        hook.expect(Expect::Signature(SIGNING.into()));
        Self { jenkins, slack, rest, form, hook }
    }

    fn settings(&self) -> String {
        format!(
            "[jenkins.ci]\nurl = {:?}\nuser = {:?}\ntoken = {:?}\n\
             [slack.ops]\nwebhook_url = {:?}\nrate = \"unlimited\"\n\
             [http.rest]\nurl = \"{}/v1?site=a\"\nmethod = \"PUT\"\nbearer = \"b3arer\"\nheaders = {{ X-Source = \"cadfd\" }}\n\
             [http.form]\nurl = \"{}/form\"\nuser = \"cadfd\"\npassword = \"pa55\"\n\
             [http.hook]\nurl = \"{}/hook\"\nsigning_secret = {SIGNING:?}\n",
            self.jenkins.base_url(),
            Jenkins::USER,
            Jenkins::TOKEN,
            self.slack.webhook_url(),
            self.rest.url(),
            self.form.url(),
            self.hook.url(),
        )
    }
}

/// The inner object of a captured message.
fn inner(body: &[u8]) -> Value {
    let outer: Value = serde_json::from_slice(body).unwrap();
    outer["oslo.message"].as_str().map_or(outer.clone(), |inner| serde_json::from_str(inner).unwrap())
}

/// A delivery's id as the trail has it: that of the event's plan.
fn delivery_of(event: &Value, rule: &str, to: &str) -> String {
    let planned = event["planned"].as_array().unwrap();
    let found = planned.iter().find(|planned| planned["rule"] == rule && planned["to"] == to);
    found.unwrap_or_else(|| panic!("{rule} {to}: {event:#}"))["delivery"].as_str().unwrap().to_owned()
}

fn resource_id(event: &Value) -> String {
    event["resource"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn every_format_reaches_every_kind_of_action() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let to = Destinations::start().await;
        let site = Site::new(&vhost).settings(&to.settings()).rules(RULES);
        let mut daemon = site.consuming().await;
        let mut published = Vec::new();
        for name in CAPTURES {
            vhost.publish_captured("cadfd", name).await;
            published.extend(captured::read(name).into_iter().map(|message| inner(&message.body)));
        }
        let ids: Vec<String> = published.iter().map(|it| it["message_id"].as_str().unwrap().to_owned()).collect();
        let count = |kind: &str| published.iter().filter(|it| it["event_type"] == kind).count();
        let (started, reported) = (count("identity.project.deleted"), count("identity.domain.deleted"));
        let (granted, users) = (count("identity.role_assignment.created"), count("identity.user.created"));
        let (domains, gone) = (count("identity.domain.created"), count("identity.user.deleted"));
        let others =
            ["compute.instance.create.error", "volume.usage", "port.create.end"].map(&count).iter().sum::<usize>();
        assert_eq!([started, reported, granted, users, domains, gone, others], [6, 3, 16, 10, 8, 6, 3]);
        let deliveries = started + reported + granted + users + domains + 2 * gone + others;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == deliveries).await;
        assert_whole(&trail, &ids);
        let ended = of_type(&trail, "delivery");
        assert!(ended.iter().all(|it| it["outcome"] == "done" && it["attempts"] == 1), "{ended:#?}");
        let events = of_type(&trail, "event");
        for (event, inner) in events.iter().zip(&published) {
            assert_eq!(event["message_id"], inner["message_id"], "the trail keeps the order of the queue");
            assert_eq!(event["payload"], inner["payload"], "the payload as it came");
        }
        let of = |kind: &str| -> Vec<&Value> { events.iter().filter(|it| it["event_type"] == kind).copied().collect() };

        let builds = to.jenkins.builds();
        for event in of("identity.domain.deleted") {
            let delivery = delivery_of(event, "result", "jenkins.ci");
            let build = builds.iter().find(|build| build.delivery == delivery).unwrap();
            let wanted = [("DOMAIN_ID", resource_id(event)), ("DELIVERY", delivery.clone()), ("FIXED", "7".to_owned())];
            assert_eq!(build.parameters, wanted.map(|(name, value)| (name.to_owned(), value)));
            let record = ended.iter().find(|it| it["delivery"] == *delivery).unwrap();
            assert_eq!(record["detail"]["result"], "UNSTABLE", "the build's result is its own matter");
        }
        assert_eq!(builds.len(), started + reported);

        let messages = to.slack.messages();
        let message = |event: &Value, rule: &str| {
            let delivery = delivery_of(event, rule, "slack.ops");
            messages.iter().find(|message| message.delivery == delivery).unwrap().clone()
        };
        for event in of("identity.role_assignment.created") {
            let text = message(event, "granted").text;
            assert!(text.contains("ROLE_ASSIGNMENT CREATED success: role "), "{text}");
        }
        for event in of("identity.user.created") {
            let by = event["initiator"]["name"].as_str().unwrap_or("unknown");
            assert_eq!(message(event, "new user").text, format!("*new user* {} by {by}", resource_id(event)));
        }
        for event in of("identity.domain.created") {
            let text = format!("*DOMAIN* {}", resource_id(event));
            let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": text}}]);
            assert_eq!(message(event, "new domain").blocks, Some(blocks));
        }
        assert_eq!(messages.len(), granted + users + domains);

        for (event, call) in
            of("identity.user.deleted").iter().zip(in_order(&events, &to.rest, "user gone", "http.rest"))
        {
            let (id, name) = (resource_id(event), &event["initiator"]["name"]);
            assert_eq!((&*call.method, &*call.path), ("PUT", &*format!("/v1/users/{id}")));
            let by = name.as_str().unwrap_or("?").to_owned();
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            assert_eq!(call.query, [pair("site", "a"), pair("rule", "user gone"), pair("by", &by)]);
            let text = "user deleted";
            let wanted = json!({"id": id, "payload": event["payload"], "text": text, "n": [1, true, name]});
            assert_eq!((call.json(), call.header("x-source")), (wanted, "cadfd".to_owned()));
        }
        for (event, call) in
            of("identity.user.deleted").iter().zip(in_order(&events, &to.form, "user gone", "http.form"))
        {
            let wanted = [("id", resource_id(event)), ("outcome", "success".to_owned())];
            assert_eq!(call.form(), wanted.map(|(name, value)| (name.to_owned(), value)));
        }
        let others: Vec<_> =
            events.iter().filter(|it| it["format"] == "generic" && it["planned"][4].is_object()).collect();
        for (event, call) in others.iter().zip(in_order(&events, &to.hook, "other services", "http.hook")) {
            let body = call.json();
            for (field, value) in body.as_object().unwrap() {
                assert_eq!(value, &event[field], "{field}");
            }
            assert_eq!(body.as_object().unwrap().len(), 21, "the whole event: {body:#}");
        }

        let out = daemon.wait_out(|out| out.lines().count() == 4 * ids.len()).await;
        check_lines(&out, &events);
        daemon.stop().await;
    });
}

/// The calls of one action in the order of their events, whatever order they came in.
fn in_order(events: &[&Value], receiver: &Receiver, rule: &str, to: &str) -> Vec<Call> {
    let calls = receiver.calls();
    let planned =
        |event: &&&Value| event["planned"].as_array().unwrap().iter().any(|it| it["rule"] == rule && it["to"] == to);
    let found: Vec<Call> = events
        .iter()
        .filter(planned)
        .map(|event| {
            let delivery = delivery_of(event, rule, to);
            let same: Vec<_> = calls.iter().filter(|call| call.header("x-cadfd-delivery") == delivery).collect();
            assert_eq!(same.len(), 1, "{delivery}");
            assert_eq!(same[0].header("idempotency-key"), delivery);
            same[0].clone()
        })
        .collect();
    assert_eq!(found.len(), calls.len());
    found
}

/// Four lines an event, in the order of the trail, plain where nobody looks at a terminal.
fn check_lines(out: &str, events: &[&Value]) {
    assert!(!out.contains('\u{1b}'), "no colours into a pipe");
    let lines: Vec<_> = out.lines().collect();
    for (lines, event) in lines.chunks(4).zip(events) {
        let id = event["message_id"].as_str().unwrap();
        let [readable, logfmt, json, own] = lines else { panic!("{lines:?}") };
        let heading = format!("{} {}", event["kind"].as_str().unwrap(), event["operation"].as_str().unwrap());
        let outcome = event["outcome"].as_str().unwrap();
        assert!(readable.contains(&format!(" {} {outcome}: ", heading.to_uppercase())), "{readable}");
        assert!(
            logfmt.contains(&format!("message_id={id} ")) && logfmt.contains(&format!("outcome={outcome}")),
            "{logfmt}"
        );
        let json: Value = serde_json::from_str(json).unwrap();
        assert_eq!((&json["message_id"], &json["payload"]), (&event["message_id"], &event["payload"]));
        let by = event["initiator"]["name"].as_str().unwrap_or("unknown");
        assert_eq!(*own, format!("own {id} {heading} by {by}"));
    }
}

/// Takes out what differs from run to run, when it is what it has to be: a time, a delivery's id.
fn steady(record: &Value) -> Value {
    let mut record = record.clone();
    for field in ["at", "received", "from", "to"] {
        if let Some(time) = record.get_mut(field) {
            let text = time.as_str().unwrap();
            assert!(text.parse::<jiff::Timestamp>().is_ok() && text.len() == 27 && text.ends_with('Z'), "{text}");
            *time = json!("a time");
        }
    }
    let is_id = |id: &str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let planned = record.get_mut("planned").and_then(Value::as_array_mut).into_iter().flatten();
    for id in planned.filter_map(|planned| planned.get_mut("delivery")) {
        assert!(is_id(id.as_str().unwrap()), "{id}");
        *id = json!("an id");
    }
    if let Some(id) = record.get_mut("delivery") {
        assert!(is_id(id.as_str().unwrap()), "{id}");
        *id = json!("an id");
    }
    if let Some(key) = record.get_mut("key") {
        assert_eq!(key.as_str().unwrap().len(), 44, "{key}");
        *key = json!("a key");
    }
    let prev = record.as_object_mut().unwrap().remove("prev").unwrap();
    assert_eq!(prev.as_str().unwrap().len(), 64, "{prev}");
    record
}

#[test]
#[expect(clippy::too_many_lines, reason = "one record of each type, one after the other")]
fn the_trail_says_what_the_readme_promises_field_by_field() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let to = Destinations::start().await;
        let mut site = Site::new(&vhost).settings(&to.settings()).rules(
            r#"
            [[rule]]
            name = "gone"
            event_type = "identity.user.deleted"
              [[rule.log]]
              [[rule.jenkins]]
              job = "team/report"
              wait = "result"
              parameters = { DOMAIN_ID = "{{ resource.id }}" }
              [[rule.http]]
              to = "rest"
            "#,
        );
        to.rest.fault(Fault::Status(404)).await;
        let mut daemon = site.consuming().await;
        let captured = captured::read(CAPTURES[0]);
        let deleted = captured.iter().find(|message| message.message_id == "cf60f65e-3c34-47b2-a257-33b87c47f787");
        vhost.publish("cadfd", [&deleted.unwrap().body[..], b"{\"event_type\": "]).await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 2).await;
        site.rewrite_rules(&[]);
        daemon.signal(Signal::HUP);
        daemon.wait_log("reloaded settings and rules").await;
        let pid = daemon.pid().as_raw_nonzero().get();
        daemon.stop().await;

        let trail = site.trail();
        let records: Vec<_> = trail.iter().map(steady).collect();
        let of = |kind: &str| {
            let found =
                records.iter().find(|record| record["type"] == kind).unwrap_or_else(|| panic!("{kind}: {trail:#?}"));
            let mut found = found.clone();
            found.as_object_mut().unwrap().remove("seq");
            found
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert_eq!(
            records[0],
            json!({"seq": 1, "type": "start", "at": "a time", "version": env!("CARGO_PKG_VERSION"), "host": host,
                   "pid": pid, "queues": ["cadfd.info"], "rules": 1, "key": "a key"})
        );
        let source =
            json!({"queue": "cadfd.info", "exchange": "keystone", "routing_key": "cadfd.info", "redelivered": false});
        assert_eq!(
            of("event"),
            json!({
                "type": "event",
                "message_id": "cf60f65e-3c34-47b2-a257-33b87c47f787",
                "event_type": "identity.user.deleted",
                "kind": "user",
                "operation": "deleted",
                "outcome": "success",
                "reason": {"code": null, "text": null},
                "timestamp": "2026-11-21T07:02:29.70417Z",
                "priority": "INFO",
                "publisher_id": "identity.vm",
                "request_id": "req-3885fd22-007a-4bd3-bf8c-2b3d0b55f908",
                "initiator": {
                    "id": "e65b313b046a4810a3c1146b7d030076", "name": "admin",
                    "project_id": "f8f69a8bd756458b91ce753011e06fb3", "project_name": null,
                    "domain_id": null, "domain_name": null,
                    "address": "127.0.0.1", "agent": "python-keystoneclient", "federation": null
                },
                "resource": {"kind": "user", "id": "af753ff647084a5d9c16ec273da4a823", "name": null},
                "assignment": null,
                "member": null, "change": null, "names": {}, "own": false,
                "payload": inner(&deleted.unwrap().body)["payload"],
                "context": {},
                "format": "cadf",
                "odd": [],
                "source": source,
                "received": "a time",
                "planned": [
                    {"rule": "gone", "to": "log"},
                    {"rule": "gone", "to": "jenkins.ci", "delivery": "an id"},
                    {"rule": "gone", "to": "http.rest", "delivery": "an id"}
                ]
            })
        );
        let (seq, build) = (trail.iter().find(|it| it["type"] == "event").unwrap()["seq"].clone(), to.jenkins.builds());
        let deliveries = |destination: &str| {
            let found: Vec<_> = records.iter().filter(|it| it["destination"] == destination).collect();
            assert_eq!(found.len(), 1, "{destination}");
            found[0].clone()
        };
        let about = |destination: &str, outcome: &str, attempts: u32, number: &Value| {
            json!({"seq": number, "type": "delivery", "at": "a time", "delivery": "an id", "event_seq": seq,
                   "message_id": "cf60f65e-3c34-47b2-a257-33b87c47f787", "event_type": "identity.user.deleted",
                   "rule": "gone", "destination": destination, "outcome": outcome, "attempts": attempts})
        };
        let jenkins = deliveries("jenkins.ci");
        let mut wanted = about("jenkins.ci", "done", 1, &jenkins["seq"]);
        let url = format!("http://jenkins.internal:8080/jenkins/job/team/job/report/{}/", build[0].number);
        wanted["detail"] = json!({"queue_item": 1, "build": 1, "url": url, "result": "UNSTABLE"});
        assert_eq!(jenkins, wanted);
        let http = deliveries("http.rest");
        let mut wanted = about("http.rest", "given_up", 1, &http["seq"]);
        wanted["reason"] = json!(
            "answered 404 Not Found: nothing is at this address; look at the URL in the settings and the rule's path"
        );
        wanted["reply"] = json!("stand-in told to answer 404\\n");
        assert_eq!(http, wanted);
        assert_eq!(
            of("quarantine"),
            json!({"type": "quarantine", "received": "a time", "source": source, "size": 15,
                   "reason": of("quarantine")["reason"],
                   "sha256": "cc75c8d8a4468691bc6ea5eafe8732470a779d69bf0a4b2deffd65e5648b2ab0"})
        );
        assert_eq!(of("reload"), json!({"type": "reload", "at": "a time", "rules": 0}));
        assert_eq!(of("stop"), json!({"type": "stop", "at": "a time", "cause": "SIGTERM"}));
        let signature = of("checkpoint")["signature"].clone();
        assert_eq!(
            of("checkpoint"),
            json!({"type": "checkpoint", "at": "a time", "key": "a key", "signature": signature})
        );
        assert_eq!(records.len(), 8, "and nothing else: {records:#?}");
    });
}
