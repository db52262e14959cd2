//! What the store is given to keep, and what it makes of it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MessageKey, NewMatch};
use crate::chain::Hash;
use crate::name::Known;
use crate::record::{self, Record};

/// How a message is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// By its `message_id`: the same again is a repeat.
    Message(MessageKey),
    /// An undecodable message has no id. The same bytes are a repeat only where the broker says that it
    /// delivered them before: two empty messages are two messages.
    Unreadable {
        /// SHA-256 of its bytes, in hexadecimal.
        digest: String,
        /// AMQP's `redelivered`.
        redelivered: bool,
    },
    /// A record of cadfd's own.
    Own,
}

/// One message, or one thing cadfd did itself, with all that is to be kept of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Tells repeats.
    pub key: Key,
    /// The trail's record without its place: what follows `{"seq":17,"prev":"…",`, without the line's end.
    pub record: Vec<u8>,
    /// Lines for standard output, if any, each with its end.
    pub log: Option<String>,
    /// What is to be delivered.
    pub deliveries: Vec<NewDelivery>,
    /// The message itself, where it could not be decoded.
    pub unreadable: Option<Unreadable>,
    /// What it taught about names.
    pub names: Vec<Known>,
    /// What it counts for.
    pub counted: Vec<NewMatch>,
}

/// A record that knows its own place in the trail, and what is to be done about it: made within the transaction that
/// gives the place.
pub struct Seal(Make);

type Make = Box<dyn FnOnce(u64, &Hash) -> Entry + Send>;

impl Seal {
    /// `make` is given the record's number and the hash of the line before it. It must be quick: everything else
    /// that is to be kept waits for it.
    pub fn new(make: impl FnOnce(u64, &Hash) -> Entry + Send + 'static) -> Self {
        Self(Box::new(make))
    }

    pub(super) fn make(self, seq: u64, prev: &Hash) -> Entry {
        (self.0)(seq, prev)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// A planned delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewDelivery {
    /// The id that the receiver sees; the same when the same message is planned again.
    pub id: String,
    /// The destination's name, such as `slack.ops`.
    pub destination: String,
    /// The rule's name.
    pub rule: String,
    /// The message's id.
    pub message_id: String,
    /// The message's event type.
    pub event_type: String,
    /// The rendered request as JSON, or why it could not be rendered (then it is given up from the start).
    pub request: Result<String, String>,
    /// The time that the message itself has, if any: what a delivery's delay is measured from.
    pub sent: Option<Timestamp>,
    /// What is needed to plan what follows it, as JSON; `None` where nothing does.
    #[serde(default)]
    pub steps: Option<String>,
}

impl NewDelivery {
    /// The record of its end, where that is no attempt's: its template failed, or there was no room or time for it.
    pub(super) fn given_up(&self, at: Timestamp, event_seq: u64, attempts: u32, reason: &str) -> Vec<u8> {
        record::rest_of_line(&Record::Delivery {
            at,
            delivery: &self.id,
            event_seq,
            message_id: &self.message_id,
            event_type: &self.event_type,
            rule: &self.rule,
            destination: &self.destination,
            outcome: "given_up",
            attempts,
            reason: Some(reason),
            reply: None,
            detail: None,
            planned: &[],
        })
    }
}

/// A message that could not be decoded.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// SHA-256 of the kept bytes, in hexadecimal.
    pub digest: String,
    /// The queue it came from.
    pub queue: String,
    /// The exchange it was published to.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// Why it could not be decoded.
    pub reason: String,
    /// Its whole length in bytes.
    pub size: u64,
    /// Its bytes, or the first of them.
    pub body: Vec<u8>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Entries that are new.
    pub new: usize,
    /// Places in the batch of entries that had been taken before.
    pub repeats: Vec<usize>,
}
