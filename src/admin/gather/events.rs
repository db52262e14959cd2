//! What came in, and what was planned.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::super::page::{Labels, Page, label, labels};
use super::{Scene, seconds};
use crate::intake::{BindingState, QueueState, Snapshot, State};
use crate::pipeline::Counts;
use crate::rule::{Correlation, RuleTable, Step};

pub(super) fn add(page: &mut Page, scene: &Scene) {
    broker(page, scene, &scene.intake.snapshot());
    let mut counts = scene.pipeline.counts();
    kept(page, &counts);
    let fired = scene.fired.counts();
    for (rule, to) in fired.planned {
        let of_rule = counts.planned.entry(rule).or_default();
        for (to, count) in to {
            *of_rule.entry(to).or_default() += count;
        }
    }
    for (rule, count) in fired.failed {
        *counts.failed.entry(rule).or_default() += count;
    }
    followed(scene, &mut counts);
    firings(page, scene, &fired.fired);
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

/// Adds what was planned to follow deliveries.
fn followed(scene: &Scene, counts: &mut Counts) {
    let conditions = scene.conditions.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = |name: &String| scene.rules.rules().iter().any(|rule| rule.name == *name);
    let followed = conditions.values().flat_map(|condition| &condition.followed);
    for (rule, followed) in followed.filter(|(rule, _)| is_there(rule)) {
        let of_rule = counts.planned.entry(rule.clone()).or_default();
        for (to, count) in &followed.planned {
            *of_rule.entry(to.clone()).or_default() += count;
        }
        *counts.failed.entry(rule.clone()).or_default() += followed.failed;
    }
}

/// How often rules that look at more than one event saw what they look for.
fn firings(page: &mut Page, scene: &Scene, fired: &BTreeMap<String, BTreeMap<String, u64>>) {
    let mut counts: Planned<'_> = BTreeMap::new();
    for rule in scene.rules.rules().iter().filter(|rule| rule.enabled) {
        let causes = rule.correlation.iter().flat_map(Correlation::causes);
        counts.extend(causes.map(|cause| ((rule.name.as_str(), *cause), 0)));
    }
    for (rule, causes) in fired {
        counts.extend(causes.iter().map(|(cause, count)| ((rule.as_str(), cause.as_str()), *count)));
    }
    let counts = counts.into_iter().map(|((rule, cause), count)| (labels([("rule", rule), ("cause", cause)]), count));
    page.counters("rules_fired", "How often rules that look at more than one event saw what they look for", counts);
}

type Planned<'a> = BTreeMap<(&'a str, &'a str), u64>;

/// Every rule in force, and what it may do.
fn zeros(rules: &RuleTable) -> (Planned<'_>, BTreeMap<&str, u64>) {
    let enabled = || rules.rules().iter().filter(|rule| rule.enabled);
    let steps = enabled().flat_map(|rule| rule.actions.iter().flat_map(Step::all).map(move |step| (rule, step)));
    let acts = steps.map(|(rule, step)| ((rule.name.as_str(), step.act.to()), 0));
    (acts.collect(), enabled().map(|rule| (rule.name.as_str(), 0)).collect())
}
