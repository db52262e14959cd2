//! What of an answer is wanted: a JSON pointer (RFC 6901) in which `*` stands for every element of a list.
//!
//! Its promise: pure; what a rule points at and is not there is said, never taken for nothing.

use serde_json::Value;

/// So many names are told of what is there instead.
const NAMED: usize = 20;

/// A pointer that does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// `ports`.
    #[error("expected a JSON pointer, which begins with /, such as \"/ports\" or \"/ports/*/id\"")]
    NoSlash,
    /// `/a~2`.
    #[error("a ~ in a JSON pointer is written ~0, a / within a name ~1")]
    Escape,
}

/// A pointer, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Each,
    Name(String),
}

impl Select {
    /// Parses it.
    ///
    /// # Errors
    /// When it is no pointer.
    pub fn new(text: &str) -> Result<Self, SelectError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(SelectError::NoSlash) };
        rest.split('/').map(step).collect::<Result<_, _>>().map(Self)
    }

    /// The names down to the first list it goes through, or to what it points at.
    pub(super) fn list(&self) -> Option<Vec<String>> {
        let names = self.0.iter().map_while(|step| match step {
            Step::Name(name) => Some(name.clone()),
            Step::Each => None,
        });
        Some(names.collect()).filter(|names: &Vec<_>| !names.is_empty())
    }

    /// What it points at; with a `*`, a list of all of it, in which those elements are missing that do not have it.
    ///
    /// # Errors
    /// Says what is there instead. Not safe to show: names in it are the answer's.
    pub(super) fn of(&self, answer: Value) -> Result<Value, String> {
        let Some(first) = self.0.iter().position(|step| *step == Step::Each) else {
            return walk(answer, &self.0, 0);
        };
        let list = walk(answer, &self.0[..first], 0)?;
        let Value::Array(items) = list else {
            return Err(format!("the answer has no list at {}, but {}", shown(&self.0[..first]), kind(&list)));
        };
        let mut found = Vec::new();
        for item in items {
            gather(item, &self.0[first + 1..], &mut found);
        }
        Ok(Value::Array(found))
    }
}

fn step(text: &str) -> Result<Step, SelectError> {
    if text == "*" {
        return Ok(Step::Each);
    }
    let mut name = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        name.push(match (char, char == '~') {
            (char, false) => char,
            _ => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(SelectError::Escape),
            },
        });
    }
    Ok(Step::Name(name))
}

fn child(value: Value, name: &str) -> Result<Value, Value> {
    match value {
        Value::Object(mut fields) => match fields.remove(name) {
            Some(found) => Ok(found),
            None => Err(Value::Object(fields)),
        },
        Value::Array(mut items) => match name.parse::<usize>().ok().filter(|at| *at < items.len()) {
            Some(at) => Ok(items.swap_remove(at)),
            None => Err(Value::Array(items)),
        },
        other => Err(other),
    }
}

fn walk(value: Value, steps: &[Step], at: usize) -> Result<Value, String> {
    let Some(Step::Name(name)) = steps.get(at) else { return Ok(value) };
    match child(value, name) {
        Ok(found) => walk(found, steps, at + 1),
        Err(instead) => {
            let there = match &instead {
                Value::Object(fields) if !fields.is_empty() => {
                    let names: Vec<_> = fields.keys().take(NAMED).map(String::as_str).collect();
                    format!("there are {}", names.join(", "))
                }
                other => format!("there is {}", kind(other)),
            };
            Err(format!("the answer has nothing at {}; {there}", shown(&steps[..=at])))
        }
    }
}

fn gather(value: Value, steps: &[Step], found: &mut Vec<Value>) {
    match steps.split_first() {
        None => found.push(value),
        Some((Step::Name(name), rest)) => {
            if let Ok(value) = child(value, name) {
                gather(value, rest, found);
            }
        }
        Some((Step::Each, rest)) => {
            if let Value::Array(items) = value {
                for item in items {
                    gather(item, rest, found);
                }
            }
        }
    }
}

fn shown(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "its top".to_owned();
    }
    steps.iter().fold(String::new(), |text, step| match step {
        Step::Each => text + "/*",
        Step::Name(name) => text + "/" + name,
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(select: &str) -> Result<Value, String> {
        let answer = json!({"ports": [
            {"id": "p1", "fixed_ips": [{"ip_address": "192.0.2.1"}, {"ip_address": "2001:db8::1"}], "a/b": 1},
            {"id": "p2", "fixed_ips": []},
            {"id": "p3", "fixed_ips": [{"ip_address": "192.0.2.3"}, {"subnet_id": "s"}]},
        ], "a~": {"": 3}, "none": null});
        Select::new(select).unwrap().of(answer)
    }

    #[test]
    fn a_pointer_finds_what_it_points_at() {
        assert_eq!(of("/ports/1/id"), Ok(json!("p2")));
        assert_eq!(of("/ports/0/a~1b"), Ok(json!(1)));
        assert_eq!(of("/a~0/"), Ok(json!(3)));
        assert_eq!(of("/none"), Ok(Value::Null));
        assert_eq!(of("/ports/*/id"), Ok(json!(["p1", "p2", "p3"])));
        let addresses = json!(["192.0.2.1", "2001:db8::1", "192.0.2.3"]);
        assert_eq!(of("/ports/*/fixed_ips/*/ip_address"), Ok(addresses));
        assert_eq!(of("/ports/*/a~1b"), Ok(json!([1])));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        assert_eq!(of("/prots"), Err("the answer has nothing at /prots; there are ports, a~, none".into()));
        assert_eq!(of("/ports/3/id"), Err("the answer has nothing at /ports/3; there is a list".into()));
        assert_eq!(of("/none/x"), Err("the answer has nothing at /none/x; there is null".into()));
        assert_eq!(of("/none/*"), Err("the answer has no list at /none, but null".into()));
        assert_eq!(of("/*"), Err("the answer has no list at its top, but an object".into()));
        assert_eq!(Select::new("ports"), Err(SelectError::NoSlash));
        assert_eq!(Select::new("/a~2"), Err(SelectError::Escape));
        assert_eq!(Select::new("/a~"), Err(SelectError::Escape));
    }

    #[test]
    fn the_list_that_pages_are_of_is_the_first() {
        let list = |text: &str| Select::new(text).unwrap().list().unwrap_or_default().join(" ");
        assert_eq!(list("/ports"), "ports");
        assert_eq!(list("/ports/*/id"), "ports");
        assert_eq!(list("/a/b/*/c/*"), "a b");
        assert_eq!(list("/*/c"), "");
    }

    proptest! {
        /// As the library that knows RFC 6901 finds it.
        #[test]
        fn without_a_star_it_is_a_json_pointer(path in "(/(ports|[0-3]|id|fixed_ips|ip_address|a~1b|a~0|)){1,5}") {
            let answer = json!({"ports": [{"id": "p1", "fixed_ips": [{"ip_address": "x"}], "a/b": {"a~": {"": 1}}}]});
            let found = Select::new(&path).unwrap().of(answer.clone()).ok();
            prop_assert_eq!(found.as_ref(), answer.pointer(&path));
        }
    }
}
