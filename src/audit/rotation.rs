//! When the audit file is rotated, and how rotated files are called and found again.
//!
//! Its promise: a name tells which records are in the file; what cadfd did not name so is none of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

/// Digits of a record's number in a name, so that names sort as records do; more where a number needs them.
const DIGITS: usize = 12;

/// The end of a packed file's name.
pub(super) const PACKED: &str = ".zst";

/// The end of the name of what is being made: under its own name a file is whole.
pub(super) const DRAFT: &str = ".new";

/// The end of the name of an index.
pub(super) const INDEX: &str = ".idx";

/// What becomes of the audit file and of those it was rotated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A new file is begun when the current one has so many bytes; `None`: whatever its size.
    pub size: Option<u64>,
    /// A new file is begun when the current one's first record is so old; `None`: whatever its age.
    pub age: Option<Duration>,
    /// Rotated files that are kept; `None`: all.
    pub keep: Option<u64>,
    /// How long rotated files are kept after their last record; `None`: for good.
    pub keep_for: Option<Duration>,
    /// Whether rotated files are packed.
    pub compress: bool,
    /// Free bytes below which a disk is said to be short; `None`: never.
    pub min_free: Option<u64>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            size: Some(256 << 20),
            age: Some(Duration::from_hours(7 * 24)),
            keep: None,
            keep_for: None,
            compress: true,
            min_free: Some(1 << 30),
        }
    }
}

impl Rotation {
    /// Whether a file of `len` bytes, whose first record is of the time `since`, is to be rotated at `now`.
    pub(super) fn is_due(&self, len: u64, since: Timestamp, now: Timestamp) -> bool {
        let has_grown = self.size.is_some_and(|size| len >= size);
        // A clock that was set back makes nothing old.
        let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        len > 0 && (has_grown || self.age.is_some_and(|most| age >= most))
    }
}

/// What the file `path` is called once it is rotated with these records in it.
pub(super) fn rotated_name(path: &Path, first: u64, last: u64) -> PathBuf {
    with_end(path, &format!(".{first:0DIGITS$}-{last:0DIGITS$}"))
}

/// The path with something behind its name.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The directory that a file is in.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Lets a file's new name, or its end, survive a power cut.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(directory(path)).and_then(|dir| dir.sync_all())
}

/// A rotated file of our own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rotated {
    /// Its first record.
    pub(super) first: u64,
    /// Its last.
    pub(super) last: u64,
    /// The unpacked one stands before the packed one.
    pub(super) is_packed: bool,
    pub(super) path: PathBuf,
    /// Its length on disk.
    pub(super) len: u64,
    /// Its last change, which is that of its last record, in seconds since 1970.
    pub(super) changed: i64,
}

impl Rotated {
    /// How it is named in the trail.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What stands beside the audit file `path`.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Rotated files of our own, in the order of their records.
    pub(super) rotated: Vec<Rotated>,
    /// What was being made of them.
    pub(super) drafts: Vec<PathBuf>,
    /// What else may be a part of the trail: rotated by others.
    pub(super) others: Vec<PathBuf>,
}

impl Beside {
    /// Looks into the directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut beside = Self::default();
        for entry in fs::read_dir(directory(path))? {
            let entry = entry?;
            let found = entry.file_name().to_string_lossy().into_owned();
            let Some(end) = found.strip_prefix(&name).filter(|end| end.starts_with(['.', '-'])) else { continue };
            // A file may go while we look; a directory or a link is none of ours.
            let Some(metadata) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
            match Name::of(end) {
                Some(Name::Rotated { first, last, is_packed }) => {
                    let (len, changed) = (metadata.len(), metadata.mtime());
                    beside.rotated.push(Rotated { first, last, is_packed, path: entry.path(), len, changed });
                }
                Some(Name::Draft) => beside.drafts.push(entry.path()),
                None if end.ends_with(INDEX) || end.ends_with(DRAFT) => {}
                None => beside.others.push(entry.path()),
            }
        }
        beside.rotated.sort();
        Ok(beside)
    }
}

/// What the end of a name says.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Rotated { first: u64, last: u64, is_packed: bool },
    Draft,
}

impl Name {
    fn of(end: &str) -> Option<Self> {
        if let Some(of) = end.strip_suffix(DRAFT) {
            let of = of.strip_suffix(INDEX).unwrap_or(of);
            return Self::of(of).map(|_ours| Self::Draft);
        }
        let numbers = end.strip_prefix('.')?;
        let (numbers, is_packed) = numbers.strip_suffix(PACKED).map_or((numbers, false), |numbers| (numbers, true));
        let (first, last) = numbers.split_once('-')?;
        let number = |text: &str| {
            let is_number = text.len() >= DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
            // One way to write each, as the name is made from the numbers again.
            text.parse::<u64>().ok().filter(|number| is_number && format!("{number:0DIGITS$}") == text)
        };
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(Self::Rotated { first, last, is_packed })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_by_size_or_by_age_and_never_when_empty() {
        let rotation = Rotation { size: Some(100), age: Some(Duration::from_hours(1)), ..Rotation::default() };
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let ago = |minutes: u64| now - Duration::from_mins(minutes);
        assert!(!rotation.is_due(99, ago(59), now));
        assert!(rotation.is_due(100, ago(0), now));
        assert!(rotation.is_due(1, ago(60), now));
        assert!(!rotation.is_due(0, ago(600), now), "an empty file");
        assert!(!rotation.is_due(99, now + Duration::from_hours(9), now), "a clock that was set back");
        let off = Rotation { size: None, age: None, ..rotation };
        assert!(!off.is_due(u64::MAX, ago(1_000_000), now));
    }

    #[test]
    fn a_name_is_found_again_and_others_are_not_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let ours = rotated_name(&path, 1, 48_213);
        assert!(ours.ends_with("audit.log.000000000001-000000048213"), "{ours:?}");
        let packed = with_end(&rotated_name(&path, 48_214, 1 << 50), PACKED);
        for file in [&path, &ours, &packed, &with_end(&packed, INDEX)] {
            fs::write(file, "x").unwrap();
        }
        let drafts = [with_end(&packed, DRAFT), with_end(&packed, ".idx.new")];
        let others = ["audit.log.1", "audit.log-20261121", "audit.log.1-2", "audit.log.0000000000001-000000000002"];
        for draft in &drafts {
            fs::write(draft, "x").unwrap();
        }
        for other in others {
            fs::write(dir.path().join(other), "x").unwrap();
        }
        for strange in ["other.log.000000000001-000000000002", "audit.logs", "audit.log.1.idx"] {
            fs::write(dir.path().join(strange), "x").unwrap();
        }
        fs::create_dir(rotated_name(&path, 7, 8)).unwrap();
        let beside = Beside::of(&path).unwrap();
        let found: Vec<_> =
            beside.rotated.iter().map(|file| (file.first, file.last, file.is_packed, file.path.clone())).collect();
        assert_eq!(found, [(1, 48_213, false, ours), (48_214, 1 << 50, true, packed)]);
        let sorted = |mut paths: Vec<PathBuf>| {
            paths.sort();
            paths
        };
        assert_eq!(sorted(beside.drafts), sorted(drafts.to_vec()));
        let others = others.map(|name| dir.path().join(name)).to_vec();
        assert_eq!(sorted(beside.others), sorted(others));
    }
}
