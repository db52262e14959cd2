//! Destinations that are down, slow, overloaded or refuse, beside those that work.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::broker::{Broker, Vhost};
use crate::daemon::{Site, assert_whole, eventually, of_type};
use crate::notification::{ids, users_deleted};
use crate::run_test;
use crate::standins::{Call, Fault, Jenkins, Job, Receiver, Server, Slack};

/// Impatient enough for a test.
const LIMITS: &str = "retry_first = \"40ms\"\nretry_max = \"200ms\"\n";

const CALL: &str = "[[rule]]\nname = \"call\"\n[[rule.http]]\njson = { user = \"{{ resource.id }}\" }\n";

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    vhost
}

fn http(url: &str, limits: &str) -> String {
    format!("[http.x]\nurl = \"{url}/\"\n{LIMITS}{limits}\n")
}

fn users(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| call.json()["user"].as_str().unwrap().to_owned()).collect()
}

/// All of them, once; whichever found the destination working again came first, the rest follow in their order.
#[track_caller]
fn assert_in_order(users: &[impl AsRef<str>], count: usize) {
    let users: Vec<_> = users.iter().map(AsRef::as_ref).collect();
    let mut wanted = numbered(count);
    wanted.retain(|user| user != users[0]);
    assert_eq!(users[1..], wanted);
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("u{n}")).collect()
}

/// `cadfd outbox list --json`, as values.
async fn outbox(site: &Site, args: &[&str]) -> Vec<Value> {
    let out = site.cadfd_ok(&[&["outbox", "list", "--json"], args].concat()).await;
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the outbox is as wanted.
async fn wait_outbox(site: &Site, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    loop {
        let held = outbox(site, &[]).await;
        if wanted(&held) {
            return held;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_destination_that_is_down_gets_everything_in_order_when_it_is_back() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault(Fault::Down).await;
        let limits = "concurrency = 1";
        let site = Site::new(&vhost).settings(&http(&receiver.url(), limits)).rules(CALL);
        let mut daemon = site.consuming().await;
        let published = users_deleted(30);
        vhost.publish("cadfd", &published).await;
        let failed_thrice = |held: &Value| held["attempts"].as_u64() >= Some(3);
        let held = wait_outbox(&site, |held| held.len() == 30 && held.iter().any(failed_thrice)).await;
        let reason = &held.iter().find(|held| failed_thrice(held)).unwrap()["reason"];
        assert_eq!(*reason, "connection refused");
        receiver.heal().await;
        assert_in_order(&users(&receiver.wait_for(30).await), 30);
        daemon.wait_log("destination back after ").await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 30).await;
        assert!(of_type(&trail, "delivery").iter().all(|it| it["outcome"] == "done"));
        assert_eq!(receiver.calls().len(), 30, "each once");
        assert_eq!(outbox(&site, &[]).await, Vec::<Value>::new());
        let log = daemon.stop().await;
        assert_eq!(log.matches("destination lost: connection refused").count(), 1, "{log}");
        assert_eq!(log.matches("http.x").count(), 2, "lost and back, nothing between: {log}");
        assert_whole(&site.trail(), &ids(&published));
    });
}

/// Answers 503, and knows how many requests there were at once.
#[derive(Default)]
struct Overloaded {
    now: usize,
    at_arrival: Vec<usize>,
    times: Vec<Instant>,
}

