//! `cadfd names`: what is known by name, and names from and for a file.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use crate::config;
use crate::name::{How, Kind, Known};
use crate::names::{Book, Row, read_rows};
use crate::record::time;
use crate::store::NameTable;
use crate::text::{one_line, to_ascii_json};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List things by kind and name.
    List(Which),
    /// Show everything known of things: by id, by the beginning of an id, or by name.
    Show(Which),
    /// Take names from a file: CSV (kind,id,name,…), the lines of `export --json`, or an audit trail; `-` for standard
    /// input. Only what is newer or missing is taken.
    Import {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print all that is known as CSV.
    Export(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Ids, beginnings of ids, or names.
    things: Vec<String>,
    /// Only things of this kind.
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Only what was deleted.
    #[arg(long)]
    deleted: bool,
    /// JSON, one object a line.
    #[arg(long)]
    json: bool,
}

fn kind(word: &str) -> Result<Kind, String> {
    let kinds = Kind::ALL.map(Kind::as_str).join(", ");
    Kind::of(word).ok_or_else(|| format!("expected one of {kinds}"))
}

impl Which {
    fn means(&self, Known { thing, deleted, .. }: &Known) -> bool {
        let is_named = |text: &String| thing.id.starts_with(text.as_str()) || thing.name.as_ref() == Some(text);
        self.kind.is_none_or(|kind| kind == thing.kind)
            && (!self.deleted || deleted.is_some())
            && (self.things.is_empty() || self.things.iter().any(is_named))
    }

    fn found(&self, table: &NameTable) -> anyhow::Result<Vec<Known>> {
        if self.things.iter().any(String::is_empty) {
            bail!("an empty text is no id and no name");
        }
        let mut all = table.all()?;
        all.retain(|known| self.means(known));
        Ok(all)
    }
}

pub(super) fn names(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let dir = config::state_dir(path, &super::variables())?;
    let mut table = NameTable::open(&dir)?;
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Import { files } => {
            for file in files {
                let (taken, rows) = import(&mut table, file)?;
                writeln!(out, "{}: {taken} of {rows} taken", one_line(&file.display().to_string()))?;
            }
        }
        Command::Export(which) if !which.json => {
            let mut csv = csv::Writer::from_writer(out);
            for known in which.found(&table)? {
                csv.serialize(Row::from(&known)).map_err(io::Error::from)?;
            }
            csv.flush()?;
        }
        Command::List(which) | Command::Show(which) | Command::Export(which) => {
            let found = which.found(&table)?;
            if found.is_empty() && !which.things.is_empty() {
                bail!("nothing is known by that; see: cadfd names list");
            }
            for known in found {
                if which.json {
                    out.write_all(&to_ascii_json(&Row::from(&known))?)?;
                    writeln!(out)?;
                } else if matches!(args.command, Command::Show(_)) {
                    show(&mut out, &known, &table)?;
                } else {
                    list(&mut out, &known)?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How many of how many.
fn import(table: &mut NameTable, file: &Path) -> anyhow::Result<(usize, usize)> {
    let (text, time) = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("standard input")?;
        (text, Timestamp::now())
    } else {
        let name = || format!("{} cannot be read", file.display());
        let text = std::fs::read_to_string(file).with_context(name)?;
        let modified = std::fs::metadata(file).and_then(|data| data.modified()).with_context(name)?;
        (text, Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH))
    };
    let rows = read_rows(&text).with_context(|| one_line(&file.display().to_string()).into_owned())?;
    let count = rows.len();
    let taken = table.import(|all| {
        let mut book = Book::of(all);
        rows.into_iter().filter_map(|row| take(&mut book, row, time)).collect()
    })?;
    Ok((taken, count))
}

/// What is to be kept of a row.
fn take(book: &mut Book, row: Row, time: Timestamp) -> Option<Known> {
    let (thing, at, deleted) = row.into_parts(time);
    let (kind, id) = (thing.kind, thing.id.clone());
    // What was seen since is another thing of that id.
    let is_gone = |deleted: &Timestamp| book.get(kind, &id).is_none_or(|known| known.at <= at.max(*deleted));
    let deleted = deleted.filter(is_gone);
    let learnt = book.learn(thing, How::Import, at);
    deleted.and_then(|deleted| book.delete(kind, &id, deleted)).or(learnt)
}

fn list(out: &mut impl Write, Known { thing, deleted, .. }: &Known) -> anyhow::Result<()> {
    let deleted = deleted.map(|at| format!("  deleted {}", time(at))).unwrap_or_default();
    let name = thing.name.as_deref().map_or_else(|| "-".into(), one_line);
    writeln!(out, "{:22}  {:32}  {name}{deleted}", thing.kind.as_str(), one_line(&thing.id))?;
    Ok(())
}

fn show(out: &mut impl Write, known: &Known, table: &NameTable) -> anyhow::Result<()> {
    let Known { thing, how, at, deleted, before: _ } = known;
    writeln!(out, "{:9}  {}", thing.kind.as_str(), one_line(&thing.id))?;
    writeln!(out, "name       {}", thing.name.as_deref().map_or_else(|| "unknown".into(), one_line))?;
    if let Some(id) = &thing.domain_id {
        let domain = table.get(Kind::Domain, id)?.and_then(|domain| domain.thing.name);
        let name = domain.map(|name| format!("{} ", one_line(&name))).unwrap_or_default();
        writeln!(out, "domain     {name}({})", one_line(id))?;
    }
    if let Some(enabled) = thing.enabled {
        writeln!(out, "enabled    {}", if enabled { "yes" } else { "no" })?;
    }
    if let Some(members) = &thing.members {
        writeln!(out, "members    {}", members.len())?;
        for id in members {
            let name = table.get(Kind::User, id)?.and_then(|user| user.thing.name);
            let name = name.map(|name| format!("{} ", one_line(&name))).unwrap_or_default();
            writeln!(out, "           {name}({})", one_line(id))?;
        }
    }
    writeln!(out, "known      {}, from {}", time(*at), source(*how))?;
    if let Some(deleted) = deleted {
        writeln!(out, "deleted    {}", time(*deleted))?;
    }
    writeln!(out)?;
    Ok(())
}

fn source(how: How) -> &'static str {
    match how {
        How::Event => "an event",
        How::Listing => "a listing",
        How::Lookup => "a lookup",
        How::Import => "an import",
    }
}
