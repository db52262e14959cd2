//! Fields that may be of the wrong type.
//!
//! Its promise: whatever JSON stands in a field, reading goes on; what was not expected becomes a remark, which names
//! the types and never the content.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Payload;

/// What pyCADF put before ids until 2014.
const OPENSTACK: &str = "openstack:";

/// A field of a notification: not there (or `null`), what was expected, or something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Is(T),
    /// What it is instead: `an array`.
    Odd(&'static str),
}

/// A string, or a number as its text.
pub(super) type Text<'a> = Field<Cow<'a, str>>;

/// How a type is made of the JSON that suits it; the rest is odd.
pub(super) trait Lenient<'de>: Sized {
    /// `a string`.
    const EXPECTED: &'static str;

    fn of_text(_: Cow<'de, str>) -> Option<Self> {
        None
    }
    fn of_number(_: String) -> Option<Self> {
        None
    }
    fn of_bool(_: bool) -> Option<Self> {
        None
    }
    fn of_object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn of_array<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<T> Field<T> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'de, T: Lenient<'de>> Field<T> {
    /// What was expected, if it is there; something else is remarked upon.
    pub(super) fn take(self, place: &str, odd: &mut Vec<String>) -> Option<T> {
        match self {
            Self::Absent => None,
            Self::Is(value) => Some(value),
            Self::Odd(found) => {
                odd.push(format!("{place}: expected {}, found {found}", T::EXPECTED));
                None
            }
        }
    }
}

impl Text<'_> {
    /// The text; an empty one says nothing, so it counts as not there.
    pub(super) fn text(self, place: &str, odd: &mut Vec<String>) -> Option<String> {
        self.take(place, odd).filter(|text| !text.is_empty()).map(Cow::into_owned)
    }

    /// The id, less the `openstack:` that old releases put before it.
    pub(super) fn id(self, place: &str, odd: &mut Vec<String>) -> Option<String> {
        let mut id = self.text(place, odd)?;
        if id.starts_with(OPENSTACK) {
            id.drain(..OPENSTACK.len());
        }
        Some(id).filter(|id| !id.is_empty())
    }
}

impl<'de: 'a, 'a> Lenient<'de> for Cow<'a, str> {
    const EXPECTED: &'static str = "a string";

    fn of_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
    fn of_number(text: String) -> Option<Self> {
        Some(Cow::Owned(text))
    }
}

impl Lenient<'_> for bool {
    const EXPECTED: &'static str = "true or false";

    fn of_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl<'de, T: Lenient<'de>> Lenient<'de> for Vec<Field<T>> {
    const EXPECTED: &'static str = "an array";

    fn of_array<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut items = Self::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Some(items))
    }
}

impl<'de, T: Lenient<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

fn or_odd<T>(value: Option<T>, found: &'static str) -> Field<T> {
    value.map_or(Field::Odd(found), Field::Is)
}

impl<'de, T: Lenient<'de>> Visitor<'de> for Reader<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(or_odd(T::of_text(Cow::Borrowed(text)), "a string"))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(or_odd(T::of_text(Cow::Owned(text.to_owned())), "a string"))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(or_odd(T::of_bool(value), "true or false"))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(or_odd(T::of_number(number.to_string()), "a number"))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(or_odd(T::of_number(number.to_string()), "a number"))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(or_odd(T::of_number(number.to_string()), "a number"))
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(or_odd(T::of_object(map)?, "an object"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Ok(or_odd(T::of_array(list)?, "an array"))
    }
}

/// What some JSON text is, by its first letter.
pub(super) fn found(json: &str) -> &'static str {
    match json.bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Lets a struct of fields be a field itself.
macro_rules! object {
    ($($name:ident),+) => {$(
        impl<'de: 'a, 'a> $crate::event::lenient::Lenient<'de> for $name<'a> {
            const EXPECTED: &'static str = "an object";

            fn of_object<A: serde::de::MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                Self::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Some)
            }
        }
    )+};
}
pub(super) use object;

/// Reads the payload's fields; a payload that is no object has none.
///
/// The usual payload is read in place. One that gives a field twice, or a number that no type holds, is remarked upon
/// and read again by way of a tree, which `again` then holds as text: there, the last one counts and such a number is
/// its text.
pub(super) fn payload<'a, T>(payload: &'a Payload, again: &'a mut String, odd: &mut Vec<String>) -> T
where
    T: Lenient<'a> + Default,
{
    let field = serde_json::from_str::<Field<T>>(payload.text()).or_else(|error| {
        odd.push(if error.is_data() {
            "payload: a field is given more than once, the last one counts".to_owned()
        } else {
            "payload: a number is out of range, it is read as its text".to_owned()
        });
        *again = payload.value().to_string();
        serde_json::from_str(again)
    });
    match field {
        Ok(Field::Is(fields)) => fields,
        _ => T::default(),
    }
}
