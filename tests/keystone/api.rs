//! Keystone's identity API, as its clients call it.
//!
//! Its promise: nothing is tried again, so that what happens happens once; what has to succeed and does not
//! names the request.

use std::collections::HashMap;

use reqwest::{Client, Method};
use serde_json::{Value, json};

/// What the clients call themselves.
const AGENT: &str = "cadfd-tests";

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// `X-Subject-Token`.
    pub(crate) token: Option<String>,
}

/// Who calls, by their tokens.
pub(crate) struct Api {
    client: Client,
    url: String,
    tokens: HashMap<String, String>,
}

impl Api {
    pub(crate) fn new(url: String) -> Self {
        // No proxy: it is on this machine.
        let client = Client::builder().no_proxy().user_agent(AGENT).build().unwrap();
        Self { client, url, tokens: HashMap::new() }
    }

    /// From now on `who` has this token.
    pub(crate) fn hold(&mut self, who: &str, token: String) {
        self.tokens.insert(who.to_owned(), token);
    }

    /// Calls as `who`, or as nobody where that is empty.
    pub(crate) async fn call(&self, who: &str, method: &Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
        if !who.is_empty() {
            let token = self.tokens.get(who).unwrap_or_else(|| panic!("{who} has not logged in"));
            request = request.header("X-Auth-Token", token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let status = answer.status().as_u16();
        let token = answer.headers().get("x-subject-token").map(|token| token.to_str().unwrap().to_owned());
        let body = answer.text().await.unwrap();
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        Answer { status, body, token }
    }

    /// The same, where there must be one answer.
    pub(crate) async fn demand(
        &self,
        who: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        status: u16,
    ) -> Answer {
        let answer = self.call(who, &method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer
    }
}

/// The body of a login with name, domain and password; in a scope, if there is one.
pub(crate) fn login(name: &str, domain: &Value, password: &str, scope: Option<Value>) -> Value {
    let user = json!({"name": name, "domain": domain, "password": password});
    let mut body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}});
    if let Some(scope) = scope {
        body["auth"]["scope"] = scope;
    }
    body
}
