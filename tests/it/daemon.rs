//! The real daemon, as a process of its own, in a folder of its own.
//!
//! Its promise: what it says and writes can be waited for; it is gone when the handle is, whatever the test did.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use cadfd::chain::Hash;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::broker::Vhost;
use crate::fault::Fault;
use crate::node::{last_lines, show};

/// The daemon under test; `FAULTS_BINARY` names another build of it (`make faults-prove`).
fn program() -> OsString {
    std::env::var_os("FAULTS_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_cadfd").into())
}

/// Between looks at something that cannot tell of its change, such as a file.
const LOOK: Duration = Duration::from_millis(10);

/// A place for a daemon: settings, rules, state, trail. It outlives the daemon's process.
pub(crate) struct Site {
    dir: TempDir,
    state_dir: PathBuf,
    audit_path: PathBuf,
    settings: String,
    rules: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Site {
    /// Settings for a virtual host's queue `cadfd.info`, as a user who may do everything.
    pub(crate) fn new(vhost: &Vhost) -> Self {
        Self::with_url(&vhost.transport_url())
    }

    /// Settings with this transport URL; waits are short, so that tests are.
    pub(crate) fn with_url(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/rules.d")).unwrap();
        let settings = format!(
            "[rabbitmq]\ntransport_url = {url:?}\nreconnect_first = \"50ms\"\nreconnect_max = \"500ms\"\n\
             [admin]\nlisten = \"off\"\n[state]\ndir = \"{0}/state\"\n[audit]\npath = \"{0}/log/audit.log\"\n",
            dir.path().display(),
        );
        let (state_dir, audit_path) = (dir.path().join("state"), dir.path().join("log/audit.log"));
        Self { dir, state_dir, audit_path, settings, rules: Vec::new(), variables: Vec::new() }
    }

    /// Further settings, as TOML tables.
    pub(crate) fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self.settings.push('\n');
        self
    }

    /// A further file of rules.
    pub(crate) fn rules(mut self, toml: &str) -> Self {
        self.rules.push(toml.to_owned());
        self
    }

    /// A variable of the daemon's environment.
    pub(crate) fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Replaces the rules that were written so far, as an editor would; a daemon that runs reads them on SIGHUP.
    pub(crate) fn rewrite_rules(&mut self, rules: &[&str]) {
        self.rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
        self.write();
    }

    /// Replaces a text in the settings.
    pub(crate) fn rewrite_settings(&mut self, from: &str, to: &str) {
        assert!(self.settings.contains(from), "{from} is not in the settings");
        self.settings = self.settings.replace(from, to);
        self.write();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone()
    }

    pub(crate) fn audit_path(&self) -> PathBuf {
        self.audit_path.clone()
    }

    /// Puts the store elsewhere.
    pub(crate) fn put_state(&mut self, dir: &Path) {
        let old = std::mem::replace(&mut self.state_dir, dir.to_owned());
        self.rewrite_settings(&format!("dir = \"{}\"", old.display()), &format!("dir = \"{}\"", dir.display()));
    }

    /// Puts the audit file elsewhere.
    pub(crate) fn put_audit(&mut self, path: &Path) {
        let old = std::mem::replace(&mut self.audit_path, path.to_owned());
        self.rewrite_settings(&format!("path = \"{}\"", old.display()), &format!("path = \"{}\"", path.display()));
    }

    fn write(&self) {
        let rules_dir = self.path("etc/rules.d");
        fs::remove_dir_all(&rules_dir).unwrap();
        fs::create_dir(&rules_dir).unwrap();
        fs::write(self.path("etc/cadfd.toml"), &self.settings).unwrap();
        for (at, rules) in self.rules.iter().enumerate() {
            fs::write(rules_dir.join(format!("{at:02}.toml")), rules).unwrap();
        }
    }

    /// A command of the program, ready to run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.write();
        let mut command = Command::new(program());
        command.arg("--config").arg(self.path("etc/cadfd.toml")).args(args).kill_on_drop(true);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts `cadfd run`.
    pub(crate) fn start(&self) -> Daemon {
        self.start_as(|_| {})
    }

    /// Starts it under a fault.
    pub(crate) fn start_under(&self, fault: &Fault) -> Daemon {
        self.start_as(|command| fault.arm(command))
    }

