//! Files and folders: who may read the secrets, and whether cadfd may write where it has to.
//!
//! Its promise: it looks, and changes nothing; no secret is read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Access, access};

use crate::audit;
use crate::config::Config;
use crate::finding::Finding;
use crate::store;

/// Everybody's right to read.
const READ: u32 = 0o004;
/// Everybody's right to go through a folder.
const PASS: u32 = 0o001;
/// Everybody's right to write.
const WRITE: u32 = 0o002;

/// Whether others can read what is secret.
pub(super) fn secrets(files: &[(String, PathBuf)]) -> Vec<Finding> {
    let open = files.iter().filter(|(_, path)| mode(path).is_some_and(|mode| mode & READ != 0) && is_on_open_way(path));
    let mut rows: Vec<_> = open
        .map(|(key, path)| {
            let tried = format!("files: {}", path.display());
            let found = format!("everybody on this machine can read it, and it holds a secret ({key})");
            Finding::warning(tried, found, format!("chmod o= {}", quoted(path)))
        })
        .collect();
    rows.extend(files.iter().filter(|(_, path)| mode(path).is_none()).map(|(key, path)| {
        Finding::untried(format!("files: {}", path.display()), format!("this user cannot look at it ({key})"))
    }));
    if rows.is_empty() {
        rows.push(Finding::ok("files: secrets", format!("files: {}; nobody else can read them", files.len())));
    }
    rows
}

/// Whether others can change settings, and whether state and trail can be written.
pub(super) fn places(settings: &Path, config: &Config) -> Vec<Finding> {
    let mut rows = Vec::new();
    let folder = settings.parent().unwrap_or(Path::new("."));
    for path in [folder, settings] {
        if mode(path).is_some_and(|mode| mode & WRITE != 0) && is_on_open_way(path) {
            let tried = format!("files: {}", path.display());
            let found = "everybody on this machine can change what cadfd does";
            rows.push(Finding::warning(tried, found, format!("chmod o-w {}", quoted(path))));
        }
    }
    let bounds = &config.bounds;
    let is_counting = config.rules.rules().iter().any(|rule| rule.enabled && rule.correlation.is_some());
    let uncounted = if is_counting { store::UNCOUNTED_BYTES } else { 0 };
    let needed = bounds.max_bytes + bounds.quarantine_max_bytes + bounds.backlog_max_bytes + uncounted;
    let state = &config.state_dir;
    let room = Room {
        bytes: needed,
        what: "what the settings and rules allow it to hold is",
        change: "free some, or lower max_bytes in [outbox] and max_backlog in [audit]",
    };
    rows.push(folder_row("files: state", state, &["cadfd.db", store::LOCK], "dir in [state]", Some(room)));
    let trail = &config.audit.path;
    let name = trail.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let log = trail.parent().unwrap_or(Path::new("/"));
    let room = config.audit.rotation.min_free.map(|bytes| Room {
        bytes,
        what: "the least that should be, [audit] min_free, is",
        change: "free some, or let fewer files be kept: keep, keep_for in [audit]",
    });
    rows.push(folder_row("files: trail", log, &[name], "path in [audit]", room));
    rows
}

/// What should be free in a folder.
struct Room {
    bytes: u64,
    what: &'static str,
    change: &'static str,
}

fn folder_row(tried: &str, folder: &Path, files: &[&str], setting: &str, room: Option<Room>) -> Finding {
    let tried = format!("{tried} in {}", folder.display());
    let Some(there) = folder.ancestors().find(|path| path.symlink_metadata().is_ok()) else {
        return Finding::problem(tried, "there is no such path", format!("change {setting}"));
    };
    let Ok(metadata) = fs::metadata(there) else {
        return Finding::problem(tried, format!("{} leads nowhere", there.display()), format!("change {setting}"));
    };
    if !metadata.is_dir() {
        let found = format!("{} is not a directory", there.display());
        return Finding::problem(tried, found, format!("change {setting}"));
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root && metadata.uid() != 0 && metadata.mode() & 0o300 != 0o300 {
        // Root may write everywhere; the daemon is its owner.
        let found = format!("its owner may not write to {}", there.display());
        return Finding::problem(tried, found, format!("chmod u+wx {}", quoted(there)));
    }
    let me = rustix::process::geteuid().as_raw();
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let found = format!("this user may not write to {}", there.display());
        return Finding::problem(tried, found, format!("install -d -o {me} -m 750 {}", quoted(folder)));
    }
    for file in files {
        let path = folder.join(file);
        if path.exists() && access(&path, Access::WRITE_OK).is_err() {
            let found = format!("this user may not write to {}", path.display());
            return Finding::problem(tried, found, format!("chown {me} {}", quoted(&path)));
        }
    }
    let free = audit::free_bytes(there);
    if let (Some(free), Some(room)) = (free, room)
        && free < room.bytes
    {
        let [free, needed] = [free, room.bytes].map(|bytes| ByteSize(bytes).display().iec().to_string());
        return Finding::warning(tried, format!("{free} free; {} {needed}", room.what), room.change);
    }
    let free = free.map(|free| format!(", {} free", ByteSize(free).display().iec())).unwrap_or_default();
    let is_there = if there == folder { "can be written" } else { "can be made" };
    Finding::ok(tried, format!("{is_there}{free}"))
}

/// Whether the daemon holds the state directory's lock, as the kernel lists it: trying the lock could make a daemon fail
/// that starts at this moment.
pub(in crate::cli) fn is_running(state_dir: &Path) -> bool {
    let Ok(lock) = fs::metadata(state_dir.join(store::LOCK)) else { return false };
    let Ok(locks) = fs::read_to_string("/proc/locks") else { return false };
    // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`: proc_locks(5).
    let holds = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let inode = fields.get(5).and_then(|id| id.rsplit(':').next()).and_then(|inode| inode.parse().ok());
        fields.get(1) == Some(&"FLOCK") && inode == Some(lock.ino())
    };
    locks.lines().any(holds)
}

/// Whether everybody may go through all folders above it.
fn is_on_open_way(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    path.ancestors().skip(1).all(|folder| mode(folder).is_some_and(|mode| mode & PASS != 0))
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.mode())
}

fn quoted(path: &Path) -> String {
    crate::intake::quote(&path.display().to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::finding::Verdict;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_that_everybody_can_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "t").unwrap();
        let of = || secrets(&[("[slack.ops] webhook_url_file".to_owned(), file.clone())]);
        set(&file, 0o644);
        set(dir.path(), 0o700);
        assert_eq!(of()[0].verdict, Verdict::Ok, "nobody else gets there");
        set(dir.path(), 0o755);
        assert_eq!(of()[0].change.as_deref(), Some(&*format!("chmod o= {}", file.display())));
        set(&file, 0o640);
        assert_eq!(of()[0].verdict, Verdict::Ok);
    }

    #[test]
    fn a_folder_that_cannot_be_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let row = folder_row("files: state", &file.join("state"), &[], "dir in [state]", None);
        assert!(row.verdict == Verdict::Problem && row.found.ends_with("file is not a directory"), "{row:?}");
        let row = folder_row("files: state", &dir.path().join("a/b"), &[], "dir in [state]", None);
        assert!(row.found.starts_with("can be made, "), "{row:?}");
        let room = Room { bytes: u64::MAX, what: "it should be", change: "free some" };
        let row = folder_row("files: state", dir.path(), &[], "dir in [state]", Some(room));
        assert!(row.verdict == Verdict::Warning && row.found.contains(" free; it should be 16.0 EiB"), "{row:?}");
        assert_eq!(row.change.as_deref(), Some("free some"));
    }
}
