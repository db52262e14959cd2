//! Following a trail that is being written.
//!
//! Its promise: each record that is written after the beginning comes once and in order, however the file is rotated
//! meanwhile; what was removed before it could be read is told as a gap.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::backwards::last_part;
use super::entry::Entry;
use super::files::{Kind, TrailError, TrailFile, find_all};
use super::hit::Hit;
use super::lines::Lines;
use super::scan::Trail;
use crate::record::seq_of;

/// A trail that is followed.
pub struct Follow {
    path: PathBuf,
    open: Option<Open>,
    /// The number of the last record that was read, or was there at the beginning.
    last: u64,
    gaps: Vec<(u64, u64)>,
}

/// The file that is being written, or was when it was looked at last.
struct Open {
    file: File,
    id: (u64, u64),
    /// All whole lines before this place were read.
    at: u64,
}

impl Follow {
    /// From the end as it is now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn begin(trail: &Trail) -> Result<Self, TrailError> {
        let mut follow = Self { path: trail.path.clone(), open: None, last: 0, gaps: Vec::new() };
        let io = |path: &PathBuf| {
            let path = path.clone();
            move |source| TrailError::Io { path, source }
        };
        match trail.files.last() {
            Some(live) if live.path == trail.path && live.kind == Kind::Plain => {
                let mut open = Open::of(&follow.path).map_err(io(&follow.path))?;
                (open.at, follow.last) = open.end().map_err(io(&follow.path))?;
                follow.open = Some(open);
            }
            // It was rotated, and nothing has been written since.
            Some(file) => {
                let mut lines = file.lines()?;
                while let Some(line) = lines.next_line().map_err(io(&file.path))? {
                    follow.last = seq_of(line.bytes).unwrap_or(follow.last);
                }
            }
            None => {}
        }
        Ok(follow)
    }

    /// The last record before the beginning, or that was read since.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Records that were removed before they could be read, since this was asked last: from which one to which.
    pub fn gaps(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.gaps)
    }

    /// Gives all that was written since to `take`.
    ///
    /// # Errors
    /// When a file cannot be read, or `take` fails.
    pub fn read(&mut self, take: &mut dyn FnMut(Hit) -> io::Result<()>) -> io::Result<()> {
        self.read_open(take)?;
        // Once the next file has a record, the one before it gets no more.
        while self.has_moved() {
            self.read_open(take)?;
            match self.read_between(take) {
                Ok(()) => {}
                // A file was packed or removed while it was being looked for; the next time tells.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
            self.read_open(take)?;
        }
        Ok(())
    }

    fn has_moved(&self) -> bool {
        fs::metadata(&self.path)
            .is_ok_and(|now| now.len() > 0 && self.open.as_ref().is_none_or(|open| open.id != (now.dev(), now.ino())))
    }

    /// What was written to files that have been rotated since, and the file that is written now.
    fn read_between(&mut self, take: &mut dyn FnMut(Hit) -> io::Result<()>) -> io::Result<()> {
        let next = Open::of(&self.path)?;
        let Some(live) = TrailFile::of(&self.path).map_err(as_io)? else { return Ok(()) };
        if live.first.seq <= self.last {
            // It counts from the beginning again: another trail.
            self.last = live.first.seq.saturating_sub(1);
        }
        for file in find_all(&self.path).map_err(as_io)? {
            let is_between = file.first.seq > self.last && file.first.seq < live.first.seq;
            if is_between {
                let mut lines = file.lines().map_err(as_io)?;
                self.take_all(&mut lines, take)?;
            }
        }
        self.open = Some(next);
        Ok(())
    }

    /// What came to the open file.
    fn read_open(&mut self, take: &mut dyn FnMut(Hit) -> io::Result<()>) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let len = open.file.metadata()?.len();
        if len < open.at {
            // Cut to nothing, as copytruncate does.
            open.at = 0;
        }
        if len == open.at {
            return Ok(());
        }
        let mut file = open.file.try_clone()?;
        file.seek(SeekFrom::Start(open.at))?;
        let mut lines = Lines::new(Box::new(BufReader::new(file.take(len - open.at))));
        let read = self.take_all(&mut lines, take)?;
        if let Some(open) = &mut self.open {
            open.at += read;
        }
        Ok(())
    }

    /// Takes whole lines; gives how many bytes they were.
    fn take_all(&mut self, lines: &mut Lines, take: &mut dyn FnMut(Hit) -> io::Result<()>) -> io::Result<u64> {
        let mut bytes = 0;
        while let Some(line) = lines.next_line()? {
            if !line.is_whole() {
                break;
            }
            bytes += line.bytes.len() as u64;
            let Some(entry) = Entry::read(line.bytes).filter(|entry| entry.seq > self.last) else { continue };
            if self.last > 0 && entry.seq > self.last + 1 {
                self.gaps.push((self.last + 1, entry.seq - 1));
            }
            self.last = entry.seq;
            take(Hit { line: line.bytes.to_owned(), entry })?;
        }
        Ok(bytes)
    }
}

