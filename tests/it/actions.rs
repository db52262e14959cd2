//! Each kind of remote action against its stand-in, well and ill.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cadfd::action::http::{self, Auth, Body};
use cadfd::action::jenkins::{self, Wait};
use cadfd::action::slack;
use cadfd::action::{Attempt, ClientSettings, Destination, Limits, Outcome, Request, Scope};
use cadfd::secret::Secret;
use serde_json::{Map, Value, json};
use tokio_rustls::rustls;

use crate::standins::{Expect, Fault, Jenkins, Job, Receiver, Server, Slack, Trouble};

const BEARER: &str = "bearer-hunter2";
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HOSTILE: &str = "<!channel> & \"x'\r\n\u{1b}[31m\u{2028}\u{202e}%2e&a=b;{{ 7*7 }}\0ü";

fn limits() -> Limits {
    Limits::default()
}

/// For what is expected to hang.
fn impatient() -> Limits {
    Limits { total_timeout: Duration::from_millis(200), ..limits() }
}

fn jenkins_settings(standin: &Jenkins) -> jenkins::Settings {
    jenkins::Settings {
        url: standin.base_url(),
        user: Jenkins::USER.into(),
        token: Secret::new(Jenkins::TOKEN),
        follow_for: jenkins::FOLLOW_FOR,
        client: ClientSettings::default(),
        limits: limits(),
    }
}

fn jenkins(settings: &jenkins::Settings) -> Destination {
    Destination::Jenkins(jenkins::Jenkins::new(settings).unwrap())
}

fn slack_at(url: &str, limits: Limits) -> Destination {
    let settings = slack::Settings { webhook_url: Secret::new(url), client: ClientSettings::default(), limits };
    Destination::Slack(slack::Slack::new(&settings).unwrap())
}

fn http_settings(url: &str) -> http::Settings {
    http::Settings {
        url: Secret::new(url),
        service: None,
        method: "POST".into(),
        headers: Vec::new(),
        auth: Auth::None,
        signing_secret: None,
        client: ClientSettings::default(),
        limits: limits(),
    }
}

fn http(settings: &http::Settings) -> Destination {
    Destination::Http(http::Http::new(settings).unwrap())
}

fn build(job: &str, parameters: &[(&str, &str)], wait: Wait) -> Request {
    let parameters = parameters.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    Request::Jenkins(jenkins::Request { job: job.into(), parameters, wait, ..jenkins::Request::default() })
}

fn message(text: &str) -> Request {
    Request::Slack(slack::Request { text: text.into(), blocks: None })
}

fn call(path: &str, body: Body) -> Request {
    Request::Http(http::Request { path: Some(path.into()), body, ..http::Request::default() })
}

