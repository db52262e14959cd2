//! A search: the wanted records of several files and trails, in order.
//!
//! Its promise: each trail's records come in its own order, several trails' by time; nothing is left out, and memory is
//! bounded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::entry::Entry;
use super::files::{self, Kind, TrailError, TrailFile};
use super::query::Query;
use super::reading::Reading;

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were written.
    Oldest,
    /// The other way round.
    Newest,
}

/// A record that was wanted.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its very bytes, with the line feed where it has one.
    pub line: Vec<u8>,
    /// What it says.
    pub entry: Entry,
}

/// What a person should know of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// The index of this file is damaged; it is made anew, or the file is read whole.
    Damaged(&'a Path),
    /// The index of this file, which has so many bytes, is being made.
    Indexing(&'a Path, u64),
}

/// Who is told how a search goes.
pub struct Watch<'a> {
    /// Bytes that were read, or need not be.
    pub read: Box<dyn FnMut(u64) + 'a>,
    /// What should be known.
    pub note: Box<dyn FnMut(Note<'_>) + 'a>,
    /// Whether missing indexes are made on the way.
    pub make_indexes: bool,
}

impl Watch<'_> {
    /// Nobody.
    #[must_use]
    pub fn none() -> Self {
        Self { read: Box::new(|_| ()), note: Box::new(|_| ()), make_indexes: false }
    }
}

/// The files of one trail, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The file that is, or was, written to: the others are named like it, and more.
    pub path: PathBuf,
    /// Its files, in the order of their records.
    pub files: Vec<TrailFile>,
}

/// The trails at these paths: a file stands for those it was rotated to as well, a directory for all trails in it. Files
/// whose names begin with another's, and `.` or `-`, belong to that one's trail. A file that is found twice counts once.
///
/// # Errors
/// When there is none at one of the paths, or a file cannot be read.
pub fn trails(paths: &[PathBuf]) -> Result<Vec<Trail>, TrailError> {
    let mut found: BTreeMap<PathBuf, TrailFile> = BTreeMap::new();
    // What was named is a trail's file, though it may just have been rotated away.
    let mut named = Vec::new();
    for path in paths {
        found.extend(files::find(path)?.into_iter().map(|file| (file.path.clone(), file)));
        if !path.is_dir() {
            named.push(path.clone());
        }
    }
    named.sort();
    let mut trails: Vec<Trail> = Vec::new();
    // Sorted, a name comes before those that begin with it.
    let files =
        named.into_iter().map(|path| (path, None)).chain(found.into_iter().map(|(path, file)| (path, Some(file))));
    for (path, file) in files {
        match trails.iter_mut().find(|trail| trail.path == path || is_rotated(&trail.path, &path)) {
            Some(trail) => trail.files.extend(file),
            None => trails.push(Trail { path, files: file.into_iter().collect() }),
        }
    }
    for trail in &mut trails {
        trail.files.sort_by(|a, b| (a.first.seq, &a.path).cmp(&(b.first.seq, &b.path)));
    }
    trails.retain(|trail| !trail.files.is_empty());
    Ok(trails)
}

fn is_rotated(path: &Path, other: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.parent() == other.parent()
        && name(other).strip_prefix(&name(path)).is_some_and(|end| end.starts_with(['.', '-']))
}

/// A search that goes on.
pub struct Scan<'a> {
    query: &'a Query,
    order: Order,
    watch: Watch<'a>,
    sources: Vec<Source>,
}

/// One trail of a search.
struct Source {
    trail: Trail,
    /// The file that comes next, in the order of the trail's files, from the end that is read first.
    next: usize,
    reading: Option<Reading>,
    head: Option<(Option<Timestamp>, Hit)>,
    /// Of the record before: a record without a time stands where it stands.
    time: Option<Timestamp>,
    begun: bool,
}

impl<'a> Scan<'a> {
    /// Looks for `query` in these trails.
    #[must_use]
    pub fn new(trails: Vec<Trail>, query: &'a Query, order: Order, watch: Watch<'a>) -> Self {
        let source = |trail| Source { trail, next: 0, reading: None, head: None, time: None, begun: false };
        Self { query, order, watch, sources: trails.into_iter().map(source).collect() }
    }

    /// The next record that is wanted, and the number of its trail, from 0; `None` at the end.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next_hit(&mut self) -> Result<Option<(usize, Hit)>, TrailError> {
        for source in &mut self.sources {
            if source.head.is_none() && !(source.begun && source.is_at_end()) {
                source.fill(self.query, self.order, &mut self.watch)?;
            }
        }
        let heads = self.sources.iter().enumerate();
        let heads = heads.filter_map(|(number, source)| source.head.as_ref().map(|(at, _)| (*at, number)));
        let first = match self.order {
            Order::Oldest => heads.min(),
            Order::Newest => heads.max_by_key(|(at, number)| (*at, std::cmp::Reverse(*number))),
        };
        let hit = first.and_then(|(_, number)| self.sources.get_mut(number)?.head.take().map(|(_, hit)| (number, hit)));
        Ok(hit)
    }
}

impl Source {
    fn is_at_end(&self) -> bool {
        self.reading.is_none() && self.next >= self.trail.files.len()
    }

    fn fill(&mut self, query: &Query, order: Order, watch: &mut Watch<'_>) -> Result<(), TrailError> {
        self.begun = true;
        loop {
            if let Some(reading) = &mut self.reading {
                if let Some(hit) = reading.next(query, watch)? {
                    self.time = hit.entry.time().or(self.time);
                    self.head = Some((self.time, hit));
                    return Ok(());
                }
                self.reading = None;
            }
            let at = match order {
                Order::Oldest => Some(self.next),
                Order::Newest => (self.trail.files.len() - 1).checked_sub(self.next),
            };
            let Some(file) = at.and_then(|at| self.trail.files.get(at)) else { return Ok(()) };
            let is_live = file.path == self.trail.path && file.kind == Kind::Plain;
            self.reading = Some(Reading::begin(file, is_live, query, order, watch)?);
            self.next += 1;
        }
    }
}
