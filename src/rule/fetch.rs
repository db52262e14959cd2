//! `[[rule.fetch]]`: what a rule wants to know before it acts.
//!
//! Its promise: pure; a lookup is a step like any action's, and the rule's actions are what follows it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::act::render_all;
use super::{Extras, Step};
use crate::action::{check_path, openstack};
use crate::template::{Fields, Template, TemplateError, View};

/// `[[rule.fetch]]`
#[derive(Debug)]
pub struct FetchAct {
    /// The destination: `openstack.network`.
    pub to: String,
    /// What its actions know what it brings by: `fetched.NAME`.
    pub name: String,
    /// Appended to the service's endpoint.
    pub path: Template,
    /// Appended to its query; a name may come more than once.
    pub query: Vec<(String, Template)>,
    /// What of the answer is wanted; checked, as [`openstack::Select`] reads it.
    pub select: Option<String>,
    /// How old an answer to the same question may be.
    pub cache: Duration,
    /// Whether the actions are done without it, with null for it, where it cannot be had.
    pub go_on: bool,
}

impl FetchAct {
    /// The steps of a rule that does these lookups, one after the other, before `actions`.
    #[must_use]
    pub fn before(fetches: Vec<Self>, actions: Vec<Step>) -> Vec<Step> {
        let step = |then: Vec<Step>, fetch: Self| vec![Step { act: super::Act::Fetch(fetch), when: None, then }];
        fetches.into_iter().rev().fold(actions, step)
    }

    pub(super) fn request(&self, view: &View) -> Result<openstack::Request, TemplateError> {
        let path = self.path.render(view)?;
        if let Err(error) = check_path(&path) {
            return Err(TemplateError::new(&format!("the path {error}")));
        }
        Ok(openstack::Request {
            name: self.name.clone(),
            path,
            query: render_all(&self.query, view)?,
            select: self.select.clone(),
            cache: self.cache.as_secs(),
            go_on: self.go_on,
        })
    }

    /// What stands for what it brings where that cannot be had; `None` where nothing is done then.
    pub(super) fn otherwise(&self) -> Option<Extras> {
        let request = openstack::Request { name: self.name.clone(), ..openstack::Request::default() };
        self.go_on.then(|| request.fields(Value::Null))
    }

    /// What stands for what it brings before anything was asked.
    pub(super) fn made_up(&self) -> Extras {
        let value = Value::from(format!("<{}>", self.name));
        let is_list = self.select.as_deref().is_some_and(|select| select.split('/').any(|step| step == "*"));
        let request = openstack::Request { name: self.name.clone(), ..openstack::Request::default() };
        request.fields(if is_list { vec![value].into() } else { value })
    }

    pub(super) fn mistakes(&self, fields: &Fields, found: &mut BTreeMap<&'static str, Vec<String>>) {
        found.insert("path", self.path.mistakes(fields));
        found.insert("query", self.query.iter().flat_map(|(_, template)| template.mistakes(fields)).collect());
    }
}
