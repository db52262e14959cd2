//! `cadfd search`: the records of the trail that are wanted.

mod csv;
mod filters;
mod print;
mod request;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use indicatif::ProgressBar;

use crate::config::{self, Problems};
use crate::text::one_line;
use crate::trail::{self, Note, Order, Query, Scan, Trail, Watch};

pub(super) use filters::Filters;
pub(super) use print::Output;
pub(super) use request::with_followers;

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
pub(super) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// The newest first; otherwise the oldest.
    #[arg(long)]
    newest: bool,
    /// No more than so many records.
    #[arg(long, short = 'l', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The records as they stand in the trail, byte for byte: JSON, one a line.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// A table for a spreadsheet, with a header; nothing in it is a formula.
    #[arg(long)]
    csv: bool,
    /// Make no index for a file that has none.
    #[arg(long)]
    no_index: bool,
    /// The trail: its file, which stands for those it was rotated to as well, a directory of trails, or several of them.
    /// Without, the trail of the settings.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Nothing was found.
const NOTHING: u8 = 1;
/// A mistake in what was given, or the trail cannot be read.
const MISTAKE: u8 = 2;

pub(super) fn search(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    exit(look(path, args))
}

/// Like grep: whether something was found, or else why nobody can tell.
pub(super) fn exit(found: anyhow::Result<bool>) -> anyhow::Result<ExitCode> {
    match found {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(NOTHING)),
        Err(error) if super::is_broken_pipe(&error) || error.is::<Problems>() => Err(error),
        Err(error) => {
            let _closed = writeln!(io::stderr(), "cadfd: {}", super::in_words(&error));
            Ok(ExitCode::from(MISTAKE))
        }
    }
}

fn look(path: &Path, args: &Args) -> anyhow::Result<bool> {
    let now = jiff::Timestamp::now();
    // Mistakes first: nothing else is done when there is one.
    args.filters.query(now)?;
    let trails = trails(path, &args.paths)?;
    let search = Search::new(trails, !args.no_index);
    let query = request::with_deliveries(&args.filters, now, &search)?;
    let order = if args.newest { Order::Newest } else { Order::Oldest };
    if args.filters.asks_for_a_story() && !args.json && !args.csv {
        let found = request::tree(&query, &search, order, args.limit)?;
        return search.found(found);
    }
    let names = search.trails.iter().map(|trail| trail.path.clone()).collect();
    let mut output = if args.json {
        Output::json()
    } else if args.csv {
        Output::csv(names)?
    } else {
        Output::readable(names, super::colour())
    };
    let mut found = 0;
    search.each(&query, order, |number, hit, bar| {
        found += 1;
        bar.suspend(|| output.hit(number, &hit))?;
        Ok(args.limit.is_none_or(|limit| found < limit))
    })?;
    output.finish()?;
    search.found(found > 0)
}

/// The trails at the paths, or that of the settings.
pub(super) fn trails(settings: &Path, paths: &[PathBuf]) -> anyhow::Result<Vec<Trail>> {
    if paths.is_empty() {
        let (audit, _) = config::trail(settings, &super::variables())?;
        return Ok(trail::trails(&[audit.path])?);
    }
    Ok(trail::trails(paths)?)
}

/// Where is searched.
pub(super) struct Search {
    pub(super) trails: Vec<Trail>,
    make_indexes: bool,
    /// Files that are damaged, each told once.
    damaged: RefCell<BTreeSet<String>>,
}

impl Search {
    pub(super) fn new(trails: Vec<Trail>, make_indexes: bool) -> Self {
        Self { trails, make_indexes, damaged: RefCell::default() }
    }

    /// Whether something was found; an error where that is not all there is.
    pub(super) fn found(&self, is_any: bool) -> anyhow::Result<bool> {
        if !self.damaged.borrow().is_empty() {
            bail!("what is damaged was passed over, so this is not all there is; cadfd verify looks at each record");
        }
        Ok(is_any)
    }

    /// Gives each record that is wanted, with the number of its trail, to `take`, until that says no.
    pub(super) fn each(
        &self,
        query: &Query,
        order: Order,
        mut take: impl FnMut(usize, trail::Hit, &ProgressBar) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let total = self.trails.iter().flat_map(|trail| &trail.files).map(|file| file.len).sum();
        let bar = super::progress::bytes(total, "searching");
        let watch = Watch {
            read: Box::new(|bytes| bar.inc(bytes)),
            note: Box::new(|note| self.tell(note, &bar)),
            make_indexes: self.make_indexes,
        };
        let mut scan = Scan::new(self.trails.clone(), query, order, watch);
        while let Some((number, hit)) = scan.next_hit()? {
            if !take(number, hit, &bar)? {
                break;
            }
        }
        drop(scan);
        bar.finish_and_clear();
        Ok(())
    }

    fn tell(&self, note: Note<'_>, bar: &ProgressBar) {
        let text = match note {
            Note::Unreadable(error) => {
                let text = one_line(&error.to_string()).into_owned();
                if !self.damaged.borrow_mut().insert(text.clone()) {
                    return;
                }
                text
            }
            Note::Damaged(path) => {
                format!(
                    "warning: the index of {} is damaged; the file is read whole",
                    one_line(&path.display().to_string())
                )
            }
            Note::Indexing(path, len) => {
                bar.inc_length(len);
                if !io::stderr().is_terminal() {
                    return;
                }
                format!("making an index of {}, once", one_line(&path.display().to_string()))
            }
        };
        bar.suspend(|| {
            let _closed = writeln!(io::stderr(), "cadfd: {text}");
        });
    }
}
