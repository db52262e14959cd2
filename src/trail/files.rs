//! The files of a trail, however they were rotated and compressed, in the order of their records.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::record::{Link, link_of};

use super::ahead::Ahead;
use super::lines::Lines;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Lines of a file that may be anything before one of them is a record: the first of them may have been changed.
const STRANGE: u64 = 1000;

/// How often files are looked for anew: each rotation or packing meanwhile takes one.
const TRIES: usize = 100;

/// Ends of names beside a trail's files that are no part of it: indexes, and what a crash left half made.
const BESIDE: [&str; 2] = [".idx", ".new"];

/// How names of packed files end: cadfd's own, and those of whatever packs in its stead.
const PACKED: [&str; 4] = [".zst", ".gz", ".xz", ".bz2"];

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not at all.
    Plain,
    /// Zstandard (RFC 8878), as cadfd itself packs: many frames, each of whole lines.
    Zstd,
    /// gzip (RFC 1952), as logrotate packs unless told otherwise.
    Gzip,
}

impl Kind {
    /// From a file's first bytes, four of them if it has so many; `None` where it is packed with another program.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X'] | [b'B', b'Z', b'h', _] => None,
            _ => Some(Self::Plain),
        }
    }
}

/// Why a trail cannot be read. Each says the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// An error of input or output, or of unpacking.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// There is none.
    #[error("{0} is no trail: there is no file of records at or beside it")]
    Absent(PathBuf),
    /// It was named, but it is none.
    #[error("{0} is no file of a trail: its first line is no record")]
    Foreign(PathBuf),
    /// Packed in a way that is not known here.
    #[error("{0} is packed with another program than zstd or gzip; unpack it first, or name the files that are wanted")]
    Packed(PathBuf),
    /// It is packed, or named so, and its beginning cannot be unpacked.
    #[error("{0} cannot be unpacked: its beginning was changed, or it was not packed whole")]
    Damaged(PathBuf),
    /// It is another file by now.
    #[error("{0} was rotated while it was being read; do it again")]
    Moved(PathBuf),
}

impl TrailError {
    /// Whether it is what was read that is to blame, and not the reading: other files may be read all the same.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_damage(source),
            Self::Damaged(_) => true,
            _ => false,
        }
    }
}

/// Unpackers have errors of their own.
fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

/// One file of a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailFile {
    /// Where it is.
    pub path: PathBuf,
    /// How it is packed.
    pub kind: Kind,
    /// Its first record.
    pub first: Link,
    /// Its length on disk, in bytes.
    pub len: u64,
    /// The device and inode, by which it is known whatever it is called.
    pub id: (u64, u64),
    /// It is packed, and not even its first record can be unpacked: which that was, only its name may tell.
    pub is_damaged: bool,
}

