//! All that one request, or one message, did and triggered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};

use anyhow::bail;
use jiff::Timestamp;

use super::print::{outcome, readable, time, told};
use super::{Filters, Search};
use crate::rule::DEEPEST;
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
    let together = if messages.is_empty() { Vec::new() } else { deliveries_of_firings(&messages, search)? };
    let mut query = filters.query_but_for_requests(now)?;
    query.any_of(&[(Class::Request, &filters.request), (Class::Message, &messages), (Class::Delivery, &together)])?;
    Ok(query)
}

/// The deliveries of rules that counted one of these messages: they may be for another one, that completed the count.
fn deliveries_of_firings(messages: &[String], search: &Search) -> anyhow::Result<Vec<String>> {
    let mut firings = Query::new();
    firings.any_of(&[(Class::Message, messages)])?.any_of(&[(Class::Type, &["fired".to_owned()])])?;
    let mut deliveries = Vec::new();
    search.each(&firings, Order::Oldest, |_, hit, _| {
        deliveries.extend(hit.entry.planned.into_iter().filter_map(|plan| plan.delivery));
        Ok(deliveries.len() <= MOST)
    })?;
    with_followers(deliveries, search)
}

/// These deliveries, and those that followed them.
pub(in crate::cli) fn with_followers(first: Vec<String>, search: &Search) -> anyhow::Result<Vec<String>> {
    let mut known: HashSet<_> = first.iter().cloned().collect();
    let (mut all, mut new) = (first.clone(), first);
    // No chain is so deep; a trail that somebody made could say that one is.
    for _ in 1..DEEPEST {
        if new.is_empty() || all.len() > MOST {
            break;
        }
        let mut ends = Query::new();
        ends.any_of(&[(Class::Delivery, &new)])?.any_of(&[(Class::Type, &["delivery".to_owned()])])?;
        let mut next = Vec::new();
        search.each(&ends, Order::Oldest, |_, hit, _| {
            let planned = hit.entry.planned.into_iter().filter_map(|plan| plan.delivery);
            next.extend(planned.filter(|id| known.insert(id.clone())));
            Ok(all.len() + next.len() <= MOST)
        })?;
        all.extend(next.iter().cloned());
        new = next;
    }
    Ok(all)
}

/// Shows each event with what it led to beneath it.
pub(super) fn tree(query: &Query, search: &Search, order: Order, limit: Option<u64>) -> anyhow::Result<bool> {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MOST).min(MOST);
    let mut tree = Tree { limit, ..Tree::default() };
    search.each(query, order, |trail, hit, _| {
        tree.add(trail, hit.entry);
        Ok(true)
    })?;
    Ok(tree.show(&mut io::stdout().lock(), crate::cli::colour())?)
}

/// Events, replays and rules that fired, with the deliveries that each led to. One message can have several: replayed, it led to more.
#[derive(Default)]
struct Tree {
    limit: usize,
    events: Vec<(usize, Entry)>,
    /// By the trail and the number of the record that led to them.
    deliveries: BTreeMap<(usize, u64), Vec<Entry>>,
    /// Those beyond the limit.
    dropped: HashSet<(usize, u64)>,
}

impl Tree {
    /// Takes a record of the trail with this number.
    fn add(&mut self, trail: usize, entry: Entry) {
        if entry.kind_of_record == "delivery" {
            let of = (trail, entry.event_seq.unwrap_or(0));
            if !self.dropped.contains(&of) {
                self.deliveries.entry(of).or_default().push(entry);
            }
        } else if self.events.len() < self.limit {
            self.events.push((trail, entry));
        } else {
            // The newest first, they came before it.
            self.deliveries.remove(&(trail, entry.seq));
            self.dropped.insert((trail, entry.seq));
        }
    }

