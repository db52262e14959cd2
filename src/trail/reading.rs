//! The records of one file that are wanted, one at a time, from either end.
//!
//! Its promise: what the index rules out is not read; without an index that fits, everything is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};

use super::backwards::{Stack, last_part};
use super::entry::Entry;
use super::files::{Kind, TrailError, TrailFile, unpack};
use super::hit::{Hit, Note, Order, Watch};
use super::index::{Index, IndexError};
use super::lines::Lines;
use super::query::Query;

/// A packed file that is smaller has no index made for it by a search, in bytes: it is read as quickly.
const SMALL: u64 = 16 << 10;

/// One file that is being read.
pub(super) struct Reading {
    file: TrailFile,
    opened: File,
    parts: Parts,
    order: Order,
    current: Option<Current>,
}

/// What of a file is to be read, in the order of reading.
enum Parts {
    /// Known ones: where, and how long.
    Known(VecDeque<(u64, u64)>),
    /// All of a plain file up to here, from its end.
    Before(u64),
}

/// Lines of a part.
enum Current {
    Forward(Lines),
    Turned(Stack),
}

impl Reading {
    /// Begins to read; `is_live`: it is being written to, so that an index is of no use.
    pub(super) fn begin(
        file: &TrailFile,
        is_live: bool,
        query: &Query,
        order: Order,
        watch: &mut Watch<'_>,
    ) -> Result<Self, TrailError> {
        let io = |source| TrailError::Io { path: file.path.clone(), source };
        let opened = File::open(&file.path).map_err(|error| match error.kind() {
            // It was packed, or removed.
            io::ErrorKind::NotFound => TrailError::Moved(file.path.clone()),
            _ => io(error),
        })?;
        if file.is_damaged {
            return Err(TrailError::Damaged(file.path.clone()));
        }
        let len = opened.metadata().map_err(io)?.len();
        // By now the name can mean another file.
        if file.kind == Kind::Plain && TrailFile::of(&file.path)?.is_none_or(|now| now.first != file.first) {
            return Err(TrailError::Moved(file.path.clone()));
        }
        let parts = match candidates(file, is_live, query, watch) {
            Some(mut parts) => {
                let wanted: u64 = parts.iter().map(|(_, len)| len).sum();
                (watch.read)(len.saturating_sub(wanted));
                if order == Order::Newest {
                    parts.make_contiguous().reverse();
                }
                Parts::Known(parts)
            }
            None if order == Order::Newest && file.kind == Kind::Plain => Parts::Before(len),
            None => Parts::Known([(0, len)].into()),
        };
        Ok(Self { file: file.clone(), opened, parts, order, current: None })
    }

    /// The next wanted record.
    pub(super) fn next(&mut self, query: &Query, watch: &mut Watch<'_>) -> Result<Option<Hit>, TrailError> {
        let path = self.file.path.clone();
        self.next_hit(query, watch).map_err(|source| TrailError::Io { path, source })
    }

    fn next_hit(&mut self, query: &Query, watch: &mut Watch<'_>) -> io::Result<Option<Hit>> {
        loop {
            match &mut self.current {
                Some(Current::Forward(lines)) => {
                    while let Some(line) = lines.next_line()? {
                        if query.may_match(line.bytes)
                            && let Some(entry) = Entry::read(line.bytes)
                            && query.matches(&entry, line.bytes)
                        {
                            return Ok(Some(Hit { line: line.bytes.to_owned(), entry }));
                        }
                    }
                }
                Some(Current::Turned(stack)) => {
                    if let Some(line) = stack.pop()? {
                        // It was one when it was put there.
                        let entry = Entry::read(&line).unwrap_or_default();
                        return Ok(Some(Hit { line, entry }));
                    }
                }
                None => {}
            }
            let Some((at, len)) = self.next_part()? else {
                self.current = None;
                return Ok(None);
            };
            self.current = Some(self.open_part(at, len, query)?);
            (watch.read)(len);
        }
    }

    fn next_part(&mut self) -> io::Result<Option<(u64, u64)>> {
        match &mut self.parts {
            Parts::Known(parts) => Ok(parts.pop_front()),
            Parts::Before(0) => Ok(None),
            Parts::Before(end) => {
                let from = last_part(&self.opened, *end)?;
                let part = (from, *end - from);
                *end = from;
                Ok(Some(part))
            }
        }
    }

    fn open_part(&self, at: u64, len: u64, query: &Query) -> io::Result<Current> {
        let mut file = self.opened.try_clone()?;
        file.seek(SeekFrom::Start(at))?;
        let mut lines = Lines::new(match self.file.kind {
            Kind::Plain => Box::new(BufReader::with_capacity(256 << 10, file.take(len))),
            kind => unpack(file.take(len), kind)?,
        });
        if self.order == Order::Oldest {
            return Ok(Current::Forward(lines));
        }
        let mut stack = Stack::default();
        while let Some(line) = lines.next_line()? {
            if query.may_match(line.bytes)
                && Entry::read(line.bytes).is_some_and(|entry| query.matches(&entry, line.bytes))
            {
                stack.push(line.bytes)?;
            }
        }
        Ok(Current::Turned(stack))
    }
}

/// The parts that an index does not rule out; `None` where there is none to ask.
fn candidates(file: &TrailFile, is_live: bool, query: &Query, watch: &mut Watch<'_>) -> Option<VecDeque<(u64, u64)>> {
    let index = match Index::open(file).and_then(|index| parts(&index, query)) {
        Ok(parts) => return Some(parts),
        Err(error) => error,
    };
    if matches!(index, IndexError::Damaged) {
        (watch.note)(Note::Damaged(&file.path));
    }
    let is_worth_it = !is_live && file.len > SMALL && query.can_be_looked_up();
    if !watch.make_indexes || !is_worth_it || !make(file, watch) {
        return None;
    }
    Index::open(file).and_then(|index| parts(&index, query)).ok()
}

/// Makes the index where it can be made.
fn make(file: &TrailFile, watch: &mut Watch<'_>) -> bool {
    (watch.note)(Note::Indexing(&file.path, file.len));
    let read = |count| {
        (watch.read)(count);
        Ok(())
    };
    super::index::build_counted(file, read).is_ok()
}

fn parts(index: &Index, query: &Query) -> Result<VecDeque<(u64, u64)>, IndexError> {
    let blocks = index.blocks();
    let candidates = index.candidates(query.terms())?;
    let blocks = candidates.iter().filter_map(|number| blocks.get(*number as usize));
    Ok(blocks.filter(|block| query.reaches(block.earliest, block.latest)).map(|block| (block.at, block.len)).collect())
}
