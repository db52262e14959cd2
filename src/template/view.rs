//! An event as conditions and templates see it.

use std::sync::{Arc, OnceLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, Serde, merge_maps};

use super::lookup::{FIELD as LOOKUP, Lookups};
use crate::event::{Event, KEYS, Visit};

/// An event as conditions and templates see it. Each of its fields is converted when something first asks for it, once
/// however many rules do.
#[derive(Clone, Debug)]
pub struct View(pub(super) Value);

impl View {
    /// The view of an event.
    #[must_use]
    pub fn new(event: &Arc<Event>) -> Self {
        Self::of(event, None)
    }

    /// The view of an event, with the lists as `lookup`.
    #[must_use]
    pub fn with_lookups(event: &Arc<Event>, lookups: &Arc<Lookups>) -> Self {
        Self::of(event, Some(Arc::clone(lookups)))
    }

    fn of(event: &Arc<Event>, lookups: Option<Arc<Lookups>>) -> Self {
        let values = KEYS.iter().map(|_| OnceLock::new()).collect();
        Self(Value::from_object(Converted { event: Arc::clone(event), values, lookups }))
    }

    /// A top-level field as JSON; `None` where there is no such field.
    #[must_use]
    pub fn json(&self, field: &str) -> Option<serde_json::Value> {
        let value = self.0.get_attr(field).ok().filter(|value| !value.is_undefined())?;
        serde_json::to_value(value).ok()
    }

    /// The same view with further top-level fields, which win over its own.
    #[must_use]
    pub fn with(&self, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let own = Value::from_pairs(fields);
        Self(merge_maps([self.0.clone(), own]))
    }

    /// As [`View::with`], with fields whose names are known only now.
    #[must_use]
    pub fn over(self, fields: &serde_json::Map<String, serde_json::Value>) -> Self {
        if fields.is_empty() { self } else { Self(merge_maps([self.0, Convert.visit(fields)])) }
    }
}

/// An event's fields, as far as they have been asked for.
#[derive(Debug)]
struct Converted {
    event: Arc<Event>,
    /// In the order of [`KEYS`].
    values: Box<[OnceLock<Value>]>,
    /// No field of the event, and so in no dump of it.
    lookups: Option<Arc<Lookups>>,
}

impl Object for Converted {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        if key == LOOKUP {
            return self.lookups.clone().map(Value::from_dyn_object);
        }
        let at = KEYS.iter().position(|known| *known == key)?;
        let convert = || self.event.field(key, Convert).unwrap_or_default();
        Some(self.values.get(at)?.get_or_init(convert).clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(KEYS)
    }
}

/// Makes a value for the template engine of whatever serializes.
pub(super) struct Convert;

impl Visit for Convert {
    type Output = Value;

    fn visit(self, value: &impl serde::Serialize) -> Value {
        Value::from(Serde(value))
    }
}
