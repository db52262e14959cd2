//! What rules look up at OpenStack's services, and calls with a token of cadfd's account.

use std::time::Duration;

use cadfd::action::http::{self, Auth, Body};
use cadfd::action::openstack::{self, OpenStack};
use cadfd::action::{Attempt, ClientSettings, Destination, Limits, Outcome, Request, Scope};
use cadfd::keystone::{self, Account, Domain, Interface, Project, User};
use cadfd::secret::Secret;
use cadfd::transport;
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::broker::{Broker, Vhost};
use crate::captured;
use crate::daemon::{Daemon, Site, of_type};
use crate::run_test;
use crate::standins::keystone::{PASSWORD, PROJECT_ID, USER};
use crate::standins::{Expect, Fault, Keystone, Neutron, Receiver, port};

/// The group of the captured notifications.
const GROUP: &str = "cfe980cf-f351-49b3-8681-80bf0b6a9e84";
const CAPTURE: &str = "oslo-neutron-nova-cinder-messagingv2";
/// Before every question.
const EVER: Timestamp = Timestamp::UNIX_EPOCH;
const PORTS: &str = "/v2.0/ports";

fn account(keystone: &Keystone) -> Account {
    let user = User::Name(USER.into(), Domain::Name("Default".into()));
    Account::new(&keystone::Settings {
        auth_url: keystone.url(),
        auth: keystone::Auth::Password { user, password: Secret::new(PASSWORD) },
        scope: keystone::Scope::Project(Project::Id(PROJECT_ID.into())),
        region: Some("RegionOne".into()),
        interface: Interface::Public,
        tls: transport::Settings::default(),
        connect_timeout: Duration::from_secs(5),
        timeout: keystone::TIMEOUT,
    })
    .unwrap()
}

fn service(account: &Account, service: &str, limits: Limits) -> OpenStack {
    let (service, account, client) = (service.to_owned(), account.clone(), ClientSettings::default());
    OpenStack::new(&openstack::Settings { service, account, client, limits, go_on_after: openstack::GO_ON_AFTER })
        .unwrap()
}

/// Keystone and Neutron, which has ports of the group on several pages and others.
async fn network() -> (Keystone, Neutron) {
    let keystone = Keystone::start().await;
    let neutron = Neutron::start(keystone.gate()).await;
    keystone.serve("network", &neutron.endpoint());
    for at in 1..=5 {
        neutron.put(port(
            &format!("p{at}"),
            &[GROUP, "other"],
            &[&format!("192.0.2.{at}"), &format!("2001:db8::{at}")],
        ));
    }
    neutron.put(port("p6", &["other"], &["198.51.100.6"]));
    (keystone, neutron)
}

fn lookup(path: &str, query: &[(&str, &str)], select: Option<&str>) -> openstack::Request {
    openstack::Request {
        name: "ports".into(),
        path: path.into(),
        query: query.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        select: select.map(str::to_owned),
        ..openstack::Request::default()
    }
}

/// Nothing that is ours may be said, whatever a service echoes.
fn is_discreet(outcome: &Outcome) -> String {
    let text = format!("{outcome:?}");
    for secret in [PASSWORD, "gAAAA"] {
        assert!(!text.contains(secret), "{text}");
    }
    match outcome {
        Outcome::Retry { reason, .. } | Outcome::GivenUp { reason, .. } => reason.clone(),
        _ => text,
    }
}

