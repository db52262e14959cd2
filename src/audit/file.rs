//! One open audit file: found again, repaired, appended to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::ending::{BrokenOff, First, Stored, begins_like_a_record, broken_off, first_record, last_record};
use super::rotation::{PACKED, Rotation, directory, rotated_name, sync_directory, with_end};
use crate::chain::Hash;
use crate::record;
use crate::store::{Last, Position, StoreError, may_pass};
use crate::trail::{self, TrailError};

/// Why the audit file cannot be used. Each says the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// An error of input or output.
    #[error("{path}: {source}")]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("{0} is being written by another cadfd; each needs an [audit] path of its own")]
    Locked(PathBuf),
    /// The files that it was rotated to cannot be read.
    #[error(transparent)]
    Beside(#[from] TrailError),
    /// It ends with something that cadfd did not write.
    #[error("{0} does not end with a record of cadfd's; move it away, or name another file as [audit] path")]
    Foreign(PathBuf),
    /// What the store has of it cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuditError {
    /// Whether it may pass by itself: the disk is full, or fails.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { source, .. } if may_pass(source))
    }
}

/// Why the audit file is not rotated: records go on into it.
#[derive(Debug, thiserror::Error)]
pub(super) enum RotateError {
    /// An error of input or output.
    #[error("{path}: {source}")]
    Io {
        /// The file, or what it was to be called.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// There is a file of that name.
    #[error("{0} is there already; look where it comes from and move it away")]
    Taken(PathBuf),
    /// Somebody else writes to it, or the first line was changed.
    #[error("{0} is not as cadfd wrote it; look at it, and move it away yourself")]
    Strange(PathBuf),
    /// Somebody moved it at this very moment.
    #[error("{0} was moved by somebody else at the same time")]
    Moved(PathBuf),
}

/// An audit file open for appending, with its lock.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
    /// Up to here everything is on disk.
    len: u64,
    /// Its first record, unless it has none, or another first line.
    first: Option<First>,
    /// Its last record.
    last: Option<u64>,
    /// The hash of the last line that was there when it was opened.
    hash: Option<Hash>,
    id: (u64, u64),
}

