//! What of an action is about those that follow it: `capture`, `then`, `when`.

use std::sync::Arc;

use crate::action::capture::{Absent, Capture, MOST, Place};
use crate::action::jenkins::Wait;
use crate::rule::{Correlation, DEEPEST, Extras, Rule, RuleTable, Step, Subject, Verdict, sample};
use crate::template::{Condition, Fields, nearest};

use super::node::Value;
use super::section::Section;

/// Where captured values stand in the view.
const CAPTURED: &str = "captured";

/// What an action may name, and how deep in a chain it is.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    conditions: Fields,
    actions: Fields,
    depth: usize,
}

impl Scope {
    /// Of a rule's own actions; `lookups` are the fields of the lists.
    pub(super) fn new(lookups: &[String], correlation: Option<&Correlation>) -> Self {
        let [mut conditions, mut actions] =
            [sample::fields_of_conditions(correlation), sample::fields_of_actions(correlation)];
        for fields in [&mut conditions, &mut actions] {
            fields.open.extend(lookups.iter().cloned());
        }
        Self { conditions, actions, depth: 0 }
    }

    /// The fields that templates may name.
    pub(super) fn of_actions(&self) -> &Fields {
        &self.actions
    }

    /// Adds a field below which anything may be.
    pub(super) fn open(&mut self, field: String) {
        self.conditions.open.insert(field.clone());
        self.actions.open.insert(field);
    }

    /// For what follows an action that captures these.
    fn below(&self, capture: &[Capture]) -> Self {
        let mut below = Self { depth: self.depth + 1, ..self.clone() };
        for fields in [&mut below.conditions, &mut below.actions] {
            fields.closed.extend(capture.iter().map(|capture| format!("{CAPTURED}.{}", capture.name)));
        }
        below
    }
}

/// The condition under `when`, which may name these fields.
pub(super) fn condition(section: &Section<'_>, fields: &Fields) -> Option<Condition> {
    let source = section.text("when")?;
    match Condition::compile(&source) {
        Ok(condition) => {
            for mistake in condition.mistakes(fields) {
                section.problem_at("when", format!("`when`: {mistake}"));
            }
            Some(condition)
        }
        Err(error) => {
            section.problem_at("when", format!("`when`: {error}"));
            None
        }
    }
}

/// Reads the condition of an action, and with `read` what follows it.
pub(super) fn finish<'a>(
    section: &Section<'a>,
    step: &mut Step,
    scope: &Scope,
    read: impl FnOnce(&Section<'a>, &Scope) -> Vec<Step>,
) {
    step.when = condition(section, &scope.conditions);
    if section.get("then").is_none() {
        return;
    }
    let below = scope.below(step.act.capture());
    if step.act.to() == "log" {
        section.problem_at("then", "`then`: nothing can follow a line; write it beside the line instead");
    } else if below.depth >= DEEPEST {
        section.problem_at("then", format!("`then`: a chain has {DEEPEST} steps at most"));
    } else {
        let then = section.table("then");
        step.then = read(&then, &below);
        if matches!(section.get("then").map(|node| &node.value), Some(Value::Table(written)) if written.is_empty()) {
            let text = format!("`then`: expected actions, such as [[{}.then.log]]", section.path());
            section.problem_at("then", text);
        }
        then.finish();
    }
}

/// The values that an HTTP call captures.
pub(super) fn of_http(section: &Section<'_>) -> Vec<Capture> {
    captures(section, &["json", "xml", "regex", "header"], |_| Ok(()))
}

/// The values that are captured of a build.
pub(super) fn of_jenkins(section: &Section<'_>, wait: Wait) -> Vec<Capture> {
    const KNOWN: [&str; 4] = ["/queue_item", "/build", "/url", "/result"];
    captures(section, &["json"], |place| match place {
        Place::Json(pointer) if pointer == "/result" && wait != Wait::Result => {
            Err("a build has a /result only with wait = \"result\"".to_owned())
        }
        Place::Json(pointer) if !KNOWN.contains(&pointer.as_str()) => {
            let hint = nearest(pointer, KNOWN.into_iter()).map(|near| format!("; did you mean {near:?}?"));
            Err(format!("a build has {}, not {pointer:?}{}", KNOWN.join(", "), hint.unwrap_or_default()))
        }
        _ => Ok(()),
    })
}

fn captures(section: &Section<'_>, kinds: &[&str], check: impl Fn(&Place) -> Result<(), String>) -> Vec<Capture> {
    let written = section.inner_tables("capture");
    if written.len() > MOST {
        section.problem_at("capture", format!("`capture`: {} values are too many; {MOST} at most", written.len()));
    }
    let read = |(name, inner): (&str, Section<'_>)| {
        let capture = capture(name, &inner, kinds, &check);
        inner.finish();
        capture
    };
    written.into_iter().filter_map(read).collect()
}