impl TrailFile {
    /// Looks at a file. `None` where it is empty. Where its first lines are no records, but a later one is, or where it
    /// cannot be unpacked, it is a file of a trail in which something was changed.
    ///
    /// # Errors
    /// When it cannot be read, or is no file of a trail.
    pub fn of(path: &Path) -> Result<Option<Self>, TrailError> {
        let io = |source| TrailError::Io { path: path.to_owned(), source };
        let mut head = [0; 4];
        let mut file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let read = file.read(&mut head).map_err(io)?;
        if read == 0 {
            return Ok(None);
        }
        let head = head.get(..read).unwrap_or_default();
        let kind = Kind::of(head).ok_or_else(|| TrailError::Packed(path.to_owned()))?;
        let found = |first, is_damaged| {
            let (len, id) = (metadata.len(), (metadata.dev(), metadata.ino()));
            Ok(Some(Self { path: path.to_owned(), kind, first, len, id, is_damaged }))
        };
        let damaged = || found(Link { seq: first_by_name(path).unwrap_or(0), prev: None }, true);
        if kind == Kind::Plain && is_named_packed(path) {
            return damaged();
        }
        file.rewind().map_err(io)?;
        let mut lines = Lines::new(unpack(file, kind).map_err(io)?);
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) if is_damage(&error) => return damaged(),
                Err(error) => return Err(io(error)),
            };
            let before = line.number - 1;
            if let Some(link) = link_of(line.bytes) {
                let first = if before == 0 { link } else { Link { seq: link.seq.saturating_sub(before), prev: None } };
                return found(first, false);
            }
            if before >= STRANGE {
                break;
            }
        }
        Err(TrailError::Foreign(path.to_owned()))
    }

    /// Its records from the first on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn lines(&self) -> Result<Lines, TrailError> {
        self.lines_counted(|_| ())
    }

    /// The same; `read` is told how many bytes of the file itself were read, now and then.
    ///
    /// # Errors
    /// When it cannot be opened, or is called otherwise by now.
    pub fn lines_counted(&self, read: impl FnMut(u64) + Send + 'static) -> Result<Lines, TrailError> {
        let io = |source| TrailError::Io { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TrailError::Moved(self.path.clone()),
            _ => io(error),
        })?;
        let metadata = file.metadata().map_err(io)?;
        if (metadata.dev(), metadata.ino()) != self.id {
            return Err(TrailError::Moved(self.path.clone()));
        }
        if self.is_damaged && self.kind == Kind::Plain {
            return Err(TrailError::Damaged(self.path.clone()));
        }
        let unpacked = unpack(Counted { file, read }, self.kind).map_err(io)?;
        Ok(Lines::new(Box::new(Ahead::of(unpacked).map_err(io)?)))
    }
}

/// The files of the trails at `path`, in the order of their first records. A file stands for itself and all that it was
/// rotated to: what is named like it with `.` or `-` and more behind it, in the same directory. A directory stands for
/// every file of records in it.
///
/// # Errors
/// When there is none, or one of them cannot be read or unpacked, in a directory also one that is only named like a file of
/// a trail and packed with another program.
pub fn find(path: &Path) -> Result<Vec<TrailFile>, TrailError> {
    let found = find_all(path)?;
    match found.iter().find(|file| file.is_damaged) {
        Some(damaged) => Err(TrailError::Damaged(damaged.path.clone())),
        None => Ok(found),
    }
}

/// The same with those that are damaged, in the order that their names say, or else first.
///
/// # Errors
/// As [`find`], but for what is damaged.
pub fn find_all(path: &Path) -> Result<Vec<TrailFile>, TrailError> {
    // A shell's `audit.log*` names what lies beside as well.
    if path.is_file() && is_beside(path) {
        return Ok(Vec::new());
    }
    for _ in 0..TRIES {
        let names = candidates(path)?;
        let found = look_at(path, &names);
        // What was rotated or packed meanwhile may have been seen under neither of its names.
        if candidates(path)? == names
            && let Some(found) = found?
        {
            return Ok(found);
        }
    }
    Err(TrailError::Moved(path.to_owned()))
}

