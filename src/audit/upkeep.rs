//! The thread that keeps the rotated files: packs them, removes the oldest, watches the disks.
//!
//! Its promise: it holds up neither the writing nor the daemon's end; what a crash interrupts is put right at the next
//! start; a file is removed only when the trail itself says so, under a signature that is on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::desk::Desk;
use super::floor::{Change, Floor, free_bytes};
use super::pack::{self, PackError};
use super::retain::{self, RetainError};
use super::rotation::{Beside, INDEX, Rotated, Rotation, directory, with_end};
use crate::store::{OpenError, Store, StoreError};
use crate::trail::{TrailFile, index};

/// Between looks at the disks.
const TICK: Duration = Duration::from_secs(1);

/// Between looks at the files when nothing is known to have changed: some grow too old, some could not be packed.
const ROUND: Duration = Duration::from_mins(1);

/// How long a checkpoint may take to its way into the audit file before other work is done.
const WRITTEN: Duration = Duration::from_secs(10);

/// Between looks whether it is there.
const LOOK: Duration = Duration::from_millis(20);

/// The longest rest after a piece of work.
const REST: Duration = Duration::from_millis(200);

/// Keeps a record, and a checkpoint that covers it; blocks.
pub type Cover = Box<dyn Fn(Vec<u8>) -> Result<(), StoreError> + Send>;

/// The running thread.
#[derive(Debug)]
pub struct Upkeep {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
    /// Says that the thread has ended.
    ended: Receiver<()>,
}

impl Upkeep {
    /// Starts it; `watch` is dropped when it ends, however it does.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        desk: &Arc<Desk>,
        store: &Arc<Store>,
        cover: Cover,
        watch: impl Send + 'static,
    ) -> Result<Self, OpenError> {
        let mut work = Work::new(desk, store, cover);
        let (alive, ended) = channel();
        let thread = std::thread::Builder::new().name("audit-upkeep".to_owned()).spawn(move || {
            let (_watch, _alive) = (watch, alive);
            work.run();
        });
        let dir = store.dir().to_owned();
        let thread = thread.map_err(|source| OpenError::Io { path: dir, source })?;
        Ok(Self { desk: Arc::clone(desk), thread, ended })
    }

    /// Ends it; what it was doing is done after the next start. Waits at most `limit`, and says whether it has ended.
    #[must_use]
    pub fn finish(self, limit: Duration) -> bool {
        self.desk.close();
        let has_ended = matches!(self.ended.recv_timeout(limit), Err(RecvTimeoutError::Disconnected));
        has_ended && self.thread.join().is_ok()
    }
}

/// Files that the trail says are removed.
struct Announced {
    /// Up to this record.
    last: u64,
    /// The checkpoint that covers the record of it.
    checkpoint: u64,
}

struct Work {
    desk: Arc<Desk>,
    store: Arc<Store>,
    cover: Cover,
    /// Of the trail and of the state.
    floors: (Floor, Floor),
    announced: Option<Announced>,
    /// What does not work, by what was tried.
    said: BTreeMap<&'static str, String>,
}

impl Work {
    fn new(desk: &Arc<Desk>, store: &Arc<Store>, cover: Cover) -> Self {
        let floors = (Floor::of_trail(directory(desk.path())), Floor::of_state(store.dir()));
        let (desk, store) = (Arc::clone(desk), Arc::clone(store));
        Self { desk, store, cover, floors, announced: None, said: BTreeMap::new() }
    }

    fn run(&mut self) {
        // Of this thread alone. Where it may not, as in the service's sandbox, its rests have to do.
        let _may_not = rustix::process::setpriority_process(None, 19);
        let drafts = Beside::of(self.desk.path()).and_then(|beside| beside.drafts.iter().try_for_each(fs::remove_file));
        self.tried("remove what a crash left half made", drafts);
        let mut next = Instant::now();
        let mut known = self.desk.calls();
        while !self.desk.is_closing() {
            self.look_at_disks();
            let calls = self.desk.calls();
            if calls != known || Instant::now() >= next {
                self.round();
                known = calls;
                next = Instant::now() + if self.announced.is_some() { TICK } else { ROUND };
            }
            self.desk.wait(known, TICK);
        }
    }

    fn look_at_disks(&mut self) {
        let least = self.desk.rotation().min_free;
        let free = [free_bytes(self.floors.0.dir()), free_bytes(self.floors.1.dir())];
        self.desk.show(|upkept| [upkept.trail_free, upkept.state_free] = free);
        for change in [self.floors.0.look(free[0], least), self.floors.1.look(free[1], least)].into_iter().flatten() {
            match change {
                Change::Short(text) => tracing::warn!("{text}"),
                Change::Over(text) => tracing::info!("{text}"),
            }
        }
    }

