//! The captured notifications, and a ledger of what was published.
//!
//! Its promise: bodies are byte for byte what the real publisher sent; every `message_id` is known.

use std::path::Path;

use serde_json::Value;

/// One line of a `.jsonl` capture.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// As published.
    pub(crate) body: Vec<u8>,
    /// Of the inner object, with or without an envelope around it.
    pub(crate) message_id: String,
}

/// Reads `tests/data/notifications/real/<name>.jsonl`.
pub(crate) fn read(name: &str) -> Vec<Captured> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/notifications/real/{name}.jsonl"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().map(captured).collect()
}

fn captured(line: &str) -> Captured {
    let line: Value = serde_json::from_str(line).unwrap();
    let body = line["body"].as_str().unwrap();
    let outer: Value = serde_json::from_str(body).unwrap();
    let inner = outer["oslo.message"].as_str().map_or(outer.clone(), |inner| serde_json::from_str(inner).unwrap());
    Captured { body: body.as_bytes().to_vec(), message_id: inner["message_id"].as_str().unwrap().to_owned() }
}
