//! Who empties the queue: a bare consumer, cadfd, the usual consumer. Each is a process of its own.
//!
//! Its promise: the clock runs from when it says that it consumes until its work is done: for cadfd, until the audit
//! file has the last record; for the others, until the last acknowledgement was sent.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{memory, processor_time};
use crate::queue::{QUEUE, Queue};

/// The daemon, built with the same profile as this.
const CADFD: &str = env!("CARGO_BIN_EXE_cadfd");

/// The usual consumer.
const LISTENER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/oslo/listener.py");

/// Between looks at a file.
const LOOK: Duration = Duration::from_millis(3);

/// After so long without its end a contestant has failed.
const PATIENCE: Duration = Duration::from_mins(10);

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) enum Contestant {
    /// lapin, acknowledging and nothing else.
    Bare,
    /// `cadfd run` with these rules and these further settings.
    Cadfd { rules: String, settings: String },
    /// oslo.messaging's notification listener, in the virtual environment that has this interpreter.
    Oslo { python: PathBuf },
}

/// What emptying the queue cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) messages: usize,
    pub(crate) time: Duration,
    /// The process's own.
    pub(crate) processor: Duration,
    /// The most it ever had, in bytes.
    pub(crate) memory: u64,
}

impl Cost {
    pub(crate) fn per_second(&self) -> f64 {
        count(self.messages) / self.time.as_secs_f64()
    }

    /// In microseconds.
    pub(crate) fn processor_each(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / count(self.messages)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of messages")]
pub(crate) fn count(of: usize) -> f64 {
    of as f64
}

/// A contestant's process and its folder.
pub(crate) struct Running {
    child: Child,
    dir: TempDir,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cadfd,
    Other,
}

impl Contestant {
    /// Starts it; `messages` is when the others than cadfd have done their work.
    pub(crate) fn start(&self, queue: &Queue, messages: usize) -> anyhow::Result<Running> {
        let dir = tempfile::Builder::new().prefix("cadfd-bench-").tempdir()?;
        let (vhost, user) = (&queue.vhost.name, queue.vhost.user("keystone"));
        let address = format!("{user}:k3ystone@127.0.0.1:{}/{vhost}", queue.vhost.broker.port);
        let messages = messages.to_string();
        let mut command = match self {
            Self::Bare => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["bare", &format!("amqp://{address}"), QUEUE, &messages]);
                command
            }
            Self::Oslo { python } => {
                let mut command = Command::new(python);
                command.args([LISTENER, &format!("rabbit://{address}"), QUEUE, &messages]);
                command
            }
            Self::Cadfd { rules, settings } => {
                write_settings(dir.path(), &queue.vhost.transport_url(), rules, settings)?;
                let mut command = Command::new(CADFD);
                command.arg("--config").arg(dir.path().join("cadfd.toml")).arg("run");
                // As packaging/cadfd.service and docker/Dockerfile start it.
                command.env("MALLOC_ARENA_MAX", "2");
                command
            }
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CADFD_")) {
            command.env_remove(name);
        }
        let [out, log] = ["out", "log"].map(|name| File::create(dir.path().join(name)));
        let child = command.stdin(Stdio::null()).stdout(out?).stderr(log?).spawn().context("cannot start")?;
        let kind = if matches!(self, Self::Cadfd { .. }) { Kind::Cadfd } else { Kind::Other };
        Ok(Running { child, dir, kind })
    }
}

fn write_settings(dir: &Path, url: &str, rules: &str, settings: &str) -> anyhow::Result<()> {
    let text = format!(
        "[rabbitmq]\ntransport_url = {url:?}\n[admin]\nlisten = \"off\"\n[state]\ndir = \"{0}/state\"\n[audit]\npath = \"{0}/audit.log\"\n{settings}\n",
        dir.display()
    );
    fs::write(dir.join("cadfd.toml"), text)?;
    fs::create_dir(dir.join("rules.d"))?;
    Ok(fs::write(dir.join("rules.d/bench.toml"), rules)?)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Until it says that it consumes.
    pub(crate) fn wait_consuming(&mut self) -> anyhow::Result<()> {
        let name = if self.kind == Kind::Cadfd { "log" } else { "out" };
        self.wait(|dir| Ok(fs::read_to_string(dir.join(name))?.contains("consuming")))
    }

    /// From now on until so many messages are done.
    pub(crate) fn measure(&mut self, messages: usize) -> anyhow::Result<Cost> {
        let (begin, before) = (Instant::now(), self.processor_time()?);
        self.wait_done(messages)?;
        let time = begin.elapsed();
        let processor = self.processor_time()?.saturating_sub(before);
        Ok(Cost { messages, time, processor, memory: memory(self.child.id(), "VmHWM")? })
    }

    /// Until so many messages are done.
    pub(crate) fn wait_done(&mut self, messages: usize) -> anyhow::Result<()> {
        if self.kind == Kind::Cadfd {
            // The record of the start comes before them.
            let last = u64::try_from(messages)? + 1;
            self.wait(|dir| Ok(last_record(&dir.join("audit.log"))?.is_some_and(|seq| seq >= last)))
        } else {
            self.wait(|dir| Ok(fs::read_to_string(dir.join("out"))?.contains("done")))
        }
    }

    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        processor_time(self.child.id())
    }

    /// What it has, in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        memory(self.child.id(), "VmRSS")
    }

    /// The most it ever had, in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        memory(self.child.id(), "VmHWM")
    }

    /// SIGTERM, and its end in order; says what it printed on its log.
    pub(crate) fn stop(mut self) -> anyhow::Result<String> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        let log = self.log();
        ensure!(self.kind == Kind::Other || status.success(), "it ended with {status}\n{log}");
        Ok(log)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn wait(&mut self, so: impl Fn(&Path) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !so(self.dir.path()).unwrap_or(false) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended early: {status}\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "waited {PATIENCE:?}\n{}", self.log());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// The number of a file's last whole line.
fn last_record(path: &Path) -> anyhow::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(16 << 10)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Ok(tail[..whole].split(|byte| *byte == b'\n').rev().find_map(cadfd::record::seq_of))
}
