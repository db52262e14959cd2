//! Retention: which of the oldest files are beyond what the settings keep, and what the trail says of them.
//!
//! Its promise: only what cadfd rotated itself, only from the beginning of the trail, and only where the records that
//! stay carry on from those that go: where anything does not fit, nothing is removed, for it is evidence.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::rotation::{Beside, Rotated, Rotation};
use crate::chain::Hash;
use crate::record::{self, Record};
use crate::trail::{TrailError, TrailFile};

/// Files removed at once: the record names them all.
const MOST: usize = 1000;

/// Between looks whether to end, in lines.
const LOOK: u64 = 1000;

/// Why nothing is removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RetainError {
    /// A file cannot be read.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The same, further in.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer, or that of unpacking.
        source: io::Error,
    },
    /// What it holds is not what its name says, or not what the next one carries on from.
    #[error("{0} does not fit what comes after it; nothing is removed until somebody has looked: cadfd verify")]
    Unfit(PathBuf),
    /// Something older is there.
    #[error("{0} holds older records and is none of cadfd's own files; nothing is removed before it is: move it away")]
    Older(PathBuf),
    /// It was told to end.
    #[error("ended")]
    Ended,
}

/// Files that are to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// The first record in them.
    pub(super) first: u64,
    /// The last.
    pub(super) last: u64,
    head: Hash,
    files: Vec<String>,
    setting: &'static str,
}

impl Removal {
    /// The rest of the line of its record.
    pub(super) fn rest_of_line(&self, at: Timestamp) -> Vec<u8> {
        let (head, reason) = (self.head.to_string(), self.setting);
        let Self { first, last, files, .. } = self;
        record::rest_of_line(&Record::Removed { at, first: *first, last: *last, head: &head, files, reason })
    }
}

/// How many of the oldest files are beyond the settings, and which one says so.
fn excess(rotated: &[&Rotated], rotation: &Rotation, now: Timestamp) -> (usize, &'static str) {
    let keep = rotation.keep.and_then(|keep| usize::try_from(keep).ok()).unwrap_or(usize::MAX);
    let by_count = rotated.len().saturating_sub(keep);
    let old = rotation.keep_for.map(|keep_for| now.as_second().saturating_sub_unsigned(keep_for.as_secs()));
    let by_age = rotated.iter().take_while(|file| old.is_some_and(|old| file.changed <= old)).count();
    if by_age > by_count { (by_age, "[audit] keep_for") } else { (by_count, "[audit] keep") }
}