impl AuditFile {
    /// Opens or makes the file (0640, its directory 0750) and cuts off a torn last line. With what is `known`, also
    /// all from where it is otherwise than the store has it.
    ///
    /// # Errors
    /// See [`AuditError`].
    pub fn open(path: &Path, known: Option<&Stored<'_>>) -> Result<Self, AuditError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
            made.map_err(|source| AuditError::Io { path: dir.to_owned(), source })?;
        }
        let options = OpenOptions::new().read(true).append(true).create(true).mode(0o640).clone();
        let opened = Self::repaired(path, known, &options)?;
        // The name must survive a power cut as well as the content.
        sync_directory(path).map_err(|source| AuditError::Io { path: directory(path).to_owned(), source })?;
        Ok(opened)
    }

    fn repaired(path: &Path, known: Option<&Stored<'_>>, options: &OpenOptions) -> Result<Self, AuditError> {
        let io = |source| AuditError::Io { path: path.to_owned(), source };
        let broken = |error| match error {
            BrokenOff::Io(source) => io(source),
            BrokenOff::Store(error) => AuditError::Store(error),
        };
        let file = options.open(path).map_err(io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditError::Locked(path.to_owned()),
            TryLockError::Error(source) => io(source),
        })?;
        let metadata = file.metadata().map_err(io)?;
        let mut found = last_record(&file, metadata.len()).map_err(io)?;
        if let Some(known) = known
            && let Some(end) = broken_off(&file, found.0, known).map_err(broken)?
        {
            found = last_record(&file, end).map_err(io)?;
        }
        let (len, last, hash) = found;
        let is_foreign = if len > 0 { last.is_none() } else { !begins_like_a_record(&file).map_err(io)? };
        if is_foreign {
            return Err(AuditError::Foreign(path.to_owned()));
        }
        if len < metadata.len() {
            tracing::warn!(audit.path = %path.display(), bytes = metadata.len() - len, "cut off the audit file's torn end; its records are written again");
            file.set_len(len).map_err(io)?;
        }
        // Whoever wrote it may have been killed before its own sync, and what stands here is soon gone from the store.
        file.sync_data().map_err(io)?;
        let first = first_record(&file).map_err(io)?;
        let id = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), file, len, first, last, hash, id })
    }

    /// The last record that was written before `position` was kept or since, in this file or in the one it was
    /// rotated to.
    ///
    /// # Errors
    /// When the directory or the rotated file cannot be read.
    pub fn last_written(&self, position: Position, known: Option<&Stored<'_>>) -> Result<Last, AuditError> {
        let marked = Last { seq: position.file_seq, hash: None };
        Ok(marked.later(self.last_there_is(position.file, known)?))
    }

    /// The last record in this file or in the one it was rotated to, which was written before with the device and inode
    /// `before`.
    ///
    /// # Errors
    /// As [`AuditFile::last_written`].
    pub fn last_there_is(&self, before: Option<(u64, u64)>, known: Option<&Stored<'_>>) -> Result<Last, AuditError> {
        let mut last = self.as_opened();
        if let Some(id) = before.filter(|id| *id != self.id)
            && let Some(rotated) = self.sibling(id)?
        {
            // It was moved before all that was written to it had been marked in the store, or repaired.
            let rotated = Self::repaired(&rotated, known, OpenOptions::new().read(true).append(true))?;
            last = last.later(rotated.as_opened());
        }
        if self.last.is_none() {
            // A store that was made anew, or is from a backup, does not know how far the trail had come.
            last = last.later(last_beside(&self.path)?);
        }
        Ok(last)
    }

    /// Its last record when it was opened.
    fn as_opened(&self) -> Last {
        Last { seq: self.last.unwrap_or(0), hash: self.hash }
    }

    /// The file in the same directory with this device and inode: a rename keeps them.
    fn sibling(&self, (dev, ino): (u64, u64)) -> Result<Option<PathBuf>, AuditError> {
        let dir = directory(&self.path);
        let io = |source| AuditError::Io { path: dir.to_owned(), source };
        for entry in fs::read_dir(dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            // An inode is given to another file once it is free; none of these was ever the audit file.
            let name = entry.file_name();
            if [".idx", ".new", ".zst", ".gz"].iter().any(|end| name.to_string_lossy().ends_with(end)) {
                continue;
            }
            // A file may go while we look.
            if entry.metadata().is_ok_and(|found| found.is_file() && (found.dev(), found.ino()) == (dev, ino)) {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }

    /// Appends whole lines, numbered from `first` to `last`, and syncs them to disk.
    ///
    /// # Errors
    /// Then the file must be opened again, which repairs what was half written.
    pub fn append<'a>(
        &mut self,
        lines: impl Iterator<Item = &'a [u8]>,
        (first, last): (u64, u64),
    ) -> Result<(), AuditError> {
        let mut bytes = 0;
        let mut write = |lines: &[u8]| {
            bytes += lines.len() as u64;
            (&self.file).write_all(lines)
        };
        let written = lines.into_iter().try_for_each(&mut write).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // After a failed sync nobody knows what reached the disk, so it is written again from there.
            // Never made longer: whoever copies and truncates it in place has left it shorter than we know.
            if self.file.metadata().is_ok_and(|found| found.len() > self.len) {
                let _kept_for_repair = self.file.set_len(self.len);
            }
            return Err(AuditError::Io { path: self.path.clone(), source });
        }
        if self.len == 0 {
            self.first = Some(First { seq: first, at: Timestamp::now() });
        }
        self.len += bytes;
        self.last = Some(last);
        Ok(())
    }

    /// Whether it is to be rotated.
    pub(super) fn is_due(&self, rotation: &Rotation, now: Timestamp) -> bool {
        rotation.is_due(self.len, self.first.map_or(now, |first| first.at), now)
    }

    /// Gives it the name of a rotated file, which is on disk then, and which this gives. It stays open.
    ///
    /// # Errors
    /// See [`RotateError`]: it is where it was, except where somebody else moved it.
    pub(super) fn move_away(&self) -> Result<PathBuf, RotateError> {
        let strange = || RotateError::Strange(self.path.clone());
        let (first, last) = (self.first.ok_or_else(strange)?, self.last.ok_or_else(strange)?);
        let to = rotated_name(&self.path, first.seq, last);
        let io = |source| RotateError::Io { path: to.clone(), source };
        if self.file.metadata().map_err(io)?.len() != self.len {
            return Err(strange());
        }
        for taken in [to.clone(), with_end(&to, PACKED)] {
            if fs::symlink_metadata(&taken).is_ok() {
                return Err(RotateError::Taken(taken));
            }
        }
        rename_new(&self.path, &to).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RotateError::Moved(self.path.clone()),
            io::ErrorKind::AlreadyExists => RotateError::Taken(to.clone()),
            _ => io(error),
        })?;
        if !fs::metadata(&to).is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            // Between our look and our rename somebody put another file there: it is not ours to move.
            let _whoever_is_first = rename_new(&to, &self.path);
            return Err(RotateError::Moved(self.path.clone()));
        }
        sync_directory(&to).map_err(io)?;
        Ok(to)
    }

    /// The number of its last record, `None` where it is empty.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// The device and inode, by which the file is found after a rename.
    #[must_use]
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Whether the path no longer leads to this file: it was rotated or removed.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        fs::metadata(&self.path).map_or(true, |found| (found.dev(), found.ino()) != self.id)
    }
}

