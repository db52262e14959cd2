//! All lines of a trail from its first to its last, though its files are rotated, packed or moved meanwhile.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::files::{Kind, TrailError, TrailFile};
use super::lines::Line;

/// How often the files are looked for anew: each rotation or packing meanwhile takes one.
const TRIES: u32 = 20;

/// Gives each line of `files`, in order, to `each`, until that says that it is enough. Where a file is called otherwise by
/// the time that it is to be read, `again` finds the files anew, and the one that begins with the same record is read. The
/// end of a line that a daemon is writing just now is left out. `read` is told how many bytes were read.
///
/// # Errors
/// When a file cannot be read, or the trail is changed faster than it can be read.
pub fn walk(
    files: &[TrailFile],
    again: impl Fn() -> Result<Vec<TrailFile>, TrailError>,
    read: impl Fn(u64) + Clone + Send + 'static,
    mut each: impl FnMut(&TrailFile, &Line<'_>) -> bool,
) -> Result<(), TrailError> {
    let mut files = files.to_vec();
    let (mut at, mut tries) = (0, 0);
    while let Some(file) = files.get(at) {
        let mut lines = match file.lines_counted(read.clone()) {
            Ok(lines) => lines,
            Err(TrailError::Moved(_)) if tries < TRIES => {
                tries += 1;
                let now = again()?;
                let same = now.iter().position(|now| now.first == file.first);
                at = same.ok_or_else(|| TrailError::Moved(file.path.clone()))?;
                files = now;
                continue;
            }
            Err(error) => return Err(error),
        };
        let io = |source| TrailError::Io { path: file.path.clone(), source };
        while let Some(line) = lines.next_line().map_err(io)? {
            let is_begun = line.is_begun() && file.kind == Kind::Plain && is_being_written(&file.path);
            if !is_begun && !each(file, &line) {
                return Ok(());
            }
        }
        at += 1;
    }
    Ok(())
}

/// Whether a daemon holds the file's lock.
fn is_being_written(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
