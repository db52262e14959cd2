//! A search: the wanted records of several files and trails, in order.
//!
//! Its promise: each trail's records come in its own order, several trails' by time; nothing is left out, and memory is
//! bounded. Where a file is damaged, that is told, and the rest is searched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::files::{self, Kind, TrailError, TrailFile, stem};
use super::hit::{Hit, Note, Order, Watch};
use super::query::Query;
use super::reading::Reading;

/// The files of one trail, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The file that is, or was, written to: the others are named like it, and more.
    pub path: PathBuf,
    /// Its files, in the order of their records.
    pub files: Vec<TrailFile>,
}

/// The trails at these paths: a file stands for those it was rotated to as well, a directory for all trails in it. Files
/// whose names begin with another's, and `.` or `-`, belong to that one's trail; so do rotated files whose own one is not
/// there. A file that is found twice counts once.
///
/// # Errors
/// When there is none at one of the paths, or a file cannot be read.
pub fn trails(paths: &[PathBuf]) -> Result<Vec<Trail>, TrailError> {
    let mut found: BTreeMap<PathBuf, TrailFile> = BTreeMap::new();
    // What was named is a trail's file, though it may just have been rotated away.
    let mut named = Vec::new();
    for path in paths {
        found.extend(files::find_all(path)?.into_iter().map(|file| (file.path.clone(), file)));
        if !path.is_dir() {
            named.push(path.clone());
        }
    }
    let all: Vec<_> = found.keys().cloned().collect();
    found.retain(|path, _| !files::has_original(path, &all));
    // Under another name, or by another way.
    let mut ids = BTreeSet::new();
    found.retain(|_, file| ids.insert(file.id));
    let stems = Stems::of(&named, &found);
    named.sort();
    let mut trails: Vec<Trail> = Vec::new();
    // Sorted, a name comes before those that begin with it.
    let files =
        named.into_iter().map(|path| (path, None)).chain(found.into_iter().map(|(path, file)| (path, Some(file))));
    for (path, file) in files {
        match trails.iter_mut().find(|trail| trail.path == path || is_rotated(&trail.path, &path)) {
            Some(trail) => trail.files.extend(file),
            None => trails.push(Trail { path: stems.trail_of(path), files: file.into_iter().collect() }),
        }
    }
    for trail in &mut trails {
        trail.files.sort_by(|a, b| (a.first.seq, &a.path).cmp(&(b.first.seq, &b.path)));
    }
    trails.retain(|trail| !trail.files.is_empty());
    Ok(trails)
}

/// What several rotated files are called after, each of which begins elsewhere.
struct Stems(BTreeSet<PathBuf>);

impl Stems {
    fn of(named: &[PathBuf], found: &BTreeMap<PathBuf, TrailFile>) -> Self {
        let mut firsts: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
        for (path, file) in found {
            firsts.entry(stem(path)).or_default().push(file.first.seq);
        }
        let is_one_trail = |stem: &PathBuf, firsts: &mut Vec<u64>| {
            let count = firsts.len();
            firsts.sort_unstable();
            firsts.dedup();
            // One file that was named is what was meant, and two that begin alike are of two trails: `node.1`, `node.2`.
            let is_meant = named.contains(stem) || named.iter().filter(|path| self::stem(path) == *stem).count() != 1;
            is_meant && firsts.len() == count
        };
        firsts.retain(is_one_trail);
        Self(firsts.into_keys().collect())
    }

    /// What the trail is called that this file is the first of.
    fn trail_of(&self, path: PathBuf) -> PathBuf {
        let stem = stem(&path);
        if self.0.contains(&stem) { stem } else { path }
    }
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
    /// How often its files were called otherwise than when they were found.
    moved: u32,
}

/// Each rotation or packing during a search takes one.
const MOVES: u32 = 100;

impl<'a> Scan<'a> {
    /// Looks for `query` in these trails.
    #[must_use]
    pub fn new(trails: Vec<Trail>, query: &'a Query, order: Order, watch: Watch<'a>) -> Self {
        let source = |trail| Source { trail, next: 0, reading: None, head: None, time: None, begun: false, moved: 0 };
        Self { query, order, watch, sources: trails.into_iter().map(source).collect() }
    }

    /// The next record that is wanted, and the number of its trail, from 0; `None` at the end.
    ///
    /// # Errors
    /// When a file cannot be read though it is not damaged.
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

    /// The file that comes next is called otherwise by now: rotated, packed, or both.
    fn find_again(&mut self, path: PathBuf, order: Order) -> Result<(), TrailError> {
        let wanted = self.trail.files.iter().find(|file| file.path == path).map(|file| file.first);
        let files = match files::find_all(&self.trail.path) {
            // The one that is written to is being made anew.
            Err(TrailError::Absent(_)) => return Err(TrailError::Moved(path)),
            found => found?,
        };
        let at = files.iter().position(|now| Some(now.first) == wanted).ok_or(TrailError::Moved(path))?;
        self.next = match order {
            Order::Oldest => at,
            Order::Newest => files.len() - 1 - at,
        };
        self.trail.files = files;
        Ok(())
    }

