//! What the demo shows.
//!
//! Its promise: short sections, colour only on a terminal, no line longer than the reader bears.

use std::collections::HashSet;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// Columns, indentation included; longer lines are cut.
const WIDTH: usize = 480;

/// What the readable log is shown of: one line of each kind of event that begins like this.
const KINDS: [&str; 5] = ["USER ", "GROUP ", "PROJECT ", "DOMAIN ", "ROLE"];

/// How many of the trail's last records.
const RECORDS: usize = 4;

/// Standard output.
pub(crate) struct Page {
    colour: bool,
}

impl Page {
    /// In colour on a terminal, unless somebody said `NO_COLOR`.
    pub(crate) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: io::stdout().is_terminal() && !unwanted }
    }

    pub(crate) fn heading(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "\n{}", self.painted("1", text))
    }

    /// A line, cut where it is too long.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        let cut = text.char_indices().nth(WIDTH - 2).map_or(text.len(), |(at, _)| at);
        let more = if cut < text.len() { self.painted("2", "…") } else { String::new() };
        writeln!(io::stdout(), "  {}{more}", &text[..cut])
    }

    pub(crate) fn check(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "  {} {text}", self.painted("32", "ok"))
    }

    fn note(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "  {}", self.painted("2", text))
    }

    /// What the log rule wrote: the first line of each kind of event.
    pub(crate) fn readable(&self, lines: &str) -> io::Result<()> {
        let total = lines.lines().count();
        self.heading("The readable log, on standard output: users, groups, projects and roles, one line of each kind")?;
        let mut seen = HashSet::new();
        let is_first = |line: &&str| {
            // 2026-11-21T06:58:31.701Z USER DELETED success: …
            let kind = line.split_once(' ').and_then(|(_time, rest)| rest.split_once(": ")).unwrap_or_default().0;
            KINDS.iter().any(|known| kind.starts_with(known)) && seen.insert(kind.to_owned())
        };
        let shown: Vec<_> = lines.lines().filter(is_first).collect();
        shown.iter().try_for_each(|line| self.text(line))?;
        self.note(&format!("and {} lines more", total - shown.len()))
    }

    /// The first of what a stand-in accepted.
    pub(crate) fn sample<T: Display>(&self, who: &str, what: &str, entries: &[T], most: usize) -> io::Result<()> {
        self.heading(&format!("{who} got {} {what}", entries.len()))?;
        entries.iter().take(most).try_for_each(|entry| self.text(&entry.to_string()))?;
        if entries.len() > most { self.note(&format!("and {} more", entries.len() - most)) } else { Ok(()) }
    }

    /// The trail's last lines.
    pub(crate) fn trail(&self, trail: &str) -> io::Result<()> {
        let lines: Vec<_> = trail.lines().collect();
        self.heading(&format!("The audit trail: the last of {} records", lines.len()))?;
        lines[lines.len().saturating_sub(RECORDS)..].iter().try_for_each(|line| self.text(line))
    }

    pub(crate) fn end(&self, after: &str) -> io::Result<()> {
        writeln!(io::stdout(), "\n{} after {after}", self.painted("1", "done"))
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
