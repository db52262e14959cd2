//! A lookup at one of OpenStack's services: a GET of what a rule wants to know, through the catalogue.
//!
//! Its promise: it only reads, and only below the service's endpoint; what it brings back is whole, or it says why not:
//! pages are put together, and what is too large is refused, never cut off.

mod cache;
mod pages;
mod select;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

pub use select::{Select, SelectError};

use self::cache::{Asked, Cache, Key};
use self::pages::Pages;
use super::client::{Client, Reply, size};
use super::path::below;
use super::ticket::Ticket;
use super::{Answer, Attempt, BuildError, FailureKind, Limits, Outcome, Scope};
use crate::event::is_secret;
use crate::keystone::Account;
use crate::transport;

/// An answer, all its pages together, in bytes.
pub const ANSWER_LIMIT: usize = 1 << 20;

/// What is kept of an answer, as JSON, in bytes.
pub const KEPT_LIMIT: usize = 256 << 10;

/// What was found stands in the trail up to so many bytes of JSON; beyond that, only how much it was.
const TOLD_LIMIT: usize = 4 << 10;

/// How long an answer is good for the same question again, unless the rule says otherwise.
pub const CACHE: Duration = Duration::from_secs(30);

/// How long a lookup is tried that its rule can do without, unless it is set.
pub const GO_ON_AFTER: Duration = Duration::from_mins(1);

/// The field of the view that holds what lookups brought.
pub const FIELD: &str = "fetched";

/// A service, as set: one for each type that rules name.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its type in the catalogue: `network`.
    pub service: String,
    /// With whose token it is asked.
    pub account: Account,
    /// How it is reached.
    pub client: transport::Settings,
    /// How hard it may be pressed.
    pub limits: Limits,
    /// How long a lookup is tried that its rule can do without.
    pub go_on_after: Duration,
}

/// A rendered lookup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// What the rule calls what it brings: `fetched.NAME`.
    pub name: String,
    /// Appended to the endpoint's path, each segment percent-encoded already.
    pub path: String,
    /// Appended to its query, not encoded yet; a name may come more than once.
    pub query: Vec<(String, String)>,
    /// What of the answer is wanted, as [`Select`] reads it; all of it without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// How old an answer to the same question may be, in seconds.
    pub cache: u64,
    /// Whether what follows is done without it, where it cannot be had.
    pub go_on: bool,
}

impl Request {
    /// What the view of what follows is given: `fetched.NAME`.
    #[must_use]
    pub fn fields(&self, value: Value) -> Map<String, Value> {
        let named = Map::from_iter([(self.name.clone(), value)]);
        Map::from_iter([(FIELD.to_owned(), Value::Object(named))])
    }
}

/// What a lookup brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// For the rule's actions.
    pub value: Value,
    /// For the trail.
    pub detail: Map<String, Value>,
}

/// A service of OpenStack.
#[derive(Debug)]
pub struct OpenStack {
    service: String,
    account: Account,
    cache: Mutex<Cache>,
    client: Client,
    go_on_after: Duration,
}

