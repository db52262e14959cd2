//! What the tests in rule files expect, held against what the rules make of an event.
//!
//! Its promise: pure; what is expected and not so is said with what came instead; what a test does not name is not looked
//! at, but for rules of its own file that match without being named.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::steps::add;
use super::{Act, Extras, Rule, RuleTable, Step, Subject, Verdict};
use crate::event::Event;
use crate::text::one_line;

/// The delivery's id in what a test sees of a request.
const DELIVERY: &str = "0123456789abcdef0123456789abcdef";

/// Characters of a value that are said of it.
const SAID: usize = 300;

/// What a test expects.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The rules of the file that the test is in. Those of others are in force too, but not expected or looked at.
    pub file: Arc<[String]>,
    /// Those that match, exactly; `None` where the test does not say.
    pub matches: Option<Vec<String>>,
    /// Some of what they do.
    pub actions: Vec<ExpectedAction>,
    /// What actions that follow others are given, in place of what would be made up: `fetched`, `captured`.
    pub given: Extras,
}

/// An action that a test expects.
#[derive(Clone, Debug)]
pub struct ExpectedAction {
    /// Its rule.
    pub rule: String,
    /// Where it goes: `log`, `slack.ops`.
    pub to: String,
    /// The line, where it is a log line.
    pub line: Option<String>,
    /// Parts of its request, as `cadfd explain` shows it.
    pub request: Option<Value>,
}

impl Expectation {
    /// What is otherwise when these rules meet this event. A rule that is switched off is tried as if it were on when it is
    /// named here.
    #[must_use]
    pub fn mistakes(&self, table: &RuleTable, event: &Arc<Event>) -> Vec<String> {
        let subject = table.subject(event);
        let verdicts = table.verdicts_with(&subject, |rule| self.names(&rule.name));
        let mut found = Vec::new();
        for (rule, verdict) in verdicts.iter().filter(|(rule, _)| self.file.contains(&rule.name)) {
            let is_expected = self.matches.as_ref().map(|names| names.contains(&rule.name));
            match (is_expected, rule.why_not(verdict)) {
                (Some(true), Some(why)) => {
                    found.push(format!("the rule {:?} does not match: {why}{}", rule.name, what_is(event, verdict)));
                }
                (Some(false), None) => {
                    found.push(format!("the rule {:?} matches too; name it in `matches`, or narrow it", rule.name));
                }
                _ => {}
            }
        }
        for action in &self.actions {
            let tried = verdicts.iter().find(|(rule, _)| rule.name == action.rule);
            let Some((rule, verdict)) = tried else {
                found.push(format!("there is no rule {:?}", action.rule));
                continue;
            };
            let is_said = self.matches.as_ref().is_some_and(|names| names.contains(&rule.name));
            match rule.why_not(verdict) {
                None => found.extend(action.mistakes(&Doing::of(table, rule, &subject, &self.given))),
                Some(_) if is_said => {}
                Some(why) => {
                    found.push(format!("the rule {:?} does not match: {why}{}", rule.name, what_is(event, verdict)));
                }
            }
        }
        found
    }

    /// Whether it expects anything of the rule of this name.
    #[must_use]
    pub fn names(&self, rule: &str) -> bool {
        self.matches.iter().flatten().any(|name| name == rule) || self.actions.iter().any(|action| action.rule == rule)
    }
}

/// What the event has there, where that tells more.
fn what_is(event: &Event, verdict: &Verdict) -> String {
    match verdict {
        Verdict::EventType => format!(" {}", one_line(&event.event_type)),
        Verdict::Outcome => format!(" but {}", event.outcome),
        _ => String::new(),
    }
}

/// A rule at work on an event.
struct Doing<'a> {
    table: &'a RuleTable,
    rule: &'a Rule,
    /// What its actions see: the event itself, or one that stands for several.
    event: Arc<Event>,
    /// Its actions, those that follow others as well, with what they see beside the event.
    steps: Vec<(&'a Step, Extras)>,
}

impl<'a> Doing<'a> {
    fn of(table: &'a RuleTable, rule: &'a Rule, subject: &Subject<'_>, given: &Extras) -> Self {
        // One that looks at more than one event is tried as if this one had fulfilled it.
        let (event, extras) = match &rule.correlation {
            Some(correlation) => correlation.as_if_fired(&rule.name, subject),
            None => (Arc::clone(subject.shared()), Extras::new()),
        };
        let mut doing = Self { table, rule, event, steps: Vec::new() };
        doing.gather(&rule.actions, &extras, given);
        doing
    }

