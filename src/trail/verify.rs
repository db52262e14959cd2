//! Whether the records of a trail are what was written.
//!
//! Its promise: pure. Every byte up to the last checkpoint is covered by a signature; what was changed, removed, added,
//! doubled or moved is found and said with its number. What nothing covers is said as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::chain::Hash;
use crate::checkpoint::{Checkpoint, PublicKey};
use crate::record::{Link, TYPES, link_of, type_of};

use super::lines::Line;

/// Findings kept in full; the rest is counted.
const MOST: usize = 100;

/// What an auditor knows from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The keys whose signatures count; with none, none does.
    pub keys: Vec<PublicKey>,
    /// Checkpoints that were kept elsewhere: each must stand in the trail, byte for byte.
    pub checkpoints: Vec<Checkpoint>,
    /// The first record to be looked at; `None`: 1, or what the trail itself says was removed before.
    pub from: Option<u64>,
    /// The last one to be looked at; `None`: the last there is.
    pub to: Option<u64>,
    /// A record that is known to have been written to the file: the store says so.
    pub written: Option<u64>,
}

/// What was found about the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: What,
    /// The file and the line in it, from 1, where it was noticed.
    pub place: Option<(PathBuf, u64)>,
}

/// The kinds of findings. Records are named by their numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// The next record carries another hash.
    #[error("record {0} was changed: the hash that record {next} carries is another one", next = .0 + 1)]
    Changed(u64),
    /// It carries another hash than that of the one before it, and nothing tells which of the two was changed.
    #[error("record {0}, or the one before it, was changed: the hash it carries is another one")]
    Unlinked(u64),
    /// None of them fits the hash that is carried after it, but the next finding explains that of the last.
    #[error("{}", perhaps(*.0, *.1))]
    Perhaps(u64, u64),
    /// Numbers are left out.
    #[error("{}", missing(*.0, *.1))]
    Missing(u64, u64),
    /// The number came before.
    #[error("record {0} stands there twice")]
    Doubled(u64),
    /// The number is smaller than the one before it.
    #[error("record {found} stands where record {expected} should: moved or added")]
    Misplaced {
        /// Its number.
        found: u64,
        /// The number that should have come.
        expected: u64,
    },
    /// No record.
    #[error("not a record, after record {0}")]
    NoRecord(u64),
    /// A packed file, or its end, cannot be unpacked.
    #[error("what follows record {after} in this file cannot be unpacked, and so not be looked at: {why}")]
    Damaged {
        /// The last record before it, in the trail.
        after: u64,
        /// What the unpacker says.
        why: String,
    },
    /// The last line begins like a record, but is none.
    #[error("record {0}, the last one, was changed: it is no JSON, or has no type")]
    Unreadable(u64),
    /// A file ends within a line.
    #[error("cut off within the record after record {0}")]
    Torn(u64),
    /// The last file ends within a line, as after a crash, or where it was copied while it was written.
    #[error(
        "the last file ends within the record after record {0}: as after a crash before the next start, or in a copy that \
         was made while it was written"
    )]
    Unfinished(u64),
    /// The last record is of a type that is not known here.
    #[error(
        "record {0}, the last one, is of a type that this version of cadfd does not know; verify it with a newer one"
    )]
    Newer(u64),
    /// A record without a hash after those that have one.
    #[error("record {0} carries no hash, though earlier ones do")]
    Unchained(u64),
    /// The chain begins anew.
    #[error("record {0} begins a chain of its own, though there are records before it")]
    Restarted(u64),
    /// Looks like a checkpoint, but is not as cadfd writes one.
    #[error("checkpoint {0} was changed: it is not as it was written")]
    Garbled(u64),
    /// Its signature is not that of the key it names.
    #[error("checkpoint {0} was changed: its signature is not of what it says")]
    Forged(u64),
    /// It is signed with another key.
    #[error("checkpoint {seq} is signed with another key: {key}")]
    OtherKey {
        /// Its number.
        seq: u64,
        /// The key it names.
        key: PublicKey,
    },
    /// A checkpoint that was kept elsewhere is not this record.
    #[error("record {0} is not the checkpoint that was kept of it: all up to there may have been changed")]
    Rewritten(u64),
    /// The trail ends before a known record.
    #[error("cut off: {}, but record {known} is known to have been written", ends(*.last))]
    Cut {
        /// The last there is; 0 where there is none.
        last: u64,
        /// The one that should be there.
        known: u64,
    },
    /// It begins late, and nothing in it says that what was before was removed.
    #[error(
        "the first record is {0}; what became of those before it, nothing here tells. If they were rotated away and \
         removed as they should be, say --from {0}"
    )]
    BeginsLate(u64),
    /// There is no checkpoint, or none whose key is known.
    #[error("no checkpoint could be checked: {0}")]
    Unsigned(&'static str),
    /// It ends before the range does, and nobody here knows whether there was more.
    #[error("the last record is {last}: record {to} was not written yet, or cut off")]
    EndsEarly {
        /// The last there is.
        last: u64,
        /// The last of the range.
        to: u64,
    },
    /// There is nothing at all.
    #[error("there are no records in the range")]
    Empty,
}

