//! What is delivered, what waits, and how the destinations are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::PoisonError;

use super::super::page::{Page, label, labels};
use super::{Scene, age};
use crate::action::FailureKind;
use crate::store::Figures;
use crate::worker::{BROKEN_OFF, Condition};

/// Why deliveries are given up: refused by the destination, too old, no room, discarded by hand, or never rendered.
const REASONS: [&str; 5] = ["refused", "expired", "outbox_full", "discarded", "template"];

pub(super) fn add(page: &mut Page, scene: &Scene) {
    let figures = scene.store.figures();
    let conditions = scene.conditions.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Those that are no longer in the settings count as long as something waits for them.
    let orphans = figures.waiting.iter().filter(|(_, (rows, _))| *rows > 0).map(|(name, _)| name.as_str());
    let names: BTreeSet<&str> = scene.destinations.iter().map(String::as_str).chain(orphans).collect();
    waiting(page, scene, &figures, &names);
    attempts(page, &conditions, &names);
    ended(page, &figures, &conditions, &names);
}

fn waiting(page: &mut Page, scene: &Scene, figures: &Figures, names: &BTreeSet<&str>) {
    let tally = |name: &str| figures.waiting.get(name).copied().unwrap_or_default();
    let rows = names.iter().map(|name| (label("destination", name), tally(name).0));
    page.gauges("deliveries_waiting", "Deliveries that wait for an attempt or its end", rows);
    let bytes = names.iter().map(|name| (label("destination", name), tally(name).1));
    page.gauges("deliveries_waiting_bytes", "Their size, as the bounds of [outbox] count it", bytes);
    // Nothing where that cannot be read: 0 would say that none waits.
    if let Ok(oldest) = scene.store.oldest_waiting(names.iter().copied()) {
        let oldest: BTreeMap<_, _> = oldest.into_iter().collect();
        let ages = |name: &&str| (label("destination", name), oldest.get(*name).map_or(0.0, |then| age(*then)));
        let ages = names.iter().map(ages);
        page.gauges(
            "delivery_oldest_waiting_seconds",
            "How long the oldest of them has waited; 0 where none does",
            ages,
        );
    }
    page.gauge(
        "deliveries_given_up_kept",
        "Deliveries that were given up and are kept for cadfd outbox",
        figures.given_up_rows,
    );
}

fn attempts(page: &mut Page, conditions: &HashMap<String, Condition>, names: &BTreeSet<&str>) {
    let none = Condition::default();
    let of = |name: &str| conditions.get(name).unwrap_or(&none);
    let up = names.iter().map(|name| (label("destination", name), of(name).down.is_none()));
    page.gauges("destination_up", "Whether the destination answered the last time", up);
    let made = names.iter().map(|name| (label("destination", name), of(name).attempts));
    page.counters("delivery_attempts", "Attempts that were made", made);
    let kinds: Vec<_> = FailureKind::ALL.iter().map(|kind| kind.as_str()).chain([BROKEN_OFF]).collect();
    let failed = names.iter().flat_map(|name| {
        let of_kind = |kind: &&'static str| {
            let count = of(name).failed.get(kind).copied().unwrap_or(0);
            (labels([("destination", name), ("reason", kind)]), count)
        };
        kinds.iter().map(of_kind).collect::<Vec<_>>()
    });
    page.counters("delivery_failures", "Attempts that failed and may work later, by kind of reason", failed);
}

fn ended(page: &mut Page, figures: &Figures, conditions: &HashMap<String, Condition>, names: &BTreeSet<&str>) {
    let none = Condition::default();
    let of = |name: &str| conditions.get(name).unwrap_or(&none);
    let done = names.iter().map(|name| (label("destination", name), of(name).done));
    page.counters("deliveries_done", "Deliveries that the destination took", done);
    let given_up = names.iter().flat_map(|name| {
        let untried = |reason: &str| figures.given_up.get(*name).and_then(|it| it.get(reason)).copied().unwrap_or(0);
        let count = |reason: &str| match reason {
            "refused" => of(name).refused,
            "expired" => of(name).expired + untried(reason),
            _ => untried(reason),
        };
        REASONS.map(|reason| (labels([("destination", name), ("reason", reason)]), count(reason)))
    });
    page.counters("deliveries_given_up", "Deliveries that ended without success, by kind of reason", given_up);
    let delays = names.iter().map(|name| (label("destination", name), of(name).delay));
    page.histograms(
        "delivery_delay_seconds",
        "From the time that an event has of itself until its delivery is done",
        delays,
    );
}
