//! The decoder against what publishers really send, and against what they should not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail this way")]

mod captures;
mod odd;
mod properties;
mod secrecy;
mod unreadable;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

/// The `.jsonl` captures.
const CAPTURES: [&str; 4] = [
    "keystone-28.1-cadf-messagingv2",
    "keystone-28.1-cadf-messaging-v1",
    "keystone-28.1-basic-messagingv2",
    "oslo-neutron-nova-cinder-messagingv2",
];

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/notifications").join(file)
}

/// The message bodies of a capture.
fn bodies(capture: &str) -> Vec<String> {
    let lines = fs::read_to_string(data(&format!("real/{capture}.jsonl"))).unwrap();
    let body = |line: &str| serde_json::from_str::<Value>(line).unwrap()["body"].as_str().unwrap().to_owned();
    lines.lines().map(body).collect()
}

/// The bare inner objects of every capture and every documented example.
fn inner_objects() -> Vec<Value> {
    let mut objects: Vec<Value> =
        CAPTURES.iter().flat_map(|capture| bodies(capture)).map(|body| inner(&body)).collect();
    for file in fs::read_dir(data("documented")).unwrap() {
        objects.push(serde_json::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap());
    }
    objects
}

/// The inner object of a body.
fn inner(body: &str) -> Value {
    let outer: Value = serde_json::from_str(body).unwrap();
    match outer.get("oslo.message") {
        Some(message) => serde_json::from_str(message.as_str().unwrap()).unwrap(),
        None => outer,
    }
}

fn decoded(object: &Value) -> Event {
    decode(object.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {object}"))
}

/// A CADF notification to take apart.
fn user_deleted() -> Value {
    serde_json::from_str(&fs::read_to_string(data("documented/user-deleted-newton.json")).unwrap()).unwrap()
}

fn v2(inner: &str) -> String {
    json!({"oslo.version": "2.0", "oslo.message": inner}).to_string()
}
