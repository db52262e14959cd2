//! A real Keystone, a real RabbitMQ, the real daemon, and stand-ins for its destinations.
//!
//! Its promise: after each operation everything that came of it is known, and nothing else is: Keystone answers when
//! the broker has confirmed its notifications, so what is published after the answer comes after them in the queue.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, Api, login};
use crate::broker::{Broker, Vhost};
use crate::daemon::{Daemon, Site, assert_whole, message_ids, of_type};
use crate::keystone::{ADMIN_PASSWORD, Format, Keystone, Options};
use crate::operation::{Fields, Known, Operation, fields_of, fill, fill_value};
use crate::standins::{Jenkins, Job, Receiver, Slack};

/// Whether the daemon is given a `[keystone]` section, and events are expected to have the names of [`Telling::names`].
pub(crate) const NAMES: bool = false;

/// The user whom the daemon logs in as; it has the role `reader` in the system.
pub(crate) const READER: (&str, &str) = ("cadfd", "r3ader-pa55w0rd");

/// Characters of a line that says what is not as expected.
const SHOWN: usize = 800;

/// What an operator would have: a rule for each kind of destination, and one that sends everything.
const RULES: &str = r#"
[[rule]]
name = "everything, readable"
event_type = "identity.*"
  [[rule.log]]
  [[rule.http]]
  to = "inventory"

[[rule]]
name = "hand over a deleted user's servers"
event_type = "identity.user.deleted"
outcome = "success"
  [[rule.jenkins]]
  to = "ci"
  job = "team/transfer_ownership"
  parameters = { INITIATOR_ID = "{{ initiator.id | default('') }}", USER_ID = "{{ resource.id }}", PROJECT_ID = "{{ initiator.project_id | default('') }}" }

[[rule]]
name = "clean up after a deleted project"
event_type = "identity.project.deleted"
  [[rule.jenkins]]
  to = "ci"
  job = "team/project_cleanup"
  wait = "result"
  parameters = { PROJECT_ID = "{{ resource.id }}" }

[[rule]]
name = "a role was granted"
event_type = "identity.role_assignment.created"
  [[rule.slack]]
  to = "ops"
  text = "granted {{ assignment.role.id }} to {{ (assignment.user or assignment.group).id }} on {{ (assignment.project or assignment.domain).id }}"
  [[rule.http]]
  to = "cmdb"
  path = "/{{ (assignment.project or assignment.domain).id }}/{{ (assignment.user or assignment.group).id }}/{{ assignment.role.id }}"
  json = { inherited = "{{ assignment.inherited }}" }

[[rule]]
name = "a login failed"
event_type = "identity.authenticate"
outcome = "failure"
  [[rule.slack]]
  to = "ops"
  text = "failed login: {{ initiator.name }} in {{ initiator.domain_name | default(initiator.domain_id) }}"

[[rule]]
name = "a password change was rejected"
event_type = "identity.user.updated"
outcome = "failure"
  [[rule.slack]]
  to = "ops"
  text = "rejected: {{ resource.id }} {{ reason.code }}"
"#;

/// Everything, running.
pub(crate) struct Stage {
    keystone: Keystone,
    vhost: Vhost,
    jenkins: Jenkins,
    slack: Slack,
    inventory: Receiver,
    cmdb: Receiver,
    site: Site,
    daemon: Daemon,
    format: Format,
    api: Api,
    known: Known,
    /// Events that Keystone sent and markers that we sent, so far.
    seen: Vec<String>,
    markers: usize,
    failures: Vec<String>,
}

