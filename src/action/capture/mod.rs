//! Values that a rule takes from an answer, for the actions that follow and for the trail.
//!
//! Its promise: pure and total; whatever the answer is, what comes out is a value within bounds or why there is none, and
//! it is made fit to be shown before anything else sees it.

mod path;

use std::cell::LazyCell;

use reqwest::header::{HeaderMap, HeaderName};
use roxmltree::{Document, ParsingOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use path::Path;

/// Values that one action may capture.
pub const MOST: usize = 16;

/// Bytes of one value, as it is shown. A longer one is not cut, which would make another value of it.
pub const LONGEST: usize = 4096;

/// Memory for a compiled regular expression, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// Nodes of an XML answer: more than fit into what is read of it.
const XML_NODES: u32 = 100_000;

/// A value to be captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// What it is called: `captured.<name>`.
    pub name: String,
    /// Where it is.
    pub from: Place,
    /// What it is where it is not there.
    #[serde(default, skip_serializing_if = "Absent::fails")]
    pub absent: Absent,
}

/// Where a value is in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A JSON pointer (RFC 6901) into the body.
    Json(String),
    /// A path into the body, which is XML: `/A/B[KEY='ID']/C`, `//C`, `@attribute`, `text()`.
    Xml(String),
    /// A regular expression on the body: its first group, or all that it matches.
    Regex(String),
    /// A header of the answer.
    Header(String),
}

/// What a value is that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    /// Nothing follows.
    #[default]
    Fails,
    /// Null.
    Null,
    /// This.
    Default(String),
}

impl Absent {
    fn fails(&self) -> bool {
        *self == Self::Fails
    }
}

impl Place {
    /// Whether it can be looked for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Json(pointer) => check_pointer(pointer),
            Self::Xml(path) => Path::parse(path).map(drop),
            Self::Regex(pattern) => regex(pattern).map(drop),
            Self::Header(name) => match HeaderName::try_from(name) {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("{name:?} is not the name of a header")),
            },
        }
    }
}

fn check_pointer(pointer: &str) -> Result<(), String> {
    let is_escaped = |part: &str| part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!("{pointer:?} is not a JSON pointer; expected one such as \"/scan/id\""));
    }
    if !is_escaped(pointer) {
        return Err(format!("{pointer:?} is not a JSON pointer: a ~ is written ~0, a / within a name ~1"));
    }
    Ok(())
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE).build().map_err(|error| {
        // The library draws the pattern and points at the place; the last line says what is wrong.
        let text = error.to_string();
        let what = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        format!("{pattern:?} is not a regular expression: {what}")
    })
}

/// What was captured.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Captured {
    /// By name, in the order of the rule; null where a value may be absent and is.
    pub(super) values: Map<String, Value>,
    /// Of the others, which are absent and why.
    pub(super) missing: Vec<String>,
}

impl Captured {
    /// Takes values with `find`, which says why there is none.
    pub(super) fn take(wanted: &[Capture], find: impl Fn(&Place) -> Result<Value, String>) -> Self {
        let mut captured = Self::default();
        for Capture { name, from, absent } in wanted.iter().take(MOST) {
            let value = match (find(from), absent) {
                (Ok(value), _) => value,
                (Err(_), Absent::Null) => Value::Null,
                (Err(_), Absent::Default(default)) => Value::String(default.clone()),
                (Err(reason), Absent::Fails) => {
                    captured.missing.push(format!("{name}: {reason}"));
                    continue;
                }
            };
            captured.values.insert(name.clone(), value);
        }
        captured
    }

    /// Adds to the trail's `detail`, and gives what the view of what follows has beside that.
    pub(super) fn tell(self, detail: &mut Map<String, Value>) -> Result<Map<String, Value>, String> {
        let Self { values, missing } = self;
        detail.insert("captured".to_owned(), Value::Object(values.clone()));
        if missing.is_empty() {
            return Ok(Map::from_iter([("captured".to_owned(), Value::Object(values))]));
        }
        let missing = missing.join("; ");
        detail.insert("missing".to_owned(), Value::String(missing.clone()));
        Err(format!("the step before it is done, but what it was to capture is not in the answer: {missing}"))
    }
}

