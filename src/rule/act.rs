//! What a rule does: templates in, a rendered [`Request`] or a line out.

use std::collections::BTreeMap;

use minijinja::Value as Field;
use serde_json::{Map, Value};

use super::{EmailAct, FetchAct, Subject, SyslogAct, aodh, cloudevents};
use crate::action::capture::Capture;
use crate::action::log::LineFormat;
use crate::action::{Request, check_path, file, http, jenkins, slack};
use crate::template::{Fields, JsonLeaf, Template, TemplateError, View};
use crate::text::one_line;

/// One action of a rule.
#[derive(Debug)]
pub enum Act {
    /// A line on standard output.
    Log(LogAct),
    /// A Jenkins build.
    Jenkins(JenkinsAct),
    /// A Slack message.
    Slack(SlackAct),
    /// An HTTP call.
    Http(HttpAct),
    /// A line in a file.
    File(FileAct),
    /// A syslog message.
    Syslog(SyslogAct),
    /// A lookup, which the rule's actions follow.
    Fetch(FetchAct),
    /// A mail.
    Email(EmailAct),
}

/// `[[rule.log]]`
#[derive(Debug)]
pub enum LogAct {
    /// One of the formats that need no template.
    Format(LineFormat),
    /// The rule's own.
    Template(Template),
}

/// `[[rule.jenkins]]`
#[derive(Debug)]
pub struct JenkinsAct {
    /// The destination: `jenkins.ci`.
    pub to: String,
    /// The job, with its folders.
    pub job: String,
    /// Parameters: fixed names, templates.
    pub parameters: Vec<(String, Template)>,
    /// How far the build is followed.
    pub wait: jenkins::Wait,
    /// What is taken from what became of it.
    pub capture: Vec<Capture>,
}

/// `[[rule.slack]]`
#[derive(Debug)]
pub struct SlackAct {
    /// The destination: `slack.ops`.
    pub to: String,
    /// The message; `None` for the default one.
    pub text: Option<Template>,
    /// Block Kit.
    pub blocks: Option<JsonTemplate>,
}

/// `[[rule.http]]`
#[derive(Debug)]
pub struct HttpAct {
    /// The destination: `http.inventory`.
    pub to: String,
    /// Appended to the destination's URL.
    pub path: Option<Template>,
    /// Appended to its query.
    pub query: Vec<(String, Template)>,
    /// What is sent.
    pub body: HttpBody,
    /// What is taken from the answer.
    pub capture: Vec<Capture>,
}

/// `[[rule.file]]`
#[derive(Debug)]
pub struct FileAct {
    /// The destination: `file.checkpoints`.
    pub to: String,
    /// The line; `None` for the normalised event as JSON.
    pub line: Option<Template>,
}

/// The body of an HTTP call.
#[derive(Debug)]
pub enum HttpBody {
    /// The normalised event.
    Event,
    /// Nothing.
    None,
    /// JSON.
    Json(JsonTemplate),
    /// A form.
    Form(Vec<(String, Template)>),
    /// What Aodh's alarm callback sends.
    Aodh(aodh::Alarm),
    /// The normalised event as a CloudEvent.
    CloudEvent,
}

/// JSON whose strings are templates: its shape is the rule's, so that no value can change it.
#[derive(Debug)]
pub enum JsonTemplate {
    /// A string.
    Leaf(JsonLeaf),
    /// A number or a boolean.
    Fixed(Value),
    /// An array.
    Array(Vec<JsonTemplate>),
    /// An object, in the order it was written.
    Object(Vec<(String, JsonTemplate)>),
}

impl JsonTemplate {
    fn render(&self, view: &View) -> Result<Value, TemplateError> {
        Ok(match self {
            Self::Leaf(leaf) => leaf.render(view)?,
            Self::Fixed(value) => value.clone(),
            Self::Array(items) => Value::Array(items.iter().map(|item| item.render(view)).collect::<Result<_, _>>()?),
            Self::Object(entries) => {
                let render = |(key, item): &(String, Self)| match item.render(view) {
                    Ok(value) => Ok((key.clone(), value)),
                    Err(error) => Err(TemplateError::new(&format!("{key}: {error}"))),
                };
                Value::Object(entries.iter().map(render).collect::<Result<Map<_, _>, TemplateError>>()?)
            }
        })
    }

    fn mistakes(&self, fields: &Fields, found: &mut Vec<String>) {
        match self {
            Self::Leaf(leaf) => found.extend(leaf.mistakes(fields)),
            Self::Fixed(_) => {}
            Self::Array(items) => items.iter().for_each(|item| item.mistakes(fields, found)),
            Self::Object(entries) => entries.iter().for_each(|(_, item)| item.mistakes(fields, found)),
        }
    }
}

impl LogAct {
    /// The line, without its end.
    ///
    /// # Errors
    /// When the template fails.
    pub fn line(&self, subject: &Subject<'_>, colour: bool) -> Result<String, TemplateError> {
        match self {
            Self::Format(format) => Ok(subject.line(*format, colour)),
            Self::Template(template) => Ok(one_line(&template.render(subject.view())?).into_owned()),
        }
    }
}

impl Act {
    /// Where it goes: `log`, `slack.ops`.
    #[must_use]
    pub fn to(&self) -> &str {
        match self {
            Self::Log(_) => "log",
            Self::Jenkins(act) => &act.to,
            Self::Slack(act) => &act.to,
            Self::Http(act) => &act.to,
            Self::File(act) => &act.to,
            Self::Syslog(act) => &act.to,
            Self::Email(act) => &act.to,
            Self::Fetch(act) => &act.to,
        }
    }