#[tokio::test]
async fn a_listing_comes_whole_whatever_its_pages_and_the_endpoint_s_path() {
    let (keystone, neutron) = network().await;
    let service = service(&account(&keystone), "network", Limits::default());
    let group = [("security_groups", GROUP), ("fields", "fixed_ips"), ("fields", "id")];
    let wanted = lookup(PORTS, &group, Some("/ports/*/fixed_ips/*/ip_address"));
    let found = service.look_up(&wanted, EVER).await.unwrap();
    let addresses: Vec<_> = (1..=5).flat_map(|at| [format!("192.0.2.{at}"), format!("2001:db8::{at}")]).collect();
    assert_eq!((found.value, found.detail["items"].clone()), (json!(addresses), json!(10)));
    neutron.page(2);
    let found = service.look_up(&wanted, EVER).await.unwrap();
    assert_eq!((found.value, found.detail["pages"].clone()), (json!(addresses), json!(3)));
    let query = format!("security_groups={GROUP}&fields=fixed_ips&fields=id");
    let pages: Vec<_> =
        ["", "limit=2&marker=p2&", "limit=2&marker=p4&"].map(|page| format!("{PORTS}?{page}{query}")).into();
    assert_eq!(neutron.asked(), [vec![format!("{PORTS}?{query}")], pages].concat());
    // One that is there, and its parts.
    let one = service.look_up(&lookup("/v2.0/ports/p3", &[], Some("/port/device_id")), EVER).await.unwrap();
    assert_eq!((one.value, keystone.logins()), (json!("d1"), 1));
    assert_eq!(Value::Object(one.detail), json!({"found": "d1"}));
    let whole = service.look_up(&lookup("/v2.0/ports/p3", &[], None), EVER).await.unwrap();
    assert_eq!(whole.value["port"]["id"], "p3");
    let outcome = service.look_up(&lookup(PORTS, &[], None), EVER).await.unwrap_err();
    assert!(is_discreet(&outcome).contains("the answer is one page of several"), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_is_good_for_a_while_for_the_same_question() {
    let (keystone, neutron) = network().await;
    let service = service(&account(&keystone), "network", Limits::default());
    let question = lookup(PORTS, &[("security_groups", GROUP)], Some("/ports/*/id"));
    let cached = openstack::Request { cache: 3600, ..question.clone() };
    for times in [1, 1, 2] {
        let found = service.look_up(if times == 1 { &cached } else { &question }, EVER).await.unwrap();
        assert_eq!((found.value, neutron.asked().len()), (json!(["p1", "p2", "p3", "p4", "p5"]), times));
    }
    assert_eq!(service.look_up(&cached, EVER).await.unwrap().detail["cached"], true);
    // What was asked before there was a reason to ask is no answer either.
    let later = Timestamp::now();
    for _ in 0..2 {
        service.look_up(&cached, later).await.unwrap();
        assert_eq!(neutron.asked().len(), 3, "those of one burst share one");
    }
    // A failure is no answer.
    let missing = openstack::Request { path: "/v2.0/ports/none".into(), ..cached };
    for times in [4, 5] {
        assert!(service.look_up(&missing, EVER).await.is_err());
        assert_eq!(neutron.asked().len(), times);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let (keystone, neutron) = network().await;
    let account = account(&keystone);
    let service = service(&account, "network", Limits::default());
    let question = lookup(PORTS, &[], Some("/ports/*/id"));
    service.look_up(&question, EVER).await.unwrap();
    keystone.expire_tokens();
    service.look_up(&question, EVER).await.unwrap();
    assert_eq!((keystone.logins(), neutron.asked().len()), (2, 2));
    // One that refuses every token: nobody logs in for that time and again.
    keystone.odd(|odd| odd.refuse_tokens = true);
    for _ in 0..5 {
        let outcome = service.look_up(&question, EVER).await.unwrap_err();
        assert!(matches!(outcome, Outcome::Retry { scope: Scope::Delivery, .. }), "{outcome:?}");
        assert!(is_discreet(&outcome).contains("refuses a fresh token: answered 401"), "{outcome:?}");
    }
    assert_eq!(keystone.logins(), 2);
    // Where it is the first that was had for it, that is no other thing.
    let other = self::service(&self::account(&keystone), "network", Limits::default());
    let outcome = other.look_up(&question, EVER).await.unwrap_err();
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Delivery, .. }), "{outcome:?}");
    assert!(is_discreet(&outcome).contains("refuses a fresh token: answered 401"), "{outcome:?}");
    assert_eq!(keystone.logins(), 4);
}

