//! The actions carried out, by the running daemon.
//!
//! Its promise: nothing is done that was not agreed to; what was handed over is done like any other delivery, whatever
//! becomes of this process; the same run does nothing twice.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use crate::cli::doctor::files::is_running;
use crate::rule::{Follower, RuleTable, is_counting};
use crate::store::MessageKey;
use crate::text::one_line;

use super::carrier::{Carrier, Stopped};
use super::{Args, Passed, Replay};

/// Characters of what a run is called.
pub(super) const RUN: usize = 16;

/// What there is to do.
#[derive(Debug, Default)]
struct Work {
    events: u64,
    actions: u64,
    by_destination: BTreeMap<String, u64>,
    /// What would follow those.
    then: BTreeMap<String, Then>,
    /// Events that count for rules which look at more than one.
    counted: BTreeMap<String, u64>,
}

/// How often something would follow.
#[derive(Debug, Default)]
struct Then {
    count: u64,
    /// Whether it has a condition, or stands behind one, so that it may be less often.
    at_most: bool,
}

impl Work {
    fn followers(&mut self, followers: &[Follower], at_most: bool) {
        for follower in followers {
            let at_most = at_most || follower.when.is_some();
            let then = self.then.entry(follower.to.clone()).or_default();
            then.count += 1;
            then.at_most |= at_most;
            self.actions += u64::from(follower.id.is_some());
            self.followers(&follower.then, at_most);
        }
    }
}

pub(super) fn carry(replay: &Replay, rules: &RuleTable, dir: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let work = work(replay, rules)?;
    if work.events == 0 {
        writeln!(io::stdout(), "the rules lead to nothing")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !is_running(dir) {
        bail!(
            "no daemon runs with these settings, and it is the daemon that carries actions out; nothing was handed over. \
             Start it, or see what would be done with --dry-run"
        );
    }
    if !crate::cli::ask::ask(&question(&work, args), args.yes)? {
        writeln!(io::stdout(), "nothing was done")?;
        return Ok(ExitCode::FAILURE);
    }
    let run = args.resume.clone().unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
    writeln!(io::stderr(), "replay {run}; should it be interrupted, the same with --resume {run} goes on")?;
    let mut carrier = Carrier::new(dir, run, args.rate, work.actions)?;
    let ended = carrier.all(replay, rules);
    carrier.bar.finish_and_clear();
    match ended {
        Err(error) => match error.downcast::<Stopped>() {
            Ok(stopped) => carrier.stopped(&stopped, work.events),
            Err(error) => Err(error),
        },
        Ok(()) => carrier.done(),
    }
}

/// What the rules lead to, each message once.
fn work(replay: &Replay, rules: &RuleTable) -> anyhow::Result<Work> {
    let (mut work, mut met) = (Work::default(), HashSet::new());
    let passed = replay.each("planning", |_, event| {
        if !met.insert(MessageKey::of(&event.message_id)) {
            return Ok(());
        }
        let plan = rules.plan(event, false);
        let (counting, doing): (Vec<_>, Vec<_>) = plan.planned.into_iter().partition(|it| is_counting(it.to));
        work.events += u64::from(!doing.is_empty());
        work.actions += plan.deliveries.len() as u64;
        for delivery in &plan.deliveries {
            work.followers(&rules.followers(delivery), false);
        }
        for planned in counting {
            *work.counted.entry(planned.rule.to_owned()).or_default() += 1;
        }
        for planned in doing {
            *work.by_destination.entry(planned.to.to_owned()).or_default() += 1;
        }
        Ok(())
    })?;
    told(&passed)?;
    for (rule, count) in &work.counted {
        writeln!(io::stderr(), "{}: passed over; {count} events would count for it", one_line(rule))?;
    }
    Ok(work)
}

fn told(passed: &Passed) -> io::Result<()> {
    if passed.unreadable > 0 {
        writeln!(io::stderr(), "{} messages cannot be read and are passed over", passed.unreadable)?;
    }
    Ok(())
}

fn question(work: &Work, args: &Args) -> String {
    let Work { events, by_destination, then, .. } = work;
    let mut all: Vec<_> = by_destination.iter().map(|(to, count)| format!("{to} {count}")).collect();
    all.extend(then.iter().map(|(to, Then { count, at_most })| {
        let up_to = if *at_most { "up to " } else { "" };
        format!("then {to} {up_to}{count}")
    }));
    let rate = humantime::format_duration(args.rate);
    format!("Carry out the actions for {events} events ({}), one each {rate}?", all.join(", "))
}