impl Stage {
    /// What setting up Keystone notifies is the result of an operation of its own; the reader is there when this returns.
    pub(crate) async fn start(options: Options) -> Self {
        let vhost = Broker::shared().vhost();
        let keystone = Keystone::start(&vhost, options).await;
        let (jenkins, slack) = (Jenkins::start().await, Slack::start().await);
        let parameters = ["INITIATOR_ID", "USER_ID", "PROJECT_ID"];
        for (name, parameters) in
            [("team/transfer_ownership", &parameters[..]), ("team/project_cleanup", &parameters[2..])]
        {
            jenkins.add(Job { queue_polls: 0, build_polls: 0, ..Job::parameterized(name, parameters) });
        }
        slack.limit_rate(false);
        let (inventory, cmdb) = (Receiver::start().await, Receiver::start().await);
        let mut api = Api::new(keystone.url());
        let known = log_in(&mut api).await;
        let site = Site::new(&vhost)
            .settings(&format!(
                "[jenkins.ci]\nurl = {:?}\nuser = {:?}\ntoken = {:?}\n\
                 [slack.ops]\nwebhook_url = {:?}\nrate = \"unlimited\"\n\
                 [http.inventory]\nurl = \"{}/\"\n[http.cmdb]\nurl = \"{}/grants\"\nmethod = \"PUT\"\n",
                jenkins.base_url(),
                Jenkins::USER,
                Jenkins::TOKEN,
                slack.webhook_url(),
                inventory.url(),
                cmdb.url(),
            ))
            .rules(RULES);
        let site = if NAMES { with_keystone(site, &keystone) } else { site };
        let daemon = site.consuming().await;
        let (seen, markers, failures) = (Vec::new(), 0, Vec::new());
        let format = options.format;
        Self {
            keystone,
            vhost,
            jenkins,
            slack,
            inventory,
            cmdb,
            site,
            daemon,
            format,
            api,
            known,
            seen,
            markers,
            failures,
        }
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

    /// Ends the daemon: the trail is whole, and the log has a line for each event.
    pub(crate) async fn finish(mut self) {
        let lines = self.seen.len() - self.markers;
        let out = self.daemon.wait_out(|out| out.lines().count() >= lines).await;
        assert_eq!(self.daemon.stop_and_out().await, out, "nothing more");
        assert_eq!(out.lines().count(), lines, "one line for each event:\n{out}");
        let hostile = out.chars().find(|char| (char.is_control() && *char != '\n') || *char == '\u{202e}');
        assert_eq!(hostile, None, "{out}");
        assert_whole(&self.site.trail(), &self.seen);
        let failures = self.failures.join("\n");
        assert!(failures.is_empty(), "not as expected:\n{failures}\nKeystone's log:\n{}", self.keystone.log());
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
        let (events, deliveries) = self.events_so_far().await;
        let expected = operation.told.iter().map(|telling| telling.expected(self.format, &self.known, NAMES));
        let expected: Vec<_> = expected.collect();
        let came: Vec<_> = events.iter().map(fields_of).collect();
        failures.extend(difference(&came, &expected));
        let undone = deliveries.iter().filter(|delivery| delivery["outcome"] != "done");
        failures.extend(undone.map(|delivery| format!("not done: {delivery}")));
        let expected = operation.expected_done(self.format, &self.known);
        let done = self.done_so_far();
        if done != expected {
            failures
                .extend(done.iter().filter(|done| !expected.contains(done)).map(|done| format!("was done: {done}")));
            failures.extend(
                expected.iter().filter(|wanted| !done.contains(wanted)).map(|wanted| format!("was not done: {wanted}")),
            );
            failures.push(format!("{} actions, expected {}", done.len(), expected.len()));
        }
        let sent = self.inventory.ledger().take();
        // Several at a time are on their way to one destination.
        let sent: BTreeSet<_> = sent.iter().map(|call| call.json()["message_id"].to_string()).collect();
        let ids: BTreeSet<_> = events.iter().map(|event| event["message_id"].to_string()).collect();
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
        let events = new[..new.len() - 1].to_vec();
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

    /// What arrived at the destinations since the last look, the inventory aside, in the order of the words.
    fn done_so_far(&self) -> Vec<String> {
        let builds = self.jenkins.ledger().take().into_iter().map(|build| {
            let parameters: Vec<_> = build.parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("jenkins {}{}", build.job, parameters.concat())
        });
        let messages = self.slack.ledger().take().into_iter().map(|message| {
            assert_eq!((message.mentions.as_slice(), message.links.as_slice()), (&[][..], &[][..]), "{message}");
            format!("slack {}", message.text)
        });
        let calls = self.cmdb.ledger().take().into_iter();
        let calls = calls.map(|call| format!("{} {} {}", call.method, call.path, call.json()));
        let mut done: Vec<_> = builds.chain(messages).chain(calls).collect();
        done.sort();
        done
    }
}

/// `cadfd`'s own access to Keystone.
fn with_keystone(site: Site, keystone: &Keystone) -> Site {
    site.settings(&format!(
        "[keystone]\nauth_url = {:?}\nusername = {:?}\npassword = {:?}\nuser_domain_id = \"default\"\nsystem_scope = \"all\"\n",
        keystone.url(),
        READER.0,
        READER.1,
    ))
}

/// The administrator logs in and makes the reader; what is known of all three.
async fn log_in(api: &mut Api) -> Known {
    let domain = json!({"id": "default"});
    let scope = json!({"project": {"name": "admin", "domain": domain}});
    let body = login("admin", &domain, ADMIN_PASSWORD, Some(scope));
    let answer = call(api, "", Method::POST, "/auth/tokens", Some(&body), 201).await;
    api.hold("admin", answer.token.unwrap());
    let mut known = Known::new();
    let mut keep = |name: &str, value: &Value| known.insert(name.to_owned(), value.as_str().unwrap().to_owned());
    keep("admin", &answer.body["token"]["user"]["id"]);
    keep("admin_project", &answer.body["token"]["project"]["id"]);
    keep("admin_project_name", &answer.body["token"]["project"]["name"]);
    let (name, password) = READER;
    let body = json!({"user": {"name": name, "password": password, "domain_id": "default"}});
    let user = call(api, "admin", Method::POST, "/users", Some(&body), 201).await.body["user"]["id"].clone();
    keep("reader_user", &user);
    let roles = call(api, "admin", Method::GET, "/roles", None, 200).await.body;
    for role in roles["roles"].as_array().unwrap() {
        keep(&format!("role_{}", role["name"].as_str().unwrap()), &role["id"]);
    }
    for (name, path) in [("bootstrap_service", "services"), ("bootstrap_endpoint", "endpoints")] {
        let list = call(api, "admin", Method::GET, &format!("/{path}"), None, 200).await.body;
        keep(name, &list[path][0]["id"]);
    }
    let path = fill("/system/users/{reader_user}/roles/{role_reader}", &known);
    call(api, "admin", Method::PUT, &path, None, 204).await;
    known
}

async fn call(api: &Api, who: &str, method: Method, path: &str, body: Option<&Value>, status: u16) -> Answer {
    let answer = api.call(who, &method, path, body).await;
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    answer
}

/// Which fields are not as expected, event by event.
fn difference(came: &[Fields], expected: &[Fields]) -> Vec<String> {
    let mut lines = Vec::new();
    for at in 0..came.len().max(expected.len()) {
        match (came.get(at), expected.get(at)) {
            (Some(came), Some(expected)) => lines.extend(differing(at, came, expected)),
            (Some(came), None) => lines.push(format!("event {at} was not expected: {}", json!(came))),
            (None, Some(expected)) => lines.push(format!("event {at} is missing: {}", json!(expected))),
            (None, None) => {}
        }
    }
    lines
}

/// The same for one event that came and was expected.
fn differing(at: usize, came: &Fields, expected: &Fields) -> Vec<String> {
    let keys: BTreeSet<_> = came.keys().chain(expected.keys()).collect();
    let pairs = keys.into_iter().map(|key| (key, came.get(key), expected.get(key)));
    let shown = |value: Option<&Value>| value.map_or("null".to_owned(), ToString::to_string);
    pairs
        .filter(|(_, came, expected)| came != expected)
        .map(|(key, is, should)| {
            format!("event {at} ({}): {key} is {}, expected {}", came["event_type"], shown(is), shown(should))
        })
        .collect()
}

/// For a person to read: a name may be long.
fn cut(line: &str) -> String {
    let mut kept: String = line.chars().take(SHOWN).collect();
    if kept.len() < line.len() {
        kept.push('…');
    }
    kept
}
