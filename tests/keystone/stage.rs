//! A real Keystone, a real RabbitMQ, the real daemon, and stand-ins for its destinations.
//!
//! Its promise: after each operation everything that came of it is known, and nothing else is: Keystone answers when
//! the broker has confirmed its notifications, so what is published after the answer comes after them in the queue.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, Api, login};
use crate::broker::{Broker, Vhost};
use crate::daemon::{Daemon, Site, assert_whole, message_ids, of_type};
use crate::destinations::Destinations;
use crate::difference::{cut, difference, other_actions};
use crate::keystone::{ADMIN_PASSWORD, Format, Keystone, Options};
use crate::operation::{Known, Operation, fill, fill_value};
use crate::telling::fields_of;

/// The user whom the daemon logs in as; it has the role `reader` in the system.
pub(crate) const READER: (&str, &str) = ("cadfd", "r3ader-pa55w0rd");

/// For all that comes of one operation.
const PATIENCE: Duration = Duration::from_mins(1);

/// With an action of each kind.
const RULES: &str = include_str!("rules.toml");

/// Everything, running.
pub(crate) struct Stage {
    keystone: Keystone,
    vhost: Vhost,
    destinations: Destinations,
    site: Site,
    daemon: Daemon,
    format: Format,
    api: Api,
    known: Known,
    /// Events that Keystone sent and markers that we sent, so far.
    seen: Vec<String>,
    markers: usize,
    failures: Vec<String>,
    /// Whether Keystone opts nothing out.
    everything: bool,
}

impl Stage {
    /// What setting up Keystone notifies is the result of an operation of its own; the reader is there when this returns.
    pub(crate) async fn start(options: Options) -> Self {
        let vhost = Broker::shared().vhost();
        let keystone = Keystone::start(&vhost, options).await;
        let mut api = Api::new(keystone.url().to_owned());
        let known = log_in(&mut api).await;
        let destinations = Destinations::start().await;
        let site = Site::new(&vhost).settings(&destinations.settings()).settings(&settings(&keystone)).rules(RULES);
        let daemon = site.consuming().await;
        let (seen, markers, failures) = (Vec::new(), 0, Vec::new());
        let Options { format, everything } = options;
        Self { keystone, vhost, destinations, site, daemon, format, api, known, seen, markers, failures, everything }
    }

    /// Performs the operations one after the other; what is not as expected is said at the end, by operation.
    pub(crate) async fn perform(&mut self, operations: &[Operation]) {
        for operation in operations {
            let mut failures = Vec::new();
            self.perform_one(operation, &mut failures).await;
            self.compare(operation, failures).await;
        }
    }

    /// What came before the first operation: setting up Keystone.
    pub(crate) async fn expect_before(&mut self, operation: &Operation) {
        self.compare(operation, Vec::new()).await;
    }

    /// Everything was as expected. Ends the daemon: the trail is whole, and the log has a line for each event.
    pub(crate) async fn finish(mut self) {
        let failures = self.failures.join("\n");
        assert!(failures.is_empty(), "not as expected:\n{failures}\nKeystone's log:\n{}", self.keystone.log());
        let own = self.site.trail().iter().filter(|record| record["own"] == true).count();
        assert_eq!(
            own > 0,
            self.everything,
            "the daemon's own logins, of which Keystone tells where nothing is opted out"
        );
        let lines = self.seen.len() - self.markers - own;
        let out = self.daemon.wait_out(|out| out.lines().count() >= lines).await;
        assert_eq!(self.daemon.stop_and_out().await, out, "nothing more");
        reconcile(&self.site, &self.keystone, self.seen.len() - self.markers).await;
        assert_eq!(out.lines().count(), lines, "one line for each event:\n{out}");
        let hostile = out.chars().find(|char| (char.is_control() && *char != '\n') || *char == '\u{202e}');
        assert_eq!(hostile, None, "{out}");
        assert_whole(&self.site.trail(), &self.seen);
    }

    async fn perform_one(&mut self, operation: &Operation, failures: &mut Vec<String>) {
        let body = operation.body.as_ref().map(|body| fill_value(body, &self.known));
        let path = fill(&operation.path, &self.known);
        let answer = self.api.call(operation.who, &operation.method, &path, body.as_ref()).await;
        if answer.status != operation.status {
            failures.push(format!("answered {}: {}", answer.status, answer.body));
        }
        self.keep(operation, answer, failures);
    }

    fn keep(&mut self, operation: &Operation, answer: Answer, failures: &mut Vec<String>) {
        for (name, pointer) in &operation.kept {
            match answer.body.pointer(pointer).and_then(Value::as_str) {
                Some(value) => {
                    self.known.insert((*name).to_owned(), value.to_owned());
                }
                None => failures.push(format!("no {pointer} in {}", answer.body)),
            }
        }
        match (operation.token_of, answer.token) {
            (Some(who), Some(token)) => self.api.hold(who, token),
            (Some(who), None) => failures.push(format!("no token for {who}")),
            (None, _) => {}
        }
    }