fn capture(
    name: &str,
    inner: &Section<'_>,
    kinds: &[&str],
    check: impl Fn(&Place) -> Result<(), String>,
) -> Option<Capture> {
    let is_name = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        && !name.starts_with(|char: char| char.is_ascii_digit());
    if !is_name || name.is_empty() {
        inner.problem(format!("`capture`: {name:?} cannot be a field's name; expected letters, digits and _"));
    }
    let optional = inner.boolean("optional", false);
    let default = inner.text("default");
    if optional && default.is_some() {
        inner.problem_at(
            "optional",
            format!("`capture`: {name}: with a default it is never missing; leave out optional"),
        );
    }
    let absent = match default {
        Some(default) => Absent::Default(default),
        None if optional => Absent::Null,
        None => Absent::Fails,
    };
    let written: Vec<_> = kinds.iter().filter(|kind| inner.get(kind).is_some()).collect();
    let [kind] = written.as_slice() else {
        let one = if kinds.len() > 1 { "one of " } else { "" };
        let found = written.len();
        inner.problem(format!("`capture`: {name}: expected {one}{}, found {found} of them", kinds.join(", ")));
        return None;
    };
    let at = inner.text(kind)?;
    let from = match **kind {
        "json" => Place::Json(at),
        "xml" => Place::Xml(at),
        "regex" => Place::Regex(at),
        _ => Place::Header(at),
    };
    if let Err(error) = from.check().and_then(|()| check(&from)) {
        inner.problem_at(kind, format!("`capture`: {name}: {error}"));
    }
    Some(Capture { name: name.to_owned(), from, absent })
}

/// Tries rules on the sample events, those that follow others with made-up values; `say` is given what fails: the rule's
/// name, the event's type, what of the rule, and why.
pub(super) fn try_on_samples(table: &RuleTable, mut say: impl FnMut(&str, &str, &str, &str)) {
    for event in sample::typical() {
        let subject = table.subject(event);
        for (rule, verdict) in table.verdicts(&subject) {
            let mut say = |what: &str, error: &str| say(&rule.name, &event.event_type, what, error);
            match verdict {
                Verdict::Failed(error) => say("`when`", &error),
                Verdict::Matches => try_rule(table, rule, &subject, &mut say),
                _ => {}
            }
        }
    }
}

fn try_rule(table: &RuleTable, rule: &Rule, subject: &Subject<'_>, say: &mut dyn FnMut(&str, &str)) {
    let (event, extras) = match &rule.correlation {
        Some(correlation) => {
            if let Err(error) = correlation.count(&rule.name, subject) {
                say(correlation.word(), &error.to_string());
            }
            correlation.as_if_fired(&rule.name, subject)
        }
        None => (Arc::clone(subject.shared()), Extras::new()),
    };
    let lookups: Vec<_> = table.lookups().fields().collect();
    let mut known = Scope::new(&lookups, rule.correlation.as_ref()).actions;
    known.open.insert(CAPTURED.to_owned());
    let trial = Trial { rule: &rule.name, subject: &|extras| table.subject_with(&event, extras), known: &known };
    trial.steps(&rule.actions, &extras, say);
}

/// One rule on one event.
struct Trial<'t, 'e> {
    rule: &'t str,
    subject: &'t dyn Fn(Extras) -> Subject<'e>,
    /// All that is known before anything is looked up.
    known: &'t Fields,
}

impl Trial<'_, '_> {
    fn steps(&self, steps: &[Step], extras: &Extras, say: &mut dyn FnMut(&str, &str)) {
        let seen = (self.subject)(extras.clone());
        for step in steps {
            let to = step.act.to();
            match step.when.as_ref().map(|when| when.is_true(seen.view())) {
                Some(Ok(false)) => continue,
                Some(Err(_)) if self.knows_the_unknown(step) => continue,
                Some(Err(error)) => {
                    say(&format!("{to}: `when`"), &error.to_string());
                    continue;
                }
                None | Some(Ok(true)) => {}
            }
            if let Err(error) = step.act.attempt(&seen, self.rule)
                && !self.knows_the_unknown(step)
            {
                say(to, &error.to_string());
            }
            // A number as a text is what most templates can do something with.
            let below = step.made_up(extras, |capture| match &capture.absent {
                Absent::Default(default) => default.clone().into(),
                _ => "1".into(),
            });
            self.steps(&step.then, &below, say);
        }
    }

    /// Whether an action uses what was looked up, whose shape nobody knows before: that it fails with a made-up value says
    /// nothing. Its names were looked at; those that only a lookup has are the ones that are left.
    fn knows_the_unknown(&self, step: &Step) -> bool {
        let names_other = step.when.as_ref().is_some_and(|when| !when.mistakes(self.known).is_empty());
        names_other || !step.act.mistakes(self.known).is_empty()
    }
}
