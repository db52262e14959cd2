//! CADF events, as pyCADF writes them and Keystone fills them.
//!
//! Its promise: Keystone's fields are read for what they mean, not for what they are called; the remarks below say
//! where the two differ.
//!
//! The format is DMTF's DSP0262 1.0.0 in the form of pyCADF (`event.py`, `resource.py`, `host.py`, `credential.py`,
//! `reason.py`, `attachment.py`); what Keystone puts where is in its `notifications.py`, `identity/core.py` and
//! `auth/core.py` (28.1).

mod fields;

use fields::{Agent, CadfEvent, CadfReason, Credential, RoleAssignment};

use super::lenient::{self, Field, Text};
use super::{Assignment, Event, Federation, Initiator, Outcome, Payload, Reason, Reference, kind, time};

/// How the `typeURI` of every CADF event ends.
const TYPE_URI: &str = "cloud/audit/1.0/event";

/// What pyCADF writes for what it does not know.
const UNKNOWN: &str = "unknown";

/// Reads the payload into the event, if it is a CADF event.
///
/// Middleware in front of other services sends CADF too (`audit.http.request`); there, only the `typeURI` tells it
/// from a payload that happens to have fields by the same names.
pub(super) fn fill(event: &mut Event, payload: &Payload, identity: bool) -> bool {
    let (mut again, mut odd) = (String::new(), Vec::new());
    let cadf: CadfEvent<'_> = lenient::payload(payload, &mut again, &mut odd);
    if !cadf.is_one(identity) {
        return false;
    }
    event.odd.append(&mut odd);
    cadf.fill(event);
    if event.kind == "role_assignment" {
        let mut again = String::new();
        // What is odd about the payload as a whole has been said.
        let fields: RoleAssignment<'_> = lenient::payload(payload, &mut again, &mut Vec::new());
        event.assignment = Some(fields.read(&mut event.odd));
    }
    true
}

impl CadfEvent<'_> {
    fn is_one(&self, identity: bool) -> bool {
        let says_so = matches!(&self.type_uri, Field::Is(uri) if uri.ends_with(TYPE_URI));
        // Newton sent an empty typeURI.
        let has_parts = !(self.initiator.is_absent()
            && self.target.is_absent()
            && self.observer.is_absent()
            && self.outcome.is_absent()
            && self.event_time.is_absent());
        says_so || (identity && has_parts)
    }

    fn fill(self, event: &mut Event) {
        let odd = &mut event.odd;
        for (field, place) in [
            (self.type_uri, "payload.typeURI"),
            (self.event_type, "payload.eventType"),
            (self.id, "payload.id"),
            (self.action, "payload.action"),
        ] {
            field.take(place, odd);
        }
        if let Some(observer) = self.observer.take("payload.observer", odd) {
            observer.id.take("payload.observer.id", odd);
            observer.name.take("payload.observer.name", odd);
        }
        for attachment in self.attachments.take("payload.attachments", odd).unwrap_or_default() {
            if let Some(attachment) = attachment.take("payload.attachments[]", odd) {
                attachment.name.take("payload.attachments[].name", odd);
                attachment.type_uri.take("payload.attachments[].typeURI", odd);
            }
        }
        if let Some(reason) = self.reason.take("payload.reason", odd) {
            event.reason = reason.read(odd);
        }
        event.outcome = outcome(self.outcome, &event.reason, odd);
        let event_time = self.event_time.take("payload.eventTime", odd);
        if event.timestamp.is_none() {
            event.timestamp = event_time.and_then(|at| time::read(&at, "payload.eventTime", odd));
        }
        let agent = self.initiator.take("payload.initiator", odd).unwrap_or_default();
        (event.initiator, event.request_id) = agent.read(odd);
        let own = self.request_id.text("payload.request_id", odd);
        event.request_id = event.request_id.take().or(own);
        let target = self.target.take("payload.target", odd).unwrap_or_default();
        let id = target.id.id("payload.target.id", odd);
        let name = target.name.text("payload.target.name", odd);
        let info = self.resource_info.id("payload.resource_info", odd);
        resource(event, info.or(id), name);
    }
}

/// What it was done to, given the id and the name that the payload has for it.
fn resource(event: &mut Event, id: Option<String>, name: Option<String>) {
    let (initiator, resource) = (&event.initiator, &mut event.resource);
    if kind::is_authentication(&event.event_type) {
        // The target's id is random here: it happened to the one who tried.
        resource.id.clone_from(&initiator.id);
        resource.name.clone_from(&initiator.name);
        return;
    }
    // A role assignment's target is random too; its parts are in the assignment.
    if event.kind != "role_assignment" {
        (resource.id, resource.name) = identity_of(&event.kind, id, name);
    }
    let own_doing = event.kind == "user" && resource.id.is_some() && resource.id == initiator.id;
    if own_doing && resource.name.is_none() {
        resource.name.clone_from(&initiator.name);
    }
}