    /// What came of it, with what was amiss already.
    async fn compare(&mut self, operation: &Operation, mut failures: Vec<String>) {
        let Ok((events, deliveries)) = tokio::time::timeout(PATIENCE, self.events_so_far()).await else {
            panic!("{}: waited {PATIENCE:?} for what comes of it\n{}", operation.name, self.daemon.log());
        };
        let told: Vec<_> = events.iter().map(fields_of).collect();
        let expected = operation.told.iter().map(|telling| telling.expected(self.format, &self.known));
        failures.extend(difference(&told, &expected.collect::<Vec<_>>()));
        let undone = deliveries.iter().filter(|delivery| delivery["outcome"] != "done");
        failures.extend(undone.map(|delivery| format!("an action failed: {delivery}")));
        let expected = operation.expected_done(self.format, &self.known);
        failures.extend(other_actions(&self.destinations.done(), &expected));
        let sent = self.destinations.sent();
        let ids: BTreeSet<_> = events.iter().map(|event| event["message_id"].as_str().unwrap().to_owned()).collect();
        if sent != ids {
            failures.push(format!("the inventory was sent {sent:?} instead of {ids:?}"));
        }
        if !failures.is_empty() {
            self.failures.push(format!("== {}", operation.name));
            self.failures.extend(failures.iter().map(|failure| cut(failure)));
        }
    }

    /// The trail's events since the last look, and the outcome of each delivery that they led to.
    async fn events_so_far(&mut self) -> (Vec<Value>, Vec<Value>) {
        self.markers += 1;
        let marker = format!("cadfd000-0000-4000-8000-{:012x}", self.markers);
        let inner = json!({"message_id": marker, "event_type": "marker", "priority": "INFO", "payload": {}});
        let body = json!({"oslo.version": "2.0", "oslo.message": inner.to_string()}).to_string();
        self.vhost.publish("cadfd", [body]).await;
        let trail = self.site.wait_events(&[marker]).await;
        let ids = message_ids(&trail);
        let new = of_type(&trail, "event").into_iter().skip(self.seen.len()).cloned().collect::<Vec<_>>();
        self.seen = ids;
        // The daemon's own logins come when they come; nothing is done about them.
        let (own, events): (Vec<_>, Vec<_>) = new[..new.len() - 1].iter().cloned().partition(|it| it["own"] == true);
        assert!(own.iter().all(|it| it["planned"] == json!([]) && it["initiator"]["name"] == READER.0), "{own:#?}");
        let planned = events.iter().flat_map(|event| event["planned"].as_array().unwrap());
        let wanted: Vec<_> = planned.filter_map(|planned| planned["delivery"].as_str()).collect();
        let is_wanted = |record: &Value| wanted.iter().any(|id| record["delivery"] == *id);
        let deliveries = |trail: &[Value]| -> Vec<Value> {
            of_type(trail, "delivery").into_iter().filter(|record| is_wanted(record)).cloned().collect()
        };
        let trail = self.site.wait_trail(|trail| deliveries(trail).len() == wanted.len()).await;
        let deliveries = deliveries(&trail);
        (events, deliveries)
    }
}

/// Keystone's own log says the same messages as the trail: so many.
async fn reconcile(site: &Site, keystone: &Keystone, count: usize) {
    let log = keystone.log_file();
    let json = site.cadfd_ok(&["reconcile", "--json", "--grace", "0s", log.to_str().unwrap()]).await;
    let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(last["summary"]["both"], count, "{json}");
}

/// `cadfd`'s own access to Keystone. Events wait for their names however slow it is here.
fn settings(keystone: &Keystone) -> String {
    let (url, (user, password)) = (keystone.url(), READER);
    format!(
        "[keystone]\nauth_url = {url:?}\nusername = {user:?}\npassword = {password:?}\nuser_domain_id = \"default\"\n\
         system_scope = \"all\"\nwait = \"30s\"\ntimeout = \"30s\"\n"
    )
}

/// The administrator logs in and makes the reader; what is known of all three.
pub(crate) async fn log_in(api: &mut Api) -> Known {
    let domain = json!({"id": "default"});
    let scope = json!({"project": {"name": "admin", "domain": domain}});
    let body = login("admin", &domain, ADMIN_PASSWORD, Some(scope));
    let answer = api.demand("", Method::POST, "/auth/tokens", Some(&body), 201).await;
    api.hold("admin", answer.token.unwrap());
    let mut known = Known::new();
    let mut keep = |name: &str, value: &Value| known.insert(name.to_owned(), value.as_str().unwrap().to_owned());
    keep("admin", &answer.body["token"]["user"]["id"]);
    keep("admin_project", &answer.body["token"]["project"]["id"]);
    keep("admin_project_name", &answer.body["token"]["project"]["name"]);
    let (name, password) = READER;
    let body = json!({"user": {"name": name, "password": password, "domain_id": "default"}});
    let user = api.demand("admin", Method::POST, "/users", Some(&body), 201).await.body["user"]["id"].clone();
    keep("reader_user", &user);
    let roles = api.demand("admin", Method::GET, "/roles", None, 200).await.body;
    for role in roles["roles"].as_array().unwrap() {
        keep(&format!("role_{}", role["name"].as_str().unwrap()), &role["id"]);
    }
    for (name, path) in [("bootstrap_service", "services"), ("bootstrap_endpoint", "endpoints")] {
        let list = api.demand("admin", Method::GET, &format!("/{path}"), None, 200).await.body;
        keep(name, &list[path][0]["id"]);
    }
    let path = fill("/system/users/{reader_user}/roles/{role_reader}", &known);
    api.demand("admin", Method::PUT, &path, None, 204).await;
    known
}