    /// Everything that there is to do.
    fn round(&mut self) {
        let rotation = self.desk.rotation();
        let settled = self.desk.settled();
        let retained = self.retain(&rotation, settled);
        self.tried("remove the oldest files of the trail", retained);
        let packed = self.pack(&rotation, settled);
        self.tried("pack the rotated files", packed);
        let indexed = self.index(&rotation);
        self.tried("index the rotated files", indexed);
        let counted = Beside::of(self.desk.path()).map(|beside| {
            let bytes = beside.rotated.iter().map(|file| file.len).sum();
            self.desk.show(|upkept| {
                (upkept.rotated_files, upkept.rotated_bytes) = (Some(beside.rotated.len() as u64), bytes);
            });
        });
        self.tried("look at the rotated files", counted);
    }

    /// Said when it begins, when its cause changes, and when it is over.
    fn tried<E: std::fmt::Display>(&mut self, what: &'static str, result: Result<(), E>) {
        match result {
            Ok(()) => {
                if self.said.remove(what).is_some() {
                    tracing::info!("it works again to {what}");
                }
            }
            // Not worth a word: it was told to.
            Err(_) if self.desk.is_closing() => {}
            Err(error) => {
                let text = error.to_string();
                if self.said.get(what) != Some(&text) {
                    tracing::warn!("upkeep of the trail: cannot {what}: {text}; it is tried again");
                }
                self.said.insert(what, text);
            }
        }
    }

    /// Removes what the settings do not keep, once the trail says so.
    fn retain(&mut self, rotation: &Rotation, settled: u64) -> Result<(), UpkeepError> {
        loop {
            let beside = self.beside()?;
            let announced = if let Some(announced) = self.announced.take() {
                announced
            } else {
                let desk = Arc::clone(&self.desk);
                let chosen = retain::choose((desk.path(), &beside), rotation, settled, &|| desk.is_closing())?;
                let Some(removal) = chosen else { return Ok(()) };
                (self.cover)(removal.rest_of_line(Timestamp::now()))?;
                tracing::info!(first = removal.first, last = removal.last, "removing the oldest files of the trail");
                Announced { last: removal.last, checkpoint: self.store.figures().checkpoint_seq }
            };
            let removed = self.remove(&beside, &announced, settled);
            if !matches!(removed, Ok(true)) {
                self.announced = Some(announced);
                return removed.map(drop);
            }
        }
    }

    /// False while the checkpoint is not in the audit file yet, or does not cover them.
    fn remove(&self, beside: &Beside, announced: &Announced, settled: u64) -> Result<bool, UpkeepError> {
        let until = Instant::now() + WRITTEN;
        while self.store.figures().file_seq < announced.checkpoint {
            if Instant::now() >= until || self.desk.pause(LOOK) {
                return Ok(false);
            }
        }
        // Whatever was announced: no file goes that this checkpoint does not cover.
        if announced.checkpoint <= announced.last || settled < announced.last {
            return Ok(false);
        }
        for file in beside.rotated.iter().filter(|file| file.last <= announced.last) {
            pack::remove(&file.path).map_err(io(&file.path))?;
        }
        Ok(true)
    }

    /// Packs what is not packed yet, and ends what a crash interrupted.
    fn pack(&self, rotation: &Rotation, settled: u64) -> Result<(), UpkeepError> {
        let beside = self.beside()?;
        let is_packed = |plain: &Rotated| {
            beside.rotated.iter().any(|file| file.is_packed && (file.first, file.last) == (plain.first, plain.last))
        };
        let mut failed = Ok(());
        for plain in beside.rotated.iter().filter(|file| !file.is_packed && file.last <= settled) {
            let mut pause = self.pause();
            let done = if is_packed(plain) {
                pack::finish(&plain.path, &mut pause)
            } else if rotation.compress {
                // The packed file stands beside the other until it was read back.
                if free_bytes(self.floors.0.dir()).is_some_and(|free| free < plain.len) {
                    failed = Err(UpkeepError::NoRoom(plain.path.clone()));
                    continue;
                }
                pack::pack(&plain.path, &mut pause).map(drop)
            } else {
                Ok(())
            };
            match done {
                Err(PackError::Ended) => return Ok(()),
                // The others can be packed all the same.
                Err(error) if failed.is_ok() => failed = Err(error.into()),
                _ => {}
            }
        }
        failed
    }

    /// As long a rest as the work before it took: half of a processor is the most that it takes from others.
    fn pause(&self) -> impl FnMut() -> bool + use<> {
        let desk = Arc::clone(&self.desk);
        let mut since = Instant::now();
        move || {
            let is_ended = desk.pause(since.elapsed().min(REST));
            since = Instant::now();
            is_ended
        }
    }

