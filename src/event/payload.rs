//! What a notification carries beside its envelope, as it came.
//!
//! Its promise: the text is valid JSON on one line of ASCII, with every digit and the order of keys as they came,
//! and without secrets.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::scan::scan;
use super::{Unreadable, secrets};

/// The payload as JSON text; parsed only when something asks for a [`Payload::value`].
///
/// Holding text instead of a tree keeps numbers and key order exact in the audit trail and costs no parse for events
/// that no rule looks into.
#[derive(Clone, Debug)]
pub struct Payload {
    raw: Box<RawValue>,
    value: OnceLock<Value>,
}

impl Payload {
    /// Checks and cleans a part of a message; `part` names it in the error.
    pub(crate) fn of(raw: &RawValue, part: &'static str) -> Result<Self, Unreadable> {
        let findings = scan(raw.get(), part)?;
        let raw = if findings.unclean || findings.suspicious {
            // Cleaning keeps JSON well-formed (a property test holds it); should it ever not, nothing is kept rather
            // than a secret.
            RawValue::from_string(secrets::clean(raw.get())).unwrap_or_else(|_| RawValue::NULL.to_owned())
        } else {
            raw.to_owned()
        };
        Ok(Self { raw, value: OnceLock::new() })
    }

    /// For a message that has none.
    pub(crate) fn null() -> Self {
        Self { raw: RawValue::NULL.to_owned(), value: OnceLock::new() }
    }

    /// The JSON text: one line of ASCII.
    #[must_use]
    pub fn text(&self) -> &str {
        self.raw.get()
    }

    /// The same as a tree, parsed at the first call. A number that no 64-bit type holds is given as its text.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| tree(&self.raw))
    }

    /// The tree, for those who keep nothing else.
    pub(super) fn into_value(self) -> Value {
        self.value.into_inner().unwrap_or_else(|| tree(&self.raw))
    }

    /// The text in the form that `serde_json` writes verbatim.
    pub(super) fn raw(&self) -> &RawValue {
        &self.raw
    }
}

/// A tree of any well-formed JSON that passed the scan.
pub(super) fn tree(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| tree_by_parts(raw))
}

/// The same where the whole cannot be parsed at once, because a number in it (`1e999`) is out of range.
fn tree_by_parts(raw: &RawValue) -> Value {
    let text = raw.get();
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        Value::Object(members.into_iter().map(|(key, value)| (key, tree(value))).collect::<Map<_, _>>())
    } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        Value::Array(items.into_iter().map(tree).collect())
    } else {
        Value::String(text.to_owned())
    }
}
