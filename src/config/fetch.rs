//! `[[rule.fetch]]`, and the destinations that it makes.
//!
//! Its promise: a lookup that could never be had is a mistake; each service that rules name is one destination, which is
//! asked as `[keystone.services]` says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::openstack;
use crate::rule::{Act, FetchAct, RuleTable, Step};
use crate::template::{Place as Target, Template, TemplateError};

use super::acts::{compiled, source};
use super::keystone::Keystone;
use super::node::{Node, Value};
use super::section::Section;
use super::{Destination, HOUR};

/// Lookups of one rule; each is a delivery of its own, one after the other.
const MOST: usize = 8;

/// What the destinations' names begin with.
const KIND: &str = "openstack";

/// A lookup as it was read.
pub(super) struct Read<'a> {
    pub(super) section: Section<'a>,
    /// The field it brings, where it has a name.
    pub(super) field: Option<String>,
    /// `None` where something is wrong with it.
    pub(super) act: Option<FetchAct>,
}

/// The lookups of a rule.
pub(super) fn read<'a>(rule: &Section<'a>, has_keystone: bool) -> Vec<Read<'a>> {
    let sections = rule.tables("fetch", "[[rule.fetch]]");
    if sections.len() > MOST {
        rule.problem_at(
            "fetch",
            format!("`fetch`: a rule can look up {MOST} things at most, found {}", sections.len()),
        );
    }
    let mut fetches: Vec<Read<'_>> = Vec::new();
    for section in sections {
        if !has_keystone {
            section.problem(
                "[[rule.fetch]] asks with a token of cadfd's account; write [keystone], which says whose that is",
            );
        }
        let (name, act) = one(&section);
        let field = name.map(|name| format!("{}.{name}", openstack::FIELD));
        if field.is_some() && fetches.iter().any(|known| known.field == field) {
            section.problem_at("name", "`name`: another [[rule.fetch]] of this rule has that name already");
        }
        fetches.push(Read { section, field, act });
    }
    fetches
}

fn one(section: &Section<'_>) -> (Option<String>, Option<FetchAct>) {
    let name = section.required("name").filter(|name| {
        let is_name = name.starts_with(|char: char| char.is_ascii_lowercase())
            && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_');
        if !is_name {
            let text = "`name`: expected a name for templates of a-z, 0-9 and _, such as \"ports\"";
            section.problem_at("name", text);
        }
        is_name
    });
    let service = section.required("service").filter(|service| {
        let is_type = !service.is_empty()
            && service.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'));
        if !is_type {
            section.problem_at("service", "`service`: expected a service's type in the catalogue, such as \"network\"");
        }
        is_type
    });
    let path =
        section.required("path").and_then(|source| compiled(section, "path", Template::compile(&source, Target::Path)));
    let query = section.entries("query").into_iter().flat_map(|entry| values(section, entry)).collect();
    let select = section.text("select");
    if let Some(Err(error)) = select.as_deref().map(openstack::Select::new) {
        section.problem_at("select", format!("`select`: {error}"));
    }
    let cache = section.duration("cache", Duration::ZERO..=HOUR, openstack::CACHE);
    let go_on = section.choice("on_failure", &[("give_up", false), ("go_on", true)], false);
    let act = service.zip(name.clone()).zip(path).map(|((service, name), path)| {
        let to = format!("{KIND}.{service}");
        FetchAct { to, name, path, query, select, cache, go_on }
    });
    (name, act)
}

/// A name of the query and its template; with an array, once for each.
fn values(section: &Section<'_>, (name, node): (&str, &Node)) -> Vec<(String, Template)> {
    let one = |node: &Node| {
        let source = source(section, "query", name, node)?;
        let template = Template::compile(&source, Target::Parameter);
        let template = template.map_err(|error| TemplateError::new(&format!("{name}: {error}")));
        Some((name.to_owned(), compiled(section, "query", template)?))
    };
    match &node.value {
        Value::Array(items) => items.iter().filter_map(one).collect(),
        _ => one(node).into_iter().collect(),
    }
}

/// The services that rules name, as destinations.
pub(super) fn destinations(rules: &RuleTable, keystone: Option<&Keystone>) -> BTreeMap<String, Destination> {
    let Some(keystone) = keystone else { return BTreeMap::new() };
    let services = &keystone.services;
    let settings = |to: &str| openstack::Settings {
        service: to.strip_prefix(KIND).and_then(|rest| rest.strip_prefix('.')).unwrap_or(to).to_owned(),
        account: services.account.clone(),
        client: services.account.settings().tls.clone(),
        limits: services.limits.clone(),
        go_on_after: services.go_on_after,
    };
    let steps = rules.rules().iter().flat_map(|rule| rule.actions.iter().flat_map(Step::all));
    let fetches = steps.filter_map(|step| match &step.act {
        Act::Fetch(act) => Some(&act.to),
        _ => None,
    });
    fetches.map(|to| (to.clone(), Destination::OpenStack(settings(to)))).collect()
}
