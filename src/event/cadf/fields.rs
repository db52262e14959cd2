//! The parts of a CADF event as they are named on the wire.
//!
//! Its promise: each field is read leniently, so that no part can make another unreadable.

use serde::Deserialize;

use crate::event::lenient::{Field, Text, object};

/// The event, with what Keystone adds to it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CadfEvent<'a> {
    #[serde(borrow, rename = "typeURI")]
    pub(super) type_uri: Text<'a>,
    #[serde(borrow, rename = "eventType")]
    pub(super) event_type: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, rename = "eventTime")]
    pub(super) event_time: Text<'a>,
    #[serde(borrow)]
    pub(super) action: Text<'a>,
    #[serde(borrow)]
    pub(super) outcome: Text<'a>,
    #[serde(borrow)]
    pub(super) initiator: Field<Agent<'a>>,
    #[serde(borrow)]
    pub(super) target: Field<Target<'a>>,
    #[serde(borrow)]
    pub(super) observer: Field<Target<'a>>,
    #[serde(borrow)]
    pub(super) reason: Field<CadfReason<'a>>,
    #[serde(borrow)]
    pub(super) attachments: Field<Vec<Field<Attachment<'a>>>>,
    /// Keystone: the id of what it was done to, or a project tag's text.
    #[serde(borrow)]
    pub(super) resource_info: Text<'a>,
    #[serde(borrow)]
    pub(super) request_id: Text<'a>,
}

/// A CADF resource in the role of the initiator.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Agent<'a> {
    /// Made up by pyCADF where Keystone knows no user, and derived from the user's id where that is no UUID (LDAP).
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    /// The user's id, where Keystone knows it.
    #[serde(borrow)]
    pub(super) user_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    /// The same as `name`, in releases that have both.
    #[serde(borrow)]
    pub(super) username: Text<'a>,
    /// What was typed at login, where there is no such user.
    #[serde(borrow)]
    pub(super) user_name: Text<'a>,
    #[serde(borrow)]
    pub(super) project_id: Text<'a>,
    #[serde(borrow)]
    pub(super) project_name: Text<'a>,
    #[serde(borrow)]
    pub(super) domain_id: Text<'a>,
    #[serde(borrow)]
    pub(super) domain_name: Text<'a>,
    #[serde(borrow)]
    pub(super) request_id: Text<'a>,
    #[serde(borrow)]
    pub(super) host: Field<Host<'a>>,
    #[serde(borrow)]
    pub(super) credential: Field<Credential<'a>>,
}

/// CADF's `host`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Host<'a> {
    #[serde(borrow)]
    pub(super) address: Text<'a>,
    #[serde(borrow)]
    pub(super) agent: Text<'a>,
}

/// pyCADF's `FederatedCredential`; its `token` was cut out before anything was read.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Credential<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) identity_provider: Text<'a>,
    #[serde(borrow)]
    pub(super) user: Text<'a>,
    #[serde(borrow)]
    pub(super) groups: Field<Vec<Text<'a>>>,
}

/// A CADF resource in the role of the target or the observer.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Target<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
}

/// CADF's `reason`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CadfReason<'a> {
    /// A string in what Keystone sends, a number in its documentation.
    #[serde(borrow, rename = "reasonCode")]
    pub(super) reason_code: Text<'a>,
    #[serde(borrow, rename = "reasonType")]
    pub(super) reason_type: Text<'a>,
}

/// CADF's `attachment`; its content is left in the payload, or cut out where it is a secret.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Attachment<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow, rename = "typeURI")]
    pub(super) type_uri: Text<'a>,
}

/// What Keystone puts at the top level of a `role_assignment` event.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RoleAssignment<'a> {
    #[serde(borrow)]
    pub(super) role: Text<'a>,
    #[serde(borrow)]
    pub(super) user: Text<'a>,
    #[serde(borrow)]
    pub(super) group: Text<'a>,
    #[serde(borrow)]
    pub(super) project: Text<'a>,
    #[serde(borrow)]
    pub(super) domain: Text<'a>,
    pub(super) inherited_to_projects: Field<bool>,
}

object!(CadfEvent, Agent, Host, Credential, Target, CadfReason, Attachment, RoleAssignment);
