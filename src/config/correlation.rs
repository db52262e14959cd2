//! `threshold`, `group` and `absent` in a rule.
//!
//! Its promise: a rule has one of them at most; what is missing or out of bounds is said with its line.

use std::time::Duration;

use crate::rule::{Absent, Correlation, Group, OWN, Threshold, sample};
use crate::template::Formula;

use super::node::Value;
use super::section::Section;

/// What a window and a wait may be.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// The longest that a group may wait for one more.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// A group is closed at the latest after so many times its `wait`, where the settings say nothing.
const WAITS: u32 = 10;

/// How many a threshold can count to, and how many events actions can be shown.
const MOST: u64 = 1000;

/// How many they are shown where the settings say nothing.
const SHOWN: u64 = 50;

const KINDS: [&str; 3] = ["threshold", "group", "absent"];

/// How this rule looks at more than one event; `None` where it does not, or wrongly.
pub(super) fn read(section: &Section<'_>) -> Option<Correlation> {
    let written: Vec<_> = KINDS.into_iter().filter(|key| section.get(key).is_some()).collect();
    let kind = *written.first()?;
    if let [one, another, ..] = written.as_slice() {
        let text = format!("`{one}` and `{another}` are two ways to look at more than one event; make two rules of it");
        section.problem_at(another, text);
    }
    let is_own = |glob: &String| glob.starts_with(OWN);
    if section.strings("event_type").is_some_and(|globs| globs.iter().any(is_own)) {
        let text =
            format!("`event_type`: what cadfd itself tells is not counted; a rule with `{kind}` cannot be about it");
        section.problem_at("event_type", text);
    }
    let sample = match kind {
        "threshold" => "{ count = 5, within = \"1m\" }",
        _ => "{ wait = \"10s\" }",
    };
    if kind != "absent"
        && let Some(found) = section.get(kind).map(|node| &node.value).filter(|it| !matches!(it, Value::Table(_)))
    {
        section.problem_at(kind, format!("`{kind}`: expected a table such as {sample}, found {}", found.kind()));
        return None;
    }
    match kind {
        "threshold" => threshold(section.table(kind)),
        "group" => group(section.table(kind)),
        _ => Some(Correlation::Absent(Absent { after: section.duration(kind, SHORTEST..=LONGEST, LONGEST) })),
    }
}

fn threshold(section: Section<'_>) -> Option<Correlation> {
    let is_whole = are_there(&section, &["count", "within"]);
    let count = section.integer("count", 2..=MOST, 2);
    let within = section.duration("within", SHORTEST..=LONGEST, LONGEST);
    let quiet = section.duration("quiet", Duration::ZERO..=LONGEST, within);
    let (by, distinct) = (formula(&section, "by"), formula(&section, "distinct"));
    let max = shown(&section);
    section.finish();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    is_whole.then_some(Correlation::Threshold(Threshold { count, within, by, distinct, quiet, max }))
}

fn group(section: Section<'_>) -> Option<Correlation> {
    let is_whole = are_there(&section, &["wait"]);
    let wait = section.duration("wait", SHORTEST..=LONGEST_WAIT, LONGEST_WAIT);
    let longest = section.duration("longest", wait..=LONGEST, wait * WAITS);
    let by = formula(&section, "by");
    let max = shown(&section);
    section.finish();
    is_whole.then_some(Correlation::Group(Group { by, wait, longest, max }))
}

/// Whether all of these are written.
fn are_there(section: &Section<'_>, keys: &[&str]) -> bool {
    let mut all = true;
    for key in keys {
        if section.get(key).is_none() {
            section.problem(format!("`{key}` is missing in {}", section.name()));
            all = false;
        }
    }
    all
}

fn shown(section: &Section<'_>) -> usize {
    usize::try_from(section.integer("max", 1..=MOST, SHOWN)).unwrap_or(usize::MAX)
}

fn formula(section: &Section<'_>, key: &str) -> Option<Formula> {
    let source = section.text(key)?;
    match Formula::compile(&source) {
        Ok(formula) => {
            for mistake in formula.mistakes(sample::fields()) {
                section.problem_at(key, format!("`{key}`: {mistake}"));
            }
            Some(formula)
        }
        Err(error) => {
            section.problem_at(key, format!("`{key}`: {error}"));
            None
        }
    }
}