    /// Starts it with a command that was changed; a standard output that is not a pipe of ours is not collected.
    pub(crate) fn start_as(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = self.command(&["run"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        // The command holds our ends of what the daemon was given.
        drop(command);
        let out = child.stdout.take().map_or_else(|| watch::channel(String::new()).1, collect);
        let log = collect(child.stderr.take().unwrap());
        Daemon { child, out, log }
    }

    /// Starts it and waits until it consumes.
    pub(crate) async fn consuming(&self) -> Daemon {
        let mut daemon = self.start();
        daemon.wait_log("consuming").await;
        daemon
    }

    /// Runs another command of the program to its end.
    pub(crate) async fn cadfd(&self, args: &[&str]) -> Output {
        self.command(args).output().await.unwrap()
    }

    /// Its standard output, when it succeeded.
    pub(crate) async fn cadfd_ok(&self, args: &[&str]) -> String {
        let output = self.cadfd(args).await;
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "cadfd {args:?}: {}\n{out}\n{err}", output.status);
        out
    }

    /// The trail's records, of the file as it is now and of those that cadfd itself rotated it to; what is torn is left
    /// out.
    pub(crate) fn trail(&self) -> Vec<Value> {
        loop {
            let (rotated, id) = (rotated(&self.audit_path()), file_id(&self.audit_path()));
            let mut files: Vec<_> = rotated.iter().map(|path| records(path)).collect();
            files.push(trail(&self.audit_path()));
            // What was rotated, packed or removed meanwhile may have been read twice, or not at all.
            if rotated == self::rotated(&self.audit_path()) && id == file_id(&self.audit_path()) {
                return files.concat();
            }
        }
    }

    /// Waits until the daemon has nothing more to write unless something comes in.
    pub(crate) async fn wait_settled(&self) {
        eventually(|| (self.ask("SELECT count(*) FROM trail") == Some(0)).then_some(())).await;
    }

    /// Messages that the store remembers.
    pub(crate) async fn known(&self) -> u64 {
        eventually(|| self.ask("SELECT coalesce(sum(length(ids)), 0) / 16 FROM seen")).await
    }

    /// A number from the store, once it is there.
    fn ask(&self, query: &str) -> Option<u64> {
        let path = self.state_dir().join("cadfd.db");
        let store = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
        store.query_row(query, [], |row| row.get(0)).ok()
    }

    /// Waits until the trail's records are as wanted.
    pub(crate) async fn wait_trail(&self, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        eventually(|| {
            let trail = self.trail();
            wanted(&trail).then_some(trail)
        })
        .await
    }

    /// Waits until the trail holds events with all of these message ids.
    pub(crate) async fn wait_events(&self, ids: &[String]) -> Vec<Value> {
        self.wait_trail(|trail| {
            let known = message_ids(trail);
            ids.iter().all(|id| known.contains(id))
        })
        .await
    }
}

fn file_id(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.ino())
}

/// The files that cadfd itself rotated the audit file to, in order; of one that is packed and not yet removed, both count
/// as one.
pub(crate) fn rotated(path: &Path) -> Vec<PathBuf> {
    let name = format!("{}.", path.file_name().unwrap().to_str().unwrap());
    let Ok(entries) = fs::read_dir(path.parent().unwrap()) else { return Vec::new() };
    let entries = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| {
            let found = path.file_name().unwrap().to_str().unwrap();
            let end = found.strip_prefix(&name).unwrap_or_default();
            let end = end.strip_suffix(".zst").unwrap_or(end);
            end.len() == 25 && end.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
        .collect();
    found.sort();
    found.dedup_by(|packed, plain| packed.with_extension("") == *plain && packed.extension().unwrap() == "zst");
    found
}

/// The records of a file, packed or not; none where it is gone.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    let bytes = fs::read(path).unwrap_or_default();
    let is_packed = path.extension().is_some_and(|end| end == "zst");
    of_lines(&if is_packed { zstd::decode_all(&*bytes).unwrap() } else { bytes })
}

/// The records of one audit file.
pub(crate) fn trail(path: &Path) -> Vec<Value> {
    of_lines(&fs::read(path).unwrap_or_default())
}

fn of_lines(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines: Vec<_> = bytes[..whole].split_inclusive(|byte| *byte == b'\n').collect();
    let records: Vec<Value> = lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    for (line, next) in lines.iter().zip(records.iter().skip(1)) {
        let hash = Hash::of(line).to_string();
        assert_eq!(next["prev"].as_str(), Some(&*hash), "what record {} carries", next["seq"]);
    }
    records
}

