//! What cadfd itself tells, as events: rules can send it elsewhere as they do what the services tell.
//!
//! Its promise: pure. The same checkpoint or silence is always the same event, with the same id.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, signed_text};
use crate::event::{Event, Outcome, Payload, blank};
use crate::record::time;

/// How the types begin of what cadfd itself tells. Rules apply to it only where they name it.
pub const OWN: &str = "cadfd.";

/// The type of [`of_checkpoint`].
pub const CHECKPOINT: &str = "cadfd.checkpoint.created";

/// A checkpoint of the trail, so that rules can send it elsewhere. Its payload has the whole record as `line`, without
/// its end, and as `text` what the signature is over.
#[must_use]
pub fn of_checkpoint(checkpoint: &Checkpoint) -> Event {
    let Checkpoint { seq, prev, at, key, signature } = checkpoint;
    let line = String::from_utf8_lossy(&checkpoint.line()).trim_end().to_owned();
    let payload = json!({
        "seq": seq, "prev": prev.to_string(), "at": time(*at), "key": key.to_string(),
        "signature": signature, "text": signed_text(*seq, prev, *at), "line": line,
    });
    let mut event = blank(format!("checkpoint:{seq}:{prev}"), CHECKPOINT.to_owned());
    event.outcome = Outcome::Success;
    event.timestamp = Some(*at);
    event.payload = own_payload(&payload);
    event
}

/// The types of a silence: it has begun, and it has ended.
const SILENCE: [&str; 2] = ["cadfd.silence.begun", "cadfd.silence.ended"];

/// That a rule's events stayed away, or came again: what the actions of a rule with `absent` are given. `came` is the
/// message and the type of the event that ended it. A silence that begins is told as a failure. The payload has the rule,
/// `since` and `until` when, and of what came `message_id` and `event_type`.
#[must_use]
pub fn of_silence(rule: &str, since: Timestamp, until: Timestamp, came: Option<(&str, &str)>) -> Event {
    let [begun, ended] = SILENCE;
    let (event_type, outcome) = if came.is_none() { (begun, Outcome::Failure) } else { (ended, Outcome::Success) };
    let (message_id, what) = came.unzip();
    let payload = json!({
        "rule": rule, "since": time(since), "until": time(until),
        "message_id": message_id, "event_type": what,
    });
    let mut event = blank(format!("silence:{}:{rule}", time(until)), event_type.to_owned());
    event.outcome = outcome;
    event.timestamp = Some(until);
    event.resource.name = Some(rule.to_owned());
    event.payload = own_payload(&payload);
    event
}

fn own_payload(payload: &Value) -> Payload {
    let raw = serde_json::value::to_raw_value(payload).ok();
    raw.and_then(|raw| Payload::of(&raw, "the payload").ok()).unwrap_or_else(Payload::null)
}
