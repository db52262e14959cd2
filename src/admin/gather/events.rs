//! What came in, and what was planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::page::{Labels, Page, label, labels};
use super::{Scene, seconds};
use crate::intake::{BindingState, QueueState, Snapshot, State};
use crate::pipeline::Counts;
use crate::rule::{Act, RuleTable};

pub(super) fn add(page: &mut Page, scene: &Scene) {
    broker(page, scene, &scene.intake.snapshot());
    let counts = scene.pipeline.counts();
    kept(page, &counts);
    planned(page, scene, &counts);
}

/// The words for [`State`], of which one is 1.
const STATES: [&str; 5] = ["stopped", "connecting", "connected", "waiting", "store_not_ready"];

fn broker(page: &mut Page, scene: &Scene, now: &Snapshot) {
    let word = match now.state {
        State::Stopped => "stopped",
        State::Connecting { .. } => "connecting",
        State::Connected { .. } => "connected",
        State::Waiting { .. } => "waiting",
        State::SinkNotReady => "store_not_ready",
    };
    let is_blocked = matches!(&now.state, State::Connected { blocked: Some(_), .. });
    let states = STATES.map(|state| (label("state", state), state == word));
    page.gauges("broker_state", "The connection to RabbitMQ: 1 for the state it is in", states);
    page.gauge("broker_connected", "Whether there is a connection to RabbitMQ", word == "connected");
    page.gauge("broker_blocked", "Whether RabbitMQ blocks the connection, being short of memory or disk", is_blocked);
    page.counter("broker_sessions", "Connections to RabbitMQ that were made", now.sessions);
    let failures = "Connections to RabbitMQ that were lost, and attempts to make one that failed";
    page.counter("broker_failures", failures, now.failures);
    let consuming = scene.queues.iter().map(|queue| {
        let state = now.queues.get(&Arc::from(queue.as_str()));
        (label("queue", queue), matches!(state, Some(QueueState::Consuming { .. })))
    });
    page.gauges("queue_consuming", "Whether the queue is being consumed", consuming);
    let bound = scene.bindings.iter().map(|pair @ (queue, exchange)| {
        let labels = labels([("queue", queue), ("exchange", exchange)]);
        (labels, matches!(now.bindings.get(pair), Some(BindingState::Bound { .. })))
    });
    page.gauges(
        "queue_bound",
        "Whether a queue of cadfd's own is bound to the exchange, as far as can be known",
        bound,
    );
    page.counter("messages_received", "Messages that came from RabbitMQ, repetitions included", now.received);
    page.counter("messages_acknowledged", "Messages acknowledged to RabbitMQ", now.acknowledged);
}

fn kept(page: &mut Page, counts: &Counts) {
    let formats = ["cadf", "basic", "generic"].map(|format| label("format", format));
    let events = formats.into_iter().zip(counts.events);
    page.counters("events", "Events kept in the trail, each once, by the format they came in", events);
    let quarantined = "Messages that could not be decoded and are kept in quarantine";
    page.counter("messages_quarantined", quarantined, counts.quarantined);
    page.counter("messages_repeated", "Messages that had been taken before, and were kept once", counts.repeated);
    let delay = "From the time that an event has of itself until it is on disk for the trail";
    page.histograms("event_delay_seconds", delay, [(Labels::new(), counts.delay)]);
    let last = counts.last_of_keystone.map(|at| (Labels::new(), seconds(at)));
    page.gauges(
        "last_event_timestamp_seconds",
        "When an event of Keystone's was kept last; none since the start: absent",
        last,
    );
}

fn planned(page: &mut Page, scene: &Scene, counts: &Counts) {
    let (mut planned, mut failed) = zeros(&scene.rules);
    for (rule, to) in &counts.planned {
        planned.extend(to.iter().map(|(to, count)| ((rule.as_str(), to.as_str()), *count)));
    }
    failed.extend(counts.failed.iter().map(|(rule, count)| (rule.as_str(), *count)));
    let planned = planned.into_iter().map(|((rule, to), count)| (labels([("rule", rule), ("to", to)]), count));
    page.counters("actions_planned", "Actions that rules led to, by rule and destination", planned);
    let failed = failed.into_iter().map(|(rule, count)| (label("rule", rule), count));
    page.counters("rule_errors", "Conditions and templates that could not be evaluated for an event", failed);
    page.gauge("rules", "Rules in force", scene.rules.rules().iter().filter(|rule| rule.enabled).count());
    page.gauge("destinations", "Destinations in the settings", scene.destinations.len());
}

type Planned<'a> = BTreeMap<(&'a str, &'a str), u64>;

/// Every rule in force, and what it may do.
fn zeros(rules: &RuleTable) -> (Planned<'_>, BTreeMap<&str, u64>) {
    let enabled = || rules.rules().iter().filter(|rule| rule.enabled);
    let acts = enabled().flat_map(|rule| rule.actions.iter().map(|act: &Act| ((rule.name.as_str(), act.to()), 0)));
    (acts.collect(), enabled().map(|rule| (rule.name.as_str(), 0)).collect())
}
