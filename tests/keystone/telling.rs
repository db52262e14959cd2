//! An event as the trail has it, against what it has to be.
//!
//! Its promise: all that the event says is compared, what it should not say included; only what is different each time
//! and means nothing is left out.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::keystone::Format;
use crate::operation::{Known, fill_value};

/// The fields of an event that must be as expected, by their dotted paths; what is null is not among them.
pub(crate) type Fields = BTreeMap<String, Value>;

/// An event as it must stand in the trail.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    event_type: String,
    /// Keystone sends it as CADF whatever its settings say.
    always_cadf: bool,
    fields: Vec<(&'static str, Value)>,
    cadf_only: Vec<(&'static str, Value)>,
    basic_only: Vec<(&'static str, Value)>,
    /// What can be known only with Keystone's help, or from earlier events: names and what has changed.
    learnt: Vec<(&'static str, Value)>,
    /// The same, of what only the CADF format tells the id.
    learnt_in_cadf: Vec<(&'static str, Value)>,
}

impl Telling {
    /// `identity.<kind>.<operation>`, a success, about a thing with this id.
    pub(crate) fn of(kind: &str, operation: &str, id: &str) -> Self {
        let bare = kind.rsplit(':').next().unwrap();
        let mut telling = Self::bare(&format!("identity.{kind}.{operation}"), bare, operation);
        telling.fields.push(("resource.id", id.into()));
        telling.initiated_by("admin")
    }

    /// A project's tag, whose id is its text.
    pub(crate) fn of_tag(operation: &str, text: &str) -> Self {
        let mut telling = Self::bare(&format!("identity.project tag.{operation}"), "project tag", operation);
        telling.fields.push(("resource.name", text.into()));
        telling.initiated_by("admin")
    }

    /// A role's assignment with these ids: `[("role", "{member}"), ("user", "{alice}"), …]`.
    pub(crate) fn of_grant(operation: &str, parts: &[(&str, &str)], inherited: bool) -> Self {
        let mut telling =
            Self::bare(&format!("identity.role_assignment.{operation}"), "role_assignment", operation).always_cadf();
        for (part, id) in parts {
            let path = match *part {
                "role" => "assignment.role.id",
                "user" => "assignment.user.id",
                "group" => "assignment.group.id",
                "project" => "assignment.project.id",
                "domain" => "assignment.domain.id",
                other => panic!("an assignment has no {other}"),
            };
            telling.fields.push((path, (*id).into()));
        }
        telling.fields.push(("assignment.inherited", inherited.into()));
        telling.initiated_by("admin")
    }

    /// A login that succeeded.
    pub(crate) fn of_login(id: &str, name: &str) -> Self {
        Self::of_failed_login(id, Some(name)).with("outcome", "success")
    }

    /// A login that failed, of a user with this id, who has this name if Keystone knows one.
    pub(crate) fn of_failed_login(id: &str, name: Option<&str>) -> Self {
        let mut telling = Self::bare("identity.authenticate", "user", "authenticate").always_cadf();
        telling.set("outcome", "failure");
        telling.fields.extend([("resource.id", id.into()), ("initiator.id", id.into())]);
        if let Some(name) = name {
            telling.fields.extend([("resource.name", name.into()), ("initiator.name", name.into())]);
        }
        telling
    }

    /// A login that failed, of a user whom Keystone does not know: what was typed, and the domain's id and name.
    pub(crate) fn of_unknown_login(name: &str, domain: (&str, &str)) -> Self {
        let mut telling = Self::bare("identity.authenticate", "user", "authenticate").always_cadf();
        telling.set("outcome", "failure");
        let typed = [
            ("reason.code", "404"),
            ("resource.name", name),
            ("initiator.name", name),
            ("initiator.domain_id", domain.0),
            ("initiator.domain_name", domain.1),
        ];
        telling.fields.extend(typed.map(|(path, text)| (path, text.into())));
        telling
    }

    fn bare(event_type: &str, kind: &str, operation: &str) -> Self {
        let fields = [("kind", kind), ("operation", operation), ("outcome", "success"), ("resource.kind", kind)];
        Self {
            event_type: event_type.to_owned(),
            always_cadf: false,
            fields: fields.map(|(path, text)| (path, text.into())).into(),
            cadf_only: vec![("initiator.address", "127.0.0.1".into())],
            basic_only: Vec::new(),
            learnt: Vec::new(),
            learnt_in_cadf: Vec::new(),
        }
    }

    fn always_cadf(mut self) -> Self {
        self.always_cadf = true;
        self
    }

    fn set(&mut self, path: &'static str, value: impl Into<Value>) {
        for fields in [&mut self.fields, &mut self.cadf_only, &mut self.basic_only] {
            fields.retain(|(known, _)| *known != path);
        }
        self.fields.push((path, value.into()));
    }

    /// Done by somebody with the token of a project: `{admin}` in `{admin_project}`, with the name `admin`.
    pub(crate) fn initiated_by(self, who: &str) -> Self {
        let mut telling = self.by_nobody();
        telling.cadf_only.extend([
            ("initiator.id", format!("{{{who}}}").into()),
            ("initiator.name", who.into()),
            ("initiator.project_id", format!("{{{who}_project}}").into()),
        ]);
        telling.learnt_in_cadf.push(("initiator.project_name", format!("{{{who}_project_name}}").into()));
        telling
    }

    /// Done by somebody without a token, of whom only the address is known.
    pub(crate) fn by_nobody(self) -> Self {
        let mut telling = self.by_keystone();
        telling.cadf_only.push(("initiator.address", "127.0.0.1".into()));
        telling
    }

    /// Done by Keystone itself, as far as it says.
    pub(crate) fn by_keystone(mut self) -> Self {
        self.cadf_only.retain(|(path, _)| !path.starts_with("initiator."));
        self.learnt_in_cadf.clear();
        self
    }

    /// Another value of a field, or a further field, in either format.
    pub(crate) fn with(mut self, path: &'static str, value: impl Into<Value>) -> Self {
        self.set(path, value);
        self
    }

    /// A field that only the CADF format tells.
    pub(crate) fn in_cadf(mut self, path: &'static str, value: impl Into<Value>) -> Self {
        self.cadf_only.retain(|(known, _)| *known != path);
        self.cadf_only.push((path, value.into()));
        self
    }

    /// A field that only the Basic format tells.
    pub(crate) fn in_basic(mut self, path: &'static str, value: impl Into<Value>) -> Self {
        self.basic_only.push((path, value.into()));
        self
    }

    /// Names that the event has from Keystone or from what was there before.
    pub(crate) fn names(mut self, names: &[(&'static str, &str)]) -> Self {
        self.learnt.extend(names.iter().map(|(path, name)| (*path, Value::from(*name))));
        self
    }

    /// The same of what can be asked for only by its owner, whom the Basic format does not tell.
    pub(crate) fn names_in_cadf(mut self, names: &[(&'static str, &str)]) -> Self {
        self.learnt_in_cadf.extend(names.iter().map(|(path, name)| (*path, Value::from(*name))));
        self
    }

    /// What a comparison with what was known before gives.
    pub(crate) fn changes(mut self, path: &'static str, value: impl Into<Value>) -> Self {
        self.learnt.push((path, value.into()));
        self
    }

    /// It was called otherwise before.
    pub(crate) fn renamed(self, from: &str, to: &str) -> Self {
        self.names(&[("resource.name", to)]).changes("change.old_name", from).changes("change.name", to)
    }

    /// The fields it must have in this format, and no other.
    pub(crate) fn expected(&self, format: Format, known: &Known) -> Fields {
        let is_cadf = format == Format::Cadf || self.always_cadf;
        let (told_only, word) = if is_cadf { (&self.cadf_only, "cadf") } else { (&self.basic_only, "basic") };
        let learnt = self.learnt.iter().chain(self.learnt_in_cadf.iter().filter(|_| is_cadf));
        let always = [("event_type", self.event_type.as_str().into()), ("format", word.into())];
        let all = always.iter().chain(&self.fields).chain(told_only).chain(learnt);
        all.map(|(path, value): &(&str, Value)| ((*path).to_owned(), fill_value(value, known))).collect()
    }
}

/// The fields of a trail's record of an event that [`Telling::expected`] is about.
pub(crate) fn fields_of(event: &Value) -> Fields {
    let mut fields = Fields::new();
    for key in [
        "event_type",
        "kind",
        "operation",
        "outcome",
        "format",
        "initiator",
        "resource",
        "assignment",
        "member",
        "change",
    ] {
        flatten(key, &event[key], &mut fields);
    }
    // The text is Keystone's prose; what clients call themselves is ours.
    flatten("reason.code", &event["reason"]["code"], &mut fields);
    fields.remove("initiator.agent");
    // All of it was found out, and says so.
    if event["change"]["derived"] == true {
        for path in ["change.derived", "change.since", "change.until"] {
            fields.remove(path);
        }
    }
    if event["odd"].as_array().is_some_and(|odd| !odd.is_empty()) {
        fields.insert("odd".to_owned(), event["odd"].clone());
    }
    fields
}

fn flatten(path: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&format!("{path}.{key}"), value, fields)),
        other => {
            fields.insert(path.to_owned(), other.clone());
        }
    }
}
