//! Splunk's HTTP event collector (HEC), without indexer acknowledgement.
//!
//! Its answers are those of Splunk's documentation, "Troubleshoot HTTP Event Collector", "Possible error codes".

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Ledger, StandIn, header};

const TOKEN: &str = "5b1ac1c2-hunter2-4d2e-9d7a-splunkstand1n";
const PATHS: [&str; 3] = ["/services/collector", "/services/collector/event", "/services/collector/event/1.0"];
const KEYS: [&str; 7] = ["time", "host", "source", "sourcetype", "index", "event", "fields"];
const INDEXES: [&str; 2] = ["main", "audit"];

#[derive(Default)]
pub struct Shared {
    events: Ledger<Value>,
}

pub type Splunk = StandIn<Shared>;

impl Splunk {
    /// The one token that it knows.
    pub const TOKEN: &'static str = TOKEN;

    pub async fn start() -> Self {
        Self::of(Router::new().fallback(collect), Shared::default(), 0, None).await
    }

    /// What was indexed, as it was sent.
    pub fn events(&self) -> Vec<Value> {
        self.shared.events.all()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Value> {
        self.shared.events.wait_for(count).await
    }
}

async fn collect(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !PATHS.contains(&uri.path()) {
        return answer(404, "The requested URL was not found on this server.", 404, None);
    }
    if method != Method::POST {
        return answer(405, "Method Not Allowed", 405, None);
    }
    let authorization = header(&headers, "authorization");
    match token(&authorization) {
        None if authorization.is_empty() => return answer(401, "Token is required", 2, None),
        None => return answer(401, "Invalid authorization", 3, None),
        Some(token) if token != TOKEN => return answer(403, "Invalid token", 4, None),
        Some(_) => {}
    }
    if body.is_empty() {
        return answer(400, "No data", 5, None);
    }
    let events: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&body).into_iter().collect();
    let Ok(events) = events else { return answer(400, "Invalid data format", 6, Some(0)) };
    for (at, event) in events.iter().enumerate() {
        if let Some((text, code)) = wrong(event) {
            return answer(400, text, code, Some(at));
        }
    }
    for event in events {
        shared.events.push(event);
    }
    Json(json!({"text": "Success", "code": 0})).into_response()
}

/// `Splunk <token>`, or basic authentication with the token as password.
fn token(authorization: &str) -> Option<String> {
    if let Some(token) = authorization.strip_prefix("Splunk ") {
        return Some(token.to_owned());
    }
    let decoded = String::from_utf8(STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?).ok()?;
    Some(decoded.split_once(':')?.1.to_owned())
}

fn wrong(event: &Value) -> Option<(&'static str, u16)> {
    let Some(members) = event.as_object() else { return Some(("Invalid data format", 6)) };
    let time = match members.get("time") {
        None | Some(Value::Number(_)) => true,
        Some(Value::String(text)) => text.parse::<f64>().is_ok(),
        Some(_) => false,
    };
    let text =
        ["host", "source", "sourcetype", "index"].iter().all(|key| members.get(*key).is_none_or(Value::is_string));
    if !time || !text || !members.keys().all(|key| KEYS.contains(&key.as_str())) {
        return Some(("Invalid data format", 6));
    }
    if members.get("index").is_some_and(|index| !INDEXES.contains(&index.as_str().unwrap())) {
        return Some(("Incorrect index", 7));
    }
    match members.get("event") {
        None | Some(Value::Null) => Some(("Event field is required", 12)),
        Some(Value::String(text)) if text.trim().is_empty() => Some(("Event field cannot be blank", 13)),
        Some(_) => None,
    }
}

fn answer(status: u16, text: &str, code: u16, number: Option<usize>) -> Response {
    let mut body = json!({"text": text, "code": code});
    if let Some(number) = number {
        body["invalid-event-number"] = number.into();
    }
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}