async fn overloaded(State(state): State<Arc<Mutex<Overloaded>>>) -> StatusCode {
    {
        let mut state = state.lock().unwrap();
        state.now += 1;
        let now = state.now;
        state.at_arrival.push(now);
        state.times.push(Instant::now());
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    state.lock().unwrap().now -= 1;
    StatusCode::SERVICE_UNAVAILABLE
}

#[test]
fn while_it_is_down_it_is_probed_by_one_delivery_at_a_time_ever_more_rarely() {
    run_test(async || {
        let vhost = vhost().await;
        let state = Arc::new(Mutex::new(Overloaded::default()));
        let server = Server::start(Router::new().fallback(overloaded).with_state(Arc::clone(&state))).await;
        let settings =
            format!("[http.x]\nurl = \"{}/\"\nretry_first = \"100ms\"\nretry_max = \"400ms\"\n", server.url());
        let site = Site::new(&vhost).settings(&format!("{settings}concurrency = 4\n")).rules(CALL);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(20)).await;
        server.wait_for_attempts(10).await;
        daemon.kill().await;
        let state = state.lock().unwrap();
        let Overloaded { at_arrival, times, .. } = &*state;
        // Those that were under way together when it went down, at most four; from then on one at a time.
        let first = at_arrival.iter().skip(1).take_while(|now| **now > 1).count() + 1;
        assert!(first <= 4 && at_arrival[first..].iter().all(|now| *now == 1), "{at_arrival:?}");
        // The pauses are at least half of 100, 200, 400, 400… ms.
        let pauses: Vec<_> = times[first - 1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, least) in pauses.iter().zip([50, 100, 200, 200, 200, 200]) {
            assert!(*pause >= Duration::from_millis(least), "{pauses:?}");
        }
    });
}

#[test]
fn one_that_hangs_is_left_in_time_and_comes_back() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault(Fault::Hang).await;
        let site = Site::new(&vhost).settings(&http(&receiver.url(), "timeout = \"200ms\"")).rules(CALL);
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(3)).await;
        daemon.wait_log("destination lost: no answer within 200 ms").await;
        receiver.heal().await;
        let mut got = users(&receiver.wait_for(3).await);
        got.sort();
        assert_eq!(got, numbered(3));
        daemon.wait_log("destination back").await;
        daemon.stop().await;
    });
}

#[test]
fn a_wait_that_it_asks_for_is_kept() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault_times(1, Fault::RetryAfter(429, "1")).await;
        let site = Site::new(&vhost).settings(&http(&receiver.url(), "concurrency = 1")).rules(CALL);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(3)).await;
        receiver.wait_for_attempts(1).await;
        let refused = Instant::now();
        receiver.wait_for_attempts(2).await;
        // What it takes us to notice the first is all that can be missing.
        assert!(refused.elapsed() > Duration::from_millis(800), "{:?}", refused.elapsed());
        assert_in_order(&users(&receiver.wait_for(3).await), 3);
        daemon.stop().await;
        assert_eq!(receiver.attempts().len(), 4);
    });
}

#[test]
fn what_is_refused_is_given_up_at_once_and_kept_with_the_answer() {
    run_test(async || {
        let vhost = vhost().await;
        let long = |status: StatusCode| (status, format!("no\u{1b}[31m such\n{}", "x".repeat(5000)));
        let router = Router::new().fallback(move |headers: HeaderMap, body: String| async move {
            assert!(headers.contains_key("x-cadfd-delivery"));
            long(if body.contains("u1") { StatusCode::NOT_FOUND } else { StatusCode::OK })
        });
        let server = Server::start(router).await;
        let site = Site::new(&vhost).settings(&http(&server.url(), "concurrency = 1")).rules(CALL);
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(3)).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 3).await;
        let ended = of_type(&trail, "delivery");
        let given_up = ended.iter().find(|it| it["outcome"] == "given_up").unwrap();
        assert_eq!(ended.iter().filter(|it| it["outcome"] == "done").count(), 2);
        assert_eq!(server.attempts().len(), 3, "no second attempt");
        let reply = given_up["reply"].as_str().unwrap();
        assert!(reply.starts_with("no\\u{1b}[31m such\\nxxx") && (1000..1100).contains(&reply.len()), "{reply}");
        assert!(given_up["reason"].as_str().unwrap().starts_with("answered 404 Not Found: "));
        let id = given_up["delivery"].as_str().unwrap();
        daemon.wait_log(&format!("see cadfd outbox show {id}")).await;
        let shown = site.cadfd_ok(&["outbox", "show", &id[..8]]).await;
        assert!(shown.contains("given up, 1 attempts failed") && shown.contains("answered 404 Not Found"), "{shown}");
        assert!(shown.contains("such\\\\nxxxx") && !shown.contains('\u{1b}'), "{shown}");
        daemon.stop().await;
    });
}

