//! Whether the trail that a report is made of is what was written.
//!
//! Its promise: pure; it says no more than the verification found, and what nothing covers.

use serde::Serialize;

use super::page::{clock, counted, grouped, length};
use super::{Fact, Origin};
use crate::trail::{Finding, Report};

/// Findings that are told one by one; what is wrong is clear by then.
const FINDINGS: usize = 20;

/// What the verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// `good`, `bad` or `unsure`.
    pub tone: &'static str,
    /// In two or three words.
    pub words: &'static str,
    /// In sentences.
    pub text: Vec<String>,
    /// What was found, no more than the first twenty.
    pub findings: Vec<String>,
    /// Key, checkpoints, the last record.
    pub facts: Vec<Fact>,
}

/// Says what was found. `signed` is how many checkpoints the report's time has.
pub(super) fn of(origin: &Origin, signed: u64) -> Verdict {
    let found = &origin.verified;
    let (tone, words, sentence) = if found.is_altered() {
        (
            "bad",
            "Altered",
            "The trail was altered after it was written. What this report says of the records concerned, and of all that \
             may be missing, cannot be relied on.",
        )
    } else if found.is_unsure() {
        (
            "unsure",
            "Nobody can tell",
            "Nothing here proves that the trail is what was written, and nothing that it is not.",
        )
    } else {
        (
            "good",
            "Not altered",
            "Every byte up to the last checkpoint is covered by a signature; nothing was changed, removed, added or moved.",
        )
    };
    let mut text = vec![sentence.to_owned()];
    text.extend(limits(found));
    text.push(match signed {
        0 => "There is no checkpoint in the time that this report is about.".to_owned(),
        signed => {
            format!("{} stand in the time that this report is about.", counted(signed, "checkpoint", "checkpoints"))
        }
    });
    let mut findings: Vec<_> = found.findings.iter().take(FINDINGS).map(finding).collect();
    let more = found.more + found.findings.len().saturating_sub(FINDINGS);
    if more > 0 {
        findings.push(format!("and {} more; cadfd verify tells of the first hundred", grouped(more as u64)));
    }
    Verdict { tone, words, text, findings, facts: facts(origin) }
}

/// What the signatures do not cover.
fn limits(found: &Report) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(last) = found.unchained {
        text.push(format!(
            "The records up to {} are from a version of cadfd that did not chain them: nothing covers them.",
            grouped(last)
        ));
    }
    if let Some(first) = found.removed_before {
        text.push(format!(
            "Those before {} were removed as the settings said; the trail itself tells so.",
            grouped(first)
        ));
    }
    if found.checkpoints == 0 {
        text.push("No checkpoint was checked: no record is known to be covered by a signature.".to_owned());
    } else if found.uncovered() > 0 {
        text.push(match found.uncovered() {
            1 => "1 record after the last checkpoint is not signed yet.".to_owned(),
            more => format!("{} records after the last checkpoint are not signed yet.", grouped(more)),
        });
    }
    text
}

fn finding(finding: &Finding) -> String {
    match &finding.place {
        Some((path, line)) => format!("{}:{line}: {}", path.display(), finding.what),
        None => finding.what.to_string(),
    }
}

fn facts(origin: &Origin) -> Vec<Fact> {
    let found = &origin.verified;
    let mut facts: Vec<_> = origin.keys.iter().map(|key| Fact::code("Public key", key.to_string())).collect();
    if facts.is_empty() {
        facts.push(Fact::new("Public key", "none was given"));
    }
    facts.push(Fact::new("Checkpoints checked", grouped(found.checkpoints)));
    if let Some(last) = &found.last_checkpoint {
        facts.push(Fact::new("The last of them", format!("record {}, {}", grouped(last.seq), clock(last.at))));
        let longest = i64::try_from(found.longest_silence).unwrap_or(i64::MAX);
        facts.push(Fact::new("Longest time between two", length(longest)));
    }
    if let Some(head) = found.head {
        facts.push(Fact::code("SHA-256 of the last record", head.to_string()));
    }
    facts
}
