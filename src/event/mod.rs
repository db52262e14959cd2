//! What happened: the one view that rules, templates, the audit trail and the readable log have of a notification.
//!
//! Its promise: [`decode`] is pure and total. Bytes go in; an [`Event`] without secrets or the reason why the bytes
//! cannot be read comes out, and no input makes it panic.
//!
//! Reading goes from outside in: `envelope` finds the inner object (v2, v1 or bare) and its fields, `scan` refuses text
//! that no later reader could take, `secrets` cleans what a scan found suspicious, and `cadf`, `basic` or `generic`
//! read the payload for what it means. `lenient` is how a field of the wrong type becomes a remark instead of an error.

mod basic;
mod cadf;
mod captured;
mod envelope;
mod generic;
mod kind;
mod lenient;
mod log_line;
mod payload;
mod recorded;
mod scan;
mod secrets;
mod time;
mod unreadable;
mod view;
mod written;

use std::collections::BTreeMap;

use serde_json::Map;

use crate::chain::Hash;
pub use captured::{message_in, messages_in};
use envelope::Inner;
pub use log_line::{from_log_line, is_told_in};
pub use payload::Payload;
pub use recorded::{of_record, of_view};
pub(crate) use secrets::is_secret;
pub use unreadable::Unreadable;
pub use view::{
    Assignment, Change, Event, Federation, Format, Initiator, KEYS, Member, Origin, Outcome, Reason, Reference,
    Resource, Visit,
};
pub use written::rewritten;

/// How many remarks an event keeps: a list of a million wrong things is odd once.
const MAX_ODD: usize = 20;

/// Decodes the body of one message: a v2 envelope, a v1 one or a bare inner object.
///
/// # Errors
///
/// [`Unreadable`] when not even the envelope and its `event_type` can be read. Anything odd beyond that is still an
/// event, which says so in [`Event::odd`].
pub fn decode(body: &[u8]) -> Result<Event, Unreadable> {
    if body.is_empty() {
        return Err(Unreadable::Empty);
    }
    let text = std::str::from_utf8(body).map_err(|error| Unreadable::NotUtf8 { at: error.valid_up_to() })?;
    let outer = envelope::read(text, "the body")?;
    match outer.message()? {
        None => event(outer.inner, body),
        Some(message) => {
            let mut inner = match envelope::read(&message, "oslo.message") {
                Ok(outer) => outer.inner,
                Err(unreadable) => return Err(outer.blame(unreadable)),
            };
            inner.odd.splice(0..0, outer.remarks());
            event(inner, body)
        }
    }
}

/// The event of an inner object; `body` is only for the digest that stands in for a missing `message_id`.
fn event(inner: Inner<'_>, body: &[u8]) -> Result<Event, Unreadable> {
    let mut odd = inner.odd;
    let event_type = envelope::text(inner.event_type, "event_type", &mut odd).ok_or(Unreadable::NoEventType)?;
    let message_id = envelope::text(inner.message_id, "message_id", &mut odd).unwrap_or_else(|| {
        odd.push("message_id: missing, so it is derived from the body's digest".to_owned());
        digest(body)
    });
    let priority = envelope::text(inner.priority, "priority", &mut odd);
    let publisher_id = envelope::text(inner.publisher_id, "publisher_id", &mut odd);
    let sent = envelope::text(inner.timestamp, "timestamp", &mut odd);
    let timestamp = sent.as_deref().and_then(|sent| time::read(sent, "timestamp", &mut odd));
    let payload = match inner.payload {
        Some(raw) => Payload::of(raw, "the payload")?,
        None => Payload::null(),
    };
    let mut context = Map::new();
    for (key, raw) in inner.context {
        if !secrets::is_secret(&key) {
            context.insert(key, Payload::of(raw, "the context")?.into_value());
        }
    }
    let mut event = blank(message_id, event_type);
    (event.timestamp, event.priority, event.publisher_id) = (timestamp, priority, publisher_id);
    (event.context, event.odd) = (context, odd);
    fill(&mut event, &payload);
    if event.timestamp.is_none() && sent.is_none() {
        event.odd.push("timestamp: missing".to_owned());
    }
    event.payload = payload;
    if event.odd.len() > MAX_ODD {
        let more = event.odd.len() - MAX_ODD;
        event.odd.truncate(MAX_ODD);
        event.odd.push(format!("and {more} more"));
    }
    Ok(event)
}

/// An event of which nothing is known but its type.
pub(crate) fn blank(message_id: String, event_type: String) -> Event {
    let (kind, operation) = kind::of(&event_type);
    Event {
        message_id,
        outcome: Outcome::Unknown,
        reason: Reason::default(),
        timestamp: None,
        priority: None,
        publisher_id: None,
        request_id: None,
        initiator: Initiator::default(),
        resource: Resource { kind: kind.clone(), ..Resource::default() },
        assignment: None,
        member: None,
        change: None,
        names: BTreeMap::new(),
        own: false,
        payload: Payload::null(),
        context: Map::new(),
        format: Format::Generic,
        odd: Vec::new(),
        kind,
        operation,
        event_type,
    }
}

/// An event without its payload and context, where those are too large to be kept with it.
#[must_use]
pub fn slim(event: &Event) -> Event {
    Event { payload: Payload::null(), context: Map::new(), ..event.clone() }
}

/// Reads the payload, in whatever format it is told, into the event.
fn fill(event: &mut Event, payload: &Payload) {
    if !payload.text().starts_with('{') {
        event.odd.push(format!("payload: expected an object, found {}", lenient::found(payload.text())));
    }
    let identity = event.event_type.starts_with("identity.");
    event.format = if cadf::fill(event, payload, identity) {
        Format::Cadf
    } else if identity {
        basic::fill(event, payload);
        Format::Basic
    } else {
        generic::fill(event, payload);
        Format::Generic
    };
    if event.request_id.is_none() {
        event.request_id = generic::text(event.context.get("request_id"));
    }
}

/// The stand-in for a missing `message_id`: the same body always gets the same one.
fn digest(body: &[u8]) -> String {
    format!("sha256:{:.32}", Hash::of(body))
}

#[cfg(test)]
mod tests;
