//! The normalised view of a notification: what rules, templates, the audit trail and the readable log see.
//!
//! Its promise: every key is always there, in one order; what is not known is `null`, never guessed.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::Payload;
use crate::name::How;

/// A decoded notification: CADF, Basic or any other service's, in one normalised view.
///
/// Serializing gives the view as rules and templates see it: every key is always there, in the order of the fields
/// below, and what is not known is `null`. For serde formats other than JSON use [`Event::structured`].
#[derive(Clone, Debug)]
pub struct Event {
    /// oslo's `message_id`, the same across topics, redeliveries and publisher retries; where there is none,
    /// `sha256:` and the first 32 hexadecimal digits of the SHA-256 of the whole body.
    pub message_id: String,
    /// As it came: `identity.user.deleted`, `identity.OS-TRUST:trust.created`, `identity.project tag.created`.
    pub event_type: String,
    /// The kind of thing it happened to: `user`, `trust`, `project tag`, `role_assignment`.
    pub kind: String,
    /// What happened to it: `created`, `deleted`, `authenticate`; in other services' words for a generic event.
    pub operation: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where the publisher says so.
    pub reason: Reason,
    /// When the notification was sent, UTC, in microseconds; `None` where no time could be read.
    pub timestamp: Option<Timestamp>,
    /// `INFO`, `WARN`, `ERROR`, …
    pub priority: Option<String>,
    /// `identity.<host>`.
    pub publisher_id: Option<String>,
    /// The API request behind it; one request can cause several events.
    pub request_id: Option<String>,
    /// Who did it.
    pub initiator: Initiator,
    /// What it was done to; for an authentication, the user who tried.
    pub resource: Resource,
    /// For `role_assignment` only.
    pub assignment: Option<Assignment>,
    /// Who was added to or removed from a group; Keystone tells it in its Basic format only.
    pub member: Option<Member>,
    /// What an update changed, as far as it could be found out; Keystone does not tell.
    pub change: Option<Change>,
    /// Where names are from that the message did not have, by field: `resource.name`.
    pub names: BTreeMap<&'static str, Origin>,
    /// Whether it is cadfd's own login at Keystone.
    pub own: bool,
    /// The payload as it came, less the secrets.
    pub payload: Payload,
    /// What other services send as `_context_*`, without that prefix and less the secrets.
    pub context: Map<String, Value>,
    /// How the payload was told.
    pub format: Format,
    /// What was not as expected, one sentence each: `payload.initiator.id: expected a string, found an array`.
    pub odd: Vec<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Success,
    /// Refused or failed; also a "success" whose reason says that it was rejected.
    Failure,
    /// Begun.
    Pending,
    /// Not said, or said in a word that CADF does not have.
    Unknown,
}

/// How the payload was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A CADF event (DMTF DSP0262), as pyCADF builds it.
    Cadf,
    /// Keystone's own short form: `resource_info` and little else.
    Basic,
    /// Any other service's notification.
    Generic,
}

/// CADF's `reason`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// An HTTP status as text: `"401"`.
    pub code: Option<String>,
    /// A sentence. It can hold text that a stranger chose.
    pub text: Option<String>,
}

/// Who did it. Everything is `None` when Keystone itself did (bootstrap, inherited assignments).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Initiator {
    /// The user's id. `None` where Keystone gives only a made-up one.
    pub id: Option<String>,
    /// The user's name; for an unknown user, what was typed at login.
    pub name: Option<String>,
    /// The project of the token.
    pub project_id: Option<String>,
    /// Its name.
    pub project_name: Option<String>,
    /// The domain of the token; for an unknown user, the domain typed at login.
    pub domain_id: Option<String>,
    /// Its name.
    pub domain_name: Option<String>,
    /// The peer of the service's socket: behind a proxy, the proxy's.
    pub address: Option<String>,
    /// The client's own words about itself.
    pub agent: Option<String>,
    /// How a federated user came in.
    pub federation: Option<Federation>,
}

/// A federated credential, less its token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Federation {
    /// CADF's `credential.type`: `http://docs.oasis-open.org/security/saml/v2.0`.
    pub protocol: Option<String>,
    /// The identity provider's name.
    pub identity_provider: Option<String>,
    /// The user's id at the provider.
    pub user: Option<String>,
    /// The groups the provider puts the user into.
    pub groups: Vec<String>,
}