impl Open {
    fn of(path: &PathBuf) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { id: (metadata.dev(), metadata.ino()), file, at: 0 })
    }

    /// Where the last whole line ends, and the number of the last record.
    fn end(&self) -> io::Result<(u64, u64)> {
        let mut end = self.file.metadata()?.len();
        let (mut at, mut seq) = (0, 0);
        while end > 0 && seq == 0 {
            let from = last_part(&self.file, end)?;
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(from))?;
            let mut lines = Lines::new(Box::new(BufReader::new(file.take(end - from))));
            let mut place = from;
            while let Some(line) = lines.next_line()? {
                if line.is_whole() {
                    place += line.bytes.len() as u64;
                    at = at.max(place);
                    seq = seq_of(line.bytes).unwrap_or(seq);
                }
            }
            end = from;
        }
        Ok((at, seq))
    }
}

fn as_io(error: TrailError) -> io::Error {
    match error {
        TrailError::Io { source, .. } => source,
        // A file that is about to get its first record, or is being replaced.
        TrailError::Absent(_) | TrailError::Foreign(_) | TrailError::Moved(_) => io::ErrorKind::NotFound.into(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::*;
    use crate::trail::trails;

    fn append(path: &Path, text: &str) {
        File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn record(seq: u64) -> String {
        format!("{{\"seq\":{seq},\"type\":\"reload\",\"at\":\"2026-11-21T10:00:00.000000Z\",\"rules\":1}}\n")
    }

    fn read(follow: &mut Follow) -> Vec<u64> {
        let mut read = Vec::new();
        follow
            .read(&mut |hit| {
                read.push(hit.entry.seq);
                Ok(())
            })
            .unwrap();
        read
    }

    #[test]
    fn a_new_file_whose_first_record_is_half_written_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("audit.log");
        append(&live, &record(1));
        let mut follow = Follow::begin(&trails(std::slice::from_ref(&live)).unwrap()[0]).unwrap();
        fs::rename(&live, dir.path().join("audit.log.1")).unwrap();
        append(&dir.path().join("audit.log.1"), &record(2));
        append(&live, &record(3)[..20]);
        assert_eq!(read(&mut follow), [2]);
        append(&live, &(record(3)[20..].to_owned() + &record(4)[..9]));
        assert_eq!((read(&mut follow), follow.gaps()), (vec![3], vec![]));
        append(&live, &record(4)[9..]);
        assert_eq!(read(&mut follow), [4]);
    }

    #[test]
    fn each_record_comes_once_however_the_file_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("audit.log");
        let rotate = |name: &str| fs::rename(&live, dir.path().join(name)).unwrap();
        append(&live, &(record(1) + &record(2) + &record(3)[..20]));
        let mut follow = Follow::begin(&trails(std::slice::from_ref(&live)).unwrap()[0]).unwrap();
        assert_eq!((follow.last(), read(&mut follow)), (2, vec![]));
        append(&live, &record(3)[20..]);
        assert_eq!(read(&mut follow), [3]);
        // Moved; the daemon has not noticed yet, and something else made the next file, which is empty.
        rotate("audit.log.1");
        append(&dir.path().join("audit.log.1"), &record(4));
        append(&live, "");
        assert_eq!(read(&mut follow), [4]);
        append(&live, &record(5));
        // Moved twice between two looks, and packed at once.
        rotate("audit.log.000000000005-000000000005");
        append(&live, &record(6));
        let packed = zstd::encode_all(fs::read(&live).unwrap().as_slice(), 1).unwrap();
        fs::write(dir.path().join("audit.log.000000000006-000000000006.zst"), packed).unwrap();
        fs::remove_file(&live).unwrap();
        append(&live, &record(7));
        assert_eq!((read(&mut follow), follow.gaps()), (vec![5, 6, 7], vec![]));
        // Cut to nothing.
        File::create(&live).unwrap();
        assert_eq!(read(&mut follow), [0; 0]);
        append(&live, &record(8));
        assert_eq!(read(&mut follow), [8]);
        // Two were removed before they could be read.
        rotate("elsewhere");
        append(&live, &record(11));
        assert_eq!((read(&mut follow), follow.gaps()), (vec![11], vec![(9, 10)]));
        // Begun anew.
        rotate("gone");
        append(&live, &(record(1) + &record(2)));
        assert_eq!(read(&mut follow), [1, 2]);
        rotate("audit.log.2");
        let mut follow = Follow::begin(&trails(std::slice::from_ref(&live)).unwrap()[0]).unwrap();
        assert_eq!(follow.last(), 6, "the last file by its first record");
        append(&live, &record(12));
        assert_eq!(read(&mut follow), [12]);
    }
}
