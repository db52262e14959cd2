//! `cadfd replay`: captured messages, Keystone's log or a trail, through today's rules.

mod carrier;
mod carry;
mod show;

use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::{self, Config};
use crate::event::Event;
use crate::names::Book;
use crate::rule::RuleTable;
use crate::text::one_line;

use super::input::Inputs;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Captured messages, Keystone's log, or files of a trail, as for `cadfd explain`; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Show what today's rules would do. Sends nothing.
    #[arg(long)]
    dry_run: bool,
    /// Show what these rules, a file or a directory, would do otherwise than today's: actions that would come, go, or be
    /// rendered otherwise. May be given again. Sends nothing.
    #[arg(long, value_name = "RULES", conflicts_with = "dry_run")]
    diff: Vec<PathBuf>,
    /// Take these rules, a file or a directory, for today's. May be given again.
    #[arg(long, value_name = "RULES")]
    rules: Vec<PathBuf>,
    /// Apply only this rule, as if there were no other.
    #[arg(long, value_name = "NAME")]
    only_rule: Option<String>,
    /// Only events since then: how long ago (2d, 1h30m), a date, or a time (RFC 3339, UTC). What has no time is left out.
    #[arg(long, value_name = "WHEN", value_parser = super::when)]
    since: Option<Timestamp>,
    /// Only events before then.
    #[arg(long, value_name = "WHEN", value_parser = super::when)]
    until: Option<Timestamp>,
    /// How many actions are begun at most: 10/s, 30/m, 100/h.
    #[arg(long, default_value = "1/s", value_parser = period)]
    rate: Duration,
    /// Carry the actions out without asking.
    #[arg(long)]
    yes: bool,
    /// Go on with a replay that was interrupted, by what it was called: what was handed over then is not done again.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["dry_run", "diff"], value_parser = run)]
    resume: Option<String>,
}

/// The time between two actions.
fn period(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?}: expected a number a time, such as 10/s, 30/m or 100/h");
    let (count, unit) = text.split_once('/').ok_or_else(expected)?;
    let count: NonZeroU32 = count.parse().map_err(|_| expected())?;
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return Err(expected()),
    };
    Ok(unit / count.get())
}

/// What a replay is called: as [`carry`] makes it up.
fn run(text: &str) -> Result<String, String> {
    let is_one = text.len() == carry::RUN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_one { Ok(text.to_owned()) } else { Err(format!("expected the {} characters that it was called", carry::RUN)) }
}

/// What goes through the rules.
struct Replay {
    inputs: Inputs,
    book: Book,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Whether rules apply to cadfd's own logins at Keystone.
    own_events: bool,
}

/// Messages that did not go through the rules.
#[derive(Debug, Default)]
struct Passed {
    /// They could not be read.
    unreadable: u64,
    /// They are out of the range, or cadfd's own logins.
    outside: u64,
}

/// Messages that cannot be read are shown up to here.
const SHOWN: u64 = 20;

impl Replay {
    /// Gives each event, with where it is from, to `act`.
    fn each(&self, what: &str, mut act: impl FnMut(&str, &Arc<Event>) -> anyhow::Result<()>) -> anyhow::Result<Passed> {
        let mut passed = Passed::default();
        let bar = super::progress::bytes(self.inputs.len(), what);
        let counted = bar.clone();
        self.inputs.each(
            move |bytes| counted.inc(bytes),
            |input| {
                let from = input.from.clone();
                match input.named(&self.book) {
                    Ok(event) if self.is_meant(&event) => act(&from, &event)?,
                    Ok(_) => passed.outside += 1,
                    Err(reason) => {
                        passed.unreadable += 1;
                        if passed.unreadable <= SHOWN {
                            bar.suspend(|| writeln!(io::stderr(), "{from}: cannot be read: {}", one_line(&reason)))?;
                        }
                    }
                }
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        Ok(passed)
    }

    fn is_meant(&self, event: &Event) -> bool {
        let is_in_range = match event.timestamp {
            Some(time) => self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until),
            None => self.since.is_none() && self.until.is_none(),
        };
        is_in_range && (!event.own || self.own_events)
    }
}

pub(super) fn replay(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    if let Err(mistake) = super::in_order(args.since, args.until) {
        writeln!(io::stderr(), "cadfd: {mistake}")?;
        return Ok(ExitCode::from(2));
    }
    let load = |rules: &[PathBuf]| -> Result<Config, config::Problems> {
        if rules.is_empty() { super::load(path) } else { config::load_with(path, &super::variables(), rules) }
    };
    let config = load(&args.rules)?;
    let own_events = config.keystone.as_ref().is_some_and(|keystone| keystone.lookups.own_events);
    let others = if args.diff.is_empty() { None } else { Some(load(&args.diff)?.rules) };
    let Some(rules) = narrowed(config.rules, args.only_rule.as_deref()) else {
        writeln!(io::stderr(), "cadfd: --only-rule: there is no rule of this name; `cadfd check` reads them")?;
        return Ok(ExitCode::from(2));
    };
    let replay = Replay {
        inputs: Inputs::open(&args.files)?,
        book: super::explain::book(&config.state_dir),
        since: args.since,
        until: args.until,
        own_events,
    };
    match others {
        Some(others) => {
            // A rule that is new, or goes, is a difference too.
            let others = narrowed(others, args.only_rule.as_deref()).unwrap_or_default();
            show::diff(&replay, &rules, &others)
        }
        None if args.dry_run => show::dry_run(&replay, &rules),
        None => carry::carry(&replay, &rules, &config.state_dir, args),
    }
}

fn narrowed(rules: Arc<RuleTable>, only: Option<&str>) -> Option<RuleTable> {
    let rules = Arc::into_inner(rules)?;
    match only {
        Some(name) => rules.only(name),
        None => Some(rules),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_number_a_time() {
        for (text, wanted) in [("1/s", 1000), ("10/s", 100), ("30/m", 2000), ("100/h", 36_000)] {
            assert_eq!(period(text).unwrap(), Duration::from_millis(wanted), "{text}");
        }
        for wrong in ["", "1", "0/s", "-1/s", "1/d", "1.5/s", "/s"] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
        assert!(run("0123456789abcdef").is_ok() && run("x").is_err());
    }
}
