//! One table of the settings, read key by key.
//!
//! Its promise: each getter answers with a usable value and notes what was wrong with the written one; what nobody
//! asked for is unknown, and [`Section::finish`] says so.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use crate::secret::Secret;
use crate::template::nearest;

use super::node::{Node, Place, Problems, Value};

/// A table and what has been asked of it.
pub(super) struct Section<'a> {
    node: Option<&'a Node>,
    place: Place,
    /// How messages call it: `[slack.ops]`.
    name: String,
    problems: &'a RefCell<Problems>,
    known: RefCell<BTreeSet<String>>,
    /// A word that may stand instead of the value being read.
    word: Cell<Option<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(node: &'a Node, name: &str, problems: &'a RefCell<Problems>) -> Self {
        let section = Self {
            node: Some(node),
            place: node.place.clone(),
            name: name.to_owned(),
            problems,
            known: RefCell::default(),
            word: Cell::default(),
        };
        if !matches!(node.value, Value::Table(_)) {
            section.wrong(node, "a table");
        }
        section
    }

    /// What messages call it, without its brackets.
    pub(super) fn path(&self) -> String {
        self.name.replace(['[', ']'], "")
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// How messages call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn problem(&self, text: impl Into<String>) {
        self.problems.borrow_mut().add(&self.place, text);
    }

    /// A problem at the line of `key`, or of the table where the key is not written.
    pub(super) fn problem_at(&self, key: &str, text: impl Into<String>) {
        let place = self.get(key).map_or(&self.place, |node| &node.place);
        self.problems.borrow_mut().add(place, text);
    }

    fn wrong(&self, node: &Node, expected: &str) {
        let text = match &node.value {
            Value::String(found) if found.len() <= 40 && !self.name.is_empty() => {
                format!("expected {expected}, found {found:?}")
            }
            other => format!("expected {expected}, found {}", other.kind()),
        };
        self.problems.borrow_mut().add(&node.place, text);
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.known.borrow_mut().insert(key.to_owned());
        self.node?.get(key)
    }

    fn value<T>(&self, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let node = self.get(key)?;
        let value = read(&node.value);
        if value.is_none() {
            self.wrong_at(key, node, expected);
        }
        value
    }

    fn wrong_at(&self, key: &str, node: &Node, expected: &str) {
        let found = match &node.value {
            Value::String(found) if found.chars().count() <= 60 => format!("{found:?}"),
            Value::Integer(number) => number.to_string(),
            other => other.kind().to_owned(),
        };
        let or = self.word.get().map(|word| format!(", or \"{word}\"")).unwrap_or_default();
        self.problems.borrow_mut().add(&node.place, format!("`{key}`: expected {expected}{or}, found {found}"));
    }

    /// What `read` reads of this key; `None` where `word` stands there instead.
    pub(super) fn unless<T>(&self, key: &str, word: &'static str, read: impl FnOnce() -> T) -> Option<T> {
        if matches!(self.get(key).map(|node| &node.value), Some(Value::String(text)) if text == word) {
            return None;
        }
        self.word.set(Some(word));
        let value = read();
        self.word.set(None);
        Some(value)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.value(key, "a string", |value| match value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// A string that must be there.
    pub(super) fn required(&self, key: &str) -> Option<String> {
        if self.get(key).is_none() {
            self.problem(format!("`{key}` is missing in {}", self.name));
        }
        self.text(key)
    }

    pub(super) fn boolean(&self, key: &str, default: bool) -> bool {
        let value = self.value(key, "true or false", |value| match value {
            Value::Boolean(yes) => Some(*yes),
            Value::String(text) => text.parse().ok(),
            _ => None,
        });
        value.unwrap_or(default)
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        let value = self.value(key, &expected, |value| {
            let number = match value {
                Value::Integer(number) => u64::try_from(*number).ok()?,
                Value::String(text) => text.parse().ok()?,
                _ => return None,
            };
            range.contains(&number).then_some(number)
        });
        value.unwrap_or(default)
    }

    pub(super) fn duration(&self, key: &str, range: RangeInclusive<Duration>, default: Duration) -> Duration {
        let [from, to] = [range.start(), range.end()].map(|bound| humantime::format_duration(*bound).to_string());
        let expected = format!("a duration from {from} to {to}, such as \"30s\" or \"7d\"");
        let value = self.value(key, &expected, |value| match value {
            Value::String(text) => humantime::parse_duration(text).ok().filter(|found| range.contains(found)),
            _ => None,
        });
        value.unwrap_or(default)
    }

    pub(super) fn bytes(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let [from, to] = [range.start(), range.end()].map(|bound| ByteSize(*bound).display().iec().to_string());
        let expected = format!("a size from {from} to {to}, such as \"64 MiB\"");
        let value = self.value(key, &expected, |value| {
            let bytes = match value {
                Value::Integer(number) => u64::try_from(*number).ok()?,
                Value::String(text) => text.parse::<ByteSize>().ok()?.as_u64(),
                _ => return None,
            };
            range.contains(&bytes).then_some(bytes)
        });
        value.unwrap_or(default)
    }

    /// `10/s`, `30/min`, `100/h`, or `unlimited`.
    pub(super) fn rate(&self, key: &str, default: Option<(u32, Duration)>) -> Option<(u32, Duration)> {
        let expected = "a rate such as \"1/s\", \"30/min\", \"100/h\" or \"unlimited\"";
        let value = self.value(key, expected, |value| match value {
            Value::String(text) if text == "unlimited" => Some(None),
            Value::String(text) => {
                let (count, unit) = text.split_once('/')?;
                let seconds = match unit.trim() {
                    "s" => 1,
                    "min" => 60,
                    "h" => 3600,
                    _ => return None,
                };
                let count = count.trim().parse().ok().filter(|count| *count > 0)?;
                Some(Some((count, Duration::from_secs(seconds))))
            }
            _ => None,
        });
        value.unwrap_or(default)
    }

    /// A string or an array of strings; from the environment, separated by commas.
    pub(super) fn strings(&self, key: &str) -> Option<Vec<String>> {
        let node = self.get(key)?;
        let expected = "a string or an array of strings";
        match &node.value {
            Value::String(text) if matches!(node.place, Place::Variable(_)) => {
                Some(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
            }
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => {
                let mut strings = Vec::new();
                for item in items {
                    match &item.value {
                        Value::String(text) => strings.push(text.clone()),
                        _ => self.wrong_at(key, item, "a string"),
                    }
                }
                Some(strings)
            }
            _ => {
                self.wrong_at(key, node, expected);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = if words.len() > 4 { format!("one of {}", words.join(", ")) } else { words.join(" or ") };
        let value = self.value(key, &expected, |value| match value {
            Value::String(text) => choices.iter().find(|(word, _)| word == text).map(|(_, choice)| *choice),
            _ => None,
        });
        value.unwrap_or(default)
    }

    /// A path to a file that must be readable.
    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(key)?);
        if let Err(error) = std::fs::File::open(&path) {
            self.problem_at(key, format!("`{key}`: {} cannot be read: {error}", path.display()));
        }
        Some(path)
    }

    /// A secret: the content of the file named by `<key>_file`, less its line's end, or the value of `key`.
    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let inline = self.get(key).and_then(|node| match &node.value {
            Value::String(text) => Some(Secret::new(text.as_str())),
            other => {
                let text = format!("`{key}`: expected a string, found {}", other.kind());
                self.problems.borrow_mut().add(&node.place, text);
                None
            }
        });
        let Some(path) = self.text(&file_key).map(PathBuf::from) else { return inline };
        // A variable stands over the file's `_file`, as it stands over everything in the file.
        let from_variable = matches!(self.get(key).map(|node| &node.place), Some(Place::Variable(_)));
        if inline.is_some() && from_variable {
            return inline;
        }
        if inline.is_some() {
            self.problem_at(key, format!("`{key}` and `{file_key}` are both written; one of them must go"));
        }
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => {
                self.problem_at(&file_key, format!("`{file_key}`: {} is empty", path.display()));
                None
            }
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                self.problem_at(&file_key, format!("`{file_key}`: {} cannot be read: {error}", path.display()));
                None
            }
        }
    }

    /// A secret that must be there.
    pub(super) fn required_secret(&self, key: &str) -> Option<Secret> {
        let written = self.get(key).is_some() || self.get(&format!("{key}_file")).is_some();
        if !written {
            self.problem(format!("`{key}_file` (or `{key}`) is missing in {}", self.name));
        }
        self.secret(key)
    }

    /// The table below `key`; an empty one where it is not written.
    pub(super) fn table(&self, key: &str) -> Section<'a> {
        let name = match self.name.strip_suffix(']') {
            None => format!("[{key}]"),
            Some(inner) if inner.ends_with(']') => format!("{}.{key}", self.name),
            Some(inner) => format!("{inner}.{key}]"),
        };
        match self.get(key) {
            Some(node) => Section::new(node, &name, self.problems),
            None => Section {
                node: None,
                place: self.place.clone(),
                name,
                problems: self.problems,
                known: RefCell::default(),
                word: Cell::default(),
            },
        }
    }

    /// The tables below `key` by their names, as in `[slack.ops]`.
    pub(super) fn named_tables(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let Value::Table(entries) = &node.value else {
            self.wrong_at(key, node, &format!("tables such as [{key}.name]"));
            return Vec::new();
        };
        let tables = entries
            .iter()
            .map(|(name, node)| (name.clone(), Section::new(node, &format!("[{key}.{name}]"), self.problems)));
        tables.collect()
    }

    /// The tables of an array such as `[[rule]]`; a single `[rule]` is taken for one.
    pub(super) fn tables(&self, key: &str, name: &str) -> Vec<Section<'a>> {
        match self.get(key) {
            None => Vec::new(),
            Some(Node { value: Value::Array(items), .. }) => {
                items.iter().map(|node| Section::new(node, name, self.problems)).collect()
            }
            Some(node) => vec![Section::new(node, name, self.problems)],
        }
    }

    /// The keys and nodes of a table whose keys are the writer's own, such as `parameters`.
    pub(super) fn entries(&self, key: &str) -> Vec<(&'a str, &'a Node)> {
        match self.get(key) {
            None => Vec::new(),
            Some(Node { value: Value::Table(entries), .. }) => {
                entries.iter().map(|(key, node)| (key.as_str(), node)).collect()
            }
            Some(node) => {
                self.wrong_at(key, node, "a table");
                Vec::new()
            }
        }
    }

    /// The tables within a table whose keys are the writer's own, such as `capture`.
    pub(super) fn inner_tables(&self, key: &str) -> Vec<(&'a str, Section<'a>)> {
        let table =
            |(name, node): (&'a str, &'a Node)| (name, Section::new(node, &format!("{key}.{name}"), self.problems));
        self.entries(key).into_iter().map(table).collect()
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Some(Node { value: Value::Table(entries), .. }) = self.node else { return };
        let known = self.known.borrow();
        for (key, node) in entries {
            if !known.contains(key) {
                let hint = nearest(key, known.iter().map(String::as_str));
                let hint = hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                let whose = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
                self.problems.borrow_mut().add(&node.place, format!("unknown key `{key}`{whose}{hint}"));
            }
        }
    }
}

/// A relative path in the settings is taken from where they are written.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}