/// What it was done to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// The same as [`Event::kind`].
    pub kind: String,
    /// Its id; `None` where Keystone's is random (role assignments) or there is none (project tags).
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// A role granted or taken: `role` to a `user` or `group`, on a `project` or `domain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assignment {
    /// The role.
    pub role: Option<Reference>,
    /// The user who has it, or
    pub user: Option<Reference>,
    /// the group whose members have it.
    pub group: Option<Reference>,
    /// The project it holds in, or
    pub project: Option<Reference>,
    /// the domain.
    pub domain: Option<Reference>,
    /// Whether it is inherited by the projects below instead of holding at the place itself.
    pub inherited: Option<bool>,
}

/// A thing by its id, and by its name where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
}

/// Who was added to or removed from a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// `user`.
    pub kind: Option<String>,
    /// Their id.
    pub id: Option<String>,
    /// Their name.
    pub name: Option<String>,
    /// `added` or `removed`.
    pub operation: Option<String>,
}

/// What an update changed: what is known of the thing before the event, compared with Keystone's answer after it. Never
/// in the message, so it can be missing where Keystone was not asked or did not answer in time. Where several updates lie
/// between the two times, as after a backlog, what they changed is told with the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// Always true: this was compared, not told.
    pub derived: bool,
    /// It was enabled (true) or disabled (false).
    pub enabled: Option<bool>,
    /// What it is called now, where that changed, and
    pub name: Option<String>,
    /// what it was called before.
    pub old_name: Option<String>,
    /// The users who came into a group.
    pub added: Vec<Reference>,
    /// The users who left it.
    pub removed: Vec<Reference>,
    /// It was as before at this time, and
    pub since: Timestamp,
    /// as it is now at this one.
    pub until: Timestamp,
}

/// Where a name is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Who said so.
    pub how: How,
    /// When it was so.
    pub at: Timestamp,
    /// When the thing was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
}

impl Outcome {
    /// The word that rules and templates see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Event {
    /// The view for a serializer that is not `serde_json`'s, such as the template engine's: the payload is given as a
    /// tree, because raw JSON text means nothing to it.
    pub fn structured(&self) -> impl Serialize + '_ {
        View { event: self, payload: self.payload.value() }
    }

    /// The time as the view shows it: RFC 3339, UTC, as many digits of the second's fraction as it has (at most 6).
    #[must_use]
    pub fn time(&self) -> Option<String> {
        self.timestamp.map(|at| at.to_string())
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        View { event: self, payload: self.payload.raw() }.serialize(serializer)
    }
}

/// The one list of the view's fields.
macro_rules! fields {
    (|$event:ident, $payload:ident| $($key:ident: $value:expr,)+) => {
        /// The view's keys, in its order.
        pub const KEYS: &[&str] = &[$(stringify!($key)),+];

        impl Event {
            /// Gives the field of the view with this key to `visit`, the payload as a tree; `None` where there is no
            /// such field.
            pub fn field<V: Visit>(&self, key: &str, visit: V) -> Option<V::Output> {
                let ($event, $payload) = (self, LazyCell::new(|| self.payload.value()));
                match key {
                    $(stringify!($key) => Some(visit.visit(&$value)),)+
                    _ => None,
                }
            }
        }

        impl<P: Serialize> Serialize for View<'_, P> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let ($event, $payload) = (self.event, &self.payload);
                let mut view = serializer.serialize_struct("Event", KEYS.len())?;
                $(view.serialize_field(stringify!($key), &$value)?;)+
                view.end()
            }
        }
    };
}

fields! { |event, payload|
    message_id: event.message_id,
    event_type: event.event_type,
    kind: event.kind,
    operation: event.operation,
    outcome: event.outcome,
    reason: event.reason,
    timestamp: event.time(),
    priority: event.priority,
    publisher_id: event.publisher_id,
    request_id: event.request_id,
    initiator: event.initiator,
    resource: event.resource,
    assignment: event.assignment,
    member: event.member,
    change: event.change,
    names: event.names,
    own: event.own,
    payload: *payload,
    context: event.context,
    format: event.format,
    odd: event.odd,
}

/// What [`Event::field`] gives a field to, of whatever type it is.
pub trait Visit {
    /// What becomes of it.
    type Output;
    /// Takes the field.
    fn visit(self, value: &impl Serialize) -> Self::Output;
}

struct View<'a, P> {
    event: &'a Event,
    payload: P,
}