    /// Whether there was anything.
    fn show(mut self, out: &mut impl Write, colour: bool) -> io::Result<bool> {
        let is_any = !self.events.is_empty() || !self.deliveries.is_empty();
        for (trail, event) in &self.events {
            let mut settled = self.deliveries.remove(&(*trail, event.seq)).unwrap_or_default();
            settled.sort_by_key(|entry| entry.seq);
            branch(out, event, &settled, colour)?;
        }
        // Their event has been removed, or is ruled out by another filter.
        for settled in self.deliveries.values().take(self.limit - self.events.len()) {
            let message = settled.iter().find_map(|entry| entry.message_id.as_deref()).unwrap_or("-");
            writeln!(out, "deliveries of message {}, whose event is not shown", one_line(message))?;
            branches(out, &settled.iter().map(|entry| settled_line(entry, colour)).collect::<Vec<_>>())?;
        }
        Ok(is_any)
    }
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
    let mut lines = Vec::new();
    let mut left: Vec<_> = event.planned.iter().rev().map(|plan| (plan, 0)).collect();
    while let Some((plan, depth)) = left.pop() {
        let line = match plan.delivery.as_deref().and_then(|id| known.remove(id)) {
            Some(entry) => {
                left.extend(entry.planned.iter().rev().map(|plan| (plan, depth + 1)));
                settled_line(entry, colour)
            }
            None => open_line(plan),
        };
        // No chain is so deep; a trail that somebody made could say that one is.
        let then = if depth == 0 { String::new() } else { format!("{}then ", "   ".repeat(depth.min(DEEPEST) - 1)) };
        lines.push(format!("{then}{line}"));
    }
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(order: Order, limit: usize) -> String {
        let plan = |id: &str| json!([{"rule": "r", "to": "http.x", "delivery": id}]);
        let delivery = |seq: u64, of: u64, id: &str| {
            json!({"seq": seq, "type": "delivery", "at": "2026-11-21T10:00:05Z", "delivery": id, "event_seq": of,
                "message_id": "m1", "rule": "r", "destination": "http.x", "outcome": "done", "attempts": seq})
        };
        let mut records = [
            json!({"seq": 2, "type": "event", "message_id": "m1", "event_type": "identity.user.deleted", "planned": plan("d1")}),
            delivery(3, 2, "d1"),
            json!({"seq": 4, "type": "replay", "at": "2026-11-21T10:00:06Z", "run": "run7", "message_id": "m1",
                "event_type": "identity.user.deleted", "from": "audit.log:2", "planned": plan("d2")}),
            delivery(5, 4, "d2"),
            delivery(6, 1, "d0"),
        ];
        if order == Order::Newest {
            records.reverse();
        }
        let mut tree = Tree { limit, ..Tree::default() };
        for record in records {
            tree.add(0, Entry::read(record.to_string().as_bytes()).unwrap());
        }
        let mut out = Vec::new();
        assert!(tree.show(&mut out, false).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn deliveries_of_a_replay_stand_beneath_it() {
        let shown = shown(Order::Oldest, MOST);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 8, "{shown}");
        assert!(lines[2].contains("└─ http.x done") && lines[2].ends_with("3 attempts"), "{shown}");
        let replay = "REPLAY run run7 of identity.user.deleted, message m1, from audit.log:2: 1 planned";
        assert!(lines[3].ends_with(replay), "{shown}");
        assert!(lines[5].contains("└─ http.x done") && lines[5].ends_with("5 attempts"), "{shown}");
        assert_eq!(lines[6], "deliveries of message m1, whose event is not shown");
        assert!(lines[7].ends_with("6 attempts"), "{shown}");
    }

    #[test]
    fn what_followed_a_delivery_stands_beneath_it() {
        let delivery = |seq: u64, id: &str, then: &str| {
            json!({"seq": seq, "type": "delivery", "at": "2026-11-21T10:00:05Z", "delivery": id, "event_seq": 1,
                "message_id": "m1", "rule": "r", "destination": "http.x", "outcome": "done", "attempts": seq,
                "planned": [{"rule": "r", "to": "http.x", "delivery": then}, {"rule": "r", "to": "log"}]})
        };
        let planned = json!([{"rule": "r", "to": "http.x", "delivery": "d1"}, {"rule": "r", "to": "log"}]);
        let event = json!({"seq": 1, "type": "event", "message_id": "m1", "event_type": "x.y", "planned": planned});
        let mut tree = Tree { limit: MOST, ..Tree::default() };
        for record in [event, delivery(2, "d1", "d2"), delivery(3, "d2", "d1")] {
            tree.add(0, Entry::read(record.to_string().as_bytes()).unwrap());
        }
        let mut out = Vec::new();
        assert!(tree.show(&mut out, false).unwrap());
        let shown = String::from_utf8(out).unwrap();
        let wanted = [
            "  ├─ http.x done, rule r",
            "  ├─ then http.x done, rule r",
            "  ├─    then http.x has no outcome",
            "  ├─    then log, rule r",
            "  ├─ then log, rule r",
            "  └─ log, rule r",
        ];
        for (line, wanted) in shown.lines().skip(2).zip(wanted) {
            assert!(line.starts_with(wanted), "{line:?}: {shown}");
        }
        assert_eq!(shown.lines().count(), 8, "{shown}");
    }

    #[test]
    fn what_is_beyond_the_limit_leaves_no_deliveries_behind() {
        for (order, one, other) in [(Order::Oldest, "3", "5"), (Order::Newest, "5", "3")] {
            let shown = shown(order, 1);
            assert_eq!(shown.lines().count(), 3, "{shown}");
            let has = |attempts: &str| shown.contains(&format!("{attempts} attempts"));
            assert!(has(one) && !has(other), "{shown}");
        }
        let newest = shown(Order::Newest, MOST);
        let place = |attempts: &str| newest.find(&format!("{attempts} attempts"));
        assert!(place("5") < place("3") && place("3").is_some() && newest.lines().count() == 8, "{newest}");
    }
}
