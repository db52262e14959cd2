//! Lists in JSON: an object, an array of objects, or an array of keys.
//!
//! Its promise: what stands there twice is seen, and the line of each mistake is known.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::template::Entry;

use super::Reader;
use crate::config::node::line_of;

impl Reader<'_> {
    pub(super) fn json(&mut self, text: &str) {
        let parts = match serde_json::from_str::<Parts<'_>>(text) {
            Ok(parts) => parts,
            Err(error) => {
                self.wrong(error.line().max(1), format!("not a list in JSON: {error}"));
                return;
            }
        };
        let line = |raw: &RawValue| line_of(text, raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr()));
        match parts {
            Parts::Object(members) => {
                if self.key.is_some() {
                    let text = "`key` is for CSV and for an array of objects; an object in JSON has its own keys";
                    self.section.problem_at("key", text);
                }
                for (key, raw) in members {
                    if !self.has_room(|| line(raw)) {
                        return;
                    }
                    if let Some(value) = self.value(raw, || line(raw)) {
                        self.insert(&key, Entry::Json(value), || line(raw));
                    }
                }
            }
            Parts::Array(items) => {
                for raw in items {
                    if !self.has_room(|| line(raw)) {
                        return;
                    }
                    if let Some(value) = self.value(raw, || line(raw)) {
                        self.item(value, || line(raw));
                    }
                }
            }
        }
    }

    /// What stands there. It may be JSON and still say nothing that could be kept: numbers beyond all bounds, halves of a
    /// surrogate, hundreds of arrays in each other.
    fn value(&mut self, raw: &RawValue, line: impl Fn() -> usize) -> Option<Value> {
        let value = serde_json::from_str(raw.get());
        // Where in the part is of no use to who looks at the file.
        let said = |error: serde_json::Error| error.to_string().split(" at line ").next().map(str::to_owned);
        value.map_err(|error| self.wrong(line(), format!("cannot be kept: {}", said(error).unwrap_or_default()))).ok()
    }

    /// An entry of an array: the key itself, or an object that has it.
    fn item(&mut self, value: Value, line: impl Fn() -> usize) {
        match (&value, self.key.clone()) {
            (Value::Object(members), Some(key)) => match members.get(&key).map(text) {
                Some(Some(written)) => self.insert(&written, Entry::Json(value), line),
                Some(None) => self.wrong(line(), format!("{key:?}, the key: expected a string or an integer")),
                None => self.wrong(line(), format!("{key:?}, the key, is missing")),
            },
            (Value::Object(_), None) => {
                let text = "which of its members is the key? say so in the settings, as in key = \"project_id\"";
                self.wrong(line(), text);
            }
            _ => match text(&value) {
                Some(written) => self.insert(&written, Entry::Member, line),
                None => self.wrong(line(), "expected a string, an integer or an object"),
            },
        }
    }
}

/// What can be a key.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// The outermost object or array, each part not yet looked into. Members that come twice are both there.
enum Parts<'a> {
    Object(Vec<(String, &'a RawValue)>),
    Array(Vec<&'a RawValue>),
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outermost;
        impl<'de> Visitor<'de> for Outermost {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Parts::Object(members))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Parts::Array(items))
            }
        }
        deserializer.deserialize_any(Outermost)
    }
}