/// Records of one type.
pub(crate) fn of_type<'a>(trail: &'a [Value], kind: &str) -> Vec<&'a Value> {
    trail.iter().filter(|record| record["type"] == kind).collect()
}

/// The message ids of a trail's events, in its order.
pub(crate) fn message_ids(trail: &[Value]) -> Vec<String> {
    of_type(trail, "event").iter().map(|record| record["message_id"].as_str().unwrap().to_owned()).collect()
}

/// The trail is whole: numbered without a gap from 1, and each of these messages stands there exactly once.
pub(crate) fn assert_whole(trail: &[Value], ids: &[String]) {
    let numbers: Vec<_> = trail.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=trail.len() as u64).collect::<Vec<_>>(), "numbers");
    let known = message_ids(trail);
    for id in ids {
        assert_eq!(known.iter().filter(|known| *known == id).count(), 1, "{id}");
    }
    assert_eq!(known.len(), ids.len(), "messages that nobody published");
}

/// Waits until `look` finds something. The test's own limit ends it.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A running `cadfd run`.
pub(crate) struct Daemon {
    child: Child,
    out: watch::Receiver<String>,
    log: watch::Receiver<String>,
}

impl Daemon {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().expect("it ended").try_into().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Of all processors, since its start.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid().as_raw_nonzero())).unwrap_or_default();
        // After the name in parentheses, from the third field on: proc_pid_stat(5).
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        // In USER_HZ, of which there are a hundred a second wherever Debian runs.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; waits for its end in order.
    pub(crate) async fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
        self.log()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// It answers, and has not ended.
    pub(crate) async fn still_running(&mut self) {
        let reports = self.log().matches("intake: ").count();
        self.signal(Signal::USR1);
        self.wait_log_times("intake: ", reports + 1).await;
    }

    /// SIGTERM, unless it has ended already.
    pub(crate) fn terminate(&self) {
        if let Some(id) = self.child.id() {
            let pid = Pid::from_raw(id.try_into().unwrap()).unwrap();
            // It may end on its own at this moment; it stays ours until it is waited for.
            kill_process(pid, Signal::TERM).unwrap();
        }
    }

    /// SIGTERM; after its end in order, all that it wrote to standard output.
    pub(crate) async fn stop_and_out(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.ended().await;
        assert!(status.success(), "{status}\n{}", self.log());
        self.out_to_end().await
    }

    /// All that it said, after its end.
    pub(crate) async fn log_to_end(&mut self) -> String {
        while self.log.changed().await.is_ok() {}
        self.log()
    }

    /// All that it wrote to standard output, after its end.
    pub(crate) async fn out_to_end(&mut self) -> String {
        // An error says that whoever collects has reached the end.
        while self.out.changed().await.is_ok() {}
        self.out()
    }

    /// What it said so far, on standard error.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// What its rules wrote so far, on standard output.
    pub(crate) fn out(&self) -> String {
        self.out.borrow().clone()
    }

    /// Waits until its log holds a text.
    pub(crate) async fn wait_log(&mut self, text: &str) {
        let found = self.log.wait_for(|log| log.contains(text)).await.is_ok();
        assert!(found, "it ended without {text:?}: {}\n{}", self.ended().await, self.log());
    }

    /// Waits until its log holds a text so many times.
    pub(crate) async fn wait_log_times(&mut self, text: &str, times: usize) {
        wait(&mut self.log, |log| log.matches(text).count() >= times, text).await;
    }

    /// Waits until its standard output is as wanted.
    pub(crate) async fn wait_out(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        wait(&mut self.out, wanted, "the wanted output").await;
        self.out()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        show(&format!("the daemon's log ends:\n{}", last_lines(&self.log.borrow())));
    }
}

async fn wait(text: &mut watch::Receiver<String>, wanted: impl Fn(&str) -> bool, what: &str) {
    let ended = text.wait_for(|text| wanted(text)).await.is_err();
    assert!(!ended, "it ended without {what}:\n{}", text.borrow().clone());
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (text, receiver) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            text.send_modify(|text| {
                text.push_str(&String::from_utf8_lossy(&line));
                text.push('\n');
            });
        }
    });
    receiver
}
