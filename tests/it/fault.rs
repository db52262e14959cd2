//! Faults at chosen system calls of the daemon, by a library that is loaded before libc's (`tests/preload/fault.c`).
//!
//! Its promise: the daemon is the one that ships, without a branch for tests; what struck, and where, is known.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as BlockingCommand;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::daemon::eventually;

/// What happens at which call.
pub(crate) struct Fault {
    spec: String,
    /// What it is about, in one word.
    what: &'static str,
    dir: TempDir,
    is_delayed: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spec)
    }
}

impl Fault {
    /// At the `nth` call (from 1) that is one of `operations` (such as `write,sync,truncate,unlink`) on a path like
    /// `pattern`, the `action`: see `fault.c`.
    pub(crate) fn at(operations: &str, pattern: &str, nth: usize, action: &str) -> Self {
        Self::times(operations, pattern, nth, 1, action)
    }

    /// At `count` calls from the `nth` on.
    pub(crate) fn times(operations: &str, pattern: &str, nth: usize, count: usize, action: &str) -> Self {
        let spec = format!("{operations} {pattern} {nth} {count} {action}");
        Self { spec, what: "", dir: tempfile::tempdir().unwrap(), is_delayed: false }
    }

    /// With a word that tells its like.
    pub(crate) fn about(mut self, what: &'static str) -> Self {
        self.what = what;
        self
    }

    /// That word.
    pub(crate) fn what(&self) -> &'static str {
        self.what
    }

    /// Calls count only from [`Fault::begin`] on.
    pub(crate) fn delayed(mut self) -> Self {
        self.is_delayed = true;
        self
    }

    /// From now on, calls count.
    pub(crate) fn begin(&self) {
        fs::write(self.from(), "").unwrap();
    }

    fn from(&self) -> PathBuf {
        self.dir.path().join("from")
    }

    /// For a command that is about to be started.
    pub(crate) fn arm(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("FAULT", &self.spec).env("FAULT_NOTE", self.note());
        if self.is_delayed {
            command.env("FAULT_FROM", self.from());
        }
    }

    fn note(&self) -> PathBuf {
        self.dir.path().join("note")
    }

    /// Where it struck: each an operation and the last part of the path, such as `sync cadfd.db-wal`.
    pub(crate) fn struck(&self) -> Vec<String> {
        let note = fs::read_to_string(self.note()).unwrap_or_default();
        let short = |line: &str| {
            let (operation, path) = line.split_once(' ').unwrap();
            format!("{operation} {}", path.rsplit('/').next().unwrap())
        };
        note.lines().map(short).collect()
    }

    /// Waits until it struck.
    pub(crate) async fn wait_struck(&self) {
        eventually(|| self.note().exists().then_some(())).await;
    }
}

/// What can be changed and read while the daemon runs: its clock, how slow its disk is, and how many calls a [`Fault`]
/// could have chosen.
pub(crate) struct Control {
    file: File,
    path: PathBuf,
    _dir: TempDir,
}

impl Control {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(&[0; 24], 0).unwrap();
        Self { file, path, _dir: dir }
    }

    /// For a command that is about to be started.
    pub(crate) fn arm(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("FAULT_CONTROL", &self.path);
    }

    /// The daemon's clock is wrong by so many seconds from now on, also after its next start.
    pub(crate) fn set_clock(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Each sync takes so much longer from now on: in memory it would take no time at all.
    pub(crate) fn set_sync_delay(&self, delay: Duration) {
        let microseconds = i64::try_from(delay.as_micros()).unwrap();
        self.file.write_all_at(&microseconds.to_ne_bytes(), 16).unwrap();
    }

    /// The calls counted since this was last asked, of a daemon that has ended.
    pub(crate) fn take_calls(&self) -> usize {
        let mut calls = [0; 8];
        self.file.read_exact_at(&mut calls, 8).unwrap();
        self.file.write_all_at(&[0; 8], 8).unwrap();
        usize::try_from(i64::from_ne_bytes(calls)).unwrap()
    }
}

/// Built once for all tests of this process.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fault.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preload/fault.c");
        let compiled =
            BlockingCommand::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&path).arg(source).output();
        let compiled = compiled.expect("cc is missing: install gcc");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        (dir, path)
    });
    path
}