    fn gather(&mut self, steps: &'a [Step], extras: &Extras, given: &Extras) {
        for step in steps {
            let mut below = step.made_up(extras, |capture| format!("<{}>", capture.name).into());
            if !step.then.is_empty() {
                add(&mut below, given);
            }
            self.steps.push((step, extras.clone()));
            self.gather(&step.then, &below, given);
        }
    }
}

impl ExpectedAction {
    /// What is otherwise in the rule's action to this destination; of several, in the one that comes first, unless another
    /// is as expected.
    fn mistakes(&self, doing: &Doing<'_>) -> Vec<String> {
        let rule = doing.rule;
        let own = doing.steps.iter().filter(|(step, _)| step.act.to() == self.to);
        let compared: Vec<_> = own
            .map(|(step, extras)| {
                let subject = doing.table.subject_with(&doing.event, extras.clone());
                self.compare(step, &rule.name, &subject)
            })
            .collect();
        if compared.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let Some(first) = compared.into_iter().next() else {
            let known: Vec<_> = doing.steps.iter().map(|(step, _)| step.act.to()).collect();
            let text = format!("the rule {:?} has no action to {:?}, only to {}", rule.name, self.to, known.join(", "));
            return vec![text];
        };
        first.into_iter().map(|text| format!("{} of {:?}: {text}", self.to, rule.name)).collect()
    }

    fn compare(&self, Step { act, when, .. }: &Step, rule: &str, subject: &Subject<'_>) -> Vec<String> {
        let mut found = Vec::new();
        match when.as_ref().map(|when| (when.source(), when.is_true(subject.view()))) {
            None | Some((_, Ok(true))) => {}
            Some((source, Ok(false))) => return vec![format!("is not done: `{source}` is not true")],
            Some((_, Err(error))) => return vec![format!("is not done: `when` cannot be evaluated: {error}")],
        }
        if let Act::Log(log) = act {
            match (log.line(subject, false), &self.line) {
                (Ok(line), Some(wanted)) if line != *wanted => {
                    found.push(otherwise("line", &Value::from(wanted.as_str()), Some(&Value::from(line))));
                }
                (Ok(_), _) => {}
                (Err(error), _) => found.push(format!("cannot be rendered: {error}")),
            }
            return found;
        }
        match act.request(subject, rule, DELIVERY).map(|request| serde_json::to_value(&request)) {
            Ok(Ok(Value::Object(request))) => {
                // `{"slack": {…}}`: the destination has said its kind already.
                let request = request.into_iter().next().map(|(_, request)| request).unwrap_or_default();
                if let Some(wanted) = &self.request {
                    hold(wanted, &request, "request", &mut found);
                }
            }
            Ok(_) => found.push("cannot be shown as JSON".to_owned()),
            Err(error) => found.push(format!("cannot be rendered: {error}")),
        }
        found
    }
}

/// Holds what is expected against what came: of an object the members that are named, anything else whole. A list of
/// names and values, such as Jenkins' parameters, may be written as an object.
fn hold(wanted: &Value, came: &Value, path: &str, found: &mut Vec<String>) {
    match (wanted, came) {
        (Value::Object(wanted), Value::Object(came)) => members(wanted, came, path, found),
        (Value::Object(wanted), Value::Array(came)) if let Some(came) = pairs(came) => {
            members(wanted, &came, path, found);
        }
        (Value::Array(wanted), Value::Array(came)) if wanted.len() == came.len() => {
            let both = wanted.iter().zip(came).enumerate();
            both.for_each(|(at, (wanted, came))| hold(wanted, came, &format!("{path}[{at}]"), found));
        }
        (Value::Number(wanted), Value::Number(came)) if wanted.as_f64() == came.as_f64() => {}
        (wanted, came) if wanted == came => {}
        (wanted, came) => found.push(otherwise(path, wanted, Some(came))),
    }
}

fn members(wanted: &Map<String, Value>, came: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    for (key, wanted) in wanted {
        let path = format!("{path}.{key}");
        match came.get(key) {
            Some(came) => hold(wanted, came, &path, found),
            None => found.push(otherwise(&path, wanted, None)),
        }
    }
}

/// `[["NAME", "value"], …]` as an object.
fn pairs(items: &[Value]) -> Option<Map<String, Value>> {
    let pair = |item: &Value| match item.as_array()?.as_slice() {
        [Value::String(name), value] => Some((name.clone(), value.clone())),
        _ => None,
    };
    items.iter().map(pair).collect()
}

fn otherwise(path: &str, wanted: &Value, came: Option<&Value>) -> String {
    let came = came.map_or_else(|| "nothing".to_owned(), shown);
    format!("{path}: expected {}, found {came}", shown(wanted))
}

/// A value for a terminal.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("\"{}\"", one_line(text)),
        value => one_line(&value.to_string()).into_owned(),
    };
    text.chars().take(SAID).collect()
}
