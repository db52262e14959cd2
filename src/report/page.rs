//! What a page consists of, whatever it is written in: sections, sentences, tables, a plot.
//!
//! Its promise: pure. All text here is as it came; whoever renders it makes it safe for its place.

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Initiator, Reference};

/// Letters of one text; Keystone allows 255 in a name. What a stranger sends can be longer.
const LONGEST: usize = 300;

/// One section.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// For links to it.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What is said before the tables.
    pub text: Vec<String>,
    /// Counts over time.
    pub plot: Option<Plot>,
    /// Its tables.
    pub tables: Vec<Table>,
}

/// Counts over time, drawn.
#[derive(Clone, Debug, Serialize)]
pub struct Plot {
    /// As an SVG element; it holds numbers and times only, nothing that came in a message.
    pub svg: String,
    /// As lines of text.
    pub lines: Vec<String>,
}

/// A table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What stands in it.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows: a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// What was left out, and where to find it.
    pub note: Option<String>,
}

/// A column.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Whether it holds counts.
    pub number: bool,
}

/// A cell.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// In small print: an id.
    pub id: Option<String>,
    /// Whether the reader should look twice.
    pub mark: bool,
    /// Whether it is a time, which is not broken within its day.
    pub time: bool,
}

/// A number to begin with.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What is counted.
    pub label: &'static str,
    /// How many.
    pub value: String,
    /// Whether the reader should look twice.
    pub mark: bool,
}

impl Section {
    pub(super) fn new(id: &'static str, title: &'static str) -> Self {
        Self { id, title, text: Vec::new(), plot: None, tables: Vec::new() }
    }
}

impl Table {
    /// One without rows yet; a column whose title begins with `#` holds counts.
    pub(super) fn new(caption: &str, columns: &[&'static str]) -> Self {
        let column = |title: &&'static str| {
            let counts = title.strip_prefix('#');
            Column { title: counts.unwrap_or(title), number: counts.is_some() }
        };
        let columns = columns.iter().map(column).collect();
        Self { caption: caption.to_owned(), columns, rows: Vec::new(), note: None }
    }
}

impl Cell {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self { text: clipped(text.as_ref()), ..Self::default() }
    }

    pub(super) fn count(count: u64) -> Self {
        Self::text(grouped(count))
    }

    /// Marked unless it is none.
    pub(super) fn warning(count: u64) -> Self {
        Self { mark: count > 0, ..Self::count(count) }
    }

    pub(super) fn marked(text: impl AsRef<str>) -> Self {
        Self { mark: true, ..Self::text(text) }
    }

    pub(super) fn time(at: Timestamp) -> Self {
        Self { time: true, ..Self::text(clock(at)) }
    }

    /// By its name, with the id; by its id alone where nobody knows the name.
    pub(super) fn named(name: Option<&str>, id: Option<&str>) -> Self {
        match (name, id) {
            (Some(name), id) => Self { id: id.map(clipped), ..Self::text(name) },
            (None, Some(id)) => Self { id: Some(clipped(id)), ..Self::default() },
            (None, None) => Self::text("not told"),
        }
    }

    pub(super) fn thing(thing: &Reference) -> Self {
        Self::named(thing.name.as_deref(), Some(&thing.id))
    }

    pub(super) fn initiator(initiator: &Initiator) -> Self {
        Self::named(initiator.name.as_deref(), initiator.id.as_deref())
    }

    /// An address, or that there is none.
    pub(super) fn address(address: Option<&str>) -> Self {
        Self::text(address.unwrap_or("not told"))
    }
}

/// No longer than a text may be here; what is cut off is shown to be.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// In UTC, to the second.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `12,345`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `2 events`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A length of time: `2h 15m`; none is longer than the range.
pub(super) fn length(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!([0, 7, 999, 1000, 1_234_567].map(grouped), ["0", "7", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 2].map(|count| counted(count, "event", "events")), ["0 events", "1 event", "2 events"]);
        assert_eq!(clock("2026-11-21T07:02:28.360001Z".parse().unwrap()), "2026-11-21 07:02:28");
        assert_eq!(length(3725), "1h 2m 5s");
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        assert_eq!(clipped(&"é".repeat(LONGEST)), "é".repeat(LONGEST));
        assert_eq!(clipped(&"é".repeat(LONGEST + 1)), "é".repeat(LONGEST) + "…");
    }
}
