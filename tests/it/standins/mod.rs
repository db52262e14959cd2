//! Stand-ins for Keystone, Neutron, Jenkins, Slack and an HTTP receiver: stateful, and as strict as the real ones.
//!
//! Their promise: each listens on a free port of its own until it is dropped, keeps a ledger of what it accepted, and
//! misbehaves in exactly the way it is told to. Used by the tests and by `examples/demo`.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    reason = "each of its users needs another part of it"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc, reason = "test support")]
#![allow(clippy::must_use_candidate, reason = "test support")]

mod http;
mod jenkins;
pub mod keystone;
mod ledger;
mod neutron;
mod qualys;
mod server;
mod slack;
mod splunk;

pub use http::{Call, Expect, Receiver};
pub use jenkins::{Build, Jenkins, Job, Trouble};
pub use keystone::Keystone;
pub use ledger::Ledger;
pub use neutron::{Neutron, port};
pub use qualys::{Qualys, Scan};
pub use server::{Fault, Server, StandIn};
pub use slack::{Message, Slack};
pub use splunk::Splunk;

use axum::http::HeaderMap;
use base64::Engine as _;

/// A header's value, or an empty text.
fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// What `Authorization` must be for HTTP basic authentication.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Names and values of a form or query, decoded.
fn pairs(encoded: &str) -> Vec<(String, String)> {
    let decode =
        |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned();
    let parts = encoded.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

/// For a line on a terminal.
fn one_line(text: &str) -> String {
    let escaped = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() };
    text.chars().map(escaped).collect()
}