#[tokio::test]
async fn what_cannot_be_had_is_said_and_retried_where_that_may_help() {
    let (keystone, neutron) = network().await;
    let account = account(&keystone);
    let service = |name| self::service(&account, name, Limits::default());
    let ask = async |question: &openstack::Request| service("network").look_up(question, EVER).await.unwrap_err();
    let ports = lookup(PORTS, &[], Some("/ports"));
    for (question, reason) in [
        (lookup("/v2.0/ports/none", &[], None), "answered 404 Not Found: nothing is at this address"),
        (lookup("/v2.1/ports", &[], None), "answered 404 Not Found: nothing is at this address"),
        (lookup(PORTS, &[("security_group", GROUP)], None), "answered 400 Bad Request"),
        (lookup(PORTS, &[], Some("/prots")), "the answer has nothing at /prots; there are ports"),
        (lookup("/v2.0/../admin", &[], None), "the rendered path has a segment `.` or `..`"),
        (lookup("/v2.0//ports", &[], None), "the rendered path has an empty segment"),
    ] {
        let outcome = ask(&question).await;
        assert!(matches!(outcome, Outcome::GivenUp { .. }), "{outcome:?}");
        assert!(is_discreet(&outcome).contains(reason), "{outcome:?}");
    }
    let outcome = service("netwrok").look_up(&ports, EVER).await.unwrap_err();
    assert!(is_discreet(&outcome).starts_with("the catalogue has no service of type \"netwrok\", only network; "));
    // Too much, at once or kept.
    neutron.garbage(Some(format!("{{\"ports\": \"{}\"}}", "x".repeat(openstack::ANSWER_LIMIT))));
    assert_eq!(is_discreet(&ask(&ports).await), "the answer is larger than 1.0 MiB");
    neutron.garbage(Some(format!("{{\"ports\": \"{}\"}}", "x".repeat(openstack::KEPT_LIMIT))));
    assert!(is_discreet(&ask(&ports).await).starts_with("what was found is larger than 256.0 KiB; let `select`"));
    // What names itself by our own token is nothing to keep.
    for own in
        ["{\"ports\": \"gAAAA-token-1\"}", "{\"ports\": [\"x-gAAAA-t\\u006fken-1\"]}", "{\"gAAAA-token-\\u0031\": 7}"]
    {
        neutron.garbage(Some(own.into()));
        assert!(is_discreet(&ask(&ports).await).contains("cadfd's own token"), "{own}");
    }
    neutron.garbage(Some("<html>".into()));
    let outcome = ask(&ports).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Delivery, .. }), "{outcome:?}");
    neutron.garbage(None);
    for (fault, scope) in [
        (Fault::Down, Scope::Destination),
        (Fault::HangUp, Scope::Destination),
        (Fault::Truncate, Scope::Destination),
        (Fault::Status(503), Scope::Destination),
        (Fault::Status(500), Scope::Delivery),
    ] {
        neutron.fault(fault.clone()).await;
        let outcome = ask(&ports).await;
        let Outcome::Retry { scope: found, .. } = &outcome else { panic!("{fault:?}: {outcome:?}") };
        assert_eq!(*found, scope, "{fault:?}: {outcome:?}");
        neutron.heal().await;
    }
    service("network").look_up(&ports, EVER).await.unwrap();
    // Keystone itself: what it does not give today is waited for.
    keystone.odd(|odd| odd.catalog_for_projects_only = true);
    let settings = keystone::Settings { scope: keystone::Scope::System, ..account.settings().clone() };
    let system = self::service(&Account::new(&settings).unwrap(), "network", Limits::default());
    assert!(is_discreet(&system.look_up(&ports, EVER).await.unwrap_err()).contains("brings no catalogue along"));
    keystone.fault(Fault::Down).await;
    let outcome = self::service(&self::account(&keystone), "network", Limits::default()).look_up(&ports, EVER).await;
    let outcome = outcome.unwrap_err();
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Destination, .. }), "{outcome:?}");
    assert!(is_discreet(&outcome).starts_with("keystone is not reached: connection refused"), "{outcome:?}");
}

fn mistral(account: &Account, url: Option<&str>) -> Destination {
    let settings = http::Settings {
        url: url.map(Secret::new).unwrap_or_default(),
        service: url.is_none().then(|| "workflowv2".to_owned()),
        method: "POST".into(),
        headers: Vec::new(),
        auth: Auth::Keystone { account: account.clone() },
        signing_secret: None,
        client: ClientSettings::default(),
        limits: Limits::default(),
    };
    Destination::Http(http::Http::new(&settings).unwrap())
}

async fn execute(destination: &Destination) -> Outcome {
    let body = Body::Json(json!({"workflow_name": "clean_up"}));
    let request =
        Request::Http(http::Request { path: Some("executions".into()), query: Vec::new(), body, capture: Vec::new() });
    let now = jiff::Timestamp::now();
    let outcome = destination
        .perform(Attempt { delivery_id: "0199-d1", request: &request, progress: None, now, created: now })
        .await;
    is_discreet(&outcome);
    outcome
}

