//! `[[rule.syslog]]`: a rule's message to a syslog receiver.
//!
//! Its promise: what is null is left out of the structured data; nothing else is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Subject;
use crate::action::log::LineFormat;
use crate::action::syslog::{Facility, Request, Severity};
use crate::event::{Event, Outcome};
use crate::template::{Fields, JsonLeaf, Template, TemplateError, View};
use crate::text::one_line;

/// `[[rule.syslog]]`
#[derive(Debug)]
pub struct SyslogAct {
    /// The destination: `syslog.siem`.
    pub to: String,
    /// The message; `None` for the readable line.
    pub text: Option<Template>,
    /// The structured data; `None` for the event's ids, type and outcome.
    pub data: Option<Vec<(String, JsonLeaf)>>,
    /// `None` for the destination's.
    pub facility: Option<Facility>,
    /// `None` for `warning` where the outcome is a failure, `info` otherwise.
    pub severity: Option<Severity>,
}

impl SyslogAct {
    pub(super) fn request(&self, subject: &Subject<'_>, view: &View) -> Result<Request, TemplateError> {
        let event = subject.event();
        let text = match &self.text {
            Some(text) => one_line(&text.render(view)?).into_owned(),
            None => subject.line(LineFormat::Readable, false),
        };
        let data = match &self.data {
            Some(data) => rendered(data, view)?,
            None => usual(event),
        };
        let usual = if event.outcome == Outcome::Failure { Severity::Warning } else { Severity::Info };
        let severity = self.severity.unwrap_or(usual);
        let (kind, at) = (event.event_type.clone(), event.timestamp);
        Ok(Request { kind, at, facility: self.facility, severity, data, text })
    }

    pub(super) fn mistakes(&self, fields: &Fields, found: &mut BTreeMap<&'static str, Vec<String>>) {
        found.insert("text", self.text.iter().flat_map(|text| text.mistakes(fields)).collect());
        let data = self.data.iter().flatten();
        found.insert("data", data.flat_map(|(_, leaf)| leaf.mistakes(fields)).collect());
    }
}

fn rendered(data: &[(String, JsonLeaf)], view: &View) -> Result<Vec<(String, String)>, TemplateError> {
    let render = |(name, leaf): &(String, JsonLeaf)| match leaf.render(view) {
        Ok(Value::Null) => None,
        Ok(Value::String(text)) => Some(Ok((name.clone(), text))),
        Ok(value) => Some(Ok((name.clone(), value.to_string()))),
        Err(error) => Some(Err(TemplateError::new(&format!("{name}: {error}")))),
    };
    data.iter().filter_map(render).collect()
}

/// What a receiver sorts and joins by.
fn usual(event: &Event) -> Vec<(String, String)> {
    let known = [
        ("message_id", Some(&event.message_id)),
        ("event_type", Some(&event.event_type)),
        ("outcome", Some(&event.outcome.as_str().to_owned())),
        ("initiator.id", event.initiator.id.as_ref()),
        ("resource.id", event.resource.id.as_ref()),
        ("request_id", event.request_id.as_ref()),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone()))).collect()
}
