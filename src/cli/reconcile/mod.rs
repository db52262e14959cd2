//! `cadfd reconcile`: what Keystone's own log has and the trail lacks, and the reverse.

mod compare;
mod comparison;
mod import;
mod print;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use crate::config;
use crate::trail::{self, TrailFile};
use crate::witness::{self, Log, Window};

use comparison::Comparison;
use print::Printer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keystone's log, as driver = log writes it: a file, which stands for those it was rotated to as well, plain or packed
    /// with gzip or zstd, a directory of them, or all of them, in any order; `-` for standard input.
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// The trail: its file, which stands for those it was rotated to, or a directory. May be given again where several
    /// daemons share a queue. Without, the trail of the settings.
    #[arg(long, value_name = "PATH")]
    trail: Vec<PathBuf>,
    /// How long a message may be on its way: a younger one is not missed yet.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Only messages sent since then: how long ago (2d, 1h30m), a date, or a time (RFC 3339, UTC).
    #[arg(long, value_name = "WHEN", value_parser = super::when)]
    since: Option<Timestamp>,
    /// Only messages sent before then.
    #[arg(long, value_name = "WHEN", value_parser = super::when)]
    until: Option<Timestamp>,
    /// Add what the trail lacks to the trail of the settings, marked as imported. No rule is applied to it: for that there is
    /// `cadfd replay`. What still waits in RabbitMQ's queue is better left to come by itself: once imported it is taken for a
    /// repeat, and no rule is applied to it either. To be run as the daemon's user.
    #[arg(long)]
    import: bool,
    /// Import without asking.
    #[arg(long, requires = "import")]
    yes: bool,
    /// JSON, one object a line; the last one is the summary.
    #[arg(long)]
    json: bool,
}

/// One of them lacks something.
const LACKING: u8 = 1;
/// Nobody can tell.
const UNSURE: u8 = 2;

pub(super) fn reconcile(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    match run(path, args) {
        Err(error) if !super::is_broken_pipe(&error) && !error.is::<config::Problems>() => {
            // Whatever keeps it from being read: nobody can tell.
            let _closed = writeln!(io::stderr(), "cadfd: {}", super::in_words(&error));
            Ok(ExitCode::from(UNSURE))
        }
        done => done,
    }
}

fn run(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let window = window(args, now)?;
    let mut trails = args.trail.clone();
    let mut state_dir = None;
    if trails.is_empty() || args.import {
        let (audit, dir) = config::trail(path, &super::variables())?;
        // What is imported must not stand in the trail that it is added to.
        trails.push(audit.path);
        state_dir = Some(dir);
    }
    let logs = witness::find(&args.logs)?;
    if args.import && logs.iter().any(|log| matches!(log, Log::Stdin)) {
        bail!("--import reads the log twice, which standard input cannot be: write it to a file first");
    }
    let files = trail_files(&trails)?;
    let mut printer = Printer::new(args.json);
    let comparison = compare::compare(&logs, &files, window, &mut printer)?;
    printer.summary(&comparison, &logs, args.grace)?;
    let outcome = match (&state_dir, comparison.trail_lacks) {
        (Some(dir), 1..) if args.import => {
            let is_complete = import::import(dir, &logs, &comparison, args.yes, &mut printer)?;
            comparison.log_lacks > 0 || !is_complete
        }
        _ => comparison.trail_lacks > 0 || comparison.log_lacks > 0,
    };
    Ok(exit(outcome, &comparison))
}

fn exit(is_lacking: bool, comparison: &Comparison) -> ExitCode {
    if is_lacking {
        ExitCode::from(LACKING)
    } else if comparison.is_unsure() {
        ExitCode::from(UNSURE)
    } else {
        ExitCode::SUCCESS
    }
}

fn window(args: &Args, now: Timestamp) -> anyhow::Result<Window> {
    super::in_order(args.since, args.until)?;
    let settled = crate::trail::before(now, args.grace).context("--grace: that is too long")?;
    Ok(Window { since: args.since, until: args.until, settled })
}

fn trail_files(paths: &[PathBuf]) -> anyhow::Result<Vec<TrailFile>> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(trail::find(path)?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}
