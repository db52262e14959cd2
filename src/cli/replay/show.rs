//! What rules would do, and what other rules would do otherwise. Sends nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use crate::action::Request;
use crate::action::log::{LineFormat, line};
use crate::event::Event;
use crate::rule::{Follower, Made, Plan, RuleTable, is_counting};
use crate::text::{one_line, to_ascii_json};

use super::{Passed, Replay};

/// One action as it would be carried out.
#[derive(Debug, PartialEq, Eq)]
struct Action {
    rule: String,
    /// A destination, `log`, or `when` for a condition that could not be evaluated; of what follows another, all of its chain:
    /// `openstack.network, then http.qualys`.
    to: String,
    /// A line or a request, or why it cannot be rendered.
    what: Result<String, String>,
}

/// What these rules would do about an event, each action before what follows it.
fn actions(rules: &RuleTable, event: &Arc<Event>) -> anyhow::Result<Vec<Action>> {
    planned(rules, &rules.plan(event, false))
}

fn planned(rules: &RuleTable, plan: &Plan<'_>) -> anyhow::Result<Vec<Action>> {
    let mut lines = plan.log.as_deref().unwrap_or_default().lines();
    let mut deliveries = plan.deliveries.iter();
    let mut actions = Vec::with_capacity(plan.planned.len());
    for planned in &plan.planned {
        let delivery = planned.delivery.as_ref().and_then(|_| deliveries.next());
        let what = match (&planned.delivery, &planned.error) {
            (None, Some(error)) => Err(error.clone()),
            (None, None) if is_counting(planned.to) => Ok("it would count; a replay counts nothing".to_owned()),
            (None, None) => Ok(lines.next().unwrap_or_default().to_owned()),
            (Some(_), _) => match delivery.map(|delivery| &delivery.request) {
                Some(Ok(request)) => Ok(json(request)?),
                Some(Err(error)) => Err(error.clone()),
                None => Err("it was not planned".to_owned()),
            },
        };
        actions.push(Action { rule: planned.rule.to_owned(), to: planned.to.to_owned(), what });
        let then = delivery.map(|delivery| rules.followers(delivery)).unwrap_or_default();
        followers(planned.rule, planned.to, &then, &mut actions)?;
    }
    Ok(actions)
}

/// What follows an action, with values that are made up.
fn followers(rule: &str, before: &str, then: &[Follower], actions: &mut Vec<Action>) -> anyhow::Result<()> {
    for follower in then {
        let to = format!("{before}, then {}", follower.to);
        let when = follower.when.as_ref().map(|when| format!("when `{}`: ", one_line(when))).unwrap_or_default();
        let what = match &follower.what {
            Ok(Made::Line(line)) => Ok(format!("{when}{line}")),
            Ok(Made::Request(request)) => Ok(format!("{when}{}", json(request)?)),
            Err(error) => Err(format!("{when}{error}")),
        };
        actions.push(Action { rule: rule.to_owned(), to: to.clone(), what });
        followers(rule, &to, &follower.then, actions)?;
    }
    Ok(())
}

fn json(request: &Request) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&to_ascii_json(request)?).into_owned())
}

impl Action {
    fn text(&self) -> String {
        let Self { rule, to, what } = self;
        let what = match what {
            // Both are one line of harmless text already.
            Ok(what) => what.clone(),
            Err(error) => format!("cannot be rendered: {}", one_line(error)),
        };
        format!("{}  {to}: {what}", one_line(rule))
    }
}

fn heading(out: &mut impl Write, from: &str, event: &Arc<Event>) -> io::Result<()> {
    writeln!(out, "{from}  {}", line(event, LineFormat::Readable, crate::cli::colour()))
}

fn passed_over(out: &mut impl Write, passed: &Passed) -> io::Result<()> {
    if passed.outside > 0 {
        writeln!(out, "{} events are out of the range, or cadfd's own logins", passed.outside)?;
    }
    if passed.unreadable > 0 {
        writeln!(out, "{} messages cannot be read", passed.unreadable)?;
    }
    Ok(())
}