/// Renames it, unless there is a file of that name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can: NFS, for one.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

/// The last record of the files that an audit file was rotated to.
fn last_beside(path: &Path) -> Result<Last, AuditError> {
    let files = match trail::find_all(path) {
        Err(TrailError::Absent(_)) => return Ok(Last::default()),
        found => found?,
    };
    // Of one whose name does not tell, nobody knows that it is not the newest.
    if let Some(damaged) = files.iter().find(|file| file.is_damaged && file.first.seq == 0) {
        return Err(TrailError::Damaged(damaged.path.clone()).into());
    }
    let mut last = Last::default();
    if let Some(newest) = files.last() {
        let mut lines = newest.lines()?;
        let io = |source| AuditError::Io { path: newest.path.clone(), source };
        let mut latest = Vec::new();
        while let Some(line) = lines.next_line().map_err(io)? {
            if record::seq_of(line.bytes).is_some_and(|seq| seq > last.seq) {
                last.seq = record::seq_of(line.bytes).unwrap_or(0);
                latest.clear();
                latest.extend_from_slice(line.bytes);
            }
        }
        last.hash = Some(Hash::of(&latest));
    }
    Ok(last)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::store::Chunk;

    fn line(seq: u64) -> Vec<u8> {
        let mut line = Vec::new();
        record::push_line(&mut line, seq, &Hash::START, format!("\"x\":\"{}\"}}", "y".repeat(100_000)).as_bytes());
        line
    }

    #[test]
    fn a_torn_tail_is_cut_and_the_last_number_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/audit.log");
        let mut file = AuditFile::open(&path, None).unwrap();
        assert_eq!(file.last, None);
        file.append([&*line(1)].into_iter(), (1, 1)).unwrap();
        file.append([&*line(2)].into_iter(), (2, 2)).unwrap();
        let whole = path.metadata().unwrap().len();
        drop(file);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&line(3)[..70_000]).unwrap();
        let file = AuditFile::open(&path, None).unwrap();
        assert_eq!((file.last, path.metadata().unwrap().len()), (Some(2), whole));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o640, 0o750));
    }

    #[test]
    fn a_file_with_nothing_but_a_torn_line_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(&path, &line(1)[..50]).unwrap();
        let file = AuditFile::open(&path, None).unwrap();
        assert_eq!((file.last, path.metadata().unwrap().len()), (None, 0));
    }

    #[test]
    fn what_cadfd_did_not_write_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(&path, "2026-11-21 somebody else's log, not one line of it ended").unwrap();
        assert!(matches!(AuditFile::open(&path, None), Err(AuditError::Foreign(_))));
        fs::write(&path, "2026-11-21 somebody else's log\n").unwrap();
        assert!(matches!(AuditFile::open(&path, None), Err(AuditError::Foreign(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "2026-11-21 somebody else's log\n");
    }

    #[test]
    fn an_empty_file_goes_on_after_those_it_was_rotated_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(dir.path().join("audit.log.1"), [line(1), line(2)].concat()).unwrap();
        let last = AuditFile::open(&path, None).unwrap().last_written(Position::default(), None).unwrap();
        assert_eq!((last.seq, last.hash), (2, Some(Hash::of(&line(2)))));
    }

    #[test]
    fn two_writers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let _held = AuditFile::open(&path, None).unwrap();
        assert!(matches!(AuditFile::open(&path, None), Err(AuditError::Locked(_))));
    }

    #[test]
    fn what_was_written_to_a_rotated_file_but_not_marked_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut file = AuditFile::open(&path, None).unwrap();
        file.append([&*line(1)].into_iter(), (1, 1)).unwrap();
        file.append([&*line(2)].into_iter(), (2, 2)).unwrap();
        let position = Position { file_seq: 1, file: Some(file.id()), ..Position::default() };
        fs::rename(&path, dir.path().join("audit.log.1")).unwrap();
        assert!(file.is_moved());
        drop(file);
        assert_eq!(AuditFile::open(&path, None).unwrap().last_written(position, None).unwrap().seq, 2);
    }

    fn written(path: &Path) -> AuditFile {
        let mut file = AuditFile::open(path, None).unwrap();
        file.append([&*line(7), &*line(8)].into_iter(), (7, 8)).unwrap();
        file
    }

    #[test]
    fn moved_away_it_is_called_by_its_records_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let rotated = dir.path().join("audit.log.000000000007-000000000008");
        assert_eq!(written(&path).move_away().unwrap(), rotated);
        assert!(!path.exists());
        fs::rename(&rotated, &path).unwrap();
        let again = AuditFile::open(&path, None).unwrap();
        assert_eq!(again.move_away().unwrap(), rotated);
        assert!(again.is_moved());
    }

    #[test]
    fn what_is_not_as_it_was_written_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let rotated = dir.path().join("audit.log.000000000007-000000000008");
        assert!(matches!(AuditFile::open(&path, None).unwrap().move_away(), Err(RotateError::Strange(_))), "empty");
        let file = written(&path);
        for taken in [rotated.clone(), with_end(&rotated, PACKED)] {
            fs::write(&taken, "somebody else's").unwrap();
            assert!(matches!(file.move_away(), Err(RotateError::Taken(path)) if path == taken));
            assert_eq!(fs::read(&taken).unwrap(), b"somebody else's");
            fs::remove_file(&taken).unwrap();
        }
        // Another one is there under its name.
        let aside = dir.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        fs::write(&path, "another").unwrap();
        assert!(matches!(file.move_away(), Err(RotateError::Moved(_))));
        assert!(fs::read(&path).unwrap() == b"another" && !rotated.exists());
        fs::rename(&aside, &path).unwrap();
        // Somebody adds to it.
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&line(9)[..50]).unwrap();
        assert!(matches!(file.move_away(), Err(RotateError::Strange(_))), "a torn tail");
        assert!(path.exists() && !rotated.exists());
    }

    #[test]
    fn its_age_is_that_of_its_first_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let rest = b"\"type\":\"stop\",\"at\":\"2026-11-21T10:00:00.000000Z\",\"cause\":\"SIGTERM\"}";
        let mut old = Vec::new();
        record::push_line(&mut old, 7, &Hash::START, rest);
        fs::write(&path, old).unwrap();
        let file = AuditFile::open(&path, None).unwrap();
        let hour = Rotation { age: Some(std::time::Duration::from_hours(1)), ..Rotation::default() };
        assert!(!file.is_due(&hour, "2026-11-21T10:59:59Z".parse().unwrap()));
        assert!(file.is_due(&hour, "2026-11-21T11:00:00Z".parse().unwrap()));
    }

    /// Five records, and where each ends.
    fn five() -> (Chunk, Vec<u64>) {
        let (mut chunk, mut hash, mut ends) =
            (Chunk { first: 1, last: 5, ..Chunk::default() }, Hash::START, Vec::new());
        for seq in 1..=5 {
            hash = record::push_line(&mut chunk.lines, seq, &hash, b"\"type\":\"stop\",\"cause\":\"SIGTERM\"}");
            ends.push(chunk.lines.len() as u64);
        }
        (chunk, ends)
    }

    #[test]
    fn what_never_reached_the_disk_is_cut_off_and_nothing_that_is_known_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let (chunk, ends) = five();
        let stored = Arc::new(chunk.clone());
        let after = |_| Ok(vec![Arc::clone(&stored)]);
        let known = Stored { written: 2, after: &after };
        // Where the hole is, and how many records are left.
        let cases = [
            (0..0, 5),
            (ends[3]..ends[3] + 5, 4),
            (ends[4] - 3..ends[4] - 2, 4),
            (ends[3] + 20..ends[4] - 1, 4),
            (ends[4] - 1..ends[4], 4),
            (ends[2] + 3..ends[3] + 9, 3),
            (ends[2] - 4..ends[2] - 3, 2),
            (ends[1]..ends[4], 2),
            // Not ours to cut: `cadfd verify` finds it.
            (3..9, 5),
        ];
        for (hole, left) in cases {
            let mut lines = chunk.lines.clone();
            hole.clone().for_each(|at| lines[usize::try_from(at).unwrap()] = 0);
            fs::write(&path, lines).unwrap();
            let file = AuditFile::open(&path, Some(&known)).unwrap();
            let position = Position { file_seq: 2, ..Position::default() };
            let last = file.last_written(position, Some(&known)).unwrap().seq;
            let end = ends[usize::try_from(left).unwrap() - 1];
            assert_eq!((last, fs::metadata(&path).unwrap().len()), (left, end), "{hole:?}");
        }
        // Rotated just before: its first record is the first that is not known.
        let mut lines = chunk.lines_after(2).to_vec();
        lines[usize::try_from(ends[3] - ends[1]).unwrap()] = 0;
        fs::write(&path, lines).unwrap();
        assert_eq!(AuditFile::open(&path, Some(&known)).unwrap().last, Some(4));
        // A new store knows nothing.
        fs::write(&path, &chunk.lines).unwrap();
        let none = Stored { written: 0, after: &|_| Ok(Vec::new()) };
        assert_eq!(AuditFile::open(&path, Some(&none)).unwrap().last, Some(5));
    }
}