/// An answer that values are taken from.
pub(super) struct Source<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// Whether that is all of it.
    pub(super) whole: bool,
}

impl Source<'_> {
    /// Takes these values; `show` makes a text fit to be shown.
    pub(super) fn take(&self, wanted: &[Capture], show: impl Fn(&str) -> String) -> Captured {
        let text = String::from_utf8_lossy(self.body);
        // Some servers begin their text with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        let json = LazyCell::new(|| self.json(text));
        let xml = LazyCell::new(|| self.xml(text, &show));
        Captured::take(wanted, |place| {
            let found = match place {
                Place::Json(pointer) => match json.as_ref().map(|json| json.pointer(pointer)) {
                    Ok(found) => found.cloned().unwrap_or_default(),
                    Err(reason) => return Err(reason.clone()),
                },
                Place::Xml(path) => match xml.as_ref() {
                    Ok(document) => Path::parse(path)?.find(document)?.map_or(Value::Null, Value::String),
                    Err(reason) => return Err(reason.clone()),
                },
                Place::Regex(pattern) => {
                    let found = regex(pattern)?.captures(text);
                    let found = found.and_then(|found| found.get(1).or(found.get(0)).map(|it| it.as_str().to_owned()));
                    found.map_or(Value::Null, Value::String)
                }
                Place::Header(name) => {
                    let found = self.headers.get(name.as_str());
                    found.map_or(Value::Null, |found| String::from_utf8_lossy(found.as_bytes()).into_owned().into())
                }
            };
            value(&found, &show).map_err(|reason| self.reason(place, reason))
        })
    }

    fn json(&self, text: &str) -> Result<Value, String> {
        serde_json::from_str(text).map_err(|error| self.unreadable("JSON", &error.to_string()))
    }

    fn xml<'t>(&self, text: &'t str, show: impl Fn(&str) -> String) -> Result<Document<'t>, String> {
        // What they stand for could be many times what was read.
        if text.contains("<!ENTITY") {
            return Err("the answer is XML that declares entities, which is not taken".to_owned());
        }
        // With a document type, as Qualys' answers have; the file that it names is never fetched.
        let options = ParsingOptions { allow_dtd: true, nodes_limit: XML_NODES, ..ParsingOptions::default() };
        Document::parse_with_options(text, options).map_err(|error| self.unreadable("XML", &show(&error.to_string())))
    }

    fn unreadable(&self, what: &str, error: &str) -> String {
        let cut = if self.whole { "" } else { CUT };
        format!("the answer is not {what} ({error}){cut}")
    }

    /// Why there is no value, in an answer that can be read.
    fn reason(&self, place: &Place, reason: &str) -> String {
        let (what, at) = match place {
            Place::Json(at) | Place::Xml(at) => ("at", at),
            Place::Regex(at) => ("that matches", at),
            Place::Header(at) => ("in the header", at),
        };
        let cut = if self.whole || matches!(place, Place::Header(_)) { "" } else { CUT };
        format!("the answer {reason} {what} {at:?}{cut}")
    }
}

/// Why something may not be there.
const CUT: &str = "; it broke off, or is longer than the 64 KiB that are read";

/// A value that was found, as it is shown and used from here on.
pub(super) fn value(found: &Value, show: impl Fn(&str) -> String) -> Result<Value, &'static str> {
    let text = match found {
        Value::Null => return Err("has nothing"),
        Value::Bool(_) | Value::Number(_) => return Ok(found.clone()),
        Value::String(text) => show(text),
        Value::Array(_) | Value::Object(_) => show(&found.to_string()),
    };
    match text.len() {
        0 => Err("has nothing but an empty text"),
        1..=LONGEST => Ok(Value::String(text)),
        _ => Err("has more than 4 KiB"),
    }
}

#[cfg(test)]
mod tests;
