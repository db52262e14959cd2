//! What the thread that writes the audit file and the one that keeps the rotated files tell each other, and are told.
//!
//! Its promise: nobody who asks waits for a disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::rotation::Rotation;

/// What is known of the files and their disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkept {
    /// Rotated files of our own; `None` until they were looked at.
    pub rotated_files: Option<u64>,
    /// Their bytes on disk.
    pub rotated_bytes: u64,
    /// Free bytes where the trail is, for a user who is not root.
    pub trail_free: Option<u64>,
    /// Free bytes where the state is.
    pub state_free: Option<u64>,
}

/// Shared by the two threads and those who look.
#[derive(Debug)]
pub struct Desk {
    path: PathBuf,
    rotation: ArcSwap<Rotation>,
    /// Rotated files up to this record are not needed any more to find out what was written.
    settled: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How often there was something to do.
    calls: u64,
    closing: bool,
    upkept: Upkept,
}

impl Desk {
    /// For the audit file `path`; `settled` is the last record that the store knew at its opening to be in a file.
    #[must_use]
    pub fn new(path: &Path, rotation: Rotation, settled: u64) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            rotation: ArcSwap::from_pointee(rotation),
            settled: AtomicU64::new(settled),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// The audit file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in force.
    #[must_use]
    pub fn rotation(&self) -> Arc<Rotation> {
        self.rotation.load_full()
    }

    /// Puts other settings in force.
    pub fn set_rotation(&self, rotation: Rotation) {
        self.rotation.store(Arc::new(rotation));
        self.call();
    }

    /// What was last seen.
    #[must_use]
    pub fn upkept(&self) -> Upkept {
        self.state().upkept
    }

    pub(super) fn show(&self, change: impl FnOnce(&mut Upkept)) {
        change(&mut self.state().upkept);
    }

    /// The store knows, on disk, that all records up to this one are written, and that a later file is being written.
    pub(super) fn settle(&self, seq: u64) {
        self.settled.fetch_max(seq, Ordering::AcqRel);
        self.call();
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// There is something to do.
    fn call(&self) {
        self.state().calls += 1;
        self.changed.notify_all();
    }

    /// How often there was something to do.
    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The upkeep is to end.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Waits until there is something to do that was not counted in `calls`, it is to end, or the time is over.
    pub(super) fn wait(&self, calls: u64, time: Duration) {
        let idle = |state: &mut State| !state.closing && state.calls == calls;
        let _waited = self.changed.wait_timeout_while(self.state(), time, idle);
    }

    /// Waits so long, unless it is to end; says whether it is.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), time, |state| !state.closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