/// The files that may be of the trails at `path`, the one that it names first.
fn candidates(path: &Path) -> Result<Vec<PathBuf>, TrailError> {
    let io = |at: &Path| {
        let path = at.to_owned();
        move |source| TrailError::Io { path, source }
    };
    let is_dir = path.is_dir();
    let dir =
        if is_dir { path } else { path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")) };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io(dir))? {
        let entry = entry.map_err(io(dir))?.path();
        let is_rotated = || name(&entry).strip_prefix(&name(path)).is_some_and(|end| end.starts_with(['.', '-']));
        // What is gone by now was renamed, and stays in the list: that is how it is missed.
        let is_file = || match fs::symlink_metadata(&entry) {
            Ok(found) => found.is_file() || found.is_symlink() && entry.is_file(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_beside(&entry) && (is_dir || is_rotated()) && is_file() {
            names.push(entry);
        }
    }
    names.sort();
    if path.is_file() {
        names.insert(0, path.to_owned());
    }
    Ok(names)
}

/// Those of them that are; `None` where one of them is called otherwise by now.
fn look_at(path: &Path, names: &[PathBuf]) -> Result<Option<Vec<TrailFile>>, TrailError> {
    let is_dir = path.is_dir();
    let (mut found, mut packed, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    if names.iter().any(|name| name == path) {
        match TrailFile::of(path) {
            Err(TrailError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => found.extend(file?),
        }
    }
    for entry in names.iter().filter(|entry| *entry != path && !has_original(entry, names)) {
        match TrailFile::of(entry) {
            Ok(Some(file)) if file.is_damaged && is_dir => damaged.push(file),
            Ok(file) => found.extend(file),
            // `audit.log.bak`, perhaps: what is no trail at all is nobody's loss.
            Err(TrailError::Foreign(_)) => {}
            Err(TrailError::Packed(entry)) if is_dir => packed.push(entry),
            // It was packed or removed since the directory was read.
            Err(TrailError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    // Others are whatever else is kept in a directory.
    if let Some(entry) = packed.into_iter().find(|entry| is_named_like_one_of(entry, &found)) {
        return Err(TrailError::Packed(entry));
    }
    damaged.retain(|file| is_named_like_one_of(&file.path, &found));
    found.append(&mut damaged);
    if found.is_empty() {
        return Err(TrailError::Absent(path.to_owned()));
    }
    in_order(&mut found);
    Ok(Some(found))
}

/// Whether a file is named as if it was rotated from, or together with, one of these; where there are none, as if it was
/// rotated at all.
fn is_named_like_one_of(path: &Path, found: &[TrailFile]) -> bool {
    let unpacked = path.with_extension("");
    let own = stem(path);
    let is_of = |file: &TrailFile| own == file.path || own == stem(&file.path) || unpacked == file.path;
    if found.is_empty() { own != path } else { found.iter().any(is_of) }
}

/// `audit.log` of `audit.log.000000000001-000000048213.zst`, `audit.log.3.gz` and `audit.log-20261121`.
pub(super) fn stem(path: &Path) -> PathBuf {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bare = PACKED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let by_number = || {
        let (stem, end) = bare.rsplit_once('.')?;
        let (first, last) = end.split_once('-').unwrap_or((end, end));
        (is_number(first) && is_number(last)).then_some(stem)
    };
    let by_date = || bare.rsplit_once('-').filter(|(_, date)| date.len() >= 8 && is_number(date)).map(|(stem, _)| stem);
    match by_number().or_else(by_date).filter(|stem| !stem.is_empty()) {
        Some(stem) => path.with_file_name(stem),
        None => path.to_owned(),
    }
}

/// The first record of `audit.log.000000000001-000000048213.zst`.
fn first_by_name(path: &Path) -> Option<u64> {
    let name = path.file_stem()?.to_string_lossy().into_owned();
    let (first, last) = name.rsplit_once('.')?.1.split_once('-')?;
    last.parse::<u64>().ok().and(first.parse().ok())
}

/// Puts files into the order of their records; what is there under two names, or packed and not, counts once.
pub fn in_order(files: &mut Vec<TrailFile>) {
    let names: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
    files.retain(|file| !has_original(&file.path, &names));
    files.sort_by(|a, b| (a.first.seq, a.id, &a.path).cmp(&(b.first.seq, b.id, &b.path)));
    files.dedup_by(|a, b| a.id == b.id);
}

/// Whether a packed file's original stands among these: whoever packs has not removed it yet, or is not done.
pub(super) fn has_original(path: &Path, names: &[PathBuf]) -> bool {
    is_named_packed(path) && names.contains(&path.with_extension(""))
}

fn is_named_packed(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "zst" || end == "gz")
}

fn is_beside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    BESIDE.iter().any(|end| name.ends_with(end))
}

/// The lines of anything that is packed so, from where it stands.
///
/// # Errors
/// When its beginning cannot be unpacked.
pub fn lines_of(file: impl Read + Send + 'static, kind: Kind) -> io::Result<Lines> {
    Ok(Lines::new(unpack(file, kind)?))
}

pub(super) fn unpack(file: impl Read + Send + 'static, kind: Kind) -> io::Result<Box<dyn io::BufRead + Send>> {
    let file = BufReader::with_capacity(BUFFER, file);
    Ok(match kind {
        Kind::Plain => Box::new(file),
        Kind::Zstd => Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(file)?)),
        Kind::Gzip => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(file))),
    })
}

/// A file that tells how much of it was read.
#[derive(Debug)]
pub struct Counted<F> {
    /// The file, from where it stands.
    pub file: File,
    /// Is told how many bytes were read, each time.
    pub read: F,
}

impl<F: FnMut(u64)> Read for Counted<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        (self.read)(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct End<'a>(&'a AtomicBool);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_packed_and_renamed_meanwhile_is_found_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let line = |seq: u64| format!("{{\"seq\":{seq},\"type\":\"stop\"}}\n");
        fs::write(at("audit.log.1"), line(1)).unwrap();
        fs::write(at("audit.log"), line(2)).unwrap();
        let packed = zstd::encode_all(line(1).as_bytes(), 1).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    fs::write(at("audit.log.1.zst.new"), &packed).unwrap();
                    fs::rename(at("audit.log.1.zst.new"), at("audit.log.1.zst")).unwrap();
                    fs::remove_file(at("audit.log.1")).unwrap();
                    fs::write(at("x.new"), line(1)).unwrap();
                    fs::rename(at("x.new"), at("audit.log.2")).unwrap();
                    fs::remove_file(at("audit.log.1.zst")).unwrap();
                    fs::rename(at("audit.log.2"), at("audit.log.1")).unwrap();
                }
            });
            // Also when a find fails: the other thread would go on for good.
            let _at_the_end = End(&is_over);
            let seqs = |path: &Path| match find(path) {
                Ok(files) => Some(files.iter().map(|file| file.first.seq).collect::<BTreeSet<_>>()),
                // No trail changes so quickly, but that is no reason to tell less than there is.
                Err(TrailError::Moved(_)) => None,
                Err(error) => panic!("{error}"),
            };
            let found: BTreeSet<_> =
                (0..500).flat_map(|_| [seqs(&at("audit.log")), seqs(dir.path())]).flatten().collect();
            assert_eq!(found, [[1, 2].into()].into());
        });
    }

    /// The files of a directory with these, each with its first record; one that is packed with another program has none
    /// that can be read.
    fn found(names: &[&str]) -> Result<usize, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, seq) in names.iter().zip(1..) {
            let record = format!("{{\"seq\":{seq},\"type\":\"stop\"}}\n");
            let bytes = match Path::new(name).extension().and_then(|end| end.to_str()) {
                Some("xz") => b"\xfd7zXZ\0".to_vec(),
                Some("bz2") => b"BZh9".to_vec(),
                Some("zst") => zstd::encode_all(record.as_bytes(), 1).unwrap(),
                _ => record.into_bytes(),
            };
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let said = |error: TrailError| error.to_string().replace(&format!("{}/", dir.path().display()), "");
        find(dir.path()).map(|files| files.len()).map_err(said)
    }

    #[test]
    fn a_part_of_a_trail_that_cannot_be_unpacked_is_never_passed_over() {
        let said =
            " is packed with another program than zstd or gzip; unpack it first, or name the files that are wanted";
        for (names, packed) in [
            (&["audit.log", "audit.log.1.xz"][..], "audit.log.1.xz"),
            (&["audit.log", "audit.log-20261121.bz2"], "audit.log-20261121.bz2"),
            (&["audit.log.1.zst", "audit.log.2.xz"], "audit.log.2.xz"),
            (
                &["audit.log.000000000001-000000000004.xz", "audit.log.000000000005-000000000009"],
                "audit.log.000000000001-000000000004.xz",
            ),
            (&["audit.log.1.xz"], "audit.log.1.xz"),
            (&["audit.log", "audit.log.xz"], "audit.log.xz"),
        ] {
            assert_eq!(found(names), Err(format!("{packed}{said}")), "{names:?}");
        }
        // What else is kept there is nobody's loss.
        assert_eq!(found(&["audit.log", "backup.tar.xz", "other.log.1.bz2"]), Ok(1));
        assert!(found(&["backup.tar.xz"]).unwrap_err().contains("is no trail"));
    }
}
