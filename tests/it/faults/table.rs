//! The table of a run.
//!
//! Its promise: every figure is computed. A message counts for each fault that was injected while it was in flight: sent,
//! and not in the trail. As faults meet, a lost one stands in several rows, and once in the total.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::compare::Verdict;
use super::kind::Kind;
use super::stage::Injected;

pub(crate) fn table(injected: &[Injected], verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut row = |name: &str, cells: [String; 5]| {
        let [times, in_flight, lost, doubled, order] = cells;
        writeln!(text, "{name:<44}{times:>9}{in_flight:>11}{lost:>7}{doubled:>9}{order:>14}").unwrap();
    };
    let head = ["injected", "in flight", "lost", "doubled", "out of order"];
    row("fault", head.map(str::to_owned));
    let mut all = BTreeSet::new();
    for kind in Kind::all() {
        let of_kind: Vec<_> = injected.iter().filter(|fault| fault.kind == kind).collect();
        let in_flight: BTreeSet<usize> = of_kind.iter().flat_map(|fault| fault.in_flight.iter().copied()).collect();
        let met = |found: &BTreeSet<usize>| found.intersection(&in_flight).count().to_string();
        let counts = [met(&verdict.lost), met(&verdict.doubled), met(&verdict.out_of_order)];
        let [lost, doubled, order] = counts;
        row(kind.name(), [of_kind.len().to_string(), in_flight.len().to_string(), lost, doubled, order]);
        all.extend(in_flight);
    }
    let totals = [&verdict.lost, &verdict.doubled, &verdict.out_of_order].map(|found| found.len().to_string());
    let [lost, doubled, order] = totals;
    row("all, each message once", [injected.len().to_string(), all.len().to_string(), lost, doubled, order]);
    let Verdict { events, undecodable, deliveries, repeated_calls, gone, gone_but_kept, given_again, .. } = verdict;
    let unmarked = verdict.unmarked_repeats;
    writeln!(
        text,
        "{events} events and {undecodable} undecodable messages published; {deliveries} deliveries planned, each performed \
         and with one outcome unless said below, {repeated_calls} performed again; {gone} in a queue when it was deleted, \
         {gone_but_kept} of them kept all the same; {given_again} stand behind a later one because the broker gave them \
         again; {unmarked} undecodable ones came again without the broker's mark"
    )
    .unwrap();
    for wrong in &verdict.wrong {
        writeln!(text, "not as promised: {wrong}").unwrap();
    }
    text
}
