//! One event as one line of a log.
//!
//! Its promise: one event, one line, whatever is in it; and no name can pass for another part of the line.
//!
//! A readable line is made of words of its own and of names, ids and addresses. One of those stands bare when it is made
//! of ASCII letters, digits and `@ . + - / _ :` only and is none of the line's own words; otherwise it stands in double
//! quotes, with [`one_line`]'s escapes and `\"`. A name that looks like an id or has a colon is quoted too. Parentheses hold ids (after
//! a name) and the reason's code, and are never part of something bare.

use std::fmt::Write as _;

use crate::event::{Assignment, Event, Initiator, Member, Outcome, Reference};
use crate::text::{one_line, to_ascii_json};

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// For people: `2026-11-21T07:03:23.274Z USER DELETED success: bob (e580…) by admin (e4e1…) in project admin`.
    #[default]
    Readable,
    /// `time=… event_type=… initiator.id=…`, without what is not known.
    Logfmt,
    /// The whole view as one line of ASCII JSON.
    Json,
}

/// The line's own words, which a bare name must not be.
const WORDS: [&str; 18] = [
    "by",
    "in",
    "from",
    "via",
    "to",
    "of",
    "on",
    "role",
    "user",
    "group",
    "project",
    "domain",
    "added",
    "removed",
    "inherited",
    "success",
    "failure",
    "-",
];

/// The event as one line, without a line end. With `colour`, a readable line has its first words and the outcome in
/// ANSI colours; nothing that came from outside ever decides on one.
#[must_use]
pub fn line(event: &Event, format: LineFormat, colour: bool) -> String {
    match format {
        LineFormat::Readable => readable(event, colour),
        LineFormat::Logfmt => logfmt(event),
        // An event is always JSON; were it not, the readable line still says what happened.
        LineFormat::Json => to_ascii_json(event)
            .ok()
            .and_then(|json| String::from_utf8(json).ok())
            .unwrap_or_else(|| readable(event, false)),
    }
}

fn readable(event: &Event, colour: bool) -> String {
    let (bold, tint, plain) = match (colour, event.outcome) {
        (false, _) => ("", "", ""),
        (true, Outcome::Success) => ("\u{1b}[1m", "\u{1b}[32m", "\u{1b}[0m"),
        (true, Outcome::Failure) => ("\u{1b}[1m", "\u{1b}[31m", "\u{1b}[0m"),
        (true, _) => ("\u{1b}[1m", "\u{1b}[33m", "\u{1b}[0m"),
    };
    let time = event.timestamp.map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"));
    let (kind, operation) = (heading(&event.kind), heading(&event.operation));
    let outcome = event.outcome;
    let mut line = format!("{time} {bold}{kind} {operation}{plain} {tint}{outcome}{plain}: ");
    line.push_str(&what(event));
    line.push_str(&who(event));
    if event.outcome == Outcome::Failure {
        line.push_str(&why(event));
    }
    line
}

/// A word of the event type in capitals; publishers choose it, so it is held to letters like a name.
fn heading(word: &str) -> String {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' '));
    if is_plain { word.to_ascii_uppercase() } else { quoted(word) }
}

/// What it was done to.
fn what(event: &Event) -> String {
    if let Some(assignment) = &event.assignment {
        return granted(assignment, event.operation == "deleted");
    }
    let resource = &event.resource;
    let thing = name_and_id(resource.name.as_deref(), resource.id.as_deref()).unwrap_or_else(|| "-".to_owned());
    match &event.member {
        Some(member) => membership(member, &event.kind, &thing),
        None => thing,
    }
}

/// `role R to user U on project P (inherited)`, or `of` for one that is taken.
fn granted(assignment: &Assignment, taken: bool) -> String {
    let mut text = format!("role {}", referred(assignment.role.as_ref()));
    let holders = [("user", &assignment.user), ("group", &assignment.group)];
    let places = [("project", &assignment.project), ("domain", &assignment.domain)];
    let to = if taken { "of" } else { "to" };
    for (preposition, things) in [(to, holders), ("on", places)] {
        for (kind, thing) in things {
            if thing.is_some() {
                let _ = write!(text, " {preposition} {kind} {}", referred(thing.as_ref()));
            }
        }
    }
    if assignment.inherited == Some(true) {
        text.push_str(" (inherited)");
    }
    text
}

fn referred(reference: Option<&Reference>) -> String {
    reference
        .and_then(|reference| name_and_id(reference.name.as_deref(), Some(&reference.id)))
        .unwrap_or_else(|| "-".to_owned())
}

/// `user U added to group G`.
fn membership(member: &Member, kind: &str, thing: &str) -> String {
    let who = name_and_id(member.name.as_deref(), member.id.as_deref()).unwrap_or_else(|| "-".to_owned());
    let operation = member.operation.as_deref().unwrap_or("-");
    let preposition = if operation == "removed" { "from" } else { "to" };
    let member_kind = bare_or_quoted(member.kind.as_deref().unwrap_or("-"), false);
    let operation =
        if matches!(operation, "added" | "removed" | "-") { operation.to_owned() } else { quoted(operation) };
    format!("{member_kind} {who} {operation} {preposition} {} {thing}", bare_or_quoted(kind, false))
}

/// Who did it, and from where: ` by admin (e4e1…) in project admin from 192.0.2.7`.
fn who(event: &Event) -> String {
    let initiator = &event.initiator;
    let mut text = String::new();
    // The one who authenticates has been named already.
    let is_same = event.operation == "authenticate"
        && (&initiator.id, &initiator.name) == (&event.resource.id, &event.resource.name);
    if !is_same && let Some(who) = name_and_id(initiator.name.as_deref(), initiator.id.as_deref()) {
        let _ = write!(text, " by {who}");
    }
    if let Some(scope) = scope(initiator) {
        let _ = write!(text, " in {scope}");
    }
    if let Some(address) = &initiator.address {
        let _ = write!(text, " from {}", bare_or_quoted(address, false));
    }
    if let Some(provider) = initiator.federation.as_ref().and_then(|from| from.identity_provider.as_deref()) {
        let _ = write!(text, " via {}", name(provider));
    }
    text
}

