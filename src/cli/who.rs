//! `cadfd who`: the story of one user, project, role, group or domain.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use super::search::{self, Search};
use crate::text::{one_line, to_ascii_json};
use crate::trail::{Candidate, Candidates, Class, Order, Query, Story, Times};

/// What can be asked for.
const KINDS: [&str; 5] = ["user", "project", "role", "group", "domain"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whom: user:bob, project:ID, role:NAME, group:NAME or domain:NAME; by id, or by any name it had.
    #[arg(value_name = "KIND:WHO")]
    thing: String,
    /// JSON.
    #[arg(long)]
    json: bool,
    /// The trail: its file, a directory of trails, or several of them. Without, the trail of the settings.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn who(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    search::exit(tell(path, args))
}

fn tell(path: &Path, args: &Args) -> anyhow::Result<bool> {
    let known = args.thing.split_once(':').filter(|(kind, who)| KINDS.contains(kind) && !who.is_empty());
    let Some((kind, who)) = known else {
        bail!(
            "{:?} does not say who; write the kind and an id or a name, such as user:bob; kinds are {}",
            args.thing,
            KINDS.join(", ")
        );
    };
    let search = Search::new(search::trails(path, &args.paths)?, true);
    let Some(mut story) = meant(kind, who, &search)? else {
        let _closed = writeln!(io::stderr(), "cadfd: {}", unknown(kind, who));
        return search.found(false);
    };
    let wanted = story.id.clone().unwrap_or_else(|| who.to_owned());
    search.each(Query::new().things(kind, &[wanted])?, Order::Oldest, |_, hit, _| {
        story.add(&hit.entry);
        Ok(true)
    })?;
    if !story.messages.is_empty() {
        let messages = story.messages.clone();
        let mut led_to = Query::new();
        led_to.any_of(&[(Class::Message, &messages)])?;
        led_to.any_of(&[(Class::Type, &["delivery".to_owned(), "fired".to_owned()])])?;
        search.each(&led_to, Order::Oldest, |_, hit, _| {
            if hit.entry.kind_of_record == "fired" {
                story.fired(&hit.entry);
            } else {
                story.settle(&hit.entry);
            }
            Ok(true)
        })?;
    }
    if !story.together.is_empty() {
        // They are deliveries of another's message, where that was the one that completed the count.
        let together = search::with_followers(story.together.clone(), &search)?;
        let mut deliveries = Query::new();
        deliveries.any_of(&[(Class::Delivery, &together)])?.any_of(&[(Class::Type, &["delivery".to_owned()])])?;
        search.each(&deliveries, Order::Oldest, |_, hit, _| {
            story.settle(&hit.entry);
            Ok(true)
        })?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        out.write_all(&to_ascii_json(&story)?)?;
        writeln!(out)?;
    } else {
        print(&mut out, &story)?;
    }
    search.found(true)
}

/// Who is meant; `None` where nobody is.
fn meant(kind: &str, who: &str, search: &Search) -> anyhow::Result<Option<Story>> {
    let mut candidates = Candidates::new(kind, who);
    search.each(Query::new().things(kind, &[who.to_owned()])?, Order::Oldest, |_, hit, _| {
        candidates.add(&hit.entry);
        Ok(true)
    })?;
    let mut things = candidates.things.iter();
    match (things.next(), things.next()) {
        (None, _) if candidates.nameless == 0 => Ok(None),
        (None, _) => Ok(Some(Story::new(kind, None, who))),
        (Some((id, _)), None) => Ok(Some(Story::new(kind, Some(id.clone()), who))),
        _ => {
            let mut known = candidates.anew();
            let ids: Vec<_> = known.things.keys().cloned().collect();
            search.each(Query::new().things(kind, &ids)?, Order::Oldest, |_, hit, _| {
                known.add(&hit.entry);
                Ok(true)
            })?;
            bail!("{}", ambiguous(kind, who, &known.things))
        }
    }
}

/// A name or an id that the trail does not have.
fn unknown(kind: &str, who: &str) -> String {
    let who = one_line(who);
    format!("the trail knows no {kind} with the id or name {who}; a part of it is found by cadfd search --text")
}

fn ambiguous(kind: &str, who: &str, things: &BTreeMap<String, Candidate>) -> String {
    let mut text = format!("{} {kind}s are or were called {}; say which one:", things.len(), one_line(who));
    for (id, candidate) in things.iter().take(50) {
        let names: Vec<_> = candidate.names.iter().map(|name| one_line(name)).collect();
        let gone = candidate.deleted.map(|at| format!(", deleted {at:.0}")).unwrap_or_default();
        let _ = write!(
            text,
            "\n  cadfd who {kind}:{}  {}; {}{gone}",
            one_line(id),
            names.join(", "),
            when(&candidate.times)
        );
    }
    text
}

/// `12 times, first …, last …`.
fn when(times: &Times) -> String {
    let at = |at: Option<jiff::Timestamp>| at.map_or_else(|| "at an unknown time".to_owned(), |at| format!("{at:.0}"));
    match times.count {
        1 => format!("once, {}", at(times.first)),
        count => format!("{count} times, first {}, last {}", at(times.first), at(times.last)),
    }
}

fn print(out: &mut impl Write, story: &Story) -> io::Result<()> {
    match &story.id {
        Some(id) => writeln!(out, "{} {}", story.kind, one_line(id))?,
        None => writeln!(out, "{}: nobody with an id", story.kind)?,
    }
    for (name, since) in &story.names {
        let since = since.map(|since| format!(", first {since:.0}")).unwrap_or_default();
        writeln!(out, "  called {}{since}", one_line(name))?;
    }
    heading(out, "What happened", story.history.is_empty())?;
    for told in &story.history {
        let at = told.at.map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"));
        let by = told.by.as_ref().map(|by| match &by.name {
            Some(name) if *name != by.id => format!(" by {} ({})", one_line(name), one_line(&by.id)),
            _ => format!(" by {}", one_line(&by.id)),
        });
        let from = told.address.as_ref().map(|address| format!(" from {}", one_line(address)));
        let (by, from) = (by.unwrap_or_default(), from.unwrap_or_default());
        writeln!(out, "  {at}  {}{by}{from}  (record {})", one_line(&told.what), told.seq)?;
    }
    if story.more > 0 {
        writeln!(out, "  and {} more; cadfd search --{} shows them all", story.more, story.kind)?;
    }
    let did = if story.kind == "user" { "What they did" } else { "What names it besides" };
    for (title, counts) in [("Logins", &story.logins), ("Failed logins", &story.failed_logins), (did, &story.did)] {
        heading(out, title, counts.is_empty())?;
        for (what, times) in counts {
            writeln!(out, "  {}  {}", one_line(what), when(times))?;
        }
    }
    heading(out, "What was triggered", story.triggered.is_empty())?;
    for (what, triggered) in &story.triggered {
        let what = one_line(what);
        let (done, given_up) = (triggered.done, triggered.given_up);
        let times = if triggered.planned == 1 { "once".to_owned() } else { format!("{} times", triggered.planned) };
        let is_counted = what.split_once(',').is_some_and(|(to, _)| crate::rule::is_counting(to));
        if what.starts_with("log,") || is_counted {
            writeln!(out, "  {what}  {times}")?;
        } else {
            let open = triggered.planned.saturating_sub(done + given_up);
            writeln!(out, "  {what}  {times}: {done} done, {given_up} given up, {open} open")?;
        }
    }
    Ok(())
}

fn heading(out: &mut impl Write, title: &str, is_empty: bool) -> io::Result<()> {
    if is_empty { Ok(()) } else { writeln!(out, "{title}") }
}