async fn attempt(destination: &Destination, request: &Request, progress: Option<&Value>) -> Outcome {
    let now = jiff::Timestamp::now();
    let outcome = destination.perform(Attempt { delivery_id: "0199-d1", request, progress, now, created: now }).await;
    let shown = format!("{outcome:?}");
    for secret in ["hunter2", "Hunter2", "11c4df0d", "Y2FkZmQ6", "/services/", "MfKQ9r8", "B0CADFD00"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    outcome
}

async fn once(destination: &Destination, request: &Request) -> Outcome {
    attempt(destination, request, None).await
}

/// Performs until it is settled, as the worker does, but without its pauses.
async fn settle(destination: &Destination, request: &Request) -> Outcome {
    let mut progress = None;
    loop {
        match attempt(destination, request, progress.as_ref()).await {
            Outcome::Continue { progress: next, .. } => progress = Some(next),
            outcome => return outcome,
        }
    }
}

#[track_caller]
fn detail(outcome: Outcome) -> Map<String, Value> {
    let Outcome::Done { detail } = outcome else { panic!("expected Done, got {outcome:?}") };
    detail
}

#[track_caller]
fn progress(outcome: Outcome) -> Value {
    let Outcome::Continue { progress, .. } = outcome else { panic!("expected Continue, got {outcome:?}") };
    progress
}

#[track_caller]
fn given_up(outcome: Outcome) -> (String, String) {
    let Outcome::GivenUp { reason, reply } = outcome else { panic!("expected GivenUp, got {outcome:?}") };
    (reason, reply.unwrap_or_default())
}

#[track_caller]
fn assert_retry(outcome: &Outcome, expected: &str, wait: Option<u64>, at: Scope) {
    let Outcome::Retry { reason, after, scope, .. } = outcome else { panic!("expected Retry, got {outcome:?}") };
    assert!(reason.contains(expected), "{reason:?} has no {expected:?}");
    assert_eq!((*after, *scope), (wait.map(Duration::from_secs), at), "{reason}");
}

/// What every kind makes of every fault. `patient` and `impatient` are the same destination; `well` tells whether an
/// outcome is a success.
async fn faults(server: &Server, patient: &Destination, impatient: &Destination, request: &Request) {
    let well = |outcome: Outcome| {
        let ok = matches!(outcome, Outcome::Done { .. } | Outcome::Continue { .. });
        assert!(ok, "{outcome:?}");
    };
    well(once(patient, request).await);

    server.fault(Fault::Down).await;
    assert_retry(&once(patient, request).await, "connection refused", None, Scope::Destination);
    server.heal().await;
    well(once(patient, request).await);

    for (fault, expected, after, scope) in [
        (Fault::HangUp, "connection broke before an answer", None, Scope::Destination),
        (Fault::Cut(10), "connection broke before an answer", None, Scope::Destination),
        (Fault::RetryAfter(429, "7"), "answered 429 Too Many Requests", Some(7), Scope::Destination),
        (Fault::RetryAfter(503, "99999"), "answered 503", Some(3600), Scope::Destination),
        (Fault::RetryAfter(503, "Fri, 31 Dec 1999 23:59:59 GMT"), "answered 503", Some(0), Scope::Destination),
        (Fault::Status(502), "answered 502", None, Scope::Destination),
        (Fault::Status(504), "answered 504", None, Scope::Destination),
        (Fault::Status(408), "answered 408", None, Scope::Delivery),
        (Fault::Status(425), "answered 425", None, Scope::Delivery),
        (Fault::Status(500), "answered 500 Internal Server Error: stand-in told to", None, Scope::Delivery),
    ] {
        server.fault(fault).await;
        assert_retry(&once(patient, request).await, expected, after, scope);
    }
    for status in [400, 404, 410, 418, 422] {
        server.fault(Fault::Status(status)).await;
        let (_, reply) = given_up(once(patient, request).await);
        assert_eq!(reply, format!(r"stand-in told to answer {status}\n"));
    }
    for status in [301, 302, 307, 308] {
        server.fault(Fault::Status(status)).await;
        let (reason, _) = given_up(once(patient, request).await);
        assert!(reason.contains("put the final URL into the settings"), "{reason}");
    }
    server.fault(Fault::Hang).await;
    assert_retry(&once(impatient, request).await, "no answer within 200 ms", None, Scope::Destination);
    server.fault(Fault::Slow(Duration::from_millis(20))).await;
    well(once(patient, request).await);
    server.fault(Fault::Truncate).await;
    well(once(patient, request).await);

    server.fault_times(1, Fault::Status(500)).await;
    assert!(matches!(once(patient, request).await, Outcome::Retry { .. }));
    well(once(patient, request).await);
}

#[tokio::test]
async fn jenkins_under_faults() {
    let standin = Jenkins::start().await;
    standin.add(Job::parameterized("a", &["P"]));
    let settings = jenkins_settings(&standin);
    let hasty = jenkins(&jenkins::Settings { limits: impatient(), ..settings.clone() });
    faults(&standin, &jenkins(&settings), &hasty, &build("a", &[("P", "1")], Wait::Start)).await;
}

#[tokio::test]
async fn slack_under_faults() {
    let standin = Slack::start().await;
    standin.limit_rate(false);
    let url = standin.webhook_url();
    faults(&standin, &slack_at(&url, limits()), &slack_at(&url, impatient()), &message("a")).await;
}

#[tokio::test]
async fn http_under_faults() {
    let standin = Receiver::start().await;
    standin.expect(Expect::Bearer(BEARER.into()));
    let auth = Auth::Bearer { token: Secret::new(BEARER) };
    let settings = http::Settings { auth, ..http_settings(&standin.url()) };
    let hasty = http(&http::Settings { limits: impatient(), ..settings.clone() });
    faults(&standin, &http(&settings), &hasty, &call("a", Body::Json(json!({})))).await;
}

#[tokio::test]
async fn a_host_that_has_no_address_is_said_so() {
    let outcome = once(&http(&http_settings("http://cadfd.invalid/")), &call("a", Body::None)).await;
    assert_retry(&outcome, "host name not resolved", None, Scope::Destination);
}

#[tokio::test]
async fn a_destination_that_became_another_kind() {
    let outcome = once(&http(&http_settings("http://127.0.0.1:1/")), &message("a")).await;
    let (reason, _) = given_up(outcome);
    assert!(reason.contains("planned as slack, but its destination is now of kind http"), "{reason}");
}

#[tokio::test]
async fn a_build_is_followed_until_it_has_a_number() {
    let standin = Jenkins::start_with(0, "/jenkins").await;
    standin.add(Job { queue_polls: 3, ..Job::parameterized("team a/hand_over", &["USER", "EMPTY"]) });
    let request = build("team a/hand_over", &[("USER", HOSTILE), ("UNKNOWN", "x")], Wait::Start);
    let done = detail(settle(&jenkins(&jenkins_settings(&standin)), &request).await);
    assert_eq!(
        Value::Object(done),
        json!({"queue_item": 1, "build": 1, "url": "http://jenkins.internal:8080/jenkins/job/team%20a/job/hand_over/1/"})
    );
    let builds = standin.builds();
    assert_eq!(builds.len(), 1);
    assert_eq!(builds[0].parameters, [("USER".into(), HOSTILE.into()), ("EMPTY".into(), String::new())]);
    assert_eq!(builds[0].delivery, "0199-d1");
}

#[tokio::test]
async fn a_result_is_waited_for_and_a_failed_build_is_done() {
    let standin = Jenkins::start().await;
    standin.add(Job { build_polls: 3, result: "FAILURE", ..Job::plain("a") });
    let done = detail(settle(&jenkins(&jenkins_settings(&standin)), &build("a", &[], Wait::Result)).await);
    assert_eq!((&done["build"], &done["result"]), (&json!(1), &json!("FAILURE")));
    assert_eq!(standin.builds().len(), 1);
}

#[tokio::test]
async fn a_crash_or_an_outage_while_following_triggers_no_second_build() {
    let standin = Jenkins::start().await;
    standin.add(Job::parameterized("a", &["P"]));
    let request = build("a", &[("P", "1")], Wait::Result);
    let settings = jenkins_settings(&standin);
    let mut kept = progress(once(&jenkins(&settings), &request).await);
    // In the queue, then building: each time after a restart, each time with an outage first.
    for _ in 0..3 {
        let restarted = jenkins(&settings);
        standin.fault(Fault::Down).await;
        let outcome = attempt(&restarted, &request, Some(&kept)).await;
        assert_retry(&outcome, "connection refused", None, Scope::Destination);
        standin.heal().await;
        kept = serde_json::from_str(&progress(attempt(&restarted, &request, Some(&kept)).await).to_string()).unwrap();
    }
    let done = detail(attempt(&jenkins(&settings), &request, Some(&kept)).await);
    assert_eq!((&done["build"], &done["result"]), (&json!(1), &json!("SUCCESS")));
    assert_eq!(standin.builds().len(), 1);

    let done = detail(attempt(&jenkins(&settings), &request, Some(&json!("unreadable"))).await);
    assert!(done["note"].as_str().unwrap().contains("progress cannot be read"));
    assert_eq!(standin.builds().len(), 1);
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_no_longer_followed() {
    let standin = Jenkins::start().await;
    standin.add(Job { queue_polls: u32::MAX, ..Job::plain("a") });
    let settings = jenkins::Settings { follow_for: Duration::ZERO, ..jenkins_settings(&standin) };
    let done = detail(settle(&jenkins(&settings), &build("a", &[], Wait::Start)).await);
    assert_eq!(done["note"], "not finished within 0 s; no longer followed");

    let kept = progress(once(&jenkins(&settings), &build("a", &[], Wait::Start)).await);
    standin.fault(Fault::Down).await;
    let done = detail(attempt(&jenkins(&settings), &build("a", &[], Wait::Start), Some(&kept)).await);
    assert_eq!(done["note"], "not finished within 0 s; no longer followed");
}

#[tokio::test]
async fn a_crumb_is_fetched_where_jenkins_wants_one() {
    let standin = Jenkins::start().await;
    standin.add(Job::parameterized("a", &["P"]));
    standin.require_crumbs();
    detail(settle(&jenkins(&jenkins_settings(&standin)), &build("a", &[("P", "1")], Wait::Start)).await);
    assert_eq!(standin.builds().len(), 1);
    let trigger = "POST /job/a/buildWithParameters";
    assert_eq!(standin.attempts()[..3], [trigger, "GET /crumbIssuer/api/json", trigger]);
}

#[tokio::test]
async fn a_job_with_parameters_builds_with_its_defaults() {
    let standin = Jenkins::start().await;
    standin.add(Job::parameterized("a", &["P"]));
    standin.require_crumbs();
    detail(settle(&jenkins(&jenkins_settings(&standin)), &build("a", &[], Wait::Start)).await);
    assert_eq!(standin.builds().len(), 1);
}

#[tokio::test]
async fn what_jenkins_refuses_is_said_in_words() {
    let standin = Jenkins::start().await;
    standin.add(Job::plain("plain"));
    standin.add(Job { trouble: Some(Trouble::OldRelease), ..Job::plain("old") });
    standin.add(Job { trouble: Some(Trouble::Disabled), ..Job::parameterized("disabled", &["P"]) });
    standin.add(Job { trouble: Some(Trouble::Vetoed), ..Job::parameterized("team/vetoed", &["P"]) });
    let destination = jenkins(&jenkins_settings(&standin));
    for (job, expected) in [
        ("plain", "the job \"plain\" takes no parameters"),
        ("old", "the job \"old\" takes no parameters"),
        ("disabled", "the job \"disabled\" cannot be built: it is disabled"),
        ("team/vetoed", "did not take a build of \"team/vetoed\" into its queue"),
        ("missing", "there is no job \"missing\", or the user \"cadfd\" may not see it"),
        ("a/../plain", "\"a/../plain\" is not a job's name"),
    ] {
        let (reason, _) = given_up(once(&destination, &build(job, &[("P", "1")], Wait::Start)).await);
        assert!(reason.contains(expected), "{reason:?} has no {expected:?}");
    }
    for (status, expected) in [(403, "may not build \"plain\""), (405, "is url its address")] {
        standin.fault(Fault::Status(status)).await;
        let (reason, _) = given_up(once(&destination, &build("plain", &[], Wait::Start)).await);
        assert!(reason.contains(expected), "{reason}");
    }
    standin.fault(Fault::Status(200)).await;
    let (reason, _) = given_up(once(&destination, &build("plain", &[], Wait::Start)).await);
    assert!(reason.contains("is url Jenkins' address?"), "{reason}");
    standin.heal().await;

    let settings = jenkins::Settings { token: Secret::new("hunter2-wrong"), ..jenkins_settings(&standin) };
    let (reason, reply) = given_up(once(&jenkins(&settings), &build("plain", &[], Wait::Start)).await);
    assert!(reason.contains("does not accept the user \"cadfd\" with this token"), "{reason}");
    // The stand-in quotes the credentials, as sent.
    assert!(reply.contains("Basic ***"), "{reply}");
    assert!(standin.builds().is_empty());
}

#[tokio::test]
async fn what_happens_in_the_queue_is_told() {
    let standin = Jenkins::start().await;
    standin.add(Job { trouble: Some(Trouble::Cancelled), ..Job::plain("cancelled") });
    standin.add(Job { trouble: Some(Trouble::Forgotten), ..Job::plain("forgotten") });
    standin.add(Job { build_polls: u32::MAX, ..Job::plain("hidden") });
    let destination = jenkins(&jenkins_settings(&standin));

    let (reason, _) = given_up(settle(&destination, &build("cancelled", &[], Wait::Start)).await);
    assert_eq!(reason, "queue item 1 was cancelled in Jenkins");
    let done = detail(settle(&destination, &build("forgotten", &[], Wait::Start)).await);
    assert!(done["note"].as_str().unwrap().contains("forgotten the queue item"), "{done:?}");

    let hidden = build("hidden", &[], Wait::Result);
    let mut kept = progress(once(&destination, &hidden).await);
    standin.fault_times(1, Fault::Status(403)).await;
    let done = detail(attempt(&destination, &hidden, Some(&kept)).await);
    assert!(done["note"].as_str().unwrap().contains("cannot be followed: answered 403"), "{done:?}");
    for _ in 0..2 {
        standin.fault_times(1, Fault::Truncate).await;
        let outcome = attempt(&destination, &hidden, Some(&kept)).await;
        assert_retry(&outcome, "not the JSON that was asked for", None, Scope::Delivery);
        kept = progress(attempt(&destination, &hidden, Some(&kept)).await);
    }
    standin.fault_times(1, Fault::Status(404)).await;
    let done = detail(attempt(&destination, &hidden, Some(&kept)).await);
    assert!(done["note"].as_str().unwrap().contains("the build was deleted"), "{done:?}");
    assert_eq!(done["build"], 1);
}

#[tokio::test]
async fn a_message_mentions_no_one_and_links_nowhere() {
    let standin = Slack::start().await;
    standin.limit_rate(false);
    let hostile = slack::escape("<!channel> <@U1> <https://evil.example|click> & &lt;").into_owned();
    let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": hostile}}]);
    let request =
        Request::Slack(slack::Request { text: format!("{hostile} was deleted"), blocks: Some(blocks.clone()) });
    let destination = slack_at(&standin.webhook_url(), slack::default_limits());
    assert_eq!(detail(once(&destination, &request).await), Map::from_iter([("status".into(), json!(200))]));

    let got = &standin.wait_for(1).await[0];
    assert_eq!((got.mentions.len(), got.links.len()), (0, 0), "{got:?}");
    assert_eq!(got.text, format!("{hostile} was deleted"));
    assert_eq!(got.blocks, Some(blocks));
    assert_eq!(got.delivery, "0199-d1");

    // The stand-in would have noticed.
    detail(once(&destination, &message("<!channel> <https://evil.example|click>")).await);
    let got = &standin.messages()[1];
    assert_eq!((&*got.mentions, &*got.links), (&["!channel".into()][..], &["https://evil.example|click".into()][..]));
}

#[tokio::test]
async fn a_message_of_any_size_is_accepted() {
    let standin = Slack::start().await;
    standin.limit_rate(false);
    let long = slack::escape(&"<&>".repeat(20_000)).into_owned();
    let text = json!({"type": "mrkdwn", "text": long});
    let header = json!({"type": "header", "text": {"type": "plain_text", "text": long}});
    let section = json!({"type": "section", "text": text, "fields": vec![text.clone(); 12]});
    let context = json!({"type": "context", "elements": vec![text; 12]});
    let blocks = [header, section, context].into_iter().cycle().take(70).collect();
    let request = Request::Slack(slack::Request { text: long, blocks: Some(Value::Array(blocks)) });
    detail(once(&slack_at(&standin.webhook_url(), limits()), &request).await);
    assert_eq!(standin.messages()[0].blocks.as_ref().unwrap().as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn what_slack_refuses_is_said_in_words() {
    let standin = Slack::start().await;
    standin.limit_rate(false);
    let good = standin.webhook_url();
    let wrong = good.replace("Hunter2", "Hunter2x");
    for (url, text, expected) in [
        (good.as_str(), " ", "Slack says no_text: the message is empty"),
        (&*good.replace("/services/", "/service/"), "a", "Slack says no_service: the webhook is disabled, removed"),
        (
            &*good.replace("B0CADFD00/", "revoked/").replace("/sL4ckWebhookTokenHunter2", ""),
            "a",
            "Slack says invalid_token",
        ),
        (&*wrong, "a", "answered 403 Forbidden"),
    ] {
        let (reason, _) = given_up(once(&slack_at(url, limits()), &message(text)).await);
        assert!(reason.contains(expected), "{reason:?} has no {expected:?}");
    }
    let other = Receiver::start().await;
    let (reason, _) = given_up(once(&slack_at(&other.url(), limits()), &message("a")).await);
    assert!(reason.contains("not `ok`: is webhook_url a Slack webhook?"), "{reason}");
    assert!(standin.messages().is_empty());
}

#[tokio::test]
async fn a_second_message_in_a_second_is_put_off() {
    let standin = Slack::start().await;
    let destination = slack_at(&standin.webhook_url(), limits());
    detail(once(&destination, &message("a")).await);
    // Were this machine to sleep for a second in between, both would be taken: as many as were not put off arrive.
    let outcomes = [once(&destination, &message("b")).await, once(&destination, &message("c")).await];
    let put_off: Vec<_> = outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Done { .. })).collect();
    for outcome in &put_off {
        assert_retry(outcome, "answered 429 Too Many Requests: rate_limited", Some(1), Scope::Destination);
    }
    assert_eq!(standin.messages().len(), 3 - put_off.len());
}

#[tokio::test]
async fn a_call_carries_what_settings_and_rule_say() {
    let standin = Receiver::start().await;
    standin.expect(Expect::Basic("cadfd".into(), "hunter2".into()));
    let settings = http::Settings {
        method: "put".into(),
        headers: vec![
            ("X-Key".into(), Secret::new("key-hunter2\n")),
            ("content-type".into(), Secret::new("application/cloudevents+json")),
        ],
        auth: Auth::Basic { user: "cadfd".into(), password: Secret::new("hunter2") },
        ..http_settings(&format!("{}/api?tenant=a", standin.url()))
    };
    let destination = http(&settings);
    let request = Request::Http(http::Request {
        path: Some("users/a%2Fb".into()),
        query: vec![("name".into(), HOSTILE.into())],
        body: Body::Json(json!({"user": HOSTILE})),
        ..http::Request::default()
    });
    assert_eq!(detail(once(&destination, &request).await)["status"], 200);
    let got = &standin.wait_for(1).await[0];
    assert_eq!((&*got.method, &*got.path), ("PUT", "/api/users/a%2Fb"));
    assert_eq!(got.query, [("tenant".into(), "a".into()), ("name".into(), HOSTILE.into())]);
    assert_eq!(got.json(), json!({"user": HOSTILE}));
    assert_eq!(got.header("x-key"), "key-hunter2");
    assert_eq!(got.header("content-type"), "application/cloudevents+json");
    assert_eq!((got.header("x-cadfd-delivery"), got.header("idempotency-key")), ("0199-d1".into(), "0199-d1".into()));
    assert_eq!(got.header("user-agent"), concat!("cadfd/", env!("CARGO_PKG_VERSION")));

    let form = Body::Form(vec![("a".into(), HOSTILE.into())]);
    detail(once(&http(&http::Settings { headers: Vec::new(), ..settings }), &call("", form)).await);
    let got = &standin.calls()[1];
    assert_eq!(got.form(), [("a".into(), HOSTILE.into())]);
    assert_eq!(got.header("content-type"), "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn what_a_receiver_echoes_holds_no_secret() {
    let standin = Receiver::start().await;
    standin.expect(Expect::Bearer("another".into()));
    for auth in [
        Auth::Bearer { token: Secret::new(BEARER) },
        Auth::Basic { user: "cadfd".into(), password: Secret::new("hunter2") },
    ] {
        let settings = http::Settings {
            auth,
            headers: vec![("X-Key".into(), Secret::new("key-hunter2"))],
            ..http_settings(&format!("{}/hook/hunter2-in-the-path?key=hunter2-in-the-query", standin.url()))
        };
        let (reason, reply) = given_up(once(&http(&settings), &call("a", Body::None)).await);
        assert!(reason.contains("401 Unauthorized: the credentials in the settings"), "{reason}");
        assert!(reply.starts_with(r"who are you?\n") && reply.contains("***") && reply.len() <= 2048, "{reply}");
    }
}

#[tokio::test]
async fn a_signed_call_is_accepted_by_a_receiver_that_verifies() {
    let standin = Receiver::start().await;
    standin.expect(Expect::Signature(SIGNING.into()));
    let settings = http::Settings { signing_secret: Some(Secret::new(SIGNING)), ..http_settings(&standin.url()) };
    for body in [Body::Json(json!({"a": "ü"})), Body::Form(vec![("a".into(), "b".into())]), Body::None] {
        detail(once(&http(&settings), &call("a", body)).await);
    }
    assert_eq!(standin.calls()[0].header("webhook-id"), "0199-d1");
    given_up(once(&http(&http_settings(&standin.url())), &call("a", Body::None)).await);
    let other = Some(Secret::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    let forged = http::Settings { signing_secret: other, ..settings };
    given_up(once(&http(&forged), &call("a", Body::None)).await);
    assert_eq!(standin.calls().len(), 3);
}

#[tokio::test]
async fn a_path_out_of_the_url_is_not_sent() {
    let standin = Receiver::start().await;
    let destination = http(&http_settings(&format!("{}/api/", standin.url())));
    for path in ["../admin", "a/%2E%2e/%2e%2e/admin", "a//b", "a\\..\\..\\b"] {
        let (reason, _) = given_up(once(&destination, &call(path, Body::None)).await);
        assert!(reason.starts_with("the rendered path has a"), "{reason}");
    }
    assert!(standin.attempts().is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let router = axum::Router::new().fallback(|| async {
        let chunks = std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1 << 14]));
        (axum::http::StatusCode::BAD_REQUEST, axum::body::Body::from_stream(futures_util::stream::iter(chunks)))
    });
    let server = Server::start(router).await;
    let patient = Limits { total_timeout: Duration::from_hours(1), ..limits() };
    let destination = http(&http::Settings { limits: patient, ..http_settings(&server.url()) });
    let request = call("a", Body::None);
    let outcome = tokio::time::timeout(Duration::from_mins(1), once(&destination, &request)).await.unwrap();
    assert_eq!(given_up(outcome).1, "x".repeat(1024));
}

/// An authority, and what it signed.
struct Authority {
    dir: tempfile::TempDir,
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server that is `localhost` and wants its clients signed by us.
    fn server(&self) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let (certificate, key) = self.sign("localhost");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap());
        Arc::new(config.unwrap())
    }
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    let authority = Authority::new();
    let standin = Receiver::start_with(0, Some(authority.server())).await;
    let (certificate, key) = authority.sign("cadfd");
    let path = |name: &str| Some(authority.dir.path().join(name));
    std::fs::write(path("cert.pem").unwrap(), certificate.pem()).unwrap();
    std::fs::write(path("key.pem").unwrap(), key.serialize_pem()).unwrap();
    let with = |client: ClientSettings| http(&http::Settings { client, ..http_settings(&standin.url()) });
    let request = call("a", Body::Json(json!(1)));

    let stranger = Authority::new();
    let ca_file = Some(stranger.dir.path().join("ca.pem"));
    let outcome = once(&with(ClientSettings { ca_file, ..ClientSettings::default() }), &request).await;
    assert_retry(&outcome, "certificate not trusted: ", None, Scope::Destination);

    let anonymous = ClientSettings { ca_file: path("ca.pem"), ..ClientSettings::default() };
    let outcome = once(&with(anonymous.clone()), &request).await;
    assert_retry(&outcome, "", None, Scope::Destination);
    assert!(standin.calls().is_empty());

    let known = ClientSettings { cert_file: path("cert.pem"), key_file: path("key.pem"), ..anonymous };
    detail(once(&with(known), &request).await);
    assert_eq!(standin.calls().len(), 1);
}

