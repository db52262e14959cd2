//! A thread that carries committed records out of the store, wherever they go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::retry::Schedule;
use crate::store::{Follower, OpenError, Reader, Store, StoreError};

use super::file::AuditError;

/// Chunks written with one sync: a chunk is what was committed together, up to a quarter of a megabyte.
pub(super) const CHUNKS: usize = 8;

/// How long a follower sleeps when nothing comes; also how soon a moved file is noticed.
const IDLE: Duration = Duration::from_millis(500);

/// Between attempts while the disk or standard output takes nothing.
const RETRY: Schedule = Schedule { first: Duration::from_millis(250), max: Duration::from_secs(10) };

/// The audit file's and standard output's.
const THREADS: u32 = 2;

/// Whether the threads are there, and whether they can write.
#[derive(Debug, Default)]
pub struct Health {
    running: AtomicU32,
    pub(super) file_fails: AtomicBool,
    pub(super) output_fails: AtomicBool,
}

impl Health {
    /// Of both threads, before the first is started.
    pub(super) fn of_all() -> Self {
        Self { running: AtomicU32::new(THREADS), ..Self::default() }
    }

    pub(super) fn is_any_left(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    /// Whether both threads are there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.running.load(Ordering::Acquire) == THREADS
    }

    /// Whether the audit file cannot be written.
    #[must_use]
    pub fn file_fails(&self) -> bool {
        self.file_fails.load(Ordering::Relaxed)
    }

    /// Whether standard output cannot be written.
    #[must_use]
    pub fn output_fails(&self) -> bool {
        self.output_fails.load(Ordering::Relaxed)
    }
}

/// One thread of [`Health::running`], until it ends, however it does.
struct Running(Arc<Health>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Release);
    }
}

/// Where records or lines go.
pub(super) trait Target: Send + 'static {
    /// What it is called in the log.
    const NAME: &'static str;
    /// Where it shows that it cannot be written.
    fn fails(health: &Health) -> &AtomicBool;
    /// Called when nothing is to be written, before each batch, and after a failure.
    fn prepare(&mut self) -> Result<(), AuditError>;
    /// Writes what follows record `after`; says up to which record, `None` where there is nothing.
    fn carry(&mut self, reader: &Reader, after: u64) -> Result<Option<u64>, CarryError>;
    /// What to tell the store.
    fn follower(&self) -> Option<Follower>;
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CarryError {
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("{0}")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) struct Follow {
    store: Arc<Store>,
    reader: Reader,
    after: u64,
    closing: Arc<AtomicBool>,
    health: Arc<Health>,
    failures: u32,
    said: String,
}

impl Follow {
    pub(super) fn new(
        store: &Arc<Store>,
        after: u64,
        closing: &Arc<AtomicBool>,
        health: &Arc<Health>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            store: Arc::clone(store),
            reader: store.reader()?,
            after,
            closing: Arc::clone(closing),
            health: Arc::clone(health),
            failures: 0,
            said: String::new(),
        })
    }

    pub(super) fn spawn(mut self, name: &str, mut target: impl Target) -> Result<JoinHandle<()>, OpenError> {
        let dir = self.store.dir().to_owned();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _running = Running(Arc::clone(&self.health));
            self.run(&mut target);
        });
        thread.map_err(|source| OpenError::Io { path: dir, source })
    }

    fn run<T: Target>(&mut self, target: &mut T) {
        // Tell the store at once what the file itself told us.
        self.mark(target);
        loop {
            match self.step(target) {
                Ok(true) => self.recovered::<T>(),
                Ok(false) => {
                    self.recovered::<T>();
                    if !self.reader.wait(IDLE) {
                        return;
                    }
                }
                Err(error) => {
                    self.failed::<T>(&error.to_string());
                    if self.closing.load(Ordering::Acquire) {
                        tracing::error!(
                            target = T::NAME,
                            "stopping with records unwritten; they are written after the next start"
                        );
                        return;
                    }
                    let pause = RETRY.delay(self.failures, rand::random());
                    let until = Instant::now() + pause;
                    while Instant::now() < until && !self.closing.load(Ordering::Acquire) {
                        #[expect(clippy::disallowed_methods, reason = "a thread of its own, between attempts")]
                        std::thread::sleep(pause.min(Duration::from_millis(50)));
                    }
                }
            }
        }
    }

    fn step<T: Target>(&mut self, target: &mut T) -> Result<bool, CarryError> {
        target.prepare()?;
        let Some(last) = target.carry(&self.reader, self.after)? else { return Ok(false) };
        self.after = last;
        self.mark(target);
        Ok(true)
    }

    fn mark<T: Target>(&self, target: &T) {
        if let Some(follower) = target.follower() {
            self.store.written(follower, self.after);
        }
    }

    /// Said when it begins and when its cause changes, not at each attempt.
    fn failed<T: Target>(&mut self, text: &str) {
        self.failures += 1;
        T::fails(&self.health).store(true, Ordering::Relaxed);
        if self.said != text {
            tracing::error!(
                target = T::NAME,
                "cannot write the {}: {text}; records are kept in the store and written when it works again",
                T::NAME
            );
            text.clone_into(&mut self.said);
        }
    }

    fn recovered<T: Target>(&mut self) {
        if self.failures > 0 {
            tracing::info!(target = T::NAME, attempts = self.failures, "the {} is written again", T::NAME);
            self.failures = 0;
            T::fails(&self.health).store(false, Ordering::Relaxed);
            self.said.clear();
        }
    }
}