#[test]
fn one_that_fails_for_too_long_is_given_up() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault(Fault::Status(500)).await;
        let site = Site::new(&vhost).settings(&http(&receiver.url(), "give_up_after = \"300ms\"")).rules(CALL);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(1)).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        let given_up = &of_type(&trail, "delivery")[0];
        let reason = given_up["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("answered 500 Internal Server Error: stand-in told to answer 500; tried for "),
            "{reason}"
        );
        let attempts = given_up["attempts"].as_u64().unwrap();
        assert!(attempts >= 2 && attempts == receiver.attempts().len() as u64, "{attempts}");
        // An operator has mended it.
        receiver.heal().await;
        let out = site.cadfd_ok(&["outbox", "retry", "--state", "given-up"]).await;
        assert_eq!(out, "1 of 1 due at once\n");
        receiver.wait_for(1).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 2).await;
        assert_eq!(of_type(&trail, "delivery")[1]["outcome"], "done");
        assert_eq!(of_type(&trail, "delivery")[1]["delivery"], given_up["delivery"]);
        daemon.stop().await;
    });
}

#[test]
fn what_waited_too_long_for_one_that_is_down_is_given_up_and_the_rest_still_waits() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault(Fault::Down).await;
        let site = Site::new(&vhost).settings(&http(&receiver.url(), "give_up_after = \"1s\"")).rules(CALL);
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(40)).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 40).await;
        assert!(of_type(&trail, "delivery").iter().all(|it| it["outcome"] == "given_up"));
        daemon.wait_log("given up: connection refused; waited for as long as it may").await;
        let log = daemon.log();
        assert!(!log.contains("destination back"), "nobody answered: {log}");
        assert_eq!(log.matches("destination lost").count(), 1, "{log}");
        receiver.heal().await;
        vhost.publish("cadfd", users_deleted(41).split_off(40)).await;
        let served =
            eventually(|| Some(users(&receiver.calls())).filter(|users| users.iter().any(|user| user == "u40"))).await;
        // One attempt may have been on its way when its time was over; the trail tells that it was done after all.
        assert!(served.len() <= 2, "{served:?}");
        daemon.stop().await;
    });
}

#[test]
fn a_retry_by_hand_is_made_at_once() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault(Fault::Down).await;
        let url = receiver.url();
        // One at a time: of several under way when it is back, one would be through, and the rest would follow by itself.
        let patient =
            format!("[http.x]\nurl = \"{url}/\"\nretry_first = \"30m\"\nretry_max = \"1h\"\nconcurrency = 1\n");
        let site = Site::new(&vhost).settings(&patient).rules(CALL);
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(3)).await;
        daemon.wait_log("destination lost").await;
        receiver.heal().await;
        wait_outbox(&site, |held| held.len() == 3 && held.iter().any(|held| held["attempts"] == 1)).await;
        site.cadfd_ok(&["outbox", "retry", "--all"]).await;
        assert_eq!(receiver.wait_for(3).await.len(), 3);
        daemon.stop().await;
    });
}

#[test]
fn its_rate_is_kept_also_when_it_is_back() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault(Fault::Down).await;
        let site = Site::new(&vhost).settings(&http(&receiver.url(), "rate = \"10/s\"")).rules(CALL);
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(8)).await;
        daemon.wait_log("destination lost").await;
        receiver.heal().await;
        receiver.wait_for(1).await;
        let first = Instant::now();
        receiver.wait_for(8).await;
        assert!(
            first.elapsed() > Duration::from_millis(600),
            "seven tenths of a second at least: {:?}",
            first.elapsed()
        );
        daemon.stop().await;
    });
}

#[test]
fn what_is_discarded_is_not_sent_though_it_was_next_in_turn() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        let site = Site::new(&vhost).settings(&http(&receiver.url(), "rate = \"30/min\"")).rules(CALL);
        let daemon = site.consuming().await;
        let published = users_deleted(9);
        vhost.publish("cadfd", &published[..8]).await;
        site.wait_events(&ids(&published[..8])).await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        site.cadfd_ok(&["outbox", "discard", "--all"]).await;
        vhost.publish("cadfd", &published[8..]).await;
        let last = &published[8].message_id;
        site.wait_trail(|trail| of_type(trail, "delivery").iter().any(|it| it["message_id"] == **last)).await;
        // On a machine that slept in between, one more was under way.
        let sent = users(&receiver.calls());
        assert!(sent.len() <= 3 && sent.last().unwrap() == "u8", "{sent:?}");
        daemon.stop().await;
    });
}

