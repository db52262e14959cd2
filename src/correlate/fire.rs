//! A rule that has seen what it looks for: its record, its deliveries, its lines.
//!
//! Its promise: what its actions see is made of the records of the events themselves; the same firing always has the same
//! deliveries' ids.

use std::sync::Arc;

use jiff::Timestamp;

use super::book::Fired;
use crate::event::{Event, of_view};
use crate::pipeline::new_deliveries;
use crate::record::{self, Record};
use crate::rule::{
    Extras, Plan, Rule, RuleTable, SILENCE_CAUSES, Subject, Together, fired as called, of_silence, silence,
};
use crate::store::{Firing, Store, StoreError};

/// What was planned, for counting.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) to: String,
    pub(super) is_delivery: bool,
    pub(super) error: Option<String>,
}

/// What an action is given.
struct Given {
    event: Arc<Event>,
    extras: Extras,
    /// The messages of the events that it sees.
    messages: Vec<String>,
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

/// What the store is to keep of a firing. `None` where the rule is not there any more, or none of its events.
pub(super) fn make(
    store: &Store,
    rules: &RuleTable,
    fired: &Fired,
    colour: bool,
) -> Result<Option<(Firing, Vec<Told>)>, StoreError> {
    let Some(rule) = rules.rules().iter().find(|rule| rule.name == fired.rule) else { return Ok(None) };
    let Some(given) = given(store, fired)? else { return Ok(None) };
    let subject = rules.subject_with(&given.event, given.extras.clone());
    Ok(Some(kept(rule, fired, &given, &subject, colour)))
}

fn given(store: &Store, fired: &Fired) -> Result<Option<Given>, StoreError> {
    let (since, until) = (time(fired.since), time(fired.until));
    if SILENCE_CAUSES.contains(&fired.cause) {
        let came = fired.came.as_ref().map(|(message, event_type)| (message.as_str(), event_type.as_str()));
        let event = Arc::new(of_silence(&fired.rule, since, until, came));
        let messages = fired.came.iter().map(|(message, _)| message.clone()).collect();
        return Ok(Some(Given { event, extras: silence(fired.cause, since, until), messages }));
    }
    let events = events(store, &fired.shown)?;
    let of = match fired.of {
        Some(n) => self::events(store, &[n])?.pop(),
        None => None,
    };
    let Some(event) = of.or_else(|| events.first().cloned()) else { return Ok(None) };
    let Fired { cause, key, count, suppressed, .. } = fired;
    let (count, suppressed) = (*count, *suppressed);
    let extras = Together { cause, key, count, suppressed, since, until, events: &events }.extras();
    let messages = events.iter().map(|event| event.message_id.clone()).collect();
    Ok(Some(Given { event, extras, messages }))
}

fn events(store: &Store, rows: &[i64]) -> Result<Vec<Arc<Event>>, StoreError> {
    // A large one has no payload that its fields could be read from again.
    let event = |rest: Vec<u8>| of_view(&format!("{{{}", String::from_utf8(rest).ok()?)).map(Arc::new);
    Ok(store.counted_records(rows)?.into_iter().filter_map(event).collect())
}

fn kept(rule: &Rule, fired: &Fired, given: &Given, subject: &Subject<'_>, colour: bool) -> (Firing, Vec<Told>) {
    let Given { event, messages, .. } = given;
    let id = called(fired.cause, &fired.key, &event.message_id);
    let is_silence = SILENCE_CAUSES.contains(&fired.cause);
    let Plan { planned, deliveries, log, .. } = rule.plan(subject, &id, colour);
    let record = record::rest_of_line(&Record::Fired {
        at: Timestamp::now(),
        rule: &rule.name,
        cause: fired.cause,
        key: (!fired.key.is_empty()).then_some(fired.key.as_str()),
        count: (!is_silence).then_some(fired.count),
        suppressed: (fired.cause == "threshold").then_some(fired.suppressed),
        since: time(fired.since),
        until: time(fired.until),
        message_id: &event.message_id,
        event_type: &event.event_type,
        events: messages,
        planned: &planned,
    });
    let told = planned.iter().map(|planned| Told {
        to: planned.to.to_owned(),
        is_delivery: planned.delivery.is_some(),
        error: planned.error.clone(),
    });
    let told = told.collect();
    let mut deliveries = new_deliveries(event, deliveries);
    if fired.cause != "threshold" {
        // That it waited was asked for: it is no delay.
        for delivery in &mut deliveries {
            delivery.sent = None;
        }
    }
    (Firing { record, log, deliveries }, told)
}
