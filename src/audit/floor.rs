//! Whether the disks of trail and state have room.
//!
//! Its promise: a disk that gets short is said when it begins and when it is over, not each time it is looked at.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::statvfs;

/// Free bytes of the disk that a path is on, or would be, for a user who is not root; `None` where that cannot be told.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    statvfs(there).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).ok()
}

/// One disk under watch.
pub(super) struct Floor {
    dir: PathBuf,
    /// What is on it, and what helps.
    what: (&'static str, &'static str),
    is_short: bool,
}

/// What changed since it was last looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Short(String),
    Over(String),
}

impl Floor {
    pub(super) fn of_trail(dir: &Path) -> Self {
        let help = "make room, or let fewer files be kept: [audit] keep, keep_for";
        Self { dir: dir.to_owned(), what: ("the audit trail", help), is_short: false }
    }

    pub(super) fn of_state(dir: &Path) -> Self {
        let help = "make room: when it is full, nothing is acknowledged and nothing consumed";
        Self { dir: dir.to_owned(), what: ("the state", help), is_short: false }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks at it; `least` is `[audit] min_free`.
    pub(super) fn look(&mut self, free: Option<u64>, least: Option<u64>) -> Option<Change> {
        let free = free?;
        let least = least.unwrap_or(0);
        // Over only when there is a little more, so that it is not said again and again.
        let is_short = if self.is_short { free < least.saturating_add(least / 20) } else { free < least };
        if is_short == std::mem::replace(&mut self.is_short, is_short) {
            return None;
        }
        let [free, least] = [free, least].map(|bytes| ByteSize(bytes).display().iec().to_string());
        let (dir, (what, help)) = (self.dir.display(), self.what);
        Some(if is_short {
            Change::Short(format!("only {free} free for {what} in {dir}, less than [audit] min_free, {least}: {help}"))
        } else {
            Change::Over(format!("{free} free again for {what} in {dir}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_when_it_begins_and_when_it_is_over() {
        let mut floor = Floor::of_trail(Path::new("/var/log/cadfd"));
        let least = Some(1 << 30);
        assert_eq!(floor.look(Some(1 << 30), least), None);
        let said = "only 1024.0 MiB free for the audit trail in /var/log/cadfd, less than [audit] min_free, 1.0 GiB: \
                    make room, or let fewer files be kept: [audit] keep, keep_for";
        assert_eq!(floor.look(Some((1 << 30) - 1), least), Some(Change::Short(said.into())));
        assert_eq!(floor.look(Some(0), least), None);
        assert_eq!(floor.look(Some((1 << 30) + 1), least), None, "it hardly is over");
        let said = "2.0 GiB free again for the audit trail in /var/log/cadfd";
        assert_eq!(floor.look(Some(2 << 30), least), Some(Change::Over(said.into())));
        assert_eq!(floor.look(Some(0), None), None, "switched off");
        assert_eq!(floor.look(None, least), None, "nobody can tell");
    }

    #[test]
    fn a_path_that_is_not_there_yet_is_on_the_disk_of_what_is_above_it() {
        assert!(free_bytes(Path::new("/no/such/place")).is_some());
    }
}
