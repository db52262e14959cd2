//! The actions of a rule, as they are written: `[[rule.slack]]` and the like.

use serde_json::Value as Json;

use crate::action::{email, jenkins, log::LineFormat, syslog};
use crate::rule::{
    Alarm, AlarmSeverity, EmailAct, FileAct, HttpAct, HttpBody, JenkinsAct, JsonTemplate, LogAct, SlackAct, SyslogAct,
};
use crate::template::{JsonLeaf, Place as Target, Template, TemplateError};

use super::node::{Node, Value};
use super::section::Section;
use super::steps;

/// `[[rule.log]]`
pub(super) fn log(section: &Section<'_>) -> Option<LogAct> {
    let formats = [("readable", LineFormat::Readable), ("logfmt", LineFormat::Logfmt), ("json", LineFormat::Json)];
    let format = section.choice("format", &formats, LineFormat::Readable);
    if section.get("text").is_none() {
        return Some(LogAct::Format(format));
    }
    if section.get("format").is_some() {
        section.problem_at("format", "`format` and `text` are two ways to write the line; one of them must go");
    }
    template(section, "text", Target::Text).map(LogAct::Template)
}

/// `[[rule.jenkins]]`
pub(super) fn jenkins(section: &Section<'_>, to: String) -> Option<JenkinsAct> {
    let job = section.required("job");
    if let Some(job) = &job
        && let Err(error) = jenkins::job_path(job)
    {
        section.problem_at("job", format!("`job`: {error}"));
    }
    let waits = [("start", jenkins::Wait::Start), ("result", jenkins::Wait::Result)];
    let wait = section.choice("wait", &waits, jenkins::Wait::Start);
    let parameters = templates(section, "parameters");
    let capture = steps::of_jenkins(section, wait);
    Some(JenkinsAct { to, job: job?, parameters, wait, capture })
}

/// `[[rule.slack]]`
pub(super) fn slack(section: &Section<'_>, to: String) -> SlackAct {
    let blocks = section.get("blocks").map(|node| json(section, "blocks", node, Target::Slack));
    if let Some(node) = section.get("blocks")
        && !matches!(node.value, Value::Array(_))
    {
        section.problem_at("blocks", format!("`blocks`: expected an array of blocks, found {}", node.value.kind()));
    }
    SlackAct { to, text: template(section, "text", Target::Slack), blocks }
}

/// `[[rule.http]]`
pub(super) fn http(section: &Section<'_>, to: String) -> HttpAct {
    let written: Vec<_> =
        ["json", "form", "body", "format"].into_iter().filter(|key| section.get(key).is_some()).collect();
    if let [one, another, ..] = written.as_slice() {
        section.problem_at(another, format!("`{one}` and `{another}` are two bodies; one of them must go"));
    }
    let formats = [("aodh", HttpFormat::Aodh), ("cloudevents", HttpFormat::CloudEvents)];
    let format = section.get("format").map(|_| section.choice("format", &formats, HttpFormat::CloudEvents));
    let alarm = alarm(section, format);
    let body = match (section.get("json"), section.get("form")) {
        (None, None) if format == Some(HttpFormat::Aodh) => HttpBody::Aodh(alarm),
        (None, None) if format == Some(HttpFormat::CloudEvents) => HttpBody::CloudEvent,
        (Some(node), _) => HttpBody::Json(json(section, "json", node, Target::Parameter)),
        (None, Some(_)) => HttpBody::Form(templates(section, "form")),
        (None, None) if section.choice("body", &[("event", true), ("none", false)], true) => HttpBody::Event,
        (None, None) => HttpBody::None,
    };
    let (path, query) = (template(section, "path", Target::Path), templates(section, "query"));
    HttpAct { to, path, query, body, capture: steps::of_http(section) }
}

/// `format` of `[[rule.http]]`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HttpFormat {
    Aodh,
    CloudEvents,
}

/// What only `format = "aodh"` has.
fn alarm(section: &Section<'_>, format: Option<HttpFormat>) -> Alarm {
    if format != Some(HttpFormat::Aodh) {
        for key in ["severity", "alarm_id"] {
            if section.get(key).is_some() {
                section.problem_at(key, format!("`{key}` is for format = \"aodh\" only"));
            }
        }
        return Alarm::default();
    }
    let severity = section.choice("severity", &AlarmSeverity::ALL, AlarmSeverity::Low);
    let id = section.text("alarm_id").and_then(|text| {
        let id = text.parse().ok();
        if id.is_none() {
            let text = format!("`alarm_id`: expected a UUID such as that of the alarm in Aodh, found {text:?}");
            section.problem_at("alarm_id", text);
        }
        id
    });
    Alarm { severity, id }
}

