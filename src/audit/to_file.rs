//! The way of records into the audit file, and its rotation.
//!
//! Its promise: each record is written once, whatever file it goes to. A new file is begun between two records, and
//! before the first is written to it, the store knows which file that is; what keeps a file from being rotated keeps no
//! record from being written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::desk::Desk;
use super::file::{AuditError, AuditFile, RotateError};
use super::follow::{CHUNKS, CarryError, Health, Target};
use crate::store::{Follower, Position, Reader, Store, StoreError};

/// Between attempts to rotate a file that cannot be.
const RETRY: Duration = Duration::from_secs(15);

pub(super) struct ToFile {
    desk: Arc<Desk>,
    store: Arc<Store>,
    /// The file that the store knows: whoever starts after a crash looks for it, and for no other.
    known: Option<(u64, u64)>,
    /// A file to which an append failed: whole lines may be left in it, also when it was moved since.
    unsure: Option<(u64, u64)>,
    /// The last record that was found in such a file, or is in one that was rotated.
    found: u64,
    file: Option<AuditFile>,
    reopen: Arc<AtomicBool>,
    /// Why it could not be rotated, and when that was last tried.
    trouble: Option<(String, Instant)>,
}

impl ToFile {
    pub(super) fn new(store: &Arc<Store>, desk: &Arc<Desk>, file: AuditFile, reopen: &Arc<AtomicBool>) -> Self {
        let (store, desk, reopen) = (Arc::clone(store), Arc::clone(desk), Arc::clone(reopen));
        let known = store.position().file;
        Self { desk, store, known, unsure: None, found: 0, file: Some(file), reopen, trouble: None }
    }

    /// Begins a new file where that is due. `after` is the last record written.
    fn rotate(&mut self, after: u64) -> Result<(), CarryError> {
        let Some(file) = &self.file else { return Ok(()) };
        let is_tried = self.trouble.as_ref().is_some_and(|(_, tried)| tried.elapsed() < RETRY);
        if is_tried || !file.is_due(&self.desk.rotation(), Timestamp::now()) {
            return Ok(());
        }
        match file.move_away() {
            Ok(to) => tracing::info!(audit.path = %to.display(), "rotated the audit file"),
            // It is seen before the next record.
            Err(RotateError::Moved(_)) => return Ok(()),
            Err(error) => {
                self.cannot_rotate(&error);
                return Ok(());
            }
        }
        self.trouble = None;
        // The next file does not tell, and nobody else may know it yet.
        self.found = self.found.max(after);
        self.file = None;
        let file = AuditFile::open(self.desk.path(), None)?;
        let id = file.id();
        self.file = Some(file);
        self.announce(id, after)?;
        Ok(())
    }

    /// Said when it begins and when its cause changes, not at each attempt.
    fn cannot_rotate(&mut self, error: &RotateError) {
        let text = error.to_string();
        if self.trouble.as_ref().is_none_or(|(said, _)| *said != text) {
            tracing::warn!("cannot rotate the audit file: {text}; records go on into the old one");
        }
        self.trouble = Some((text, Instant::now()));
    }

    /// Lets the store know which file is written, where it does not: then those before it are needed no more to find out
    /// what was written.
    fn announce(&mut self, (dev, ino): (u64, u64), after: u64) -> Result<(), StoreError> {
        if self.known != Some((dev, ino)) {
            self.store.will_write(Follower::File { dev, ino }, after)?;
            self.known = Some((dev, ino));
            self.desk.settle(after);
        }
        Ok(())
    }
}

impl Target for ToFile {
    const NAME: &'static str = "audit file";

    fn fails(health: &Health) -> &AtomicBool {
        &health.file_fails
    }

    fn prepare(&mut self) -> Result<(), AuditError> {
        let asked = self.reopen.swap(false, Ordering::AcqRel);
        if asked || self.file.as_ref().is_none_or(AuditFile::is_moved) {
            // The old one first: its lock would refuse us where it was not moved after all.
            self.file = None;
            let file = AuditFile::open(self.desk.path(), None)?;
            let position = Position { file: self.unsure, file_seq: self.found, ..Position::default() };
            self.found = file.last_written(position, None)?.seq;
            self.unsure = None;
            self.file = Some(file);
        }
        Ok(())
    }

    fn carry(&mut self, reader: &Reader, after: u64) -> Result<Option<u64>, CarryError> {
        // What a failed append left half written was repaired by `prepare`; what it left whole must not come twice.
        let written = self.file.as_ref().and_then(AuditFile::last).unwrap_or(0);
        let after = after.max(written).max(self.found);
        self.rotate(after)?;
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("the file is not open"))?;
        let id = file.id();
        let mut chunks = reader.after(after)?;
        chunks.truncate(CHUNKS);
        let Some((first, last)) = chunks.first().zip(chunks.last()).map(|(first, last)| (first.first, last.last))
        else {
            return Ok(None);
        };
        self.announce(id, after)?;
        // Only the first can have begun before.
        let lines = chunks.iter().map(|chunk| chunk.lines_after(after));
        let Some(file) = &mut self.file else { return Ok(None) };
        match file.append(lines, (first.max(after + 1), last)) {
            Ok(()) => Ok(Some(last)),
            Err(error) => {
                self.unsure = self.file.take().map(|file| file.id());
                Err(error.into())
            }
        }
    }

    fn follower(&self) -> Option<Follower> {
        self.file.as_ref().map(|file| Follower::File { dev: file.id().0, ino: file.id().1 })
    }
}