    fn fill(&mut self, query: &Query, order: Order, watch: &mut Watch<'_>) -> Result<(), TrailError> {
        self.begun = true;
        loop {
            if let Some(reading) = &mut self.reading {
                match reading.next(query, watch) {
                    Ok(Some(hit)) => {
                        self.time = hit.entry.time().or(self.time);
                        self.head = Some((self.time, hit));
                        return Ok(());
                    }
                    Ok(None) => {}
                    Err(error) if error.is_damage() => (watch.note)(Note::Unreadable(&error)),
                    Err(error) => return Err(error),
                }
                self.reading = None;
            }
            let at = match order {
                Order::Oldest => Some(self.next),
                Order::Newest => (self.trail.files.len() - 1).checked_sub(self.next),
            };
            let Some(file) = at.and_then(|at| self.trail.files.get(at)) else { return Ok(()) };
            let is_live = file.path == self.trail.path && file.kind == Kind::Plain;
            match Reading::begin(file, is_live, query, order, watch) {
                Ok(reading) => self.reading = Some(reading),
                Err(TrailError::Moved(path)) if self.moved < MOVES => {
                    self.moved += 1;
                    self.find_again(path, order)?;
                    continue;
                }
                Err(error) if error.is_damage() => (watch.note)(Note::Unreadable(&error)),
                Err(error) => return Err(error),
            }
            self.next += 1;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::{fs, io};

    use super::*;

    /// The trails of a directory with these files, each with its first record: their names, and how many files they have.
    fn found(files: &[(&str, u64)], named: &[&str]) -> Vec<(String, usize)> {
        let dir = tempfile::tempdir().unwrap();
        for (name, seq) in files {
            let line = format!("{{\"seq\":{seq},\"type\":\"stop\"}}\n").into_bytes();
            let bytes = match Path::new(name).extension().and_then(|end| end.to_str()) {
                Some("zst") => zstd::encode_all(&*line, 1).unwrap(),
                Some("gz") => {
                    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    io::Write::write_all(&mut packer, &line).unwrap();
                    packer.finish().unwrap()
                }
                _ => line,
            };
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let mut paths: Vec<_> = named.iter().map(|name| dir.path().join(name)).collect();
        if paths.is_empty() {
            paths.push(dir.path().to_owned());
        }
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        trails(&paths).unwrap().iter().map(|trail| (name(&trail.path), trail.files.len())).collect()
    }

    fn one(name: &str, files: usize) -> Vec<(String, usize)> {
        vec![(name.to_owned(), files)]
    }

    #[test]
    fn rotated_files_without_the_live_one_are_one_trail() {
        let rotated = [
            ("audit.log.000000000001-000000000004.zst", 1),
            ("audit.log.000000000005-000000000009", 5),
            ("audit.log.2.gz", 10),
            ("audit.log.1", 20),
            ("audit.log-20261121", 30),
        ];
        assert_eq!(found(&rotated, &[]), one("audit.log", 5));
        let with_live = [&rotated[..], &[("audit.log", 40)]].concat();
        assert_eq!(found(&with_live, &[]), one("audit.log", 6));
        let names = rotated.map(|(name, _)| name);
        assert_eq!(found(&rotated, &names), one("audit.log", 5), "as the shell names them all");
        assert_eq!(found(&rotated, &["audit.log.1"]), one("audit.log.1", 1), "what was meant");
    }

    #[test]
    fn files_of_several_trails_stay_apart() {
        let other = [("a.log.1", 1), ("a.log.2", 7), ("b-20261121", 1), ("b-20261122", 5), ("c", 1)];
        assert_eq!(found(&other, &[]), [("a.log".to_owned(), 2), ("b".to_owned(), 2), ("c".to_owned(), 1)]);
        let nodes = [("node.1", 1), ("node.2", 1)];
        assert_eq!(found(&nodes, &[]), [("node.1".to_owned(), 1), ("node.2".to_owned(), 1)]);
    }
    /// The numbers found while the files are rotated after the first hit.
    fn found_meanwhile(order: Order) -> Vec<u64> {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let record = |seq: u64| format!("{{\"seq\":{seq},\"type\":\"stop\",\"cause\":\"SIGTERM\"}}\n");
        for (name, seqs) in [("audit.log.2", [1, 2]), ("audit.log.1", [3, 4]), ("audit.log", [5, 6])] {
            fs::write(at(name), seqs.map(record).concat()).unwrap();
        }
        let query = Query::default();
        let mut scan = Scan::new(trails(&[at("audit.log")]).unwrap(), &query, order, Watch::none());
        let mut seqs = vec![scan.next_hit().unwrap().unwrap().1.entry.seq];
        fs::write(at("audit.log.3.zst"), zstd::encode_all(&*fs::read(at("audit.log.2")).unwrap(), 1).unwrap()).unwrap();
        fs::rename(at("audit.log.1"), at("audit.log.2")).unwrap();
        fs::rename(at("audit.log"), at("audit.log.1")).unwrap();
        fs::write(at("audit.log"), record(7)).unwrap();
        while let Some((_, hit)) = scan.next_hit().unwrap() {
            seqs.push(hit.entry.seq);
        }
        seqs
    }

    #[test]
    fn a_rotation_meanwhile_leaves_nothing_out() {
        assert_eq!(found_meanwhile(Order::Oldest), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(found_meanwhile(Order::Newest), [6, 5, 4, 3, 2, 1], "7 came when its place was read already");
    }
}