/// `[[rule.file]]`
pub(super) fn file(section: &Section<'_>, to: String) -> FileAct {
    FileAct { to, line: template(section, "line", Target::Text) }
}

/// `[[rule.syslog]]`
pub(super) fn syslog(section: &Section<'_>, to: String) -> SyslogAct {
    let facility =
        section.get("facility").map(|_| section.choice("facility", &syslog::Facility::ALL, syslog::Facility::AUTHPRIV));
    let severity =
        section.get("severity").map(|_| section.choice("severity", &syslog::Severity::ALL, syslog::Severity::Info));
    let data = section
        .get("data")
        .map(|_| section.entries("data").into_iter().filter_map(|entry| datum(section, entry)).collect());
    SyslogAct { to, text: template(section, "text", Target::Text), data, facility, severity }
}

/// `[[rule.email]]`
pub(super) fn email(section: &Section<'_>, to: String) -> EmailAct {
    let written = section.strings("recipients").unwrap_or_default();
    if written.is_empty() {
        section.problem_at("recipients", "`recipients` is missing in [[rule.email]]: an address, or an array of them");
    }
    if written.len() > email::RECIPIENTS {
        let text = format!("`recipients`: at most {}; write to a list instead", email::RECIPIENTS);
        section.problem_at("recipients", text);
    }
    let recipient = |source: &String| {
        let is_fixed = !source.contains("{{") && !source.contains("{%");
        if is_fixed && let Err(error) = email::check(source.trim()) {
            section.problem_at("recipients", format!("`recipients`: {error}"));
            return None;
        }
        compiled(section, "recipients", Template::compile(source, Target::Parameter))
    };
    EmailAct {
        to,
        recipients: written.iter().filter_map(recipient).collect(),
        subject: template(section, "subject", Target::Text),
        text: template(section, "text", Target::Lines),
        html: template(section, "html", Target::Html),
    }
}

/// A name and a template of structured data.
fn datum(section: &Section<'_>, (name, node): (&str, &Node)) -> Option<(String, JsonLeaf)> {
    if let Err(error) = syslog::check_name(name) {
        section.problem_at("data", format!("`data`: {error}"));
    }
    let source = source(section, "data", name, node)?;
    let leaf = JsonLeaf::compile(&source, Target::Parameter);
    let leaf = leaf.map_err(|error| TemplateError::new(&format!("{name}: {error}")));
    Some((name.to_owned(), compiled(section, "data", leaf)?))
}

fn template(section: &Section<'_>, key: &str, target: Target) -> Option<Template> {
    let source = section.text(key)?;
    compiled(section, key, Template::compile(&source, target))
}

pub(super) fn compiled<T>(section: &Section<'_>, key: &str, result: Result<T, TemplateError>) -> Option<T> {
    result.map_err(|error| section.problem_at(key, format!("`{key}`: {error}"))).ok()
}

/// A table of names and templates, such as `parameters`.
fn templates(section: &Section<'_>, key: &str) -> Vec<(String, Template)> {
    let read = |(name, node): (&str, &Node)| {
        let source = source(section, key, name, node)?;
        let template = Template::compile(&source, Target::Parameter);
        let template = template.map_err(|error| TemplateError::new(&format!("{name}: {error}")));
        Some((name.to_owned(), compiled(section, key, template)?))
    };
    section.entries(key).into_iter().filter_map(read).collect()
}

/// What was written for a template. Numbers and booleans are their own text.
pub(super) fn source(section: &Section<'_>, key: &str, name: &str, node: &Node) -> Option<String> {
    Some(match &node.value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        other => {
            section.problem_at(key, format!("`{key}`: {name}: expected a string, found {}", other.kind()));
            return None;
        }
    })
}

fn json(section: &Section<'_>, key: &str, node: &Node, target: Target) -> JsonTemplate {
    match &node.value {
        Value::Table(entries) => {
            let entries = entries.iter().map(|(name, node)| (name.clone(), json(section, key, node, target)));
            JsonTemplate::Object(entries.collect())
        }
        Value::Array(items) => JsonTemplate::Array(items.iter().map(|node| json(section, key, node, target)).collect()),
        Value::String(source) => compiled(section, key, JsonLeaf::compile(source, target))
            .map_or(JsonTemplate::Fixed(Json::Null), JsonTemplate::Leaf),
        Value::Integer(number) => JsonTemplate::Fixed((*number).into()),
        Value::Float(number) => JsonTemplate::Fixed((*number).into()),
        Value::Boolean(yes) => JsonTemplate::Fixed((*yes).into()),
        Value::Other(kind) => {
            section.problem_at(key, format!("`{key}`: JSON has no {kind}; write it as a string"));
            JsonTemplate::Fixed(Json::Null)
        }
    }
}