    /// Sees to it that each file that does not change any more has its index.
    fn index(&self, rotation: &Rotation) -> Result<(), UpkeepError> {
        for file in self.beside()?.rotated {
            // One that is still to be packed gets it then.
            let is_final = file.is_packed || !rotation.compress;
            if is_final && file.last <= self.desk.settled() && !with_end(&file.path, INDEX).exists() {
                let mut pause = self.pause();
                let mut read = move |_| if pause() { Err(io::Error::other("ended")) } else { Ok(()) };
                if let Some(found) = TrailFile::of(&file.path).map_err(RetainError::from)? {
                    match read(0).and_then(|()| index::build_counted(&found, read)) {
                        // A search is making it.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        made => made.map_err(io(&file.path))?,
                    }
                }
            }
        }
        Ok(())
    }

    fn beside(&self) -> Result<Beside, UpkeepError> {
        Beside::of(self.desk.path()).map_err(io(directory(self.desk.path())))
    }
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> UpkeepError {
    let path = path.to_owned();
    move |source| UpkeepError::Io { path, source }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is longer than what is free on its disk; make room")]
    NoRoom(PathBuf),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Retain(#[from] RetainError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::sync::Mutex;

    use super::super::rotation::{PACKED, rotated_name};
    use super::*;
    use crate::chain::Hash;
    use crate::record;
    use crate::store::Bounds;

    /// Three rotated files of two records each and the current one; what is kept in the trail is noted.
    fn ground(dir: &Path, rotation: Rotation) -> (Arc<Desk>, Work, Arc<Mutex<Vec<String>>>) {
        let path = dir.join("audit.log");
        let mut hash = Hash::START;
        for first in [1, 3, 5, 7] {
            let mut lines = Vec::new();
            for seq in [first, first + 1] {
                hash = record::push_line(&mut lines, seq, &hash, b"\"type\":\"stop\",\"cause\":\"x\"}");
            }
            let name = if first == 7 { path.clone() } else { rotated_name(&path, first, first + 1) };
            fs::write(name, lines).unwrap();
        }
        let store = Arc::new(Store::open(&dir.join("state"), Bounds::default()).unwrap());
        let desk = Desk::new(&path, rotation, 0);
        let said = Arc::new(Mutex::new(Vec::new()));
        let cover = {
            let said = Arc::clone(&said);
            move |record| {
                said.lock().unwrap().push(String::from_utf8(record).unwrap());
                Ok(())
            }
        };
        let work = Work::new(&desk, &store, Box::new(cover));
        (desk, work, said)
    }

    fn names(desk: &Desk) -> Vec<(u64, bool)> {
        let rotated = Beside::of(desk.path()).unwrap().rotated;
        rotated.iter().map(|file| (file.first, file.is_packed)).collect()
    }

    #[test]
    fn what_the_store_may_still_look_for_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, mut work, said) = ground(dir.path(), Rotation { keep: Some(1), ..Rotation::default() });
        work.round();
        assert_eq!(names(&desk), [(1, false), (3, false), (5, false)]);
        assert!(said.lock().unwrap().is_empty());
        assert_eq!(desk.upkept().rotated_files, Some(3));
        desk.set_rotation(Rotation::default());
        desk.settle(5);
        work.round();
        assert_eq!(names(&desk), [(1, true), (3, true), (5, false)]);
    }

    #[test]
    fn nothing_goes_that_no_checkpoint_covers() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, mut work, said) = ground(dir.path(), Rotation { keep: Some(1), ..Rotation::default() });
        desk.settle(6);
        // The store says that the record is kept, but knows of no checkpoint.
        work.round();
        let files: Vec<_> = names(&desk).into_iter().map(|(first, _)| first).collect();
        assert_eq!(files, [1, 3, 5]);
        assert!(said.lock().unwrap()[0].contains("\"first\":1,\"last\":4,"), "{said:?}");
    }

    #[test]
    fn what_a_crash_left_is_put_right_and_what_differs_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, mut work, _) = ground(dir.path(), Rotation { compress: false, ..Rotation::default() });
        let [one, two] = [rotated_name(desk.path(), 1, 2), rotated_name(desk.path(), 3, 4)];
        let packed = |of: &Path| zstd::bulk::compress(&fs::read(of).unwrap(), 3).unwrap();
        fs::write(with_end(&one, PACKED), packed(&one)).unwrap();
        fs::write(with_end(&two, PACKED), packed(&one)).unwrap();
        desk.settle(6);
        work.round();
        assert_eq!(names(&desk), [(1, true), (3, false), (3, true), (5, false)]);
        assert!(work.said.values().any(|said| said.contains("look at both")), "{:?}", work.said);
    }
}
