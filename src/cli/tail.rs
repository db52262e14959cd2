//! `cadfd tail`: the last records of the trail, and those that come.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use super::search::{self, Filters, Output, Search};
use crate::trail::{Follow, Hit, Order, Query};

/// Between two looks at the files that are followed.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Go on with what is written from now on, also when the file is rotated; ends with Ctrl-C.
    #[arg(long, short = 'f')]
    follow: bool,
    /// So many of the last records that are wanted.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    lines: usize,
    /// The records as they stand in the trail, byte for byte: JSON, one a line.
    #[arg(long)]
    json: bool,
    /// The trail: its file, a directory of trails, or several of them. Without, the trail of the settings.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn tail(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    search::exit(show(path, args))
}

fn show(path: &Path, args: &Args) -> anyhow::Result<bool> {
    let query = args.filters.query(jiff::Timestamp::now())?;
    let trails = search::trails(path, &args.paths)?;
    let names = trails.iter().map(|trail| trail.path.clone()).collect();
    let mut output = if args.json { Output::json() } else { Output::readable(names, super::colour()) };
    // From here on everything is read by the one or the other.
    let mut follows = Vec::new();
    if args.follow {
        for trail in &trails {
            follows.push(Follow::begin(trail)?);
        }
    }
    let search = Search::new(trails, false);
    let last = last(&search, &follows, &query, args.lines)?;
    let found = !last.is_empty();
    for (number, hit) in last.iter().rev() {
        output.hit(*number, hit)?;
    }
    io::stdout().flush()?;
    if args.follow {
        go_on(&mut follows, &query, &mut output)?;
    }
    output.finish()?;
    search.found(found)
}

/// Shows what comes; ends with an error only.
#[expect(clippy::disallowed_methods, reason = "a command without a runtime that it could stop")]
fn go_on(follows: &mut [Follow], query: &Query, output: &mut Output) -> anyhow::Result<()> {
    loop {
        for (number, follow) in follows.iter_mut().enumerate() {
            read(number, follow, query, output)?;
        }
        thread::sleep(LOOK);
    }
}

/// The last records that are wanted, the newest first; where the trails are followed, of those before that began.
fn last(search: &Search, follows: &[Follow], query: &Query, most: usize) -> anyhow::Result<Vec<(usize, Hit)>> {
    let mut last = Vec::new();
    if most > 0 {
        search.each(query, Order::Newest, |number, hit, _| {
            if follows.get(number).is_none_or(|follow| hit.entry.seq <= follow.last()) {
                last.push((number, hit));
            }
            Ok(last.len() < most)
        })?;
    }
    Ok(last)
}

fn read(number: usize, follow: &mut Follow, query: &Query, output: &mut Output) -> anyhow::Result<()> {
    follow.read(&mut |hit| {
        if query.matches(&hit.entry, &hit.line) {
            // A closed pipe is known as one further up.
            output.hit(number, &hit).map_err(|error| error.downcast().unwrap_or_else(io::Error::other))?;
        }
        Ok(())
    })?;
    for (first, last) in follow.gaps() {
        let _closed = writeln!(
            io::stderr(),
            "cadfd: records {first} to {last} were removed before they could be read; they may be in a copy of the trail"
        );
    }
    io::stdout().flush()?;
    Ok(())
}
