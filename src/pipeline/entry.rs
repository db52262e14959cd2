//! What the store is given of a message, or of a record of cadfd's own.
//!
//! Its promise: pure; a message's record, its deliveries and what it counts for go into the store together.

use crate::chain::Hash;
use crate::event::{self, Event};
use crate::intake::Incoming;
use crate::name::Known;
use crate::record::{self, Record, Source};
use crate::rule::{Counted, Plan, PlannedDelivery};
use crate::store::{Entry, Key, MessageKey, NewDelivery, NewMatch, Unreadable};

pub(super) fn own(record: Vec<u8>) -> Entry {
    Entry {
        key: Key::Own,
        record,
        log: None,
        deliveries: Vec::new(),
        unreadable: None,
        names: Vec::new(),
        counted: Vec::new(),
    }
}

fn source(message: &Incoming) -> Source<'_> {
    let Incoming { queue, exchange, routing_key, redelivered, .. } = message;
    Source { queue, exchange, routing_key, redelivered: *redelivered }
}

pub(super) fn known(message: &Incoming, event: &Event, plan: Plan<'_>, names: Vec<Known>) -> Entry {
    let Plan { planned, deliveries, log, counted } = plan;
    let record = record::rest_of_line(&Record::Event {
        event,
        source: source(message),
        received: message.received,
        planned: &planned,
    });
    let counted = matches(message, event, counted, &record);
    Entry {
        key: Key::Message(MessageKey::of(&event.message_id)),
        record,
        log,
        deliveries: new_deliveries(event, deliveries),
        unreadable: None,
        names,
        counted,
    }
}

/// Bytes of an event's record that are kept with what it counts for; of a larger one the payload and the context are not.
const KEPT: usize = 64 << 10;

/// What an event counts for. A publisher's clock that is ahead of ours moves no window.
fn matches(message: &Incoming, event: &Event, counted: Vec<Counted<'_>>, record: &[u8]) -> Vec<NewMatch> {
    if counted.is_empty() {
        return Vec::new();
    }
    let at = event.timestamp.map_or(message.received, |at| at.min(message.received));
    let kept = if record.len() <= KEPT {
        record.to_vec()
    } else {
        let small = event::slim(event);
        let (source, received) = (source(message), message.received);
        record::rest_of_line(&Record::Event { event: &small, source, received, planned: &[] })
    };
    let new = |counted: Counted<'_>| NewMatch {
        rule: counted.rule.to_owned(),
        key: counted.key,
        value: counted.value,
        at,
        message_id: event.message_id.clone(),
        event_type: event.event_type.clone(),
        event: counted.is_kept.then(|| kept.clone()),
    };
    counted.into_iter().map(new).collect()
}

/// What the store is given of planned deliveries.
pub(crate) fn new_deliveries(event: &Event, planned: Vec<PlannedDelivery>) -> Vec<NewDelivery> {
    let new = |delivery: PlannedDelivery| NewDelivery {
        id: delivery.id,
        destination: delivery.destination,
        rule: delivery.rule,
        message_id: event.message_id.clone(),
        event_type: event.event_type.clone(),
        sent: event.timestamp,
        steps: delivery.steps,
        request: delivery.request.and_then(|request| serde_json::to_string(&request).map_err(|e| e.to_string())),
    };
    planned.into_iter().map(new).collect()
}

pub(super) fn unreadable(message: Incoming, reason: String) -> Entry {
    let digest = Hash::of(&message.body).to_string();
    let size = message.size as u64;
    let record = record::rest_of_line(&Record::Quarantine {
        received: message.received,
        source: source(&message),
        reason: &reason,
        size,
        sha256: &digest,
    });
    Entry {
        key: Key::Unreadable { digest: digest.clone(), redelivered: message.redelivered },
        record,
        log: None,
        deliveries: Vec::new(),
        unreadable: Some(Unreadable {
            digest,
            queue: message.queue.to_string(),
            exchange: message.exchange.to_string(),
            routing_key: message.routing_key.to_string(),
            reason,
            size,
            body: message.body,
        }),
        names: Vec::new(),
        counted: Vec::new(),
    }
}