/// A thing's id and name. A project tag is its text, which Keystone gives as an id.
pub(super) fn identity_of(kind: &str, id: Option<String>, name: Option<String>) -> (Option<String>, Option<String>) {
    if kind == "project tag" { (None, id.or(name)) } else { (id, name) }
}

/// A password change that Keystone rejected is sent as a success with a reason: the reason is right.
fn outcome(word: Text<'_>, reason: &Reason, odd: &mut Vec<String>) -> Outcome {
    let missing = word.is_absent();
    let outcome = match word.take("payload.outcome", odd) {
        Some(word) if word.eq_ignore_ascii_case("success") => Outcome::Success,
        Some(word) if word.eq_ignore_ascii_case("failure") => Outcome::Failure,
        Some(word) if word.eq_ignore_ascii_case("pending") => Outcome::Pending,
        Some(word) if word.eq_ignore_ascii_case(UNKNOWN) => Outcome::Unknown,
        Some(_) => {
            odd.push("payload.outcome: expected success, failure, pending or unknown".to_owned());
            Outcome::Unknown
        }
        None => Outcome::Unknown,
    };
    if missing {
        odd.push("payload.outcome: missing".to_owned());
    }
    let rejected = reason.code.as_deref().and_then(|code| code.parse::<u16>().ok()).is_some_and(|code| code >= 400);
    if rejected && matches!(outcome, Outcome::Success | Outcome::Unknown) { Outcome::Failure } else { outcome }
}

impl CadfReason<'_> {
    fn read(self, odd: &mut Vec<String>) -> Reason {
        Reason {
            code: self.reason_code.text("payload.reason.reasonCode", odd),
            text: self.reason_type.text("payload.reason.reasonType", odd),
        }
    }
}

impl Agent<'_> {
    /// Who did it, and the API request they did it by.
    fn read(self, odd: &mut Vec<String>) -> (Initiator, Option<String>) {
        let host = self.host.take("payload.initiator.host", odd).unwrap_or_default();
        let credential = self.credential.take("payload.initiator.credential", odd).unwrap_or_default();
        let federation = credential.read(odd);
        let user_id = self.user_id.id("payload.initiator.user_id", odd);
        let id = self.id.id("payload.initiator.id", odd).filter(|id| !is_made_up(id));
        let federated = federation.as_ref().and_then(|federation| federation.user.clone());
        let name = self.name.text("payload.initiator.name", odd);
        let same = self.username.text("payload.initiator.username", odd);
        let typed = self.user_name.text("payload.initiator.user_name", odd);
        let id = user_id.or(id).or(federated);
        // What was typed names nobody whose id is known: who is logged in may try another's name.
        let typed = typed.filter(|_| id.is_none());
        let initiator = Initiator {
            id,
            name: name.or(same).or(typed),
            project_id: self.project_id.id("payload.initiator.project_id", odd),
            project_name: self.project_name.text("payload.initiator.project_name", odd),
            domain_id: self.domain_id.id("payload.initiator.domain_id", odd),
            domain_name: self.domain_name.text("payload.initiator.domain_name", odd),
            address: host.address.text("payload.initiator.host.address", odd),
            agent: host.agent.text("payload.initiator.host.agent", odd),
            federation,
        };
        (initiator, self.request_id.text("payload.initiator.request_id", odd))
    }
}

/// Whether an initiator's id, given without a `user_id`, is one of pyCADF's own: it makes up a new UUID of version 5
/// for each event, so it names nobody. Keystone's ids have no dashes.
fn is_made_up(id: &str) -> bool {
    let dashed = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    id == UNKNOWN || (dashed && id.as_bytes().get(14) == Some(&b'5'))
}

impl Credential<'_> {
    /// How a federated user came in; `None` for a credential that says nothing beside its token.
    fn read(self, odd: &mut Vec<String>) -> Option<Federation> {
        let groups = self.groups.take("payload.initiator.credential.groups", odd).unwrap_or_default();
        let federation = Federation {
            protocol: self.kind.text("payload.initiator.credential.type", odd),
            identity_provider: self.identity_provider.text("payload.initiator.credential.identity_provider", odd),
            user: self.user.id("payload.initiator.credential.user", odd).filter(|user| user != UNKNOWN),
            groups: groups
                .into_iter()
                .filter_map(|group| group.text("payload.initiator.credential.groups[]", odd))
                .collect(),
        };
        (federation != Federation::default()).then_some(federation)
    }
}

impl RoleAssignment<'_> {
    fn read(self, odd: &mut Vec<String>) -> Assignment {
        let mut reference = |field: Text<'_>, place| Some(Reference { id: field.id(place, odd)?, name: None });
        Assignment {
            role: reference(self.role, "payload.role"),
            user: reference(self.user, "payload.user"),
            group: reference(self.group, "payload.group"),
            project: reference(self.project, "payload.project"),
            domain: reference(self.domain, "payload.domain"),
            inherited: self.inherited_to_projects.take("payload.inherited_to_projects", odd),
        }
    }
}
