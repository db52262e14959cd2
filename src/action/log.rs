//! One event as one line of a log.
//!
//! Its promise: one event, one line, whatever is in it; and no name can pass for another part of the line.
//!
//! A readable line is made of words of its own and of names, ids and addresses. One of those stands bare when it is made
//! of ASCII letters, digits and `@ . + - / _ :` only and is none of the line's own words; otherwise it stands in double
//! quotes, with [`one_line`]'s escapes and `\"`. A name that looks like an id or has a colon is quoted too. Parentheses hold ids (after
//! a name) and the reason's code, and are never part of something bare.

use std::fmt::Write as _;

use crate::event::{Assignment, Change, Event, Initiator, Member, Outcome, Reference};
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

/// Users that a line names where many came into a group or left it.
const SHOWN_USERS: usize = 3;

/// The line's own words, which a bare name must not be.
const WORDS: [&str; 23] = [
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
    "enabled",
    "disabled",
    "renamed",
    "and",
    "more",
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
    let mut line = Line(String::with_capacity(256));
    match event.timestamp {
        Some(at) => line.write(format_args!("{at:.3}")),
        None => line.push("-"),
    };
    line.push(" ").push(bold).heading(&event.kind).push(" ").heading(&event.operation).push(plain);
    line.push(" ").push(tint).push(event.outcome.as_str()).push(plain).push(": ");
    line.what(event);
    line.who(event);
    if event.outcome == Outcome::Failure {
        line.why(event);
    }
    line.0
}

/// A readable line in the making: one text, which each part is written into.
struct Line(String);

impl Line {
    fn push(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) -> &mut Self {
        let _infallible = self.0.write_fmt(text);
        self
    }

