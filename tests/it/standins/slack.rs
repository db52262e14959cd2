//! A Slack incoming webhook.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header as names};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::{Ledger, StandIn, header, one_line};

const TEAM_AND_BOT: &str = "/services/T0CADFD00/B0CADFD00/";
const TOKEN: &str = "sL4ckWebhookTokenHunter2";

/// A message that was accepted.
#[derive(Clone, Debug)]
pub struct Message {
    pub text: String,
    pub blocks: Option<Value>,
    /// Each `<!channel>`, `<@U123>`, `<#C123>` in it, in text or blocks: someone is notified.
    pub mentions: Vec<String>,
    /// Each `<https://…|label>` in it.
    pub links: Vec<String>,
    pub delivery: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slack    {}", one_line(&self.text))?;
        if let Some(blocks) = &self.blocks {
            write!(f, " blocks={blocks}")?;
        }
        Ok(())
    }
}

#[derive(Default)]
pub struct Shared {
    messages: Ledger<Message>,
    unlimited: AtomicBool,
    last: std::sync::Mutex<Option<Instant>>,
}

pub type Slack = StandIn<Shared>;

impl Slack {
    pub async fn start() -> Self {
        Self::start_on(0).await
    }

    pub async fn start_on(port: u16) -> Self {
        let router = Router::new().fallback(post).layer(DefaultBodyLimit::max(8 << 20));
        Self::of(router, Shared::default(), port, None).await
    }

    /// The secret.
    pub fn webhook_url(&self) -> String {
        format!("{}{TEAM_AND_BOT}{TOKEN}", self.url())
    }

    /// Whether more than one message a second gets a 429, as from Slack. It does unless switched off.
    pub fn limit_rate(&self, limited: bool) {
        self.shared.unlimited.store(!limited, Ordering::Relaxed);
    }

    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.all()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Message> {
        self.shared.messages.wait_for(count).await
    }

    pub fn ledger(&self) -> &Ledger<Message> {
        &self.shared.messages
    }
}

async fn post(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match uri.path().strip_prefix(TEAM_AND_BOT) {
        Some(TOKEN) => {}
        // Quotes what it got, as an error page may: nobody must pass that on.
        Some(token) => return (StatusCode::FORBIDDEN, format!("invalid_token {token}")).into_response(),
        None if uri.path().ends_with("/revoked") => return error(403, "invalid_token"),
        None => return error(404, "no_service"),
    }
    if method != Method::POST || header(&headers, "content-type") != "application/json" {
        return error(400, "invalid_payload");
    }
    let Ok(Value::Object(payload)) = serde_json::from_slice::<Value>(&body) else {
        return error(400, "invalid_payload");
    };
    let text = payload.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let blocks = payload.get("blocks").cloned();
    if text.trim().is_empty() && blocks.is_none() {
        return error(400, "no_text");
    }
    if text.chars().count() > 40_000 {
        return error(400, "msg_too_long");
    }
    if blocks.as_ref().is_some_and(|blocks| !valid_blocks(blocks)) {
        return error(400, "invalid_blocks");
    }
    if !shared.unlimited.load(Ordering::Relaxed) {
        let mut last = shared.last.lock().unwrap();
        if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            return ([(names::RETRY_AFTER, "1")], error(429, "rate_limited")).into_response();
        }
        *last = Some(Instant::now());
    }
    let mut marked = Vec::new();
    strings(&Value::Object(payload), &mut |text| marked.extend(markup(text)));
    let (mentions, links) = marked.into_iter().partition(|mark| mark.starts_with(['!', '@', '#']));
    shared.messages.push(Message { text, blocks, mentions, links, delivery: header(&headers, "x-cadfd-delivery") });
    (StatusCode::OK, "ok").into_response()
}

fn error(status: u16, code: &'static str) -> Response {
    (StatusCode::from_u16(status).unwrap(), code).into_response()
}

/// The documented limits: at most 50 blocks, texts of at most 3,000 characters, 150 in a header, ten fields of 2,000,
/// ten elements in a context.
fn valid_blocks(blocks: &Value) -> bool {
    let Some(blocks) = blocks.as_array() else { return false };
    let text = |object: &Value, limit: usize| {
        object["text"].as_str().is_none_or(|text| (1..=limit).contains(&text.chars().count()))
    };
    let list = |value: &Value, count: usize, limit: usize| {
        value.as_array().is_none_or(|list| list.len() <= count && list.iter().all(|object| text(object, limit)))
    };
    blocks.len() <= 50
        && blocks.iter().all(|block| {
            block["type"].is_string()
                && text(&block["text"], if block["type"] == "header" { 150 } else { 3_000 })
                && list(&block["fields"], 10, 2_000)
                && (block["type"] != "context" || list(&block["elements"], 10, 3_000))
        })
}

fn strings(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(list) => list.iter().for_each(|value| strings(value, see)),
        Value::Object(map) => map.values().for_each(|value| strings(value, see)),
        _ => {}
    }
}

/// What stands between `<` and `>`.
fn markup(text: &str) -> Vec<String> {
    let inner = text.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
    inner.map(|(inner, _)| inner.to_owned()).collect()
}
