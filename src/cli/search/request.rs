//! All that one request, or one message, did and triggered.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use anyhow::bail;
use jiff::Timestamp;

use super::print::{outcome, readable, time, told};
use super::{Filters, Search};
use crate::text::one_line;
use crate::trail::{Class, Entry, Order, Plan, Query};

/// Events that one search follows to their deliveries. A client may choose the id of its request, and the same always.
const MOST: usize = 10_000;

/// The query of the filters; where a request or a message is asked for, deliveries match by their event.
pub(super) fn with_deliveries(filters: &Filters, now: Timestamp, search: &Search) -> anyhow::Result<Query> {
    if !filters.asks_for_a_story() {
        return filters.query(now);
    }
    let mut messages = filters.message.clone();
    if !filters.request.is_empty() {
        let mut events = Query::new();
        events.any_of(&[(Class::Request, &filters.request)])?;
        search.each(&events, Order::Oldest, |_, hit, _| {
            messages.extend(hit.entry.message_id);
            if messages.len() > MOST {
                bail!("that are more than {MOST} events; say --request with another id, or search with --text");
            }
            Ok(true)
        })?;
    }
    let mut query = filters.query_but_for_requests(now)?;
    query.any_of(&[(Class::Request, &filters.request), (Class::Message, &messages)])?;
    Ok(query)
}

/// Shows each event with what it led to beneath it.
pub(super) fn tree(query: &Query, search: &Search, limit: Option<u64>) -> anyhow::Result<bool> {
    let (mut events, mut deliveries) = (Vec::new(), BTreeMap::new());
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MOST).min(MOST);
    search.each(query, Order::Oldest, |trail, hit, _| {
        if hit.entry.kind_of_record != "delivery" {
            events.push((trail, hit.entry));
        } else if let Some(message) = hit.entry.message_id.clone() {
            let of_message: &mut Vec<Entry> = deliveries.entry((trail, message)).or_default();
            of_message.push(hit.entry);
        }
        Ok(true)
    })?;
    events.truncate(limit);
    let out = &mut io::stdout().lock();
    let colour = crate::cli::colour();
    for (trail, event) in &events {
        let message = event.message_id.clone().unwrap_or_default();
        let settled = deliveries.remove(&(*trail, message)).unwrap_or_default();
        branch(out, event, &settled, colour)?;
    }
    // Their event has been removed, or is ruled out by another filter.
    for ((_, message), settled) in &deliveries {
        writeln!(out, "deliveries of message {}, whose event is not shown", one_line(message))?;
        branches(out, &settled.iter().map(|entry| settled_line(entry, colour)).collect::<Vec<_>>())?;
    }
    Ok(!events.is_empty() || !deliveries.is_empty())
}

fn branch(out: &mut impl Write, event: &Entry, settled: &[Entry], colour: bool) -> io::Result<()> {
    writeln!(out, "{}", readable(event, colour))?;
    writeln!(
        out,
        "  record {}, {}, message {}, request {}",
        event.seq,
        one_line(event.event_type.as_deref().unwrap_or("-")),
        one_line(event.message_id.as_deref().unwrap_or("-")),
        one_line(event.request_id.as_deref().unwrap_or("-")),
    )?;
    let mut known: HashMap<&str, &Entry> =
        settled.iter().filter_map(|entry| Some((entry.delivery.as_deref()?, entry))).collect();
    let mut lines: Vec<_> = event
        .planned
        .iter()
        .map(|plan| match plan.delivery.as_deref().and_then(|id| known.remove(id)) {
            Some(entry) => settled_line(entry, colour),
            None => open_line(plan),
        })
        .collect();
    lines.extend(
        settled
            .iter()
            .filter(|entry| known.contains_key(entry.delivery.as_deref().unwrap_or_default()))
            .map(|entry| settled_line(entry, colour)),
    );
    branches(out, &lines)
}

fn branches(out: &mut impl Write, lines: &[String]) -> io::Result<()> {
    for (number, line) in lines.iter().enumerate() {
        let fork = if number + 1 == lines.len() { "└─" } else { "├─" };
        writeln!(out, "  {fork} {line}")?;
    }
    Ok(())
}

fn settled_line(entry: &Entry, colour: bool) -> String {
    format!(
        "{} {}, rule {}, at {}{}",
        one_line(entry.destination.as_deref().unwrap_or("-")),
        outcome(entry, colour),
        one_line(entry.rule.as_deref().unwrap_or("-")),
        time(entry),
        told(entry)
    )
}

/// Of what is no delivery, or has no outcome yet.
fn open_line(plan: &Plan) -> String {
    let (to, rule) = (one_line(&plan.to), one_line(&plan.rule));
    match (&plan.error, &plan.delivery) {
        (Some(error), _) => format!("{to} not done, rule {rule}: {}", one_line(error)),
        (None, Some(id)) => {
            format!("{to} has no outcome in the trail yet, rule {rule}; see cadfd outbox show {}", one_line(id))
        }
        (None, None) => format!("{to}, rule {rule}"),
    }
}
