//! A queue of cadfd's own, for those who cannot have their services declare one.
//!
//! Its promise: pure. The queue outlives the broker's restarts, is never expired, and when it is full lets its oldest
//! messages go instead of holding up who publishes; its arguments depend on the settings alone, so that it is the same
//! queue at each declaration.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};

/// How often a quorum queue may deliver a message in vain: never too often. RabbitMQ 4 discards it after 20 times
/// otherwise; -1, which says this there, is refused by RabbitMQ 3.
const DELIVERY_LIMIT: i32 = i32::MAX;

/// The queue, and where its messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its name; cadfd declares it, durable.
    pub queue: String,
    /// Others' exchanges, which are never declared; at least one, each without repetition.
    pub exchanges: Vec<String>,
    /// With which routing keys it is bound to each of them; at least one. AMQP's wildcards count: `notifications.*`.
    pub routing_keys: Vec<String>,
    /// How RabbitMQ keeps it.
    pub queue_type: QueueType,
    /// Whether of several consumers only one is given messages, until it goes.
    pub single_active_consumer: bool,
    /// Bytes of bodies that may wait; beyond that the oldest messages are dropped by the broker.
    pub max_bytes: u64,
    /// Between renewals of the bindings while all is well.
    pub renew_every: Duration,
}

/// The type of a queue in RabbitMQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated in a cluster; from RabbitMQ 3.8 on.
    #[default]
    Quorum,
    /// On one node.
    Classic,
}

impl QueueType {
    fn word(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        }
    }
}

impl Bound {
    /// What the queue is declared with.
    pub(super) fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert("x-queue-type".into(), text(self.queue_type.word()));
        let max_bytes = i64::try_from(self.max_bytes).unwrap_or(i64::MAX);
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(max_bytes));
        arguments.insert("x-overflow".into(), text("drop-head"));
        if self.single_active_consumer {
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        if self.queue_type == QueueType::Quorum {
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
        }
        arguments
    }
}

/// A binding that was made, for the trail: what was published while it was missing never came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The queue of cadfd's own.
    pub queue: String,
    /// The exchange that it is bound to.
    pub exchange: String,
    /// With these routing keys.
    pub routing_keys: Vec<String>,
    /// When it was last known to be there; `None` where this process has not known it before.
    pub from: Option<jiff::Timestamp>,
    /// When it was made.
    pub at: jiff::Timestamp,
    /// Why it was made, in a few words.
    pub cause: &'static str,
}