    /// A word of the event type in capitals; publishers choose it, so it is held to letters like a name.
    fn heading(&mut self, word: &str) -> &mut Self {
        if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ')) {
            let from = self.0.len();
            self.0.push_str(word);
            self.0[from..].make_ascii_uppercase();
            self
        } else {
            self.quoted(word)
        }
    }

    /// What it was done to.
    fn what(&mut self, event: &Event) {
        if let Some(assignment) = &event.assignment {
            self.granted(assignment, event.operation == "deleted");
        } else if let Some(member) = &event.member {
            self.membership(member, event);
        } else {
            self.named(event.resource.name.as_deref(), event.resource.id.as_deref());
            event.change.iter().for_each(|change| self.changed(change));
        }
    }

    /// ` disabled`, ` renamed from N`, ` added user U`, as far as it was found out.
    fn changed(&mut self, change: &Change) {
        if let Some(enabled) = change.enabled {
            self.push(if enabled { " enabled" } else { " disabled" });
        }
        if let Some(name) = &change.old_name {
            self.push(" renamed from ").name(name);
        }
        for (operation, users) in [(" added user ", &change.added), (" removed user ", &change.removed)] {
            for user in users.iter().take(SHOWN_USERS) {
                self.push(operation).referred(Some(user));
            }
            if users.len() > SHOWN_USERS {
                self.write(format_args!(" and {} more", users.len() - SHOWN_USERS));
            }
        }
    }

    /// `role R to user U on project P (inherited)`, or `of` for one that is taken.
    fn granted(&mut self, assignment: &Assignment, taken: bool) {
        self.push("role ").referred(assignment.role.as_ref());
        let to = if taken { "of" } else { "to" };
        let (user, group) = (&assignment.user, &assignment.group);
        let (project, domain) = (&assignment.project, &assignment.domain);
        for (preposition, kind, thing) in
            [(to, "user", user), (to, "group", group), ("on", "project", project), ("on", "domain", domain)]
        {
            if thing.is_some() {
                self.push(" ").push(preposition).push(" ").push(kind).push(" ").referred(thing.as_ref());
            }
        }
        if assignment.inherited == Some(true) {
            self.push(" (inherited)");
        }
    }

    fn referred(&mut self, reference: Option<&Reference>) -> &mut Self {
        self.named(reference.and_then(|it| it.name.as_deref()), reference.map(|it| it.id.as_str()))
    }

    /// `user U added to group G`.
    fn membership(&mut self, member: &Member, event: &Event) {
        let operation = member.operation.as_deref().unwrap_or("-");
        let preposition = if operation == "removed" { "from" } else { "to" };
        self.bare_or_quoted(member.kind.as_deref().unwrap_or("-"), false).push(" ");
        self.named(member.name.as_deref(), member.id.as_deref()).push(" ");
        if matches!(operation, "added" | "removed" | "-") {
            self.push(operation)
        } else {
            self.quoted(operation)
        };
        self.push(" ").push(preposition).push(" ").bare_or_quoted(&event.kind, false).push(" ");
        self.named(event.resource.name.as_deref(), event.resource.id.as_deref());
    }

    /// Who did it, and from where: ` by admin (e4e1…) in project admin from 192.0.2.7`.
    fn who(&mut self, event: &Event) {
        let (initiator, resource) = (&event.initiator, &event.resource);
        // The one who authenticates has been named already.
        let is_same =
            event.operation == "authenticate" && (&initiator.id, &initiator.name) == (&resource.id, &resource.name);
        if !is_same && (initiator.name.is_some() || initiator.id.is_some()) {
            self.push(" by ").named(initiator.name.as_deref(), initiator.id.as_deref());
        }
        self.scope(initiator);
        if let Some(address) = &initiator.address {
            self.push(" from ").bare_or_quoted(address, false);
        }
        if let Some(provider) = initiator.federation.as_ref().and_then(|from| from.identity_provider.as_deref()) {
            self.push(" via ").name(provider);
        }
    }

    /// ` in project P` or ` in domain D`, by name where it is known.
    fn scope(&mut self, initiator: &Initiator) {
        let project = ("project", &initiator.project_name, &initiator.project_id);
        let domain = ("domain", &initiator.domain_name, &initiator.domain_id);
        for (kind, name, id) in [project, domain] {
            match (name, id) {
                (Some(name), _) => self.push(" in ").push(kind).push(" ").name(name),
                (None, Some(id)) => self.push(" in ").push(kind).push(" ").bare_or_quoted(id, true),
                (None, None) => continue,
            };
            return;
        }
    }

    /// `: The account is locked (401)`. It ends the line, so it may have spaces and commas.
    fn why(&mut self, event: &Event) {
        let is_bare = |text: &str| text.bytes().all(|byte| is_bare(byte) || matches!(byte, b' ' | b',' | b';' | b'\''));
        let (text, code) = (event.reason.text.as_deref(), event.reason.code.as_deref());
        if text.is_some() || code.is_some() {
            self.push(":");
        }
        if let Some(text) = text {
            self.push(" ");
            if is_bare(text) {
                self.push(text)
            } else {
                self.quoted(text)
            };
        }
        if let Some(code) = code {
            self.push(" (").bare_or_quoted(code, true).push(")");
        }
    }

    /// `bob (e580…)`, or what there is of it, or `-`.
    fn named(&mut self, name: Option<&str>, id: Option<&str>) -> &mut Self {
        match (name, id) {
            (Some(name), Some(id)) => self.name(name).push(" (").bare_or_quoted(id, true).push(")"),
            (Some(name), None) => self.name(name),
            (None, Some(id)) => self.bare_or_quoted(id, true),
            (None, None) => self.push("-"),
        }
    }

    fn name(&mut self, name: &str) -> &mut Self {
        let is_like_an_id = name.len() >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if is_like_an_id || name.contains(':') { self.quoted(name) } else { self.bare_or_quoted(name, true) }
    }

    /// Bare where that cannot deceive; `guarded` texts stand where one of the line's words could be expected.
    fn bare_or_quoted(&mut self, text: &str, guarded: bool) -> &mut Self {
        let is_safe = !text.is_empty() && text.bytes().all(is_bare) && !(guarded && WORDS.contains(&text));
        if is_safe { self.push(text) } else { self.quoted(text) }
    }

    /// In double quotes; neither a quote nor a line end can come out of them.
    fn quoted(&mut self, text: &str) -> &mut Self {
        self.push("\"").push(&one_line(text).replace('"', "\\\"")).push("\"")
    }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"@.+-/_:".contains(&byte)
}

fn logfmt(event: &Event) -> String {
    let (initiator, resource, reason) = (&event.initiator, &event.resource, &event.reason);
    let assignment = event.assignment.as_ref();
    let member = event.member.as_ref();
    let id = |of: fn(&Assignment) -> Option<&Reference>| assignment.and_then(of).map(|thing| thing.id.as_str());
    let called = |of: fn(&Assignment) -> Option<&Reference>| assignment.and_then(of).and_then(|it| it.name.as_deref());
    let time = event.time();
    let inherited = assignment.and_then(|it| it.inherited).map(|it| if it { "true" } else { "false" });
    let change = event.change.as_ref();
    let ids = |of: fn(&Change) -> &Vec<Reference>| {
        let ids: Vec<_> = change.map(of).into_iter().flatten().map(|user| user.id.as_str()).collect();
        (!ids.is_empty()).then(|| ids.join(","))
    };
    let (added, removed) = (ids(|it| &it.added), ids(|it| &it.removed));
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
        ("change.enabled", change.and_then(|it| it.enabled).map(|it| if it { "true" } else { "false" })),
        ("change.name", change.and_then(|it| it.name.as_deref())),
        ("change.old_name", change.and_then(|it| it.old_name.as_deref())),
        ("change.added", added.as_deref()),
        ("change.removed", removed.as_deref()),
    ];
    let mut line = Line(String::with_capacity(512));
    for (key, value) in fields.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
        let space = if line.0.is_empty() { "" } else { " " };
        line.push(space).push(key).push("=").bare_or_quoted(value, false);
    }
    line.0
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
