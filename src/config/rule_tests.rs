//! `[[test]]` in rule files: an event, the rules it must match, what they must do.
//!
//! Its promise: how a test is written is checked like any setting; what it finds is only for `cadfd check` to say, and
//! keeps no daemon from starting.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::event::{Event, decode, messages_in, of_record, rewritten};
use crate::rule::{Expectation, ExpectedAction, RuleTable, sample};
use crate::template::nearest;

use super::node::{Node, Place, Problems, Value};
use super::section::{Section, beside};

/// The largest file of a captured message, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What a test may say that stands beside the event for actions that follow others.
const GIVEN: [&str; 2] = ["fetched", "captured"];

/// A test that stands in a rule file.
#[derive(Clone, Debug)]
pub struct RuleTest {
    name: String,
    place: Place,
    base: Base,
    /// What is written of the event, over where it is from.
    fields: Map<String, Json>,
    expected: Expectation,
}

/// What a test's event is before anything is written of it.
#[derive(Clone, Debug)]
enum Base {
    Nothing,
    /// A captured message.
    File(PathBuf),
    /// One of cadfd's own samples.
    Sample(Arc<Event>),
}

/// The tests of a file whose rules have these names.
pub(super) fn read(root: &Section<'_>, path: &Path, rules: Vec<String>) -> Vec<RuleTest> {
    let rules: Arc<[String]> = rules.into();
    let tables = root.tables("test", "[[test]]");
    tables.into_iter().filter_map(|section| Reader { section, path, rules: &rules }.test()).collect()
}

/// What the tests find when the rules are these; each mistake at the line of its test.
pub(super) fn run(tests: &[RuleTest], table: &RuleTable) -> Problems {
    let mut problems = Problems::default();
    for test in tests {
        let found = test.event().map(|event| test.expected.mistakes(table, &event));
        for text in found.unwrap_or_else(|wrong| wrong) {
            problems.add(&test.place, format!("test {:?}: {text}", test.name));
        }
    }
    problems
}

impl RuleTest {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it expects anything of the rule of this name.
    #[must_use]
    pub fn names(&self, rule: &str) -> bool {
        self.expected.names(rule)
    }

    /// Whether it expects any rule to match.
    #[must_use]
    pub fn expects_a_match(&self) -> bool {
        self.expected.matches.iter().flatten().next().is_some() || !self.expected.actions.is_empty()
    }

    fn event(&self) -> Result<Arc<Event>, Vec<String>> {
        let below = match &self.base {
            Base::Nothing => None,
            Base::Sample(event) => Some(Event::clone(event)),
            Base::File(path) => Some(captured(path).map_err(|text| vec![format!("{}: {text}", path.display())])?),
        };
        rewritten(below, &self.fields).map(Arc::new)
    }
}

/// The one message of a file, or the event of a trail's one line.
fn captured(path: &Path) -> Result<Event, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("has more than {} MiB; a test takes one message", MAX_FILE >> 20));
    }
    match messages_in(&text).as_slice() {
        [(_, body)] => {
            let event = of_record(body).unwrap_or_else(|| decode(body));
            event.map_err(|error| format!("cannot be decoded: {error}"))
        }
        messages => Err(format!("has {} messages; a test takes one: put it into a file of its own", messages.len())),
    }
}

struct Reader<'a> {
    section: Section<'a>,
    path: &'a Path,
    rules: &'a Arc<[String]>,
}