#[tokio::test]
async fn a_call_carries_a_token_to_a_url_or_a_service_of_the_catalogue() {
    let keystone = Keystone::start().await;
    let receiver = Receiver::start().await;
    receiver.expect(Expect::Token(keystone.gate()));
    keystone.serve("workflowv2", &format!("{}/mistral/v2", receiver.url()));
    let account = account(&keystone);
    for destination in [mistral(&account, None), mistral(&account, Some(&format!("{}/mistral/v2", receiver.url())))] {
        assert!(matches!(execute(&destination).await, Outcome::Done { .. }));
        keystone.expire_tokens();
        // Whoever meets it next replaces it, for the other as well.
        assert_eq!(format!("{destination:?}").matches("gAAAA").count(), 0);
    }
    let calls = receiver.calls();
    assert_eq!(calls.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), ["/mistral/v2/executions"; 2]);
    assert_eq!((calls[0].json(), keystone.logins()), (json!({"workflow_name": "clean_up"}), 2));
    // A receiver that echoes the token, and lets nobody in.
    let fresh = self::account(&keystone);
    keystone.odd(|odd| odd.refuse_tokens = true);
    let outcome = execute(&mistral(&fresh, None)).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Delivery, .. }), "{outcome:?}");
    assert!(is_discreet(&outcome).contains("refuses a fresh token"), "{outcome:?}");
    keystone.odd(|odd| odd.refuse_logins = true);
    let outcome = execute(&mistral(&self::account(&keystone), None)).await;
    assert!(is_discreet(&outcome).starts_with("keystone does not let cadfd log in"), "{outcome:?}");
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Destination, .. }), "{outcome:?}");
}

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    vhost
}

/// The captured notification of a rule that was added to the group.
fn rule_added() -> Vec<u8> {
    let added = captured::read(CAPTURE).into_iter().map(|message| message.body);
    added.into_iter().find(|body| String::from_utf8_lossy(body).contains("security_group_rule.create.end")).unwrap()
}

async fn said(daemon: &mut Daemon, text: &str) {
    daemon.wait_out(|out| out.contains(text)).await;
}

async fn reload(daemon: &mut Daemon, times: usize) {
    daemon.signal(Signal::HUP);
    daemon.wait_log_times("reloaded settings and rules", times).await;
}

const LIMITS: &str = "retry_first = \"40ms\"\nretry_max = \"200ms\"\n";

fn settings(keystone: &Keystone) -> String {
    format!(
        "{}list_every = \"0s\"\n[keystone.services]\nproject_name = \"service\"\nproject_domain_name = \"Default\"\n{LIMITS}",
        keystone.settings()
    )
}

/// A rule that looks up the ports of a changed group, and says their addresses; `more` is in the lookup.
fn rule(more: &str) -> String {
    format!(
        r#"
[[rule]]
name = "who is affected"
event_type = "security_group_rule.create.end"
when = "payload.security_group_rule"
  [[rule.fetch]]
  name = "addresses"
  service = "network"
  path = "/v2.0/ports"
  query = {{ security_groups = "{{{{ payload.security_group_rule.security_group_id }}}}", fields = ["id", "fixed_ips"] }}
  select = "/ports/*/fixed_ips/*/ip_address"
  cache = "0s"
  {more}
  [[rule.log]]
  text = "affected: {{{{ fetched.addresses | default([]) | join(',') }}}}"
  [[rule.log]]
  when = "not fetched.addresses"
  text = "nobody is affected, or nobody knows"
"#
    )
}

const ADDRESSES: &str =
    "192.0.2.1,2001:db8::1,192.0.2.2,2001:db8::2,192.0.2.3,2001:db8::3,192.0.2.4,2001:db8::4,192.0.2.5,2001:db8::5";

#[test]
fn a_rule_looks_up_what_its_actions_say() {
    run_test(async || {
        let (vhost, (keystone, neutron)) = (vhost().await, network().await);
        keystone.odd(|odd| odd.catalog_for_projects_only = true);
        let site = Site::new(&vhost).settings(&settings(&keystone)).rules(&rule(""));
        // Neutron is away at first, and cadfd is killed meanwhile.
        neutron.fault(Fault::Down).await;
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", [rule_added()]).await;
        daemon.wait_log("destination lost: connection refused").await;
        daemon.kill().await;
        neutron.heal().await;
        let mut daemon = site.consuming().await;
        said(&mut daemon, &format!("affected: {ADDRESSES}\n")).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        let out = daemon.stop_and_out().await;
        assert_eq!(out.matches("affected").count(), 1, "{out}");
        let event = of_type(&trail, "event")[0].clone();
        assert_eq!(event["planned"][0]["to"], "openstack.network", "{event}");
        let done = of_type(&trail, "delivery")[0].clone();
        assert_eq!((&done["outcome"], &done["destination"]), (&json!("done"), &json!("openstack.network")), "{done}");
        assert_eq!(done["detail"]["found"].as_array().map(Vec::len), Some(10), "{done}");
        assert_eq!(neutron.asked().len(), 1);
    });
}