#[tokio::test]
async fn a_proxy_is_used_where_it_is_set() {
    let proxy = Receiver::start().await;
    let client = ClientSettings {
        proxy: Some(Secret::new(proxy.url().replace("//", "//cadfd:proxy-hunter2@"))),
        ..ClientSettings::default()
    };
    let destination = http(&http::Settings { client, ..http_settings("http://receiver.invalid/api") });
    detail(once(&destination, &call("a", Body::None)).await);
    let got = &proxy.calls()[0];
    assert_eq!((got.header("host"), &*got.path), ("receiver.invalid".into(), "/api/a"));
    assert!(got.header("proxy-authorization").starts_with("Basic "));
}

/// A process' environment is its own, so this runs another test again, in one where a proxy is set that does not exist.
#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used() {
    let module = module_path!().split_once("::").unwrap().1;
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::a_signed_call_is_accepted_by_a_receiver_that_verifies")]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let output = command.env_remove("no_proxy").env_remove("NO_PROXY").kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A destination is dropped in the middle of an attempt at shutdown: that must be possible at any time.
#[tokio::test]
async fn an_attempt_can_be_dropped() {
    fn movable<T: Future + Send>(future: T) -> T {
        future
    }
    let standin = Slack::start().await;
    standin.fault(Fault::Hang).await;
    let destination = slack_at(&standin.webhook_url(), limits());
    let request = message("a");
    let attempt = movable(once(&destination, &request));
    tokio::select! {
        outcome = attempt => panic!("{outcome:?}"),
        _ = standin.wait_for_attempts(1) => {}
    }
    standin.heal().await;
    detail(once(&destination, &request).await);
}