impl Reader<'_> {
    fn test(self) -> Option<RuleTest> {
        let section = &self.section;
        let name = section.required("name");
        let event = self.event();
        let matches = section.strings("matches");
        for rule in matches.iter().flatten() {
            self.known(section, "matches", rule);
        }
        let actions: Vec<_> =
            section.tables("actions", "`actions` of a test").into_iter().filter_map(|it| self.action(it)).collect();
        if matches.is_none() && section.get("actions").is_none() {
            section
                .problem("this test expects nothing: write `matches`, the rules that match, [] for none, or `actions`");
        }
        let given = GIVEN.iter().filter_map(|key| Some(((*key).to_owned(), self.given(key)?))).collect();
        let expected = Expectation { file: Arc::clone(self.rules), matches, actions, given };
        let place = section.place().clone();
        self.section.finish();
        let (base, fields) = event?;
        Some(RuleTest { name: name?, place, base, fields, expected })
    }

    /// Says so where the file has no rule of this name.
    fn known(&self, section: &Section<'_>, key: &str, rule: &str) {
        if !self.rules.iter().any(|known| known == rule) {
            let hint = nearest(rule, self.rules.iter().map(String::as_str));
            let hint = hint.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            section.problem_at(key, format!("`{key}`: there is no rule {rule:?} in this file{hint}"));
        }
    }

    fn event(&self) -> Option<(Base, Map<String, Json>)> {
        let section = &self.section;
        let Some(node) = section.get("event") else {
            section.problem("`event` is missing in [[test]]");
            return None;
        };
        let fields = match json(node) {
            Ok(Json::Object(fields)) => fields,
            Ok(_) => {
                section.problem_at("event", format!("`event`: expected a table, found {}", node.value.kind()));
                return None;
            }
            Err(kind) => {
                section.problem_at("event", format!("`event`: no event has {kind}; write it as a string"));
                return None;
            }
        };
        self.of(fields)
    }

    /// What is written of the event, and what it lies over.
    fn of(&self, mut fields: Map<String, Json>) -> Option<(Base, Map<String, Json>)> {
        let wrong = |text: String| self.section.problem_at("event", format!("`event`: {text}"));
        let base = self.base(&mut fields).map_err(wrong).ok()?;
        let mut unknown = Vec::new();
        fields.iter().for_each(|(key, value)| unknown_fields(key, value, &mut unknown));
        for path in &unknown {
            let hint = sample::fields().nearest(path).map(|near| format!("; did you mean `{near}`?"));
            wrong(format!("an event has no field `{path}`{}", hint.unwrap_or_default()));
        }
        // What is in a file is looked at when the tests run; the rest is known here.
        let below = match &base {
            Base::Nothing => Some(None),
            Base::Sample(event) => Some(Some(Event::clone(event))),
            Base::File(_) => None,
        };
        if let Some(below) = below.filter(|_| unknown.is_empty()) {
            rewritten(below, &fields).err().into_iter().flatten().for_each(wrong);
        }
        Some((base, fields))
    }

    /// What actions that follow others are given.
    fn given(&self, key: &str) -> Option<Json> {
        let node = self.section.get(key)?;
        match json(node) {
            Ok(fields @ Json::Object(_)) => return Some(fields),
            Ok(_) => self.section.problem_at(key, format!("`{key}`: expected a table, found {}", node.value.kind())),
            Err(kind) => self.section.problem_at(key, format!("`{key}`: JSON has no {kind}; write it as a string")),
        }
        None
    }

    fn base(&self, fields: &mut Map<String, Json>) -> Result<Base, String> {
        match (fields.remove("file"), fields.remove("sample")) {
            (None, None) => Ok(Base::Nothing),
            // A path that is not from the root is beside the rule file.
            (Some(Json::String(file)), None) => Ok(Base::File(beside(self.path, &file))),
            (None, Some(Json::String(event_type))) => sample_of(&event_type, fields.get("outcome")).map(Base::Sample),
            (Some(_), Some(_)) => Err("`file` and `sample` are two events; one of them must go".to_owned()),
            _ => Err("`file` and `sample`: expected a string".to_owned()),
        }
    }

    fn action(&self, section: Section<'_>) -> Option<ExpectedAction> {
        let (rule, to) = (section.required("rule"), section.required("to"));
        if let Some(rule) = &rule {
            self.known(&section, "rule", rule);
        }
        let line = section.text("line");
        let request = section.get("request").map(json);
        if let Some(Err(kind)) = &request {
            section.problem_at("request", format!("`request`: JSON has no {kind}; write it as a string"));
        }
        match to.as_deref() {
            Some("log") if section.get("request").is_some() => {
                section.problem_at("request", "`request`: a log line is none; write `line`");
            }
            Some(to) if to != "log" && line.is_some() => {
                section.problem_at("line", format!("`line` is for log lines; write `request` for {to:?}"));
            }
            _ => {}
        }
        section.finish();
        Some(ExpectedAction { rule: rule?, to: to?, line, request: request.and_then(Result::ok) })
    }
}

/// A sample of this type, and of this outcome where there is one.
fn sample_of(event_type: &str, outcome: Option<&Json>) -> Result<Arc<Event>, String> {
    let of_type = || sample::typical().chain(sample::events()).filter(|event| event.event_type == event_type);
    let is_so = |event: &&Arc<Event>| outcome.is_some_and(|outcome| outcome == event.outcome.as_str());
    of_type().find(is_so).or_else(|| of_type().next()).map(Arc::clone).ok_or_else(|| {
        let hint = nearest(event_type, sample::events().iter().map(|event| event.event_type.as_str()));
        let hint = hint.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        format!("there is no sample of {event_type:?}{hint}")
    })
}

/// The fields that no event has.
fn unknown_fields(path: &str, value: &Json, found: &mut Vec<String>) {
    let is_open = sample::fields().open.contains(path);
    match value {
        Json::Object(members) if !is_open && !members.is_empty() => {
            members.iter().for_each(|(key, value)| unknown_fields(&format!("{path}.{key}"), value, found));
        }
        _ if sample::fields().has(path) => {}
        _ => found.push(path.to_owned()),
    }
}

/// What is written, as JSON; the error is the kind of what JSON does not have.
fn json(node: &Node) -> Result<Json, &'static str> {
    Ok(match &node.value {
        Value::Table(entries) => {
            let entries = entries.iter().map(|(key, node)| Ok((key.clone(), json(node)?)));
            Json::Object(entries.collect::<Result<_, &'static str>>()?)
        }
        Value::Array(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::String(text) => Json::String(text.clone()),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(yes) => (*yes).into(),
        Value::Other(kind) => return Err(kind),
    })
}
