//! A delivery as its worker sees it, and what becomes of it.

use jiff::Timestamp;

use super::NewDelivery;

/// A delivery that waits.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place in the order of planning.
    pub n: i64,
    /// The id that the receiver sees.
    pub id: String,
    /// The rule's name.
    pub rule: String,
    /// The event's record in the trail.
    pub seq: u64,
    /// The message's id.
    pub message_id: String,
    /// The message's event type.
    pub event_type: String,
    /// The request, as JSON.
    pub request: String,
    /// What an action of several steps has reached, as JSON.
    pub progress: Option<String>,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// When it was planned.
    pub created: Timestamp,
    /// The time that the message itself has, if any.
    pub sent: Option<Timestamp>,
    /// What is needed to plan what follows it, as JSON; `None` where nothing does.
    pub steps: Option<String>,
}

/// What an attempt came to, for the store.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The delivery's `n`.
    pub n: i64,
    /// What becomes of it.
    pub end: End,
}

/// What follows a delivery: kept in the one transaction that keeps its end, so that nothing comes between them.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// The event's record in the trail.
    pub event_seq: u64,
    /// What is to be delivered now.
    pub deliveries: Vec<NewDelivery>,
    /// Lines for standard output, if any, each with its end.
    pub log: Option<String>,
}

impl Next {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.log.is_none()
    }
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug)]
pub enum End {
    /// It is done; its row goes, the record stays.
    Done {
        /// The trail's record.
        record: Vec<u8>,
        /// What follows it.
        next: Next,
    },
    /// It is given up and kept. Where something follows all the same, it has followed: a retry does not repeat that.
    GivenUp {
        /// Why.
        reason: String,
        /// The first kilobyte of the receiver's answer.
        reply: Option<String>,
        /// The trail's record.
        record: Vec<u8>,
        /// What follows it all the same.
        next: Next,
        /// Whether that was after an attempt.
        tried: bool,
    },
    /// It waits for another attempt, or for its next step.
    Later {
        /// Not before.
        due: Timestamp,
        /// Failed attempts so far.
        attempts: u32,
        /// Why it has to wait; `None` where nothing is wrong.
        reason: Option<String>,
        /// What was reached.
        progress: Option<String>,
    },
}