/// What is to be removed of the files beside the audit file `current`, if anything; records after `settled` stay.
///
/// # Errors
/// See [`RetainError`].
pub(super) fn choose(
    (current, beside): (&Path, &Beside),
    rotation: &Rotation,
    settled: u64,
    is_ended: &dyn Fn() -> bool,
) -> Result<Option<Removal>, RetainError> {
    // A packed file beside its original counts once; both go.
    let mut rotated: Vec<&Rotated> = beside.rotated.iter().collect();
    rotated.dedup_by_key(|file| (file.first, file.last));
    let (excess, setting) = excess(&rotated, rotation, Timestamp::now());
    let whole = 1 + rotated.windows(2).take_while(|pair| pair[0].last.checked_add(1) == Some(pair[1].first)).count();
    let safe = rotated.iter().take_while(|file| file.last <= settled).count();
    let count = excess.min(whole).min(safe).min(MOST);
    let going = rotated.get(..count).unwrap_or_default();
    let (Some(first), Some(last)) = (going.first(), going.last()) else { return Ok(None) };
    for other in &beside.others {
        match TrailFile::of(other) {
            Ok(Some(file)) if file.first.seq < last.last => return Err(RetainError::Older(other.clone())),
            // Whatever else is kept there.
            Ok(_) | Err(TrailError::Foreign(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let head = head(last, is_ended)?;
    let next = rotated.get(count).map_or(current, |file| &file.path);
    // Records from before there was a chain carry nothing.
    let fits = TrailFile::of(next)?
        .is_none_or(|next| next.first.seq == last.last + 1 && next.first.prev.is_none_or(|prev| prev == head));
    if !fits {
        return Err(RetainError::Unfit(last.path.clone()));
    }
    let all = beside.rotated.iter().filter(|file| file.last <= last.last);
    let files = all.map(Rotated::name).collect();
    Ok(Some(Removal { first: first.first, last: last.last, head, files, setting }))
}

/// The hash of a file's last line.
fn head(file: &Rotated, is_ended: &dyn Fn() -> bool) -> Result<Hash, RetainError> {
    let unfit = || RetainError::Unfit(file.path.clone());
    let mut lines = TrailFile::of(&file.path)?.ok_or_else(unfit)?.lines()?;
    let mut last = Vec::new();
    let io = |source| RetainError::Io { path: file.path.clone(), source };
    while let Some(line) = lines.next_line().map_err(io)? {
        last.clear();
        last.extend_from_slice(line.bytes);
        if line.number % LOOK == 0 && is_ended() {
            return Err(RetainError::Ended);
        }
    }
    if record::seq_of(&last) == Some(file.last) && last.ends_with(b"\n") { Ok(Hash::of(&last)) } else { Err(unfit()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::rotation::{PACKED, rotated_name, with_end};
    use super::*;

    /// Files of two records each, and a current one that goes on from them.
    fn trail(dir: &Path, files: u64) -> (PathBuf, Vec<Hash>) {
        let current = dir.join("audit.log");
        let (mut hash, mut hashes) = (Hash::START, Vec::new());
        for file in 0..=files {
            let mut lines = Vec::new();
            for seq in [file * 2 + 1, file * 2 + 2] {
                hash = record::push_line(&mut lines, seq, &hash, b"\"type\":\"stop\",\"cause\":\"x\"}");
            }
            hashes.push(hash);
            let path = if file == files { current.clone() } else { rotated_name(&current, file * 2 + 1, file * 2 + 2) };
            fs::write(path, lines).unwrap();
        }
        (current, hashes)
    }

    fn choose_now(current: &Path, rotation: &Rotation, settled: u64) -> Result<Option<Removal>, RetainError> {
        choose((current, &Beside::of(current).unwrap()), rotation, settled, &|| false)
    }

    fn keep(keep: u64) -> Rotation {
        Rotation { keep: Some(keep), ..Rotation::default() }
    }

    #[test]
    fn the_oldest_beyond_the_count_go_and_the_trail_can_tell() {
        let dir = tempfile::tempdir().unwrap();
        let (current, hashes) = trail(dir.path(), 4);
        assert_eq!(choose_now(&current, &Rotation::default(), 8).unwrap(), None, "all are kept");
        assert_eq!(choose_now(&current, &keep(4), 8).unwrap(), None);
        let removal = choose_now(&current, &keep(1), 8).unwrap().unwrap();
        assert_eq!((removal.first, removal.last, removal.head, removal.files.len()), (1, 6, hashes[2], 3));
        let line = String::from_utf8(removal.rest_of_line(Timestamp::from_second(0).unwrap())).unwrap();
        assert!(
            line.starts_with(
                "\"type\":\"removed\",\"at\":\"1970-01-01T00:00:00.000000Z\",\"first\":1,\"last\":6,\"head\":\""
            ),
            "{line}"
        );
        assert!(line.contains("\"files\":[\"audit.log.000000000001-000000000002\","), "{line}");
        assert!(line.ends_with("\"reason\":\"[audit] keep\"}"), "{line}");
        // What the store may still need to find out what was written.
        assert_eq!(choose_now(&current, &keep(1), 5).unwrap().unwrap().last, 4);
        assert_eq!(choose_now(&current, &keep(1), 0).unwrap(), None);
        assert_eq!(choose_now(&current, &keep(0), 8).unwrap().unwrap().last, 8, "the current one carries on");
    }

    #[test]
    fn the_oldest_beyond_the_time_go() {
        let dir = tempfile::tempdir().unwrap();
        let (current, _) = trail(dir.path(), 3);
        let hours = |hours| Rotation { keep_for: Some(Duration::from_hours(hours)), ..Rotation::default() };
        assert_eq!(choose_now(&current, &hours(1), 8).unwrap(), None);
        let ago = |hours: u64| fs::metadata(&current).unwrap().modified().unwrap() - Duration::from_hours(hours);
        for (first, age) in [(1, 30), (3, 10), (5, 20)] {
            let file = fs::File::options().write(true).open(rotated_name(&current, first, first + 1)).unwrap();
            file.set_modified(ago(age)).unwrap();
        }
        assert_eq!(choose_now(&current, &hours(31), 8).unwrap(), None);
        let removal = choose_now(&current, &hours(15), 8).unwrap().unwrap();
        assert_eq!((removal.last, removal.setting), (2, "[audit] keep_for"), "none from the middle");
        assert_eq!(choose_now(&current, &hours(5), 8).unwrap().unwrap().last, 6);
    }

    #[test]
    fn where_something_does_not_fit_nothing_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (current, _) = trail(dir.path(), 4);
        let second = rotated_name(&current, 3, 4);
        let whole = fs::read(&second).unwrap();
        // Changed, cut, emptied, gone.
        let mut changed = whole.clone();
        let at = changed.len() - 4;
        changed[at] = b'y';
        for wrong in [changed, whole[..whole.len() - 1].to_vec(), whole[..whole.len() / 2].to_vec(), Vec::new()] {
            fs::write(&second, wrong).unwrap();
            assert!(matches!(choose_now(&current, &keep(2), 8), Err(RetainError::Unfit(path)) if path == second));
        }
        fs::remove_file(&second).unwrap();
        assert!(matches!(choose_now(&current, &keep(1), 8), Err(RetainError::Unfit(_))), "a gap");
        fs::write(&second, &whole).unwrap();
        // Somebody else's, older.
        let older = dir.path().join("audit.log.9");
        let mut line = Vec::new();
        record::push_line(&mut line, 1, &Hash::START, b"\"type\":\"stop\"}");
        fs::write(&older, line).unwrap();
        assert!(matches!(choose_now(&current, &keep(2), 8), Err(RetainError::Older(path)) if path == older));
        fs::write(&older, "no trail").unwrap();
        assert_eq!(choose_now(&current, &keep(2), 8).unwrap().unwrap().last, 4);
        // Packed, it is the same.
        let packed = with_end(&second, PACKED);
        fs::write(&packed, zstd::bulk::compress(&whole, 3).unwrap()).unwrap();
        fs::remove_file(&second).unwrap();
        assert_eq!(choose_now(&current, &keep(2), 8).unwrap().unwrap().last, 4);
    }
}