    /// What it takes from the answer.
    #[must_use]
    pub fn capture(&self) -> &[Capture] {
        match self {
            Self::Jenkins(act) => &act.capture,
            Self::Http(act) => &act.capture,
            _ => &[],
        }
    }

    /// The request as it would be sent for `subject`.
    ///
    /// # Errors
    /// When a template fails.
    pub fn request(&self, subject: &Subject<'_>, rule: &str, delivery: &str) -> Result<Request, TemplateError> {
        let view = || subject.view().with([("delivery_id", Field::from(delivery)), ("rule", Field::from(rule))]);
        match self {
            Self::Log(_) => Err(TemplateError::new("a log line is no request")),
            Self::Jenkins(act) => {
                let parameters = render_all(&act.parameters, &view())?;
                let (job, capture) = (act.job.clone(), act.capture.clone());
                Ok(Request::Jenkins(jenkins::Request { job, parameters, wait: act.wait, capture }))
            }
            Self::Slack(act) => {
                let text = match &act.text {
                    Some(text) => text.render(&view())?,
                    None => slack::unformatted(&subject.line(LineFormat::Readable, false)),
                };
                let blocks = act.blocks.as_ref().map(|blocks| blocks.render(&view())).transpose()?;
                Ok(Request::Slack(slack::fit(slack::Request { text, blocks })))
            }
            Self::Http(act) => {
                let path = act.path.as_ref().map(|path| path.render(&view())).transpose()?;
                if let Some(Err(error)) = path.as_deref().map(check_path) {
                    return Err(TemplateError::new(&format!("the path {error}")));
                }
                let whole = || subject.json().map_err(|error| TemplateError::new(&error.to_string()));
                let body = match &act.body {
                    HttpBody::Event => http::Body::Json(whole()?),
                    HttpBody::None => http::Body::None,
                    HttpBody::Json(json) => http::Body::Json(json.render(&view())?),
                    HttpBody::Form(fields) => http::Body::Form(render_all(fields, &view())?),
                    HttpBody::Aodh(alarm) => http::Body::Aodh(aodh::body(subject.event(), rule, *alarm)),
                    HttpBody::CloudEvent => {
                        http::Body::CloudEvent(cloudevents::body(subject.event(), delivery, whole()?))
                    }
                };
                let (query, capture) = (render_all(&act.query, &view())?, act.capture.clone());
                Ok(Request::Http(http::Request { path, query, body, capture }))
            }
            Self::File(act) => {
                let line = match &act.line {
                    Some(line) => one_line(&line.render(&view())?).into_owned(),
                    None => subject.line(LineFormat::Json, false),
                };
                Ok(Request::File(file::Request { line }))
            }
            Self::Syslog(act) => Ok(Request::Syslog(act.request(subject, &view())?)),
            Self::Fetch(act) => Ok(Request::OpenStack(act.request(&view())?)),
            Self::Email(act) => Ok(Request::Email(act.request(subject, rule, &view())?)),
        }
    }

    /// Names in its templates that do not exist, by the key they stand under.
    #[must_use]
    pub fn mistakes(&self, fields: &Fields) -> BTreeMap<&'static str, Vec<String>> {
        let all = |templates: &[(String, Template)]| templates.iter().flat_map(|(_, t)| t.mistakes(fields)).collect();
        let json = |template: &JsonTemplate| {
            let mut found = Vec::new();
            template.mistakes(fields, &mut found);
            found
        };
        let mut found = BTreeMap::new();
        match self {
            Self::Log(LogAct::Format(_)) => {}
            Self::File(act) => {
                found.insert("line", act.line.iter().flat_map(|line| line.mistakes(fields)).collect());
            }
            Self::Syslog(act) => act.mistakes(fields, &mut found),
            Self::Fetch(act) => act.mistakes(fields, &mut found),
            Self::Email(act) => act.mistakes(fields, &mut found),
            Self::Log(LogAct::Template(text)) => drop(found.insert("text", text.mistakes(fields))),
            Self::Jenkins(act) => drop(found.insert("parameters", all(&act.parameters))),
            Self::Slack(act) => {
                found.insert("text", act.text.iter().flat_map(|text| text.mistakes(fields)).collect());
                found.insert("blocks", act.blocks.as_ref().map(json).unwrap_or_default());
            }
            Self::Http(act) => {
                found.insert("path", act.path.iter().flat_map(|path| path.mistakes(fields)).collect());
                found.insert("query", all(&act.query));
                match &act.body {
                    HttpBody::Json(template) => drop(found.insert("json", json(template))),
                    HttpBody::Form(templates) => drop(found.insert("form", all(templates))),
                    HttpBody::Event | HttpBody::None | HttpBody::Aodh(_) | HttpBody::CloudEvent => {}
                }
            }
        }
        found.retain(|_, mistakes: &mut Vec<String>| !mistakes.is_empty());
        found
    }

    /// Tries it on an event, as `check` does with its samples.
    ///
    /// # Errors
    /// When a template fails.
    pub fn attempt(&self, subject: &Subject<'_>, rule: &str) -> Result<(), TemplateError> {
        match self {
            Self::Log(log) => log.line(subject, false).map(drop),
            act => act.request(subject, rule, "0123456789abcdef0123456789abcdef").map(drop),
        }
    }
}

pub(super) fn render_all(
    templates: &[(String, Template)],
    view: &View,
) -> Result<Vec<(String, String)>, TemplateError> {
    let render = |(name, template): &(String, Template)| match template.render(view) {
        Ok(text) => Ok((name.clone(), text)),
        Err(error) => Err(TemplateError::new(&format!("{name}: {error}"))),
    };
    templates.iter().map(render).collect()
}