#[test]
fn without_what_it_looks_up_a_rule_gives_up_or_goes_on_as_it_says() {
    run_test(async || {
        let (vhost, (keystone, neutron)) = (vhost().await, network().await);
        let go_on = "on_failure = \"go_on\"\n";
        let settings = settings(&keystone).replace("project_name", "go_on_after = \"1s\"\nproject_name");
        let mut site = Site::new(&vhost).settings(&settings).rules(&rule(""));
        neutron.fault(Fault::Status(404)).await;
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", [rule_added()]).await;
        daemon.wait_log("given up: answered 404 Not Found").await;
        let again = String::from_utf8(rule_added()).unwrap().replace("cee4de17", "00000002");
        site.rewrite_rules(&[&rule(go_on)]);
        reload(&mut daemon, 1).await;
        vhost.publish("cadfd", [again.clone()]).await;
        said(&mut daemon, "nobody is affected, or nobody knows\n").await;
        // It is down, and what would be known comes too late: the action is done without it.
        neutron.fault(Fault::Down).await;
        vhost.publish("cadfd", [again.replace("00000002", "00000003"), again.replace("00000002", "00000004")]).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 4).await;
        // What gave up is tried again by hand, and its actions follow.
        neutron.heal().await;
        let first = of_type(&trail, "delivery")[0]["delivery"].as_str().unwrap().to_owned();
        site.cadfd_ok(&["outbox", "retry", &first]).await;
        said(&mut daemon, &format!("affected: {ADDRESSES}\n")).await;
        let out = daemon.stop_and_out().await;
        assert_eq!(out.matches("nobody is affected, or nobody knows\n").count(), 3, "{out}");
        assert_eq!(out.matches("affected: ").count(), 4, "{out}");
        let ends = of_type(&trail, "delivery");
        assert!(ends.iter().all(|end| end["outcome"] == "given_up"), "{ends:?}");
        let reasons: Vec<_> = ends.iter().map(|end| end["reason"].as_str().unwrap()).collect();
        assert!(reasons[0].contains("404") && reasons[2].contains("connection refused; "), "{reasons:?}");
        assert_eq!(neutron.asked().len(), 1);
    });
}

#[test]
fn killed_between_a_lookup_and_the_action_it_is_not_asked_again() {
    run_test(async || {
        let (vhost, (keystone, neutron)) = (vhost().await, network().await);
        let receiver = Receiver::start().await;
        let inventory = format!("[http.inventory]\nurl = \"{}/\"\n{LIMITS}", receiver.url());
        let call = "\n[[rule.http]]\nto = \"inventory\"\njson = { of = \"{{ fetched.addresses }}\" }\n";
        let site = Site::new(&vhost)
            .settings(&format!("{}{inventory}", settings(&keystone)))
            .rules(&format!("{}{call}", rule("")));
        receiver.fault(Fault::Hang).await;
        let daemon = site.consuming().await;
        vhost.publish("cadfd", [rule_added()]).await;
        // The lookup is in the trail, the call on its way.
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        receiver.wait_for_attempts(1).await;
        daemon.kill().await;
        receiver.heal().await;
        let daemon = site.consuming().await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 2).await;
        daemon.stop().await;
        let ends: Vec<_> = of_type(&trail, "delivery").iter().map(|end| end["destination"].clone()).collect();
        assert_eq!(ends, ["openstack.network", "http.inventory"]);
        let addresses: Vec<_> = ADDRESSES.split(',').collect();
        assert_eq!(receiver.calls()[0].json(), json!({"of": addresses}));
        assert_eq!(neutron.asked().len(), 1, "the lookup is not repeated");
    });
}

