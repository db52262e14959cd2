//! What is not as expected, in lines for a person to read.
//!
//! Its promise: each line names the event and the field, and is short however long a name is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::telling::Fields;

/// Characters of a line that says what is not as expected.
const SHOWN: usize = 800;

/// Which fields are not as expected, event by event.
pub(crate) fn difference(came: &[Fields], expected: &[Fields]) -> Vec<String> {
    let mut lines = Vec::new();
    for at in 0..came.len().max(expected.len()) {
        match (came.get(at), expected.get(at)) {
            (Some(came), Some(expected)) => lines.extend(differing(at, came, expected)),
            (Some(came), None) => lines.push(format!("event {at} was not expected: {}", json!(came))),
            (None, Some(expected)) => lines.push(format!("event {at} is missing: {}", json!(expected))),
            (None, None) => {}
        }
    }
    lines
}

/// The same for one event that came and was expected.
fn differing(at: usize, came: &Fields, expected: &Fields) -> Vec<String> {
    let keys: BTreeSet<_> = came.keys().chain(expected.keys()).collect();
    let pairs = keys.into_iter().map(|key| (key, came.get(key), expected.get(key)));
    let shown = |value: Option<&Value>| value.map_or("null".to_owned(), ToString::to_string);
    pairs
        .filter(|(_, came, expected)| came != expected)
        .map(|(key, is, should)| {
            format!("event {at} ({}): {key} is {}, expected {}", came["event_type"], shown(is), shown(should))
        })
        .collect()
}

/// The same for what was done at the destinations, both in the order of the words.
pub(crate) fn other_actions(done: &[String], expected: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    if done != expected {
        let unexpected = done.iter().filter(|action| !expected.contains(action));
        lines.extend(unexpected.map(|action| format!("was done, and should not: {action}")));
        let missing = expected.iter().filter(|action| !done.contains(action));
        lines.extend(missing.map(|action| format!("was not done: {action}")));
        lines.push(format!("{} actions, expected {}", done.len(), expected.len()));
    }
    lines
}

/// For a person to read: a name may be long.
pub(crate) fn cut(line: &str) -> String {
    let mut kept: String = line.chars().take(SHOWN).collect();
    if kept.len() < line.len() {
        kept.push('…');
    }
    kept
}
