//! One page about a time of the trail, for who has to be shown what happened: HTML or Markdown.
//!
//! Its promise: pure: records in, a page out, in one pass and in bounded memory. Each number is exact, what is cut off is
//! said to be, and text that strangers chose stays text. The page loads nothing and runs nothing.

mod bindings;
mod bounded;
mod changes;
mod collect;
mod gaps;
mod line;
mod logins;
mod page;
mod plot;
mod render;
mod series;
mod span;
mod triggered;
mod verdict;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;

use crate::checkpoint::PublicKey;
use crate::trail;

pub use collect::Collector;
pub use page::{Cell, Column, Figure, Plot, Section, Table};
pub use render::{Format, RenderError};
pub use span::Span;
pub use verdict::Verdict;

/// What a report says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The time it is about, in words.
    pub range: String,
    /// What it covers, and where it comes from.
    pub about: Vec<Fact>,
    /// Whether the trail is what was written.
    pub verdict: Verdict,
    /// The numbers to begin with.
    pub figures: Vec<Figure>,
    /// The same in sentences, and more.
    pub summary: Vec<String>,
    /// The rest.
    pub sections: Vec<Section>,
}

/// A word and what it is in this report.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// What.
    pub label: &'static str,
    /// How it is.
    pub value: String,
    /// Whether it is for programs: a key, a hash, a path.
    pub code: bool,
}

/// Where a report comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The trails, as they were named.
    pub paths: Vec<String>,
    /// Their files.
    pub files: u64,
    /// The bytes of these, as they are packed.
    pub bytes: u64,
    /// When the report is made.
    pub made: Timestamp,
    /// The version of cadfd that makes it.
    pub version: &'static str,
    /// The keys whose signatures count.
    pub keys: Vec<PublicKey>,
    /// What verifying the whole trail found.
    pub verified: trail::Report,
}

impl Fact {
    fn new(label: &'static str, value: impl Into<String>) -> Self {
        Self { label, value: value.into(), code: false }
    }

    fn code(label: &'static str, value: impl Into<String>) -> Self {
        Self { label, value: value.into(), code: true }
    }
}
