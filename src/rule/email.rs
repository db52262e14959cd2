//! `[[rule.email]]`: a rule's mail.
//!
//! Its promise: only what the rule's author wrote makes lines, markup and recipients; a value is part of a line.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Subject;
use crate::action::email::{self, Request, fit_subject};
use crate::action::log::{self, LineFormat};
use crate::event::{Event, of_view};
use crate::template::{Fields, Template, TemplateError, View};

/// `[[rule.email]]`
#[derive(Debug)]
pub struct EmailAct {
    /// The destination: `email.ops`.
    pub to: String,
    /// Each becomes one address, or nothing.
    pub recipients: Vec<Template>,
    /// `None` for the rule's name.
    pub subject: Option<Template>,
    /// `None` for the readable line, or lines, and where they are from.
    pub text: Option<Template>,
    /// Shown instead of the text by most readers.
    pub html: Option<Template>,
}

impl EmailAct {
    pub(super) fn request(&self, subject: &Subject<'_>, rule: &str, view: &View) -> Result<Request, TemplateError> {
        let digest = Digest::of(view);
        let text = match &self.text {
            Some(text) => text.render(view)?,
            None => usual(subject.event(), rule, digest.as_ref()),
        };
        let title = match (&self.subject, &digest) {
            (Some(subject), _) => subject.render(view)?,
            (None, Some(digest)) => format!("[cadfd] {rule}: {} events", digest.count),
            (None, None) => format!("[cadfd] {rule}"),
        };
        let html = self.html.as_ref().map(|html| html.render(view)).transpose()?;
        Ok(Request { recipients: self.recipients(view)?, subject: fit_subject(&title), text, html })
    }

    /// The addresses, each once.
    fn recipients(&self, view: &View) -> Result<Vec<String>, TemplateError> {
        let mut found: Vec<String> = Vec::new();
        for template in &self.recipients {
            let address = template.render(view).map_err(|error| TemplateError::new(&format!("recipients: {error}")))?;
            let address = address.trim();
            if address.is_empty() || found.iter().any(|known| known == address) {
                continue;
            }
            email::check(address).map_err(|error| TemplateError::new(&format!("recipients: {error}")))?;
            found.push(address.to_owned());
        }
        if found.is_empty() {
            return Err(TemplateError::new("recipients: there is none; each of them came out empty"));
        }
        if found.len() > email::RECIPIENTS {
            return Err(TemplateError::new(&format!("recipients: more than {}", email::RECIPIENTS)));
        }
        Ok(found)
    }

    pub(super) fn mistakes(&self, fields: &Fields, found: &mut BTreeMap<&'static str, Vec<String>>) {
        found.insert("recipients", self.recipients.iter().flat_map(|it| it.mistakes(fields)).collect());
        for (key, template) in [("subject", &self.subject), ("text", &self.text), ("html", &self.html)] {
            found.insert(key, template.iter().flat_map(|it| it.mistakes(fields)).collect());
        }
    }
}

/// What `group` and `threshold` put into the view: how many events there were, and the first of them.
struct Digest {
    count: u64,
    lines: Vec<String>,
}

impl Digest {
    fn of(view: &View) -> Option<Self> {
        let Value::Array(events) = view.json("events")? else { return None };
        let count = view.json("count").and_then(|count| count.as_u64()).unwrap_or(events.len() as u64);
        Some(Self { count, lines: events.iter().filter_map(line).collect() })
    }
}

/// The readable line of an event's view.
fn line(event: &Value) -> Option<String> {
    let event = of_view(&event.to_string())?;
    Some(log::line(&event, LineFormat::Readable, false))
}

