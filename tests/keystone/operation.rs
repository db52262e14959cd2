//! One operation on Keystone: how it is called, which events tell of it, and what the rules do about them.
//!
//! Its promise: it is data. `{alice}` stands for what an earlier answer gave under that name, wherever it stands; the
//! same list is used for both formats of Keystone, whose differences are in [`Telling::expected`] and
//! [`Operation::expected_done`].

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Map, Value};

use crate::keystone::Format;
use crate::telling::Telling;

/// What earlier answers gave, by the names that operations gave it.
pub(crate) type Known = BTreeMap<String, String>;

/// A call to Keystone and all that comes of it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// In words, unique in its list.
    pub(crate) name: &'static str,
    /// Who calls; empty for nobody.
    pub(crate) who: &'static str,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) status: u16,
    /// What of the answer later operations need, by name, as JSON pointers.
    pub(crate) kept: Vec<(&'static str, &'static str)>,
    /// Whose token the answer is.
    pub(crate) token_of: Option<&'static str>,
    /// The events, all of them, in their order.
    pub(crate) told: Vec<Telling>,
    /// What arrives at the destinations, all of it.
    pub(crate) done: Vec<String>,
    /// The same, of what only the CADF format tells.
    pub(crate) done_in_cadf: Vec<String>,
    /// The same, of what is done otherwise where the format is Basic.
    pub(crate) done_in_basic: Vec<String>,
}

impl Operation {
    /// As the administrator.
    pub(crate) fn new(name: &'static str, method: Method, path: &str, body: Option<Value>) -> Self {
        Self {
            name,
            who: "admin",
            status: if method == Method::POST {
                201
            } else if body.is_some() {
                200
            } else {
                204
            },
            method,
            path: path.to_owned(),
            body,
            kept: Vec::new(),
            token_of: None,
            told: Vec::new(),
            done: Vec::new(),
            done_in_cadf: Vec::new(),
            done_in_basic: Vec::new(),
        }
    }

    /// By somebody who has logged in before; by nobody, where that is empty.
    pub(crate) fn by(mut self, who: &'static str) -> Self {
        self.who = who;
        self
    }

    /// Answered with another status than its method lets expect.
    pub(crate) fn answered(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Keeps a part of the answer under a name.
    pub(crate) fn keeps(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.kept.push((name, pointer));
        self
    }

    /// The answer is the token of somebody.
    pub(crate) fn token_of(mut self, who: &'static str) -> Self {
        self.token_of = Some(who);
        self
    }

    /// A further event.
    pub(crate) fn tells(mut self, telling: Telling) -> Self {
        self.told.push(telling);
        self
    }

    /// A further request at a destination.
    pub(crate) fn does(mut self, action: &str) -> Self {
        self.done.push(action.to_owned());
        self
    }

    /// A further one, where the format is CADF.
    pub(crate) fn does_in_cadf(mut self, action: &str) -> Self {
        self.done_in_cadf.push(action.to_owned());
        self
    }

    /// The servers of a user whom the administrator deleted are handed over; the Basic format does not say to whom.
    pub(crate) fn hands_over(mut self, user: &str) -> Self {
        let job = |initiator: &str, project: &str| {
            format!("jenkins team/transfer_ownership INITIATOR_ID={initiator} USER_ID={user} PROJECT_ID={project}")
        };
        self.done_in_cadf.push(job("{admin}", "{admin_project}"));
        self.done_in_basic.push(job("", ""));
        self
    }

    /// What arrives at the destinations in this format, in the order of the words.
    pub(crate) fn expected_done(&self, format: Format, known: &Known) -> Vec<String> {
        let told_only = if format == Format::Cadf { &self.done_in_cadf } else { &self.done_in_basic };
        let mut done: Vec<_> = self.done.iter().chain(told_only).map(|action| fill(action, known)).collect();
        done.sort();
        done
    }
}

/// Puts what is known in place of `{name}`; other braces stay.
pub(crate) fn fill(text: &str, known: &Known) -> String {
    let mut filled = text.to_owned();
    for (name, value) in known {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

/// The same in each text of a JSON value.
pub(crate) fn fill_value(value: &Value, known: &Known) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, known)),
        Value::Array(list) => list.iter().map(|value| fill_value(value, known)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), fill_value(value, known))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}