impl OpenStack {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let client = Client::new(&settings.client, &settings.limits, Vec::new())?;
        let (service, account) = (settings.service.clone(), settings.account.clone());
        Ok(Self { service, account, cache: Mutex::default(), client, go_on_after: settings.go_on_after })
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.client.limits()
    }

    /// How long a lookup is tried that its rule can do without.
    #[must_use]
    pub fn go_on_after(&self) -> Duration {
        self.go_on_after.min(self.limits().give_up_after)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Where it is, as the catalogue has it now.
    pub(super) async fn endpoint(&self) -> Result<Url, Outcome> {
        Ticket::get(&self.account).await?.endpoint(&self.service)
    }

    pub(super) async fn perform(&self, request: &Request, attempt: &Attempt<'_>) -> Outcome {
        match self.look_up(request, attempt.created).await {
            Ok(Found { value, detail }) => {
                Outcome::Answered(Box::new(Answer { detail, fields: Ok(request.fields(value)) }))
            }
            Err(outcome) => outcome,
        }
    }

    /// What the request asks for, as it is after `since`: no older answer is taken for it. `Err` is the outcome where that
    /// cannot be had now, or never.
    ///
    /// # Errors
    /// Says what went wrong.
    pub async fn look_up(&self, request: &Request, since: Timestamp) -> Result<Found, Outcome> {
        let select = request.select.as_deref().map(Select::new).transpose();
        let select = select.map_err(|error| Outcome::given_up(format!("`select`: {error}")))?;
        let asked = Asked { at: Instant::now(), time: Timestamp::now() };
        let key = Key::of(request);
        if let Some(value) = self.cached(&key, asked.at, Duration::from_secs(request.cache), since) {
            let mut detail = detail(&value);
            detail.insert("cached".to_owned(), true.into());
            return Ok(Found { value, detail });
        }
        let (answer, pages) = self.ask(request, select.as_ref()).await?;
        let value = match &select {
            None => answer,
            Some(select) => select.of(answer).map_err(|error| Outcome::given_up(self.client.show(&error)))?,
        };
        let bytes = value.to_string().len();
        if bytes > KEPT_LIMIT {
            return Err(Outcome::given_up(format!(
                "what was found is larger than {}; let `select` and the query take less of it",
                size(KEPT_LIMIT)
            )));
        }
        if request.cache > 0 {
            self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(key, value.clone(), bytes, asked);
        }
        let mut detail = detail(&value);
        if pages > 1 {
            detail.insert("pages".to_owned(), pages.into());
        }
        Ok(Found { value, detail })
    }

    fn cached(&self, key: &Key, now: Instant, age: Duration, since: Timestamp) -> Option<Value> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(key, now, age, since)
    }

    /// The answer, put together, and of how many pages.
    async fn ask(&self, request: &Request, select: Option<&Select>) -> Result<(Value, usize), Outcome> {
        let mut ticket = Ticket::get(&self.account).await?;
        let endpoint = ticket.endpoint(&self.service)?;
        let first = below(&endpoint, Some(&request.path), &request.query)
            .map_err(|error| Outcome::given_up(format!("the rendered path {error}")))?;
        let mut pages = Pages::new(first, select.and_then(Select::list));
        let mut left = ANSWER_LIMIT;
        while let Some(url) = pages.next() {
            let body = self.page(&mut ticket, url, left).await?;
            left -= body.len();
            let page: Value = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
            // What is found is shown to whoever reads the trail, and sent to others.
            if ticket.is_in(&page) {
                return Err(Outcome::given_up("the answer has cadfd's own token in it; nothing of it is kept"));
            }
            pages.add(page).map_err(|error| Outcome::given_up(self.client.show(&error)))?;
        }
        Ok(pages.finish())
    }

    async fn page(&self, ticket: &mut Ticket<'_>, url: Url, limit: usize) -> Result<Vec<u8>, Outcome> {
        loop {
            let client = ticket.veiled(&self.client);
            let (name, token) = ticket.header()?;
            let request = client.request(Method::GET, url.clone()).header(ACCEPT, "application/json");
            let reply = match client.fetch(request.header(name, token), limit).await {
                Err(Outcome::GivenUp { reason, .. }) if limit < ANSWER_LIMIT => {
                    return Err(Outcome::given_up(format!(
                        "{reason}, which is what is left of {}",
                        size(ANSWER_LIMIT)
                    )));
                }
                reply => reply?,
            };
            if ticket.is_to_call_again(&client, &reply).await? {
                continue;
            }
            return taken(&client, reply);
        }
    }
}

/// The body of a success; the outcome of anything else.
fn taken(client: &Client, reply: Reply) -> Result<Vec<u8>, Outcome> {
    if reply.status != StatusCode::OK {
        return Err(client.refused_at(&reply, Timestamp::now()));
    }
    Ok(reply.body)
}

fn unreadable(error: &serde_json::Error) -> Outcome {
    let reason = format!("the answer is not JSON (line {} column {})", error.line(), error.column());
    Outcome::Retry { reason, after: None, scope: Scope::Delivery, kind: FailureKind::Unreadable }
}

/// What the trail says of what was found; as of a message, without what no trail is to hold.
fn detail(value: &Value) -> Map<String, Value> {
    let mut detail = Map::new();
    if let Value::Array(items) = value {
        detail.insert("items".to_owned(), json!(items.len()));
    }
    if value.to_string().len() <= TOLD_LIMIT {
        detail.insert("found".to_owned(), without_secrets(value));
    }
    detail
}

/// Without what stands under a key that says that it is secret. `serde_json` bounds the depth of what it reads.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let told = members.iter().filter(|(key, _)| !is_secret(key));
            Value::Object(told.map(|(key, value)| (key.clone(), without_secrets(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_secrets).collect()),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_is_told_no_secrets_of_what_was_found() {
        let found = json!([{"id": "s1", "adminPass": "x", "user_data": "y", "more": {"private_key": "z", "n": 1}}]);
        let told = json!([{"id": "s1", "user_data": "y", "more": {"n": 1}}]);
        assert_eq!(Value::Object(detail(&found)), json!({"items": 1, "found": told}));
    }
}
