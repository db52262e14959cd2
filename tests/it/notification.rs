//! Notifications as Keystone builds them, with in them what a test wants.
//!
//! Its promise: the envelope and the frame of the payload are as captured; each message has an id of its own.

use serde_json::{Value, json};

/// A notification, ready to publish.
#[derive(Clone, Debug)]
pub(crate) struct Notification {
    pub(crate) message_id: String,
    pub(crate) body: Vec<u8>,
}

impl AsRef<[u8]> for Notification {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// A CADF event; `payload`'s members are laid over the usual ones.
pub(crate) fn cadf(event_type: &str, payload: &Value) -> Notification {
    let action = event_type.strip_prefix("identity.").unwrap_or(event_type);
    let mut whole = json!({
        "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event",
        "eventType": "activity",
        "id": "d58c2d10-e342-5f9a-8c31-66152d0312a9",
        "eventTime": "2026-11-21T07:02:29.704029+0000",
        "action": action,
        "outcome": "success",
        "observer": {"id": "8d918543b5504bb5b786c12bec1323f4", "typeURI": "service/security"},
        "initiator": {"id": ADMIN, "typeURI": "service/security/account/user", "user_id": ADMIN, "name": "admin",
                      "host": {"address": "192.0.2.7", "agent": "python-keystoneclient"}},
        "target": {"id": "af753ff647084a5d9c16ec273da4a823", "typeURI": "data/security/account/user"},
    });
    for (key, value) in payload.as_object().unwrap() {
        whole[key] = value.clone();
    }
    v2(&json!({"event_type": event_type, "payload": whole}))
}

/// Who did it, in [`cadf`].
pub(crate) const ADMIN: &str = "e65b313b046a4810a3c1146b7d030076";

/// A user with this id was deleted.
pub(crate) fn user_deleted(id: &str) -> Notification {
    let target = json!({"id": id, "typeURI": "data/security/account/user"});
    cadf("identity.user.deleted", &json!({"target": target, "resource_info": id}))
}

/// So many users were deleted, `u0` first.
pub(crate) fn users_deleted(count: usize) -> Vec<Notification> {
    (0..count).map(|n| user_deleted(&format!("u{n}"))).collect()
}

pub(crate) fn ids(notifications: &[Notification]) -> Vec<String> {
    notifications.iter().map(|notification| notification.message_id.clone()).collect()
}

/// An inner object with the usual members that it has not, in a v2 envelope.
pub(crate) fn v2(inner: &Value) -> Notification {
    let mut whole = json!({
        "message_id": format!("{:032x}", rand::random::<u128>()),
        "publisher_id": "identity.ctl1",
        "priority": "INFO",
        "timestamp": "2026-11-21 07:02:29.704170",
        "_unique_id": format!("{:032x}", rand::random::<u128>()),
    });
    for (key, value) in inner.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let message_id = whole["message_id"].as_str().unwrap().to_owned();
    let envelope = json!({"oslo.version": "2.0", "oslo.message": whole.to_string()});
    Notification { message_id, body: envelope.to_string().into_bytes() }
}