#[test]
fn what_is_found_starts_a_workflow_that_the_catalogue_leads_to() {
    run_test(async || {
        let (vhost, (keystone, neutron)) = (vhost().await, network().await);
        let receiver = Receiver::start().await;
        receiver.expect(Expect::Token(keystone.gate()));
        keystone.serve("workflowv2", &format!("{}/v2", receiver.url()));
        let mistral = format!("[http.mistral]\nauth = \"keystone\"\nservice = \"workflowv2\"\n{LIMITS}");
        let workflow = r#"
  [[rule.http]]
  to = "mistral"
  path = "executions"
  json = { workflow_name = "look", input = { addresses = "{{ fetched.addresses }}", by = "{{ initiator.id }}" } }
"#;
        let site = Site::new(&vhost)
            .settings(&format!("{}{mistral}", settings(&keystone)))
            .rules(&format!("{}{workflow}", rule("")));
        let daemon = site.consuming().await;
        vhost.publish("cadfd", [rule_added()]).await;
        let calls = receiver.wait_for(1).await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 2).await;
        let logins = keystone.logins();
        keystone.expire_tokens();
        let again = String::from_utf8(rule_added()).unwrap().replace("cee4de17", "00000002");
        vhost.publish("cadfd", [again]).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 4).await;
        daemon.stop().await;
        let addresses: Vec<_> = ADDRESSES.split(',').collect();
        assert_eq!(calls[0].path, "/v2/executions");
        assert_eq!(calls[0].json()["input"]["addresses"], json!(addresses));
        assert_eq!((receiver.calls().len(), neutron.asked().len()), (2, 2));
        // Neutron and Mistral share one token; the names have another.
        assert!(keystone.logins() <= logins + 2, "{}", keystone.logins());
        assert!(of_type(&trail, "delivery").iter().all(|end| end["outcome"] == "done"), "{trail:?}");
        assert!(!format!("{trail:?}").contains("gAAAA"));
    });
}

#[test]
fn lookups_follow_one_another_and_a_reload_keeps_the_token() {
    run_test(async || {
        let (vhost, (keystone, neutron)) = (vhost().await, network().await);
        let chain = r#"
[[rule]]
name = "one after the other"
event_type = "port.create.end"
  [[rule.fetch]]
  name = "ids"
  service = "network"
  path = "/v2.0/ports"
  query = { security_groups = "{{ payload.port.security_groups[0] }}" }
  select = "/ports/*/id"
  [[rule.fetch]]
  name = "last"
  service = "network"
  path = "/v2.0/ports/{{ fetched.ids | last }}"
  select = "/port/mac_address"
  [[rule.log]]
  text = "{{ fetched.ids | length }} ports, the last is {{ fetched.last }}"
"#;
        let mut site = Site::new(&vhost).settings(&settings(&keystone)).rules(chain);
        let mut daemon = site.consuming().await;
        let created = captured::read(CAPTURE).into_iter().map(|message| message.body);
        let created: Vec<_> =
            created.filter(|body| String::from_utf8_lossy(body).contains("port.create.end")).collect();
        vhost.publish("cadfd", created).await;
        said(&mut daemon, "5 ports, the last is fa:16:3e:00:00:02\n").await;
        // For the project; another is for the names.
        let logins = keystone.logins();
        site.rewrite_settings(LIMITS, &format!("{LIMITS}concurrency = 1\n"));
        reload(&mut daemon, 1).await;
        let added = String::from_utf8(rule_added()).unwrap();
        site.rewrite_rules(&[chain, &rule("")]);
        reload(&mut daemon, 2).await;
        vhost.publish("cadfd", [added]).await;
        said(&mut daemon, &format!("affected: {ADDRESSES}\n")).await;
        daemon.stop().await;
        assert_eq!((keystone.logins(), neutron.asked().len()), (logins, 3));
    });
}

#[test]
fn explain_shows_the_lookup_and_doctor_whether_the_catalogue_has_it() {
    run_test(async || {
        let (vhost, (keystone, neutron)) = (vhost().await, network().await);
        let mistral = "[http.mistral]\nauth = \"keystone\"\nservice = \"workflowv2\"\n";
        let site = Site::new(&vhost).settings(&format!("{}{mistral}", settings(&keystone))).rules(&rule(""));
        let file = site.path("message.json");
        std::fs::write(&file, rule_added()).unwrap();
        let shown = site.cadfd_ok(&["explain", file.to_str().unwrap()]).await;
        let get = format!(
            r#"{{"openstack":{{"name":"addresses","path":"/v2.0/ports","query":[["security_groups","{GROUP}"],["fields","id"],["fields","fixed_ips"]]"#
        );
        assert!(shown.contains(&get), "{shown}");
        assert_eq!(neutron.asked(), Vec::<String>::new());
        let said = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
        let shown = said(site.cadfd(&["doctor"]).await);
        assert!(shown.contains("openstack.network: reachable"), "{shown}");
        assert!(shown.contains("the catalogue has no service of type \"workflowv2\", only network"), "{shown}");
        assert_eq!(neutron.asked(), Vec::<String>::new());
    });
}
