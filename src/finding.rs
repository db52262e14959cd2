//! What a look at one real thing came to: a row of what `cadfd doctor` prints.
//!
//! Its promise: pure; every row says what was looked at and what was found, and one that asks for a change says which.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a few words: `broker controller:5672: log in`.
    pub tried: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found. May hold text of others: whoever prints it makes it one line.
    pub found: String,
    /// What to change, as a sentence or a command; `None` where nothing is to be done here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// What a look came to, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It could not be tried, for the reason that is told; says nothing about whether it is well.
    Untried,
    /// cadfd does its work, but this is dangerous, or will surprise.
    Warning,
    /// cadfd cannot do its work, or a part of it.
    Problem,
}

impl Verdict {
    /// For people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Untried => "not tried",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    /// As it should be.
    pub fn ok(tried: impl Into<String>, found: impl Into<String>) -> Self {
        Self { tried: tried.into(), verdict: Verdict::Ok, found: found.into(), change: None }
    }

    /// It was not tried, and why.
    pub fn untried(tried: impl Into<String>, why: impl Into<String>) -> Self {
        Self { tried: tried.into(), verdict: Verdict::Untried, found: why.into(), change: None }
    }

    /// It works, but this should be changed.
    pub fn warning(tried: impl Into<String>, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, change: Some(change.into()), ..Self::ok(tried, found) }
    }

    /// It does not work until this is changed.
    pub fn problem(tried: impl Into<String>, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, change: Some(change.into()), ..Self::ok(tried, found) }
    }

    /// As [`Finding::problem`], of a text that says behind its last semicolon what to do, as errors here do.
    pub fn problem_in_words(tried: impl Into<String>, text: &str) -> Self {
        match text.rsplit_once("; ") {
            Some((found, change)) => Self::problem(tried, found, change),
            None => Self { verdict: Verdict::Problem, ..Self::ok(tried, text) },
        }
    }

    /// The same with a hint that nobody has to follow.
    #[must_use]
    pub fn with(mut self, change: impl Into<String>) -> Self {
        self.change = Some(change.into());
        self
    }
}