/// `project P` or `domain D`, by name where it is known.
fn scope(initiator: &Initiator) -> Option<String> {
    let known = |kind: &str, title: &Option<String>, id: &Option<String>| match (title, id) {
        (Some(title), _) => Some(format!("{kind} {}", name(title))),
        (None, Some(id)) => Some(format!("{kind} {}", bare_or_quoted(id, true))),
        (None, None) => None,
    };
    known("project", &initiator.project_name, &initiator.project_id)
        .or_else(|| known("domain", &initiator.domain_name, &initiator.domain_id))
}

/// `: The account is locked (401)`. It ends the line, so it may have spaces and commas.
fn why(event: &Event) -> String {
    let is_bare = |text: &str| text.bytes().all(|byte| is_bare(byte) || matches!(byte, b' ' | b',' | b';' | b'\''));
    let text = event.reason.text.as_deref().map(|text| if is_bare(text) { text.to_owned() } else { quoted(text) });
    let code = event.reason.code.as_deref().map(|code| bare_or_quoted(code, true));
    match (text, code) {
        (Some(text), Some(code)) => format!(": {text} ({code})"),
        (Some(text), None) => format!(": {text}"),
        (None, Some(code)) => format!(": ({code})"),
        (None, None) => String::new(),
    }
}

/// `bob (e580…)`, or what there is of it.
fn name_and_id(title: Option<&str>, id: Option<&str>) -> Option<String> {
    match (title, id) {
        (Some(title), Some(id)) => Some(format!("{} ({})", name(title), bare_or_quoted(id, true))),
        (Some(title), None) => Some(name(title)),
        (None, Some(id)) => Some(bare_or_quoted(id, true)),
        (None, None) => None,
    }
}

fn name(name: &str) -> String {
    let is_like_an_id = name.len() >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_like_an_id || name.contains(':') { quoted(name) } else { bare_or_quoted(name, true) }
}

/// Bare where that cannot deceive; `guarded` texts stand where one of the line's words could be expected.
fn bare_or_quoted(text: &str, guarded: bool) -> String {
    let is_safe = !text.is_empty() && text.bytes().all(is_bare) && !(guarded && WORDS.contains(&text));
    if is_safe { text.to_owned() } else { quoted(text) }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"@.+-/_:".contains(&byte)
}

/// In double quotes; neither a quote nor a line end can come out of them.
fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text).replace('"', "\\\""))
}

fn logfmt(event: &Event) -> String {
    let (initiator, resource, reason) = (&event.initiator, &event.resource, &event.reason);
    let assignment = event.assignment.as_ref();
    let member = event.member.as_ref();
    let id = |of: fn(&Assignment) -> Option<&Reference>| assignment.and_then(of).map(|thing| thing.id.as_str());
    let called = |of: fn(&Assignment) -> Option<&Reference>| assignment.and_then(of).and_then(|it| it.name.as_deref());
    let time = event.time();
    let inherited = assignment.and_then(|it| it.inherited).map(|it| if it { "true" } else { "false" });
    let fields = [
        ("time", time.as_deref()),
        ("message_id", Some(event.message_id.as_str())),
        ("event_type", Some(event.event_type.as_str())),
        ("kind", Some(event.kind.as_str())),
        ("operation", Some(event.operation.as_str())),
        ("outcome", Some(event.outcome.as_str())),
        ("reason.code", reason.code.as_deref()),
        ("reason.text", reason.text.as_deref()),
        ("priority", event.priority.as_deref()),
        ("publisher_id", event.publisher_id.as_deref()),
        ("request_id", event.request_id.as_deref()),
        ("initiator.id", initiator.id.as_deref()),
        ("initiator.name", initiator.name.as_deref()),
        ("initiator.project_id", initiator.project_id.as_deref()),
        ("initiator.project_name", initiator.project_name.as_deref()),
        ("initiator.domain_id", initiator.domain_id.as_deref()),
        ("initiator.domain_name", initiator.domain_name.as_deref()),
        ("initiator.address", initiator.address.as_deref()),
        ("initiator.agent", initiator.agent.as_deref()),
        ("resource.id", resource.id.as_deref()),
        ("resource.name", resource.name.as_deref()),
        ("assignment.role.id", id(|it| it.role.as_ref())),
        ("assignment.role.name", called(|it| it.role.as_ref())),
        ("assignment.user.id", id(|it| it.user.as_ref())),
        ("assignment.user.name", called(|it| it.user.as_ref())),
        ("assignment.group.id", id(|it| it.group.as_ref())),
        ("assignment.group.name", called(|it| it.group.as_ref())),
        ("assignment.project.id", id(|it| it.project.as_ref())),
        ("assignment.project.name", called(|it| it.project.as_ref())),
        ("assignment.domain.id", id(|it| it.domain.as_ref())),
        ("assignment.domain.name", called(|it| it.domain.as_ref())),
        ("assignment.inherited", inherited),
        ("member.kind", member.and_then(|it| it.kind.as_deref())),
        ("member.id", member.and_then(|it| it.id.as_deref())),
        ("member.name", member.and_then(|it| it.name.as_deref())),
        ("member.operation", member.and_then(|it| it.operation.as_deref())),
    ];
    let known = fields.iter().filter_map(|(key, value)| Some(format!("{key}={}", bare_or_quoted((*value)?, false))));
    known.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
