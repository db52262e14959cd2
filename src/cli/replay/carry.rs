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
use crate::rule::RuleTable;
use crate::store::MessageKey;

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
        work.events += u64::from(!plan.planned.is_empty());
        work.actions += plan.deliveries.len() as u64;
        for planned in plan.planned {
            *work.by_destination.entry(planned.to.to_owned()).or_default() += 1;
        }
        Ok(())
    })?;
    told(&passed)?;
    Ok(work)
}

fn told(passed: &Passed) -> io::Result<()> {
    if passed.unreadable > 0 {
        writeln!(io::stderr(), "{} messages cannot be read and are passed over", passed.unreadable)?;
    }
    Ok(())
}

fn question(work: &Work, args: &Args) -> String {
    let Work { events, by_destination, .. } = work;
    let all: Vec<_> = by_destination.iter().map(|(to, count)| format!("{to} {count}")).collect();
    let rate = humantime::format_duration(args.rate);
    format!("Carry out the actions for {events} events ({}), one each {rate}?", all.join(", "))
}
