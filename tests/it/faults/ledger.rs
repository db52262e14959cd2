//! The publisher's ledger: what was sent, and what the broker said about it.
//!
//! Its promise: a message is in it before its first byte is sent; `gone` is said only of what stood in a queue, or may
//! have, when the publisher deleted it.

use std::collections::HashMap;
use std::fmt::Write as _;

use cadfd::intake::KEPT_OF_OVERSIZED;
use sha2::{Digest as _, Sha256};

use super::follow::Line;
use super::wire::fingerprint;

/// Larger bodies are quarantined with their first bytes.
pub(crate) const MAX_BODY: usize = 64 << 10;

/// What a message is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Event {
        message_id: String,
        event_type: String,
    },
    /// With the SHA-256 of what is to be kept of it.
    Undecodable {
        digest: String,
    },
}

/// One message, however often it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) what: What,
    pub(crate) body: Vec<u8>,
    pub(crate) fingerprint: u64,
    /// How often.
    pub(crate) times: u32,
    pub(crate) confirmed: bool,
    /// It may have been in a queue that was deleted.
    pub(crate) gone: bool,
}

impl Sent {
    pub(crate) fn event(message_id: &str, event_type: &str, body: Vec<u8>) -> Self {
        let what = What::Event { message_id: message_id.to_owned(), event_type: event_type.to_owned() };
        Self::new(what, body)
    }

    pub(crate) fn undecodable(body: Vec<u8>) -> Self {
        Self::new(What::Undecodable { digest: digest(kept(&body)) }, body)
    }

    fn new(what: What, body: Vec<u8>) -> Self {
        Self { what, fingerprint: fingerprint(&body), body, times: 0, confirmed: false, gone: false }
    }

    /// The key under which the trail tells of it.
    pub(crate) fn key(&self) -> &str {
        match &self.what {
            What::Event { message_id, .. } => message_id,
            What::Undecodable { digest } => digest,
        }
    }
}

/// What quarantine is to hold of a body.
pub(crate) fn kept(body: &[u8]) -> &[u8] {
    if body.len() > MAX_BODY { &body[..KEPT_OF_OVERSIZED] } else { body }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// All messages in the order in which they were first sent, and how far the trail is.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) sent: Vec<Sent>,
    by_key: HashMap<String, usize>,
    in_trail: Vec<bool>,
    /// All before this one are in the trail.
    low: usize,
    /// Deliveries that the trail plans and does not yet tell the end of.
    pub(crate) open_deliveries: i64,
}

impl Ledger {
    pub(crate) fn add(&mut self, sent: Sent) -> usize {
        let index = self.sent.len();
        self.by_key.insert(sent.key().to_owned(), index);
        self.sent.push(sent);
        self.in_trail.push(false);
        index
    }

    /// The trail tells more.
    pub(crate) fn follow(&mut self, line: &Line) {
        match line {
            Line::Event { planned, .. } => self.open_deliveries += i64::try_from(planned.len()).unwrap(),
            Line::Delivery { .. } => self.open_deliveries -= 1,
            _ => {}
        }
        if let Some(&index) = line.key().and_then(|key| self.by_key.get(key)) {
            self.in_trail[index] = true;
            // Nobody asks for it again; an hour's bodies are many.
            if matches!(self.sent[index].what, What::Event { .. }) && self.sent[index].confirmed {
                self.sent[index].body = Vec::new();
            }
        }
        while self.in_trail.get(self.low) == Some(&true) {
            self.low += 1;
        }
    }

    /// Sent and not in the trail, unless it went with its queue.
    pub(crate) fn in_flight(&self) -> Vec<usize> {
        (self.low..self.sent.len()).filter(|&at| !self.in_trail[at] && !self.sent[at].gone).collect()
    }
}