fn jenkins_and_slack(jenkins: &Jenkins, slack: &Slack) -> String {
    format!(
        "[jenkins.ci]\nurl = {:?}\nuser = {:?}\ntoken = {:?}\n{LIMITS}\
         [slack.ops]\nwebhook_url = {:?}\nrate = \"unlimited\"\n{LIMITS}",
        jenkins.base_url(),
        Jenkins::USER,
        Jenkins::TOKEN,
        slack.webhook_url()
    )
}

const BUILD_AND_SAY: &str = r#"
[[rule]]
name = "both"
event_type = "identity.user.deleted"
  [[rule.slack]]
  text = "{{ resource.id }}"
  [[rule.jenkins]]
  job = "hand_over"
  wait = "result"
  parameters = { USER_ID = "{{ resource.id }}" }
"#;

#[test]
fn slack_down_neither_holds_up_jenkins_nor_builds_twice() {
    run_test(async || {
        let vhost = vhost().await;
        let (jenkins, slack) = (Jenkins::start().await, Slack::start().await);
        slack.limit_rate(false);
        jenkins.add(Job { queue_polls: 0, build_polls: 0, ..Job::parameterized("hand_over", &["USER_ID"]) });
        slack.fault(Fault::Status(503)).await;
        let site = Site::new(&vhost).settings(&jenkins_and_slack(&jenkins, &slack)).rules(BUILD_AND_SAY);
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(5)).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 5).await;
        let built = of_type(&trail, "delivery");
        assert!(
            built.iter().all(|it| it["destination"] == "jenkins.ci" && it["detail"]["result"] == "SUCCESS"),
            "{built:#?}"
        );
        assert_eq!(slack.messages().len(), 0);
        slack.heal().await;
        let messages = slack.wait_for(5).await;
        assert_in_order(&messages.iter().map(|message| &*message.text).collect::<Vec<_>>(), 5);
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 10).await;
        daemon.wait_log("destination back").await;
        daemon.stop().await;
        assert_eq!(jenkins.builds().len(), 5, "no build was asked for again");
    });
}

#[test]
fn killed_while_it_follows_a_build_it_follows_on_and_builds_no_second() {
    run_test(async || {
        let vhost = vhost().await;
        let (jenkins, slack) = (Jenkins::start().await, Slack::start().await);
        jenkins.add(Job { queue_polls: 0, build_polls: 1, ..Job::parameterized("hand_over", &["USER_ID"]) });
        let site = Site::new(&vhost).settings(&jenkins_and_slack(&jenkins, &slack)).rules(BUILD_AND_SAY);
        let daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(1)).await;
        // Killed while the build waits in the queue, and again when it has its number.
        wait_outbox(&site, |held| held.iter().any(|held| held["progress"]["queue_item"] == 1)).await;
        daemon.kill().await;
        let daemon = site.consuming().await;
        wait_outbox(&site, |held| held.iter().any(|held| held["progress"]["build"]["number"] == 1)).await;
        daemon.kill().await;
        let daemon = site.consuming().await;
        let done = |trail: &[Value]| of_type(trail, "delivery").iter().any(|it| it["destination"] == "jenkins.ci");
        let trail = site.wait_trail(done).await;
        let record = of_type(&trail, "delivery").into_iter().find(|it| it["destination"] == "jenkins.ci").unwrap();
        let detail = json!({"queue_item": 1, "build": 1, "url": "http://jenkins.internal:8080/job/hand_over/1/", "result": "SUCCESS"});
        assert_eq!((&record["outcome"], &record["detail"]), (&json!("done"), &detail));
        daemon.stop().await;
        assert_eq!(jenkins.builds().len(), 1);
        let posts = jenkins.attempts().iter().filter(|attempt| attempt.starts_with("POST")).count();
        assert_eq!(posts, 1, "no second build, not even a refused one");
        eventually(|| (slack.messages().len() == 1).then_some(())).await;
    });
}
