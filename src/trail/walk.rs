//! All lines of a trail from its first to its last, though its files are rotated, packed or moved meanwhile.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::files::{Kind, TrailError, TrailFile};
use super::lines::{Line, Lines};

/// How often the files are looked for anew: each rotation or packing meanwhile takes one.
const TRIES: u32 = 20;

/// Gives each line of `files`, in order, to `each`, until that says that it is enough; where a file is damaged, the error
/// and how many lines were before it, and then the next file's lines. Where a file is called otherwise by
/// the time that it is to be read, `again` finds the files anew, and the one that begins with the same record is read. The
/// end of a line that a daemon is writing just now is left out. `read` is told how many bytes were read.
///
/// # Errors
/// When a file cannot be read though it is not damaged, or the trail is changed faster than it can be read.
pub fn walk(
    files: &[TrailFile],
    again: impl Fn() -> Result<Vec<TrailFile>, TrailError>,
    read: impl Fn(u64) + Clone + Send + 'static,
    mut each: impl FnMut(&TrailFile, Result<&Line<'_>, (TrailError, u64)>) -> bool,
) -> Result<(), TrailError> {
    let mut files = files.to_vec();
    let (mut at, mut tries) = (0, 0);
    while let Some(file) = files.get(at) {
        let lines = match file.lines_counted(read.clone()) {
            Err(TrailError::Moved(_)) if tries < TRIES => {
                tries += 1;
                let now = again()?;
                let same = now.iter().position(|now| now.first == file.first);
                at = same.ok_or_else(|| TrailError::Moved(file.path.clone()))?;
                files = now;
                continue;
            }
            lines => lines,
        };
        if !walk_file(file, lines, &mut each)? {
            return Ok(());
        }
        at += 1;
    }
    Ok(())
}

/// Whether it is not enough yet.
fn walk_file(
    file: &TrailFile,
    lines: Result<Lines, TrailError>,
    each: &mut impl FnMut(&TrailFile, Result<&Line<'_>, (TrailError, u64)>) -> bool,
) -> Result<bool, TrailError> {
    let mut before = 0;
    let error = match lines {
        Err(error) => error,
        Ok(mut lines) => loop {
            match lines.next_line() {
                Ok(None) => return Ok(true),
                Ok(Some(line)) => {
                    before = line.number;
                    let is_begun = line.is_begun() && file.kind == Kind::Plain && is_being_written(&file.path);
                    if !is_begun && !each(file, Ok(&line)) {
                        return Ok(false);
                    }
                }
                Err(source) => break TrailError::Io { path: file.path.clone(), source },
            }
        },
    };
    if error.is_damage() { Ok(each(file, Err((error, before)))) } else { Err(error) }
}

/// Whether a daemon holds the file's lock.
fn is_being_written(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
