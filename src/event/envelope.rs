//! The envelope: oslo.messaging's v2, v1, or a bare inner object, told apart for each message.
//!
//! Its promise: each field of the envelope is found once, as text not yet looked into; every part that is kept has
//! passed the scan.
//!
//! The format is oslo.messaging's: `notify/messaging.py` (the inner object) and `_drivers/common.py`
//! (`serialize_msg`: `oslo.version`, `oslo.message`).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Unreadable;
use super::lenient::{Field, Text, found};
use super::scan::scan;

/// What other services put before the keys of their request context.
const CONTEXT: &str = "_context_";

/// The outermost object of a body.
#[derive(Default)]
pub(super) struct Outer<'a> {
    version: Option<&'a RawValue>,
    message: Text<'a>,
    has_message: bool,
    /// The first thing that the scan refuses, outside the payload and the context.
    flaw: Option<Unreadable>,
    /// The fields of the notification, if this is a v1 envelope or a bare object.
    pub(super) inner: Inner<'a>,
}

/// The fields of a notification that oslo.messaging itself writes.
#[derive(Default)]
pub(super) struct Inner<'a> {
    pub(super) message_id: Option<&'a RawValue>,
    pub(super) publisher_id: Option<&'a RawValue>,
    pub(super) event_type: Option<&'a RawValue>,
    pub(super) priority: Option<&'a RawValue>,
    pub(super) timestamp: Option<&'a RawValue>,
    pub(super) payload: Option<&'a RawValue>,
    /// The `_context_*` keys without that prefix.
    pub(super) context: Vec<(String, &'a RawValue)>,
    pub(super) odd: Vec<String>,
}

/// Reads the outermost object of some text; `part` names the text in errors.
pub(super) fn read<'a>(text: &'a str, part: &'static str) -> Result<Outer<'a>, Unreadable> {
    let outer = serde_json::from_str::<Outer<'a>>(text).map_err(|error| explain(text, part, &error))?;
    match outer.flaw {
        Some(flaw) => Err(flaw),
        None => Ok(outer),
    }
}

/// Why text could not be read. `serde_json`'s own words are not used: they can quote the text.
fn explain(text: &str, part: &'static str, error: &serde_json::Error) -> Unreadable {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => Unreadable::Truncated { part, line, column },
        Category::Data => Unreadable::NotAnObject { part, found: found(text.trim_start()) },
        Category::Syntax | Category::Io => scan(text, part).err().unwrap_or(Unreadable::NotJson { part, line, column }),
    }
}

/// A short text of the envelope: a string or a number; anything else is remarked upon.
pub(super) fn text(raw: Option<&RawValue>, place: &str, odd: &mut Vec<String>) -> Option<String> {
    let raw = raw?.get();
    // A number that no type holds is still a text.
    let field = serde_json::from_str::<Text<'_>>(raw).unwrap_or(Field::Is(Cow::Borrowed(raw)));
    field.text(place, odd)
}

impl Outer<'_> {
    /// The inner object as text, if this is a v2 envelope.
    pub(super) fn message(&self) -> Result<Option<Cow<'_, str>>, Unreadable> {
        match &self.message {
            Field::Is(message) => Ok(Some(Cow::Borrowed(message))),
            Field::Odd(found) => Err(Unreadable::MessageNotText { found }),
            Field::Absent if self.has_message => Err(Unreadable::MessageNotText { found: "null" }),
            Field::Absent if self.version.is_some() && self.inner.event_type.is_none() => Err(Unreadable::NoMessage),
            Field::Absent => Ok(None),
        }
    }

    /// The version, where it is not one that this program knows.
    fn unknown_version(&self) -> Option<String> {
        let version = text(self.version, "", &mut Vec::new())?;
        let is_version = version.len() <= 16 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match version.split('.').next() {
            Some("2") if is_version => None,
            // What is no version may be anything, so it is not quoted.
            _ => Some(if is_version { version } else { "(not a version)".to_owned() }),
        }
    }

    /// What is odd about a v2 envelope whose message could be read.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut odd = self.inner.odd.clone();
        match (self.version, self.unknown_version()) {
            (None, _) => odd.push("oslo.version: missing".to_owned()),
            (Some(_), Some(version)) => odd.push(format!("oslo.version: expected 2.x, found {version}")),
            (Some(_), None) => {}
        }
        odd
    }

    /// Why the message of this envelope cannot be read, given why it cannot be read as a v2 one.
    pub(super) fn blame(&self, cause: Unreadable) -> Unreadable {
        match self.unknown_version() {
            Some(version) => Unreadable::EnvelopeVersion { version, cause: Box::new(cause) },
            None => cause,
        }
    }
}

/// The keys that mean something here.
enum Key {
    Version,
    Message,
    MessageId,
    PublisherId,
    EventType,
    Priority,
    Timestamp,
    Payload,
    Context(String),
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl Visitor<'_> for Keys {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "oslo.version" => Key::Version,
                    "oslo.message" => Key::Message,
                    "message_id" => Key::MessageId,
                    "publisher_id" => Key::PublisherId,
                    "event_type" => Key::EventType,
                    "priority" => Key::Priority,
                    "timestamp" => Key::Timestamp,
                    "payload" => Key::Payload,
                    _ => key.strip_prefix(CONTEXT).map_or(Key::Other, |key| Key::Context(key.to_owned())),
                })
            }
        }
        deserializer.deserialize_str(Keys)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Outer<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Outer<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outer<'de>, A::Error> {
                let mut outer = Outer::default();
                while let Some(key) = map.next_key()? {
                    outer.put(key, &mut map)?;
                }
                Ok(outer)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Outer<'de> {
    /// Keeps one field, the last where there are several.
    fn put<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        let inner = &mut self.inner;
        let (name, slot) = match key {
            Key::Message => {
                if std::mem::replace(&mut self.has_message, true) {
                    inner.odd.push(twice("oslo.message"));
                }
                self.message = map.next_value()?;
                return Ok(());
            }
            Key::Context(key) => {
                inner.context.push((key, map.next_value()?));
                return Ok(());
            }
            Key::Other => {
                let raw: &RawValue = map.next_value()?;
                self.flaw = self.flaw.take().or_else(|| scan(raw.get(), "the envelope").err());
                return Ok(());
            }
            Key::Version => ("oslo.version", &mut self.version),
            Key::MessageId => ("message_id", &mut inner.message_id),
            Key::PublisherId => ("publisher_id", &mut inner.publisher_id),
            Key::EventType => ("event_type", &mut inner.event_type),
            Key::Priority => ("priority", &mut inner.priority),
            Key::Timestamp => ("timestamp", &mut inner.timestamp),
            Key::Payload => ("payload", &mut inner.payload),
        };
        let raw: &RawValue = map.next_value()?;
        if name != "payload" {
            self.flaw = self.flaw.take().or_else(|| scan(raw.get(), "the envelope").err());
        }
        if slot.replace(raw).is_some() {
            inner.odd.push(twice(name));
        }
        Ok(())
    }
}

/// The remark on a key that is given more than once.
pub(super) fn twice(key: &str) -> String {
    format!("{key}: given more than once, the last one counts")
}
