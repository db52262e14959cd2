//! The audit file and standard output, each behind a thread that follows the store.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::file::{AuditError, AuditFile};
use super::follow::{CHUNKS, CarryError, Follow, Health, Target};
use super::to_file::ToFile;
use crate::store::{Follower, OpenError, Reader, Store};

/// Where the lines of `log` actions go.
pub type Output = Box<dyn Write + Send>;

/// The running threads.
#[derive(Debug)]
pub struct Followers {
    reopen: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
    health: Arc<Health>,
    file: Option<JoinHandle<()>>,
    output: Option<JoinHandle<()>>,
}

impl Followers {
    /// Starts both: `file` goes on after record `last`, and is rotated as `desk` says; `output` after what the store
    /// says.
    ///
    /// # Errors
    /// When the store cannot be opened once more, or a thread not started.
    pub fn start(
        store: &Arc<Store>,
        desk: &Arc<Desk>,
        file: AuditFile,
        last: u64,
        output: Output,
    ) -> Result<Self, OpenError> {
        let (reopen, closing) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let health = Arc::new(Health::of_all());
        let log_seq = store.position().log_seq;
        let to_file = ToFile::new(store, desk, file, &reopen);
        let file = Follow::new(store, last, &closing, &health)?.spawn("audit-file", to_file)?;
        let output = Follow::new(store, log_seq, &closing, &health)?.spawn("audit-log", ToOutput(output))?;
        Ok(Self { reopen, closing, health, file: Some(file), output: Some(output) })
    }

    /// How they are, also when this handle is gone.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Opens the audit file anew before the next record, as after SIGHUP.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Lets both write what is committed, and ends them; waits at most `limit`. False when something was left, which
    /// is written after the next start.
    pub fn finish(mut self, store: &Store, limit: Duration) -> bool {
        self.closing.store(true, Ordering::Release);
        store.finish_readers();
        let deadline = Instant::now() + limit;
        while self.health.is_any_left() && Instant::now() < deadline {
            #[expect(clippy::disallowed_methods, reason = "at the very end: a blocked output cannot be waited for")]
            std::thread::sleep(Duration::from_millis(5));
        }
        // A thread that has said that it is done may be a moment from its end.
        let done = !self.health.is_any_left();
        let threads = [self.file.take(), self.output.take()];
        threads.into_iter().flatten().all(|thread| (done || thread.is_finished()) && thread.join().is_ok())
    }
}

struct ToOutput(Output);

impl Target for ToOutput {
    const NAME: &'static str = "standard output";

    fn fails(health: &Health) -> &AtomicBool {
        &health.output_fails
    }

    fn prepare(&mut self) -> Result<(), AuditError> {
        Ok(())
    }

    fn carry(&mut self, reader: &Reader, after: u64) -> Result<Option<u64>, CarryError> {
        let mut chunks = reader.after(after)?;
        chunks.truncate(CHUNKS);
        let Some(last) = chunks.last().map(|chunk| chunk.last) else { return Ok(None) };
        for chunk in chunks {
            self.0.write_all(chunk.log.as_bytes())?;
        }
        self.0.flush()?;
        Ok(Some(last))
    }

    fn follower(&self) -> Option<Follower> {
        Some(Follower::Log)
    }
}