impl What {
    /// Whether it means that the trail was altered; otherwise that nobody can tell.
    #[must_use]
    pub fn is_alteration(&self) -> bool {
        !matches!(
            self,
            Self::BeginsLate(_)
                | Self::EndsEarly { .. }
                | Self::Unsigned(_)
                | Self::Empty
                | Self::Unfinished(_)
                | Self::Newer(_)
        )
    }
}

fn missing(from: u64, to: u64) -> String {
    if from == to { format!("record {from} is missing") } else { format!("records {from} to {to} are missing") }
}

fn perhaps(from: u64, to: u64) -> String {
    if from == to {
        format!("record {from} was changed, or only the hash that the one after it carries: that is another one")
    } else {
        format!(
            "records {from} to {to} were changed, or some of them: the hashes that the next ones carry are other ones"
        )
    }
}

fn ends(last: u64) -> String {
    if last == 0 { "there are no records in the range".to_owned() } else { format!("the last record is {last}") }
}

/// What there is to say at the end.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong, in the order of the trail; no more than the first hundred.
    pub findings: Vec<Finding>,
    /// Findings that were left out.
    pub more: usize,
    /// Records looked at.
    pub records: u64,
    /// The first and the last.
    pub range: Option<(u64, u64)>,
    /// The first records, up to this one, are from before there was a chain.
    pub unchained: Option<u64>,
    /// Checkpoints whose signatures were checked.
    pub checkpoints: u64,
    /// The last of them.
    pub last_checkpoint: Option<Checkpoint>,
    /// Times without a checkpoint that are longest, in seconds.
    pub longest_silence: u64,
    /// The hash of the last record.
    pub head: Option<Hash>,
    /// Records before this one were removed as the settings say; the trail tells so itself.
    pub removed_before: Option<u64>,
    /// Checkpoints that were kept elsewhere and are signed with a known key: those that were compared.
    pub kept: u64,
    /// Those of them whose records were not among those looked at.
    pub kept_apart: u64,
    /// Those that are signed with other keys.
    pub kept_of_others: u64,
    altered: bool,
}

impl Report {
    /// Whether something was changed, removed, added or moved.
    #[must_use]
    pub fn is_altered(&self) -> bool {
        self.altered
    }

    /// Whether nobody can tell.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        !self.altered && !self.findings.is_empty()
    }

    /// Records after the last checkpoint: the next one will cover them.
    #[must_use]
    pub fn uncovered(&self) -> u64 {
        let (Some((_, last)), Some(checkpoint)) = (self.range, &self.last_checkpoint) else { return self.records };
        last.saturating_sub(checkpoint.seq)
    }
}

/// Takes a trail line by line.
pub struct Verifier {
    expected: Expected,
    /// Those that were kept elsewhere and not compared yet, by the numbers of their records.
    kept: BTreeMap<u64, Vec<Checkpoint>>,
    report: Report,
    before: Option<Before>,
    /// Its line: of the last there is, nothing that follows tells whether it is whole.
    tail: Vec<u8>,
    /// The beginning of a record at a file's end, until it is known whether anything follows.
    torn: Option<(u64, Place)>,
    /// Lines since that are no records: changed ones, or added ones.
    strange: u64,
    /// Records that carry other hashes than those before them have, until it is known which are to blame.
    doubt: Option<Doubt>,
    /// The first record, where there should be others before it, and the hash it carries.
    begins_late: Option<(u64, Option<Hash>)>,
    /// The record that says what became of those.
    explained: Option<u64>,
}

type Place = Option<(PathBuf, u64)>;

/// Records in a row, each of which carries another hash than that of the one before it.
struct Doubt {
    first: u64,
    began: Place,
    last: u64,
    /// Of the one before the last, or of the only one.
    seen: Place,
    here: Place,
}

/// The last record in its place.
#[derive(Clone, Copy)]
struct Before {
    seq: u64,
    /// What the next one should carry; `None` where that is known not to fit.
    hash: Option<Hash>,
    chained: bool,
}

/// How a record follows the last one in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Next,
    /// It carries the hash of that one, but another number.
    Renumbered,
    /// Some are left out.
    Gap,
    /// It does not belong here.
    Stray,
}

impl Before {
    fn step(&self, link: &Link) -> Step {
        if link.seq == self.seq + 1 {
            Step::Next
        } else if self.hash.is_some() && link.prev == self.hash {
            Step::Renumbered
        } else if link.seq > self.seq {
            Step::Gap
        } else {
            Step::Stray
        }
    }
}