pub(super) fn dry_run(replay: &Replay, rules: &RuleTable) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let (mut events, mut none) = (0_u64, 0_u64);
    let mut tally: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    let passed = replay.each("planning", |from, event| {
        events += 1;
        let actions = actions(rules, event)?;
        none += u64::from(actions.is_empty());
        if !actions.is_empty() {
            heading(&mut out, from, event)?;
        }
        for action in actions {
            writeln!(out, "    {}", action.text())?;
            let (count, failed) = tally.entry((action.rule, action.to)).or_default();
            *count += 1;
            *failed += u64::from(action.what.is_err());
        }
        Ok(())
    })?;
    writeln!(out, "\n{events} events; {none} of them lead to nothing")?;
    for ((rule, to), (count, failed)) in tally {
        let failed = if failed > 0 { format!(", {failed} cannot be rendered") } else { String::new() };
        writeln!(out, "{count:8}  {}  {to}{failed}", one_line(&rule))?;
    }
    passed_over(&mut out, &passed)?;
    Ok(ExitCode::SUCCESS)
}

/// Actions that would come, go, be otherwise.
#[derive(Debug, Default)]
struct Changes {
    come: u64,
    go: u64,
    differ: u64,
}

/// What tells one action of an event from another: its rule, where it goes, and which of several of that kind it is.
type Place = (String, String, usize);

fn by_place(actions: Vec<Action>) -> BTreeMap<Place, Action> {
    let mut placed: BTreeMap<Place, Action> = BTreeMap::new();
    for action in actions {
        let same = placed.keys().filter(|(rule, to, _)| (rule, to) == (&action.rule, &action.to)).count();
        placed.insert((action.rule.clone(), action.to.clone(), same), action);
    }
    placed
}

pub(super) fn diff(replay: &Replay, today: &RuleTable, others: &RuleTable) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let (mut events, mut changed) = (0_u64, 0_u64);
    let mut tally: BTreeMap<(String, String), Changes> = BTreeMap::new();
    let passed = replay.each("comparing", |from, event| {
        events += 1;
        let before = by_place(actions(today, event)?);
        let after = by_place(actions(others, event)?);
        if before != after {
            changed += 1;
            heading(&mut out, from, event)?;
            differences(&mut out, &before, &after, &mut tally)?;
        }
        Ok(())
    })?;
    writeln!(out, "\n{events} events; {changed} of them lead to something else")?;
    for ((rule, to), Changes { come, go, differ }) in tally {
        writeln!(out, "  {come} come, {go} go, {differ} are rendered otherwise: {}  {to}", one_line(&rule))?;
    }
    passed_over(&mut out, &passed)?;
    Ok(ExitCode::SUCCESS)
}

fn differences(
    out: &mut impl Write,
    before: &BTreeMap<Place, Action>,
    after: &BTreeMap<Place, Action>,
    tally: &mut BTreeMap<(String, String), Changes>,
) -> io::Result<()> {
    let mut changes = |(rule, to, _): &Place, change: fn(&mut Changes) -> &mut u64| {
        *change(tally.entry((rule.clone(), to.clone())).or_default()) += 1;
    };
    for (place, action) in before {
        match after.get(place) {
            None => {
                changes(place, |changes| &mut changes.go);
                writeln!(out, "  - {}", action.text())?;
            }
            Some(other) if other != action => {
                changes(place, |changes| &mut changes.differ);
                writeln!(out, "  < {}\n  > {}", action.text(), other.text())?;
            }
            Some(_) => {}
        }
    }
    for (place, action) in after.iter().filter(|(place, _)| !before.contains_key(*place)) {
        changes(place, |changes| &mut changes.come);
        writeln!(out, "  + {}", action.text())?;
    }
    Ok(())
}
