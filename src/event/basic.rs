//! Keystone's Basic format: `notification_format = basic`.
//!
//! Its promise: it says what the payload says and no more; who did it is not told in this format.
//!
//! The format is `_send_notification` in Keystone's `notifications.py` (28.1). It has no outcome: Keystone sends it after
//! the fact, so it is a success, with one exception that cannot be seen: a rejected password change is
//! `identity.user.updated` like any other.

use serde::Deserialize;

use super::lenient::{self, Text, object};
use super::{Event, Member, Outcome, Payload, cadf};

/// The whole payload.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Basic<'a> {
    /// The id of what it was done to, or a project tag's text.
    #[serde(borrow)]
    resource_info: Text<'a>,
    #[serde(borrow)]
    request_id: Text<'a>,
    #[serde(borrow)]
    actor_id: Text<'a>,
    #[serde(borrow)]
    actor_type: Text<'a>,
    #[serde(borrow)]
    actor_operation: Text<'a>,
}

object!(Basic);

/// Reads the payload into the event.
pub(super) fn fill(event: &mut Event, payload: &Payload) {
    let mut again = String::new();
    let odd = &mut event.odd;
    let basic: Basic<'_> = lenient::payload(payload, &mut again, odd);
    event.request_id = basic.request_id.text("payload.request_id", odd);
    let info = basic.resource_info.id("payload.resource_info", odd);
    event.outcome = if info.is_some() { Outcome::Success } else { Outcome::Unknown };
    (event.resource.id, event.resource.name) = cadf::identity_of(&event.kind, info, None);
    let member = Member {
        kind: basic.actor_type.text("payload.actor_type", odd),
        id: basic.actor_id.id("payload.actor_id", odd),
        name: None,
        operation: basic.actor_operation.text("payload.actor_operation", odd),
    };
    event.member = (member != Member::default()).then_some(member);
}