impl Verifier {
    /// One that knows this.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        let mut report = Report::default();
        let mut kept: BTreeMap<u64, Vec<Checkpoint>> = BTreeMap::new();
        for checkpoint in &expected.checkpoints {
            // Others' checkpoints may be collected in the same place, and anybody may put something there.
            if expected.keys.contains(&checkpoint.key) && checkpoint.key.has_signed(checkpoint) {
                // All of one number: of two that differ, one is no record of this trail.
                kept.entry(checkpoint.seq).or_default().push(checkpoint.clone());
            } else {
                report.kept_of_others += 1;
            }
        }
        Self {
            expected,
            kept,
            report,
            before: None,
            tail: Vec::new(),
            torn: None,
            strange: 0,
            doubt: None,
            begins_late: None,
            explained: None,
        }
    }

    /// Looks at the next line of the file `path`.
    pub fn line(&mut self, path: &Path, given: &Line<'_>) {
        if self.is_done() {
            return;
        }
        let here = || Some((path.to_owned(), given.number));
        let last = self.before.map_or(0, |before| before.seq);
        let link = link_of(given.bytes);
        if self.before.is_none() && self.expected.from.is_some_and(|from| link.is_none_or(|link| link.seq < from)) {
            // What is no record where the range begins is missed there.
            return;
        }
        if let Some((last, place)) = self.torn.take() {
            self.find(What::Torn(last), place);
        }
        if !given.is_whole() {
            if is_cut_short(given.bytes) {
                self.torn = Some((last, here()));
            } else {
                self.find(What::Torn(last), here());
            }
            return;
        }
        let Some(link) = link else {
            self.find(What::NoRecord(last), here());
            self.strange = self.strange.saturating_add(1);
            return;
        };
        if self.follow(&link, Hash::of(given.bytes), here) {
            // Its number may be what was changed.
            let seq = self.before.map_or(link.seq, |before| before.seq);
            self.read(&Link { seq, ..link }, given.bytes, here);
        }
        self.tail.clear();
        self.tail.extend_from_slice(given.bytes);
        if link.seq <= self.to() {
            self.report.records += 1;
        }
    }

    /// What comes next in the file `path`, behind so many lines, cannot be unpacked.
    pub fn damage(&mut self, path: &Path, lines: u64, why: &str) {
        if self.is_done() || self.before.is_none() && self.expected.from.is_some() {
            return;
        }
        let after = self.before.map_or(0, |before| before.seq);
        self.find(What::Damaged { after, why: why.to_owned() }, Some((path.to_owned(), lines + 1)));
        if self.before.is_some() {
            // How many records that were, nobody knows.
            self.strange = u64::MAX;
        }
    }

    fn to(&self) -> u64 {
        self.expected.to.unwrap_or(u64::MAX)
    }

    /// Whether what comes next says nothing more about the range: a checkpoint at its end or after it covers it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.report.last_checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.seq >= self.to())
    }

    /// Puts a record behind those before it; false where it does not belong there.
    fn follow(&mut self, link: &Link, hash: Hash, place: impl Fn() -> Place) -> bool {
        let Link { seq, prev } = *link;
        let chained = prev.is_some();
        let strange = std::mem::take(&mut self.strange);
        let Some(before) = self.before else {
            self.begin(link, place);
            self.before = Some(Before { seq, hash: Some(hash), chained });
            if seq <= self.to() {
                self.report.range = Some((seq, seq));
                self.report.head = Some(hash);
            }
            return true;
        };
        let step = before.step(link);
        let is_linked = before.hash.is_none() || prev == before.hash;
        if let Some(doubt) = self.doubt.take() {
            if step == Step::Next && !is_linked {
                let (seen, here) = (doubt.here, place());
                self.doubt = Some(Doubt { last: seq, seen, here, ..doubt });
                self.before = Some(Before { seq, hash: Some(hash), chained });
                self.stand(seq, hash);
                return true;
            }
            // Where it is what this one says it is, it was the one before it that was changed.
            self.blame(doubt, step == Step::Next);
        }
        let mut here = Before { seq, hash: Some(hash), chained };
        match step {
            Step::Next if !chained && before.chained => self.find(What::Unchained(seq), place()),
            Step::Next | Step::Gap if !chained => self.report.unchained = Some(seq),
            Step::Next if prev == Some(Hash::START) && before.chained => self.find(What::Restarted(seq), place()),
            // After records of an earlier version, of which the last was not at hand.
            Step::Next if !is_linked && prev != Some(Hash::START) => {
                let here = place();
                self.doubt = Some(Doubt { first: seq, began: here.clone(), last: seq, seen: here.clone(), here });
            }
            Step::Next | Step::Gap => {}
            Step::Renumbered => {
                self.find(What::Changed(before.seq + 1), place());
                here = Before { seq: before.seq + 1, hash: None, chained };
            }
            Step::Stray if seq == before.seq => self.find(What::Doubled(seq), place()),
            Step::Stray => self.find(What::Misplaced { found: seq, expected: before.seq + 1 }, place()),
        }
        // Lines that were no records have been told of.
        if step == Step::Gap && seq - before.seq - 1 > strange {
            self.find(What::Missing(before.seq + 1, seq - 1), place());
        }
        if step == Step::Stray {
            return false;
        }
        self.stand(here.seq, hash);
        self.before = Some(here);
        true
    }

    /// Of the last, it may be certain that it is as it was written.
    fn blame(&mut self, doubt: Doubt, is_last_sure: bool) {
        let Doubt { first, began, last, seen, here } = doubt;
        if last > first {
            self.find(What::Perhaps(first - 1, last - 2), began);
        }
        if is_last_sure {
            self.find(What::Changed(last - 1), seen);
        } else {
            self.find(What::Unlinked(last), here);
        }
    }

    fn stand(&mut self, seq: u64, hash: Hash) {
        if seq <= self.to() {
            self.report.range = self.report.range.map(|(first, _)| (first, seq));
            self.report.head = Some(hash);
        }
    }

    /// The first record.
    fn begin(&mut self, link: &Link, place: impl Fn() -> Place) {
        match self.expected.from {
            Some(from) if link.seq > from => self.find(What::Missing(from, link.seq - 1), place()),
            None if link.seq > 1 => self.begins_late = Some((link.seq, link.prev)),
            _ => {}
        }
        if link.prev.is_none() {
            self.report.unchained = Some(link.seq);
        } else if link.seq == 1 && link.prev != Some(Hash::START) {
            self.find(What::Changed(1), place());
        }
    }

    /// What a record says about the trail.
    fn read(&mut self, link: &Link, bytes: &[u8], place: impl Fn() -> Place) {
        match type_of(bytes) {
            Some(b"checkpoint") => self.checkpoint(link, bytes, &place),
            Some(b"removed") => self.removed(link, bytes),
            _ => {}
        }
        if let Some(kept) = self.kept.remove(&link.seq) {
            self.report.kept += kept.len() as u64;
            if kept.iter().any(|kept| kept.line() != bytes) {
                self.find(What::Rewritten(link.seq), place());
            }
        }
    }

    /// What there is to say, after the last line.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if let Some(doubt) = self.doubt.take() {
            self.blame(doubt, false);
        }
        self.report.kept_apart = self.kept.values().map(|kept| kept.len() as u64).sum();
        let known = self.kept.keys().copied().chain(self.expected.written).max().unwrap_or(0);
        let Some((_, last)) = self.report.range else {
            let is_cut = self.before.is_none() && known >= self.expected.from.unwrap_or(1);
            self.find(if is_cut { What::Cut { last: 0, known } } else { What::Empty }, None);
            return self.report;
        };
        let end = self.before.map_or(last, |before| before.seq);
        match serde_json::from_slice::<Typed>(&self.tail) {
            Ok(tail) if TYPES.contains(&&*tail.r#type) => {}
            // What is behind the range is another matter.
            _ if end != last => {}
            Ok(_) => self.find(What::Newer(last), None),
            Err(_) => self.find(What::Unreadable(last), None),
        }
        if let Some((last, place)) = self.torn.take().filter(|_| end < self.to()) {
            self.find(What::Unfinished(last), place);
        }
        // Of a later one as well: what would have covered the range is gone.
        if known > end && !self.is_done() {
            self.find(What::Cut { last: end, known }, None);
        } else if let Some(to) = self.expected.to.filter(|to| last < *to) {
            self.find(What::EndsEarly { last, to }, None);
        }
        if let Some((first, _)) = self.begins_late {
            // What no signature covers explains nothing: anybody can have added it.
            let covered = self.report.last_checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.seq);
            if self.explained.is_some_and(|explained| explained < covered) {
                self.report.removed_before = Some(first);
            } else {
                self.find(What::BeginsLate(first), None);
            }
        }
        let known_kept = self.report.kept + self.report.kept_apart;
        if known_kept == 0 && self.report.kept_of_others > 0 && !self.expected.keys.is_empty() {
            self.find(What::Unsigned("none of those that were kept elsewhere is signed with a known key"), None);
        }
        if self.report.checkpoints == 0 {
            let why = match (self.expected.keys.is_empty(), self.report.altered) {
                (true, _) => "no key was given; say --key with what `cadfd key` printed where the trail was written",
                (false, true) => return self.report,
                (false, false) => "there is none in the range, or none of this key",
            };
            self.find(What::Unsigned(why), None);
        }
        self.report
    }

    fn checkpoint(&mut self, link: &Link, bytes: &[u8], place: &impl Fn() -> Place) {
        let Some(checkpoint) = Checkpoint::read(bytes) else {
            self.find(What::Garbled(link.seq), place());
            return;
        };
        if !checkpoint.key.has_signed(&checkpoint) {
            self.find(What::Forged(link.seq), place());
        } else if self.expected.keys.is_empty() {
            // Whoever can write the trail can also write a key into it.
        } else if !self.expected.keys.contains(&checkpoint.key) {
            self.find(What::OtherKey { seq: link.seq, key: checkpoint.key }, place());
        } else {
            if let Some(before) = &self.report.last_checkpoint {
                let silence = checkpoint.at.as_second().saturating_sub(before.at.as_second());
                let silence = u64::try_from(silence).unwrap_or(0);
                self.report.longest_silence = self.report.longest_silence.max(silence);
            }
            self.report.checkpoints += 1;
            self.report.last_checkpoint = Some(checkpoint);
            // It is what was signed, with the hash that it carries.
            if let Some(doubt) = self.doubt.take_if(|doubt| doubt.last == link.seq) {
                self.blame(doubt, true);
            }
        }
    }

    /// Whether a record says why there are none before the first.
    fn removed(&mut self, link: &Link, bytes: &[u8]) {
        let Some((first, Some(prev))) = self.begins_late else { return };
        let Ok(Removed { first: from, last, head }) = serde_json::from_slice(bytes) else { return };
        // Some of the files may still be there: they go one after another.
        let before = first - 1;
        if (from..=last).contains(&before) && (before < last || head == prev.to_string()) {
            self.explained = Some(link.seq);
        }
    }

    fn find(&mut self, what: What, place: Place) {
        self.report.altered |= what.is_alteration();
        if self.report.findings.len() < MOST {
            self.report.findings.push(Finding { what, place });
        } else {
            self.report.more += 1;
        }
    }
}

