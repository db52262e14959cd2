//! A line at the end of a file, for other programs, another disk, or somebody else's custody.
//!
//! Its promise: a line is whole and on disk before the delivery counts as done; what an earlier write left half written
//! is ended first. The file may be moved at any time: it is opened for each line.

use std::fs::{File as Handle, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::{Attempt, FailureKind, Limits, Outcome, Scope};

/// A file, as set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Made where it is missing (0640); its directory is not.
    pub path: PathBuf,
    /// How hard it may be pressed; its time limits mean nothing here.
    pub limits: Limits,
}

/// One line at a time, so that they stand in order.
#[must_use]
pub fn default_limits() -> Limits {
    Limits::in_order()
}

/// A rendered line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Without its end, and with none inside.
    pub line: String,
}

/// What writes lines.
#[derive(Debug)]
pub struct File {
    settings: Settings,
}

impl File {
    /// From its settings, which cannot be wrong: what is wrong with a file may pass.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone() }
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Appends the line.
    pub(super) async fn perform(&self, request: &Request, _attempt: &Attempt<'_>) -> Outcome {
        let (path, line) = (self.settings.path.clone(), format!("{}\n", request.line));
        let written = tokio::task::spawn_blocking(move || append(&path, line.as_bytes())).await;
        match written.unwrap_or_else(|broken| Err(io::Error::other(broken))) {
            Ok(()) => Outcome::Done { detail: Map::from_iter([("bytes".to_owned(), json!(request.line.len() + 1))]) },
            Err(error) => Outcome::Retry {
                reason: format!("{}: {error}", self.settings.path.display()),
                after: None,
                scope: Scope::Destination,
                kind: FailureKind::Error,
            },
        }
    }

    /// Whether a line could be appended now; nothing is written, and nothing made.
    ///
    /// # Errors
    /// Why it could not.
    pub(super) fn try_open(&self) -> io::Result<()> {
        match OpenOptions::new().append(true).open(&self.settings.path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = self.settings.path.parent().unwrap_or(Path::new("/"));
                rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).map_err(io::Error::from)
            }
            Err(error) => Err(error),
        }
    }
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let is_new = !path.try_exists()?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    if !ends_whole(&file)? {
        file.write_all(b"\n")?;
    }
    file.write_all(line)?;
    file.sync_data()?;
    // Its name must survive a power cut as well.
    if is_new { Handle::open(path.parent().unwrap_or(Path::new("/")))?.sync_all() } else { Ok(()) }
}

/// Whether nothing, or a line's end, stands at the end. A pipe has none.
fn ends_whole(file: &Handle) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    async fn perform(path: &Path, line: &str) -> Outcome {
        let file = File::new(&Settings { path: path.to_owned(), limits: default_limits() });
        let request = Request { line: line.to_owned() };
        let (now, wrapped) = (jiff::Timestamp::UNIX_EPOCH, super::super::Request::File(request.clone()));
        file.perform(&request, &Attempt { delivery_id: "d", request: &wrapped, progress: None, now, created: now })
            .await
    }

    #[tokio::test]
    async fn lines_follow_each_other_whatever_was_left_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        assert!(matches!(perform(&path, "one").await, Outcome::Done { .. }));
        fs::write(&path, "one\ntw").unwrap();
        assert!(matches!(perform(&path, "two").await, Outcome::Done { .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\ntwo\n");
        fs::rename(&path, dir.path().join("lines.1")).unwrap();
        assert!(matches!(perform(&path, "three").await, Outcome::Done { .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/lines");
        let Outcome::Retry { reason, scope: Scope::Destination, .. } = perform(&path, "one").await else {
            panic!("no retry")
        };
        assert!(reason.contains("absent/lines"), "{reason}");
        assert!(File::new(&Settings { path, limits: default_limits() }).try_open().is_err());
        let there = Settings { path: dir.path().join("lines"), limits: default_limits() };
        assert!(File::new(&there).try_open().is_ok() && !there.path.exists());
    }
}