fn usual(event: &Event, rule: &str, digest: Option<&Digest>) -> String {
    let Some(Digest { count, lines }) = digest else {
        let line = log::line(event, LineFormat::Readable, false);
        let request = event.request_id.as_deref().map(|id| format!("Request: {}\n", crate::text::one_line(id)));
        let message = crate::text::one_line(&event.message_id);
        return format!("{line}\n\nRule: {rule}\nMessage: {message}\n{}", request.unwrap_or_default());
    };
    let more = count.saturating_sub(lines.len() as u64);
    let more = if more == 0 { String::new() } else { format!("and {more} more\n") };
    format!("{count} events:\n\n{}\n{more}\nRule: {rule}\n", lines.join("\n"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use minijinja::Value as Field;

    use super::*;
    use crate::event::decode;
    use crate::rule::sample;
    use crate::template::Place;

    fn act(recipients: &[&str]) -> EmailAct {
        let recipients = recipients.iter().map(|it| Template::compile(it, Place::Parameter).unwrap()).collect();
        EmailAct { to: "email.ops".into(), recipients, subject: None, text: None, html: None }
    }

    fn event(event_type: &str) -> &'static Arc<Event> {
        sample::typical().find(|event| event.event_type == event_type).unwrap()
    }

    #[test]
    fn without_templates_it_says_what_happened() {
        let subject = Subject::new(event("identity.user.deleted"));
        let request = act(&["ops@example.org"]).request(&subject, "r", subject.view()).unwrap();
        assert_eq!((request.subject.as_str(), request.html), ("[cadfd] r", None));
        let line = log::line(subject.event(), LineFormat::Readable, false);
        let ids = "Message: cf60f65e-3c34-47b2-a257-33b87c47f787\nRequest: req-3885fd22-007a-4bd3-bf8c-2b3d0b55f908\n";
        assert_eq!(request.text, format!("{line}\n\nRule: r\n{ids}"));
    }

    #[test]
    fn events_that_come_together_are_a_digest() {
        let subject = Subject::new(event("identity.user.deleted"));
        let events: Vec<_> = ["identity.user.deleted", "identity.authenticate"]
            .map(|kind| serde_json::to_value(event(kind).structured()).unwrap())
            .into();
        let view = subject
            .view()
            .with([("events", Field::from(minijinja::value::Serde(&events))), ("count", Field::from(300))]);
        let request = act(&["ops@example.org"]).request(&subject, "r", &view).unwrap();
        assert_eq!(request.subject, "[cadfd] r: 300 events");
        let lines = ["identity.user.deleted", "identity.authenticate"]
            .map(|kind| log::line(event(kind), LineFormat::Readable, false));
        assert_eq!(request.text, format!("300 events:\n\n{}\n{}\nand 298 more\n\nRule: r\n", lines[0], lines[1]));
    }

    #[test]
    fn the_lines_of_events_that_are_kept_without_their_payload_are_the_same() {
        for event in sample::typical() {
            let small = serde_json::to_value(crate::event::slim(event).structured()).unwrap();
            assert_eq!(line(&small), Some(log::line(event, LineFormat::Readable, false)));
        }
    }

    #[test]
    fn a_strangers_text_makes_no_line_no_markup_and_no_recipient() {
        let hostile = "x\r\n\r\n<script>&\"'\u{202e}, eve@example.net";
        let inner = serde_json::json!({
            "message_id": "m", "event_type": "identity.user.deleted",
            "payload": {"typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event", "eventType": "activity", "id": "i",
                        "action": "deleted.user", "outcome": "success", "resource_info": hostile,
                        "initiator": {"id": "u", "typeURI": "t", "name": hostile}, "observer": {"id": "o"},
                        "target": {"id": hostile, "typeURI": "data/security/account/user"}},
        });
        let event = Arc::new(decode(inner.to_string().as_bytes()).unwrap());
        let subject = Subject::new(&event);
        let template = |source: &str, place| Some(Template::compile(source, place).unwrap());
        let mut act = act(&["ops@example.org"]);
        act.subject = template("by {{ initiator.name }}", Place::Text);
        act.text = template("one\nby {{ initiator.name }}\nthree {{ request_id }}", Place::Lines);
        act.html = template("<p title=\"{{ initiator.name }}\">{{ initiator.name | safe }}</p>", Place::Html);
        let request = act.request(&subject, "r", subject.view()).unwrap();
        assert!(!request.subject.contains(['\r', '\n', '\u{202e}']), "{request:?}");
        assert_eq!(request.text.lines().count(), 3, "{request:?}");
        assert!(request.text.ends_with("three unknown"), "{request:?}");
        let html = request.html.unwrap();
        assert!(
            !html.contains("<script") && html.matches('"').count() == 2 && html.matches('<').count() == 2,
            "{html}"
        );
        act.recipients = vec![Template::compile("{{ initiator.name }}@example.org", Place::Parameter).unwrap()];
        let error = act.request(&subject, "r", subject.view()).unwrap_err().to_string();
        assert!(error.starts_with("recipients: ") && error.contains("is no mail address"), "{error}");
    }

    #[test]
    fn empty_recipients_are_left_out_but_one_must_stay() {
        let subject = Subject::new(event("identity.user.deleted"));
        let request = act(&["{{ '' }}", "a@example.org", "a@example.org", " b@example.org"]);
        let request = request.request(&subject, "r", subject.view()).unwrap();
        assert_eq!(request.recipients, ["a@example.org", "b@example.org"]);
        let error = act(&["{{ '' }}"]).request(&subject, "r", subject.view()).unwrap_err().to_string();
        assert_eq!(error, "recipients: there is none; each of them came out empty");
    }
}
