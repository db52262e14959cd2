//! Settings as a tree whose every part knows where it was written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of a file.
    Line(Arc<Path>, usize),
    /// A whole file.
    File(Arc<Path>),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A mistake: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what was expected.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// All mistakes that were found. Never empty where it is returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, place: &Place, text: impl Into<String>) {
        self.0.push(Problem { place: place.clone(), text: text.into() });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Problems {}

/// A part of the settings.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What is written there.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(Vec<(String, Node)>),
    Array(Vec<Node>),
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// TOML's dates; no setting is one.
    Other(&'static str),
}

impl Value {
    /// For "expected …, found …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "an array",
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Other(kind) => kind,
        }
    }
}

impl Node {
    /// Reads TOML. `None` where it does not parse: then `problems` says where.
    pub(super) fn parse(path: &Path, text: &str, problems: &mut Problems) -> Option<Self> {
        let path: Arc<Path> = path.into();
        match DeTable::parse(text) {
            Ok(table) => Some(Self::of_table(&Lines { path: &path, text }, 0, table.get_ref())),
            Err(error) => {
                let line = line_of(text, error.span().map_or(0, |span| span.start));
                let message = error.message().trim_end().replace('\n', "; ");
                problems.add(&Place::Line(path, line), format!("not TOML: {message}"));
                None
            }
        }
    }

    fn of_table(lines: &Lines<'_>, at: usize, table: &DeTable<'_>) -> Self {
        let entries = table.iter().map(|(key, value)| {
            let node = Self::of_value(lines, key.span().start, value.get_ref());
            (key.get_ref().to_string(), node)
        });
        Self { place: lines.place(at), value: Value::Table(entries.collect()) }
    }

    fn of_value(lines: &Lines<'_>, at: usize, value: &DeValue<'_>) -> Self {
        let value = match value {
            DeValue::Table(table) => return Self::of_table(lines, at, table),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| Self::of_value(lines, item.span().start, item.get_ref()));
                Value::Array(items.collect())
            }
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("an integer out of range"), Value::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or(Value::Other("a float out of range"), Value::Float)
            }
            DeValue::Boolean(yes) => Value::Boolean(*yes),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Self { place: lines.place(at), value }
    }

    /// The part below `key`, if this is a table that has one.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Table(entries) = &self.value else { return None };
        entries.iter().find(|(known, _)| known == key).map(|(_, node)| node)
    }

    /// What the `config` crate made of the layers, with each part's place: the variable it came from, or its line in
    /// `file`, which is the same file parsed for its lines.
    pub(super) fn of_layers(layers: config::Value, file: Option<&Self>, variable: &str, fallback: &Place) -> Self {
        let place = match (layers.origin(), file) {
            (Some(_), _) => Place::Variable(variable.to_owned()),
            (None, Some(node)) => node.place.clone(),
            (None, None) => fallback.clone(),
        };
        let value = match layers.kind {
            config::ValueKind::Table(table) => {
                let mut entries: Vec<_> = table
                    .into_iter()
                    .map(|(key, value)| {
                        let separator = if variable.ends_with('_') { "" } else { "__" };
                        let variable = format!("{variable}{separator}{}", key.to_uppercase());
                        let node = Self::of_layers(value, file.and_then(|file| file.get(&key)), &variable, &place);
                        (key, node)
                    })
                    .collect();
                // The crate's map has no order; the file's is the one a reader expects.
                entries.sort_by(|a, b| a.1.place.cmp(&b.1.place));
                Value::Table(entries)
            }
            config::ValueKind::Array(items) => {
                let known = |at: usize| match file.map(|file| &file.value) {
                    Some(Value::Array(nodes)) => nodes.get(at),
                    _ => None,
                };
                let items = items.into_iter().enumerate();
                Value::Array(items.map(|(at, item)| Self::of_layers(item, known(at), variable, &place)).collect())
            }
            config::ValueKind::String(text) => Value::String(text),
            config::ValueKind::Boolean(yes) => Value::Boolean(yes),
            config::ValueKind::I64(number) => Value::Integer(number),
            config::ValueKind::Float(number) => Value::Float(number),
            config::ValueKind::Nil => Value::Other("nothing"),
            _ => Value::Other("an integer out of range"),
        };
        Self { place, value }
    }
}

struct Lines<'a> {
    path: &'a Arc<Path>,
    text: &'a str,
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> Place {
        Place::Line(Arc::clone(self.path), line_of(self.text, offset))
    }
}

/// The line of a byte of a text, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Reads a file of settings or rules.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            problems.add(&Place::File(PathBuf::from(path).into()), format!("cannot be read: {error}"));
            None
        }
    }
}