/// What is read of any record.
#[derive(serde::Deserialize)]
struct Typed {
    r#type: String,
}

/// What is read of a record of retention's.
#[derive(serde::Deserialize)]
struct Removed {
    first: u64,
    last: u64,
    head: String,
}

/// Whether a line is what is left of a record whose end is missing.
fn is_cut_short(line: &[u8]) -> bool {
    match serde_json::from_slice::<serde::de::IgnoredAny>(line) {
        Ok(_) => line.ends_with(b"}"),
        Err(error) => error.is_eof(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use aws_lc_rs::signature::Ed25519KeyPair;

    use super::*;
    use crate::checkpoint::Signer;
    use crate::record::push_line;

    fn signer(seed: u8) -> Signer {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        Signer::from_pkcs8(pair.to_pkcs8v1().unwrap().as_ref()).unwrap()
    }

    /// Records 1 to 8, of which 4 and 8 are checkpoints.
    fn trail() -> Vec<Vec<u8>> {
        let mut prev = Hash::START;
        let line = |seq| {
            let at = "2026-11-21T10:05:50.664365Z".parse().unwrap();
            let rest = match seq % 4 {
                0 => signer(7).sign(seq, &prev, at).rest_of_line(),
                _ => format!(r#""type":"event","message_id":"m-{seq}","kind":"user"}}"#).into_bytes(),
            };
            let mut line = Vec::new();
            prev = push_line(&mut line, seq, &prev, &rest);
            line
        };
        (1..=8).map(line).collect()
    }

    fn expected() -> Expected {
        Expected { keys: vec![signer(7).public()], ..Expected::default() }
    }

    fn verify(lines: &[Vec<u8>], expected: Expected) -> Report {
        let mut verifier = Verifier::new(expected);
        // As a reader gives them: split anew, whatever was done to their ends.
        let text = lines.concat();
        for (number, bytes) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            verifier.line(Path::new("audit.log"), &Line { number, bytes });
        }
        verifier.finish()
    }

    fn found(lines: &[Vec<u8>]) -> Vec<What> {
        found_by(lines, expected())
    }

    fn found_by(lines: &[Vec<u8>], expected: Expected) -> Vec<What> {
        verify(lines, expected).findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn nothing_is_found_in_what_was_not_touched() {
        let report = verify(&trail(), expected());
        assert_eq!(report.findings, []);
        assert_eq!((report.records, report.range, report.checkpoints, report.uncovered()), (8, Some((1, 8)), 2, 0));
        assert_eq!(report.head, Some(Hash::of(trail().last().unwrap())));
    }

    /// The last record's type is none that is known.
    fn newer(report: &Report) -> bool {
        report.is_unsure() && matches!(report.findings[0].what, What::Newer(8))
    }

    #[test]
    fn every_changed_byte_is_found_and_its_record_named() {
        let lines = trail();
        for (which, line) in lines.iter().enumerate() {
            for at in 0..line.len() {
                for new in [line[at] ^ 0x01, line[at] ^ 0x20, line[at] ^ 0x80, b'\n', b' ', b'0'] {
                    let mut changed = lines.clone();
                    changed[which][at] = new;
                    if new == line[at] {
                        continue;
                    }
                    let report = verify(&changed, expected());
                    // A file that merely ends too early looks as after a crash.
                    let at_the_end = which == 7 && at == line.len() - 1;
                    assert!(
                        report.is_altered() || at_the_end && report.is_unsure() || newer(&report),
                        "byte {at} of record {}: {report:?}",
                        which + 1
                    );
                    let told = report.findings.iter().map(|finding| finding.what.to_string());
                    let told: Vec<_> = told.collect();
                    let seq = which + 1;
                    let near = [seq.to_string(), (seq - 1).to_string(), (seq + 1).to_string()];
                    let names = |text: &String| {
                        text.split(|c: char| !c.is_ascii_digit()).any(|word| near.iter().any(|near| near == word))
                    };
                    assert!(told.iter().any(names), "byte {at} of record {seq}: {told:?}");
                }
            }
        }
    }

    #[test]
    fn a_changed_record_is_named_exactly() {
        let mut lines = trail();
        let at = lines[5].len() - 5;
        lines[5][at] = b'X';
        assert_eq!(found(&lines), [What::Changed(6)]);
        let mut lines = trail();
        // Within the hash it carries.
        lines[5][30] = if lines[5][30] == b'0' { b'1' } else { b'0' };
        assert_eq!(found(&lines), [What::Perhaps(5, 5), What::Changed(6)]);
        let mut lines = trail();
        // Its number.
        lines[5][7] = b'9';
        assert_eq!(found(&lines), [What::Changed(6)]);
    }

    #[test]
    fn of_changed_records_in_a_row_none_is_left_out() {
        let change = |lines: &mut [Vec<u8>]| {
            for line in lines {
                let at = line.len() - 5;
                line[at] = b'X';
            }
        };
        let mut lines = trail();
        change(&mut lines[4..6]);
        assert_eq!(found(&lines), [What::Perhaps(5, 5), What::Changed(6)]);
        let mut lines = trail();
        change(&mut lines[4..7]);
        let report = verify(&lines, expected());
        let places: Vec<_> = report.findings.iter().map(|finding| finding.place.as_ref().unwrap().1).collect();
        assert_eq!(places, [6, 7]);
        assert_eq!(found(&lines), [What::Perhaps(5, 6), What::Changed(7)]);
        // Nothing behind them tells of the last.
        assert_eq!(found(&lines[..7])[..2], [What::Perhaps(5, 5), What::Unlinked(7)]);
        lines.insert(7, lines[6].clone());
        assert_eq!(found(&lines)[..2], [What::Perhaps(5, 5), What::Unlinked(7)]);
        // The one before a checkpoint, which is signed.
        let mut lines = trail();
        change(&mut lines[6..7]);
        assert_eq!(found(&lines), [What::Changed(7)]);
    }

    #[test]
    fn what_is_known_of_a_later_record_proves_that_a_range_was_written() {
        let knows = |to| Expected { to, written: Some(8), ..expected() };
        let kept = vec![Checkpoint::read(&trail()[7]).unwrap()];
        let lines = &trail()[..6];
        for to in [None, Some(6), Some(7), Some(8), Some(9)] {
            assert_eq!(verify(lines, knows(to)).findings[0].what, What::Cut { last: 6, known: 8 }, "{to:?}");
        }
        // A checkpoint covers it.
        assert_eq!(verify(lines, knows(Some(4))).findings, []);
        let nobody = verify(lines, Expected { to: Some(7), ..expected() });
        assert!(nobody.is_unsure() && nobody.findings[0].what == What::EndsEarly { last: 6, to: 7 }, "{nobody:?}");
        // Made anew without the key, up to where a checkpoint would have told.
        let mut prev = Hash::of(&lines[3]);
        let mut forged = trail()[..4].to_vec();
        for seq in 5..=6 {
            let mut line = Vec::new();
            prev = push_line(&mut line, seq, &prev, br#""type":"event","message_id":"forged"}"#);
            forged.push(line);
        }
        for knows in [knows(Some(5)), Expected { checkpoints: kept.clone(), to: Some(5), ..expected() }] {
            assert_eq!(verify(&forged, knows).findings[0].what, What::Cut { last: 6, known: 8 });
        }
        // None is left.
        let gone = verify(&[], knows(None));
        assert!(gone.is_altered() && gone.findings[0].what == What::Cut { last: 0, known: 8 }, "{gone:?}");
        assert_eq!(verify(&[], Expected { from: Some(9), ..knows(None) }).findings[0].what, What::Empty);
    }

    #[test]
    fn what_is_before_a_range_is_not_looked_at() {
        let mut lines = trail();
        lines[1] = b"no record\n".to_vec();
        assert_eq!(verify(&lines, Expected { from: Some(5), ..expected() }).findings, []);
        // Nor is what is behind it, where that is no record.
        let mut cut = trail();
        cut[7].truncate(30);
        assert_eq!(verify(&cut, Expected { to: Some(6), ..expected() }).findings, []);
        cut[7] = b"{\"seq\":8,\"prev\":\"00\"}\n".to_vec();
        let found = found_by(&cut, Expected { to: Some(6), ..expected() });
        assert!(!found.contains(&What::Unreadable(6)), "{found:?}");
        let mut verifier = Verifier::new(Expected { from: Some(5), ..expected() });
        verifier.damage(Path::new("audit.log.1.zst"), 0, "incomplete frame");
        for (number, bytes) in (5..).zip(&trail()[4..]) {
            verifier.line(Path::new("audit.log"), &Line { number, bytes });
        }
        assert_eq!(verifier.finish().findings, []);
        lines[4] = b"no record\n".to_vec();
        let report = verify(&lines, Expected { from: Some(5), ..expected() });
        assert_eq!(report.findings[0].what, What::Missing(5, 5));
    }

    #[test]
    fn what_cannot_be_unpacked_is_an_alteration_and_what_follows_is_judged_by_itself() {
        let (lines, path) = (trail(), Path::new("audit.log.1.zst"));
        let mut verifier = Verifier::new(expected());
        for (number, bytes) in (1..).zip(&lines[..3]) {
            verifier.line(path, &Line { number, bytes });
        }
        verifier.damage(path, 3, "incomplete frame");
        for (number, bytes) in (1..).zip(&lines[6..]) {
            verifier.line(Path::new("audit.log"), &Line { number, bytes });
        }
        let report = verifier.finish();
        let what = What::Damaged { after: 3, why: "incomplete frame".to_owned() };
        assert_eq!(report.findings, [Finding { what, place: Some((path.to_owned(), 4)) }]);
        assert!(report.is_altered());
    }

    #[test]
    fn records_removed_doubled_added_and_moved_are_found() {
        let without = |gone: usize| {
            let mut lines = trail();
            lines.remove(gone - 1);
            lines
        };
        assert_eq!(found(&without(6)), [What::Missing(6, 6)]);
        assert_eq!(found(&without(1)), [What::BeginsLate(2)]);
        // The last is missed only by who knows of it.
        assert_eq!(found(&without(8)), []);
        let knows = Expected { checkpoints: vec![Checkpoint::read(&trail()[7]).unwrap()], ..expected() };
        assert_eq!(verify(&without(8), knows.clone()).findings[0].what, What::Cut { last: 7, known: 8 });
        assert_eq!(verify(&trail(), knows).findings, []);
        let written = Expected { written: Some(8), ..expected() };
        assert_eq!(verify(&without(8), written).findings[0].what, What::Cut { last: 7, known: 8 });
        let mut lines = trail();
        lines.insert(6, lines[5].clone());
        assert_eq!(found(&lines), [What::Doubled(6)]);
        let mut lines = trail();
        lines.swap(4, 5);
        assert_eq!(found(&lines), [What::Missing(5, 5), What::Misplaced { found: 5, expected: 7 }]);
        let mut lines = trail();
        let mut added = Vec::new();
        push_line(&mut added, 7, &Hash::of(&lines[5]), br#""type":"event","message_id":"forged"}"#);
        lines.insert(6, added);
        assert!(verify(&lines, expected()).is_altered());
        let mut lines = trail();
        lines.insert(3, b"hello\n".to_vec());
        assert_eq!(found(&lines), [What::NoRecord(3)]);
        lines[3] = format!("{{\"seq\":{},\"type\":\"x\"}}\n", u64::MAX).into_bytes();
        assert_eq!(found(&lines), [What::NoRecord(3)]);
    }

    #[test]
    fn whoever_makes_the_chain_anew_has_no_key() {
        let mut prev = Hash::START;
        let forge = |(seq, old): (u64, Vec<u8>)| {
            let rest = &old[old.windows(2).position(|two| two == b"\",").unwrap() + 2..old.len() - 1];
            let rest = String::from_utf8_lossy(rest).replace("m-2", "m-x");
            let mut line = Vec::new();
            prev = push_line(&mut line, seq, &prev, rest.as_bytes());
            line
        };
        let forged: Vec<_> = (1..).zip(trail()).map(forge).collect();
        assert_eq!(found(&forged), [What::Forged(4), What::Forged(8)]);
        let other = Expected { keys: vec![signer(8).public()], ..Expected::default() };
        let report = verify(&trail(), other);
        assert!(matches!(report.findings[0].what, What::OtherKey { seq: 4, .. }) && report.is_altered());
        let report = verify(&trail(), Expected::default());
        assert!(report.is_unsure(), "{report:?}");
    }

    #[test]
    fn of_two_checkpoints_that_were_kept_of_one_record_both_must_stand_there() {
        let (honest, prev) = (Checkpoint::read(&trail()[3]).unwrap(), Hash::of(b"another past\n"));
        let forged = signer(7).sign(4, &prev, honest.at);
        for kept in [[honest.clone(), forged.clone()], [forged, honest.clone()]] {
            let knows = Expected { checkpoints: kept.to_vec(), ..expected() };
            assert_eq!(verify(&trail(), knows).findings[0].what, What::Rewritten(4));
        }
        // Each is held against one record, whatever numbers others were given.
        let knows = Expected { checkpoints: vec![honest.clone()], ..expected() };
        let mut lines = trail();
        lines.insert(4, lines[3].clone());
        assert_eq!(found_by(&lines, knows.clone()), [What::Doubled(4)]);
        let mut lines = trail();
        lines[4][7] = b'4';
        assert_eq!(found_by(&lines, knows.clone()), [What::Changed(5)]);
        lines[2][7] = b'4';
        assert_eq!(found_by(&lines, knows), [What::Changed(3), What::Changed(5)]);
        // Somebody else's, in the same collection, mean nothing here; alone they prove nothing.
        let others = signer(8).sign(4, &prev, honest.at);
        let knows = Expected { checkpoints: vec![others.clone(), honest], ..expected() };
        let report = verify(&trail(), knows);
        assert_eq!((report.findings, report.kept, report.kept_of_others), (vec![], 1, 1));
        assert!(verify(&trail(), Expected { checkpoints: vec![others], ..expected() }).is_unsure());
    }

    #[test]
    fn a_range_is_covered_by_the_checkpoint_after_it() {
        let to = |to| Expected { to: Some(to), ..expected() };
        let report = verify(&trail(), to(6));
        assert_eq!((report.findings, report.range, report.records, report.checkpoints), (vec![], Some((1, 6)), 6, 2));
        let mut lines = trail();
        let at = lines[5].len() - 5;
        lines[5][at] = b'X';
        assert_eq!(verify(&lines, to(6)).findings[0].what, What::Changed(6));
        // What comes after that checkpoint is another matter.
        assert_eq!(verify(&lines, to(4)).findings, []);
        let within = Expected { from: Some(5), ..to(6) };
        assert_eq!(verify(&trail(), within).findings, []);
    }

    #[test]
    fn an_end_that_was_not_written_whole_is_no_alteration() {
        let mut lines = trail();
        lines.push(b"{\"seq\":9,\"prev\":\"00".to_vec());
        assert_eq!(found(&lines), [What::Unfinished(8)]);
        assert!(verify(&lines, expected()).is_unsure());
        let knows = Expected { written: Some(9), ..expected() };
        assert!(verify(&lines, knows).is_altered());
        lines.pop();
        lines.push(b"{\"seq\":9,\"prev\":\"00\"}x".to_vec());
        assert_eq!(found(&lines), [What::Torn(8)]);
    }

    #[test]
    fn ranges_and_trails_of_earlier_versions() {
        let from = |from, to| Expected { from: Some(from), to, ..expected() };
        assert_eq!(verify(&trail(), from(3, Some(4))).range, Some((3, 4)));
        assert_eq!(verify(&trail()[4..], from(5, None)).findings, []);
        assert_eq!(verify(&trail()[4..], from(4, None)).findings[0].what, What::Missing(4, 4));
        assert_eq!(verify(&trail(), from(9, None)).findings[0].what, What::Empty);
        let mut lines = trail();
        let old = |seq: u64| format!("{{\"seq\":{seq},\"type\":\"event\"}}\n").into_bytes();
        lines[0] = old(1);
        lines[1] = old(2);
        // The chain takes hold of the last record before it.
        let mut prev = Hash::of(&lines[1]);
        for seq in 3..=8_u64 {
            let rest = if seq == 8 {
                signer(7).sign(8, &prev, "2026-11-21T10:05:50Z".parse().unwrap()).rest_of_line()
            } else {
                br#""type":"stop"}"#.to_vec()
            };
            let mut line = Vec::new();
            prev = push_line(&mut line, seq, &prev, &rest);
            lines[usize::try_from(seq).unwrap() - 1] = line;
        }
        let report = verify(&lines, expected());
        assert_eq!((report.findings, report.unchained), (vec![], Some(2)));
        lines[1] = b"{\"seq\":2,\"type\":\"evenX\"}\n".to_vec();
        assert_eq!(found(&lines), [What::Changed(2)]);
        lines.insert(4, old(5));
        assert!(verify(&lines, expected()).is_altered());
    }

    #[test]
    fn a_beginning_that_was_removed_is_told_by_the_trail_itself() {
        let lines = trail();
        let head = Hash::of(&lines[1]);
        let mut prev = Hash::of(&lines[7]);
        let mut more = Vec::new();
        for seq in 9..=10_u64 {
            let rest = if seq == 9 {
                format!(r#""type":"removed","first":1,"last":2,"head":"{head}"}}"#).into_bytes()
            } else {
                signer(7).sign(10, &prev, "2026-11-21T10:05:50Z".parse().unwrap()).rest_of_line()
            };
            let mut line = Vec::new();
            prev = push_line(&mut line, seq, &prev, &rest);
            more.push(line);
        }
        let kept: Vec<_> = lines[2..].iter().chain(&more).cloned().collect();
        let report = verify(&kept, expected());
        assert_eq!((report.findings, report.removed_before), (vec![], Some(3)));
        // Nothing covers the record that says so.
        assert_eq!(found(&kept[..7]), [What::BeginsLate(3)]);
        assert_eq!(found(&kept[1..]), [What::BeginsLate(4)]);
        // The removal was not finished.
        let report = verify(&[&lines[1..2], &kept].concat(), expected());
        assert_eq!((report.findings, report.removed_before), (vec![], Some(2)));
    }
}
