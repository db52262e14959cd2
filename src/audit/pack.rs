//! Packing a rotated file: Zstandard (RFC 8878), in frames that can be read each for itself.
//!
//! Its promise: the packed file has its name only when it is on disk and was read back and found to be the same, byte
//! for byte; only then is the other one removed. What a crash leaves can be begun anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::rotation::{DRAFT, INDEX, PACKED, sync_directory, with_end};
use crate::record::LONGEST_LINE;

/// A frame is closed behind the line with which it holds so many bytes, unpacked.
const FRAME: usize = 1 << 20;

/// zstd's own default: more takes twice the time for a few per cent.
const LEVEL: i32 = 3;

/// Bytes compared at once.
const BUFFER: usize = 256 << 10;

/// Why a file was not packed; it is still there as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    /// An error of input or output.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// What was read back is something else.
    #[error("{0} does not hold what {1} does; look at both, and at the disk, then remove the wrong one")]
    Differs(PathBuf, PathBuf),
    /// It was told to end.
    #[error("ended")]
    Ended,
}

/// Called between pieces of work; true when it must end.
pub(super) type Pause<'a> = &'a mut dyn FnMut() -> bool;

/// Packs `plain` to a file of the same name and `.zst`, which it gives, and removes `plain`.
///
/// # Errors
/// See [`PackError`]; `plain` is still there.
pub(super) fn pack(plain: &Path, pause: Pause<'_>) -> Result<PathBuf, PackError> {
    let packed = with_end(plain, PACKED);
    let draft = with_end(&packed, DRAFT);
    let written = write(plain, &draft, pause).and_then(|()| {
        same(plain, &draft, pause)?;
        fs::rename(&draft, &packed).and_then(|()| sync_directory(&packed)).map_err(io(&packed))
    });
    if written.is_err() {
        let _made_anew_next_time = fs::remove_file(&draft);
    }
    written?;
    remove(plain).map_err(io(plain))?;
    Ok(packed)
}

/// A crash came between the packed file and the end of the unpacked one: compares them once more, and removes the
/// latter.
///
/// # Errors
/// See [`PackError`]; both are still there.
pub(super) fn finish(plain: &Path, pause: Pause<'_>) -> Result<(), PackError> {
    let packed = with_end(plain, PACKED);
    same(plain, &packed, pause)?;
    // The name of the packed one may not have been on disk yet.
    sync_directory(&packed).and_then(|()| remove(plain)).map_err(io(plain))
}

/// Removes a file of the trail, its index first: none is left that belongs to nothing.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(with_end(path, INDEX)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_file(path)?;
    sync_directory(path)
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> PackError {
    let path = path.to_owned();
    move |source| PackError::Io { path, source }
}

fn write(plain: &Path, draft: &Path, pause: Pause<'_>) -> Result<(), PackError> {
    let original = File::open(plain).map_err(io(plain))?;
    let metadata = original.metadata().map_err(io(plain))?;
    let _left_by_a_crash = fs::remove_file(draft);
    let mode = metadata.permissions().mode() & 0o777;
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft).map_err(io(draft))?;
    let mut lines = BufReader::with_capacity(BUFFER, original);
    let mut out = BufWriter::with_capacity(BUFFER, &file);
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(io(draft))?;
    while let Some(frame) = next_frame(&mut lines).map_err(io(plain))? {
        let packed = compressor.compress(&frame).map_err(io(draft))?;
        out.write_all(&packed).map_err(io(draft))?;
        if pause() {
            return Err(PackError::Ended);
        }
    }
    out.flush().map_err(io(draft))?;
    drop(out);
    // Retention counts from the last record.
    let changed = metadata.modified().map_err(io(plain))?;
    file.set_modified(changed).and_then(|()| file.sync_all()).map_err(io(draft))
}

/// The next lines that make a frame, as they are; `None` at the end.
fn next_frame(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut frame = Vec::new();
    while frame.len() < FRAME && lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut frame)? > 0 {}
    Ok((!frame.is_empty()).then_some(frame))
}

/// Whether the packed file holds the same bytes.
fn same(plain: &Path, packed: &Path, pause: Pause<'_>) -> Result<(), PackError> {
    let mut one = BufReader::with_capacity(BUFFER, File::open(plain).map_err(io(plain))?);
    let other = File::open(packed).and_then(zstd::Decoder::new).map_err(io(packed))?;
    let mut other = BufReader::with_capacity(BUFFER, other);
    loop {
        let wanted = one.fill_buf().map_err(io(plain))?;
        let length = wanted.len();
        if length == 0 {
            break;
        }
        let mut found = vec![0; length];
        let is_there = match other.read_exact(&mut found) {
            Ok(()) => found == wanted,
            Err(error) if is_other_content(&error) => false,
            Err(error) => return Err(io(packed)(error)),
        };
        if !is_there {
            return Err(PackError::Differs(packed.to_owned(), plain.to_owned()));
        }
        one.consume(length);
        if pause() {
            return Err(PackError::Ended);
        }
    }
    // Nor may there be more.
    let is_at_end = match other.fill_buf() {
        Ok(rest) => rest.is_empty(),
        Err(error) if is_other_content(&error) => false,
        Err(error) => return Err(io(packed)(error)),
    };
    if is_at_end { Ok(()) } else { Err(PackError::Differs(packed.to_owned(), plain.to_owned())) }
}

/// Whether it is not the disk that fails, but what was read that makes no sense: too short, or not packed.
fn is_other_content(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::Hash;
    use crate::record;

    /// The frames of a packed file, each unpacked for itself.
    fn frames(packed: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = packed;
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let length = zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
            frames.push(zstd::decode_all(&rest[..length]).unwrap());
            rest = &rest[length..];
        }
        frames
    }

    fn lines(lengths: &[usize]) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut hash = Hash::START;
        for (seq, length) in (1..).zip(lengths) {
            let rest = format!("\"type\":\"event\",\"x\":\"{}\"}}", "xyz0123".repeat(length / 7));
            hash = record::push_line(&mut lines, seq, &hash, rest.as_bytes());
        }
        lines
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn all_frames_together_are_the_file_and_each_is_of_whole_lines(
            lengths in proptest::collection::vec(prop_oneof![0_usize..2_000, 0_usize..400_000, 900_000_usize..2_000_000], 1..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let plain = dir.path().join("audit.log.000000000001-000000000009");
            let content = lines(&lengths);
            fs::write(&plain, &content).unwrap();
            let changed = fs::metadata(&plain).unwrap().modified().unwrap();
            let packed = pack(&plain, &mut || false).unwrap();
            prop_assert_eq!(fs::metadata(&packed).unwrap().modified().unwrap(), changed);
            let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            prop_assert_eq!(left, [packed.clone()]);
            let frames = frames(&fs::read(&packed).unwrap());
            prop_assert_eq!(frames.concat(), content);
            for (at, frame) in frames.iter().enumerate() {
                let is_whole = frame.ends_with(b"\n") && record::seq_of(frame.split(|byte| *byte == b'\n').next().unwrap()).is_some();
                prop_assert!(is_whole);
                // As long as one line more makes it.
                let before_last = frame[..frame.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                prop_assert!(before_last < FRAME && (frame.len() >= FRAME || at + 1 == frames.len()));
            }
        }
    }

    #[test]
    fn what_is_not_the_same_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("audit.log.000000000001-000000000003");
        let content = lines(&[100, 2_000_000, 100]);
        fs::write(&plain, &content).unwrap();
        let packed = with_end(&plain, PACKED);
        let mut changed = content.clone();
        changed[1_000_000] ^= 1;
        let longer = [&*content, b"x"].concat();
        let whole = zstd::bulk::compress(&content, LEVEL).unwrap();
        for wrong in [
            zstd::bulk::compress(&changed, LEVEL).unwrap(),
            zstd::bulk::compress(&longer, LEVEL).unwrap(),
            zstd::bulk::compress(&content[..content.len() - 1], LEVEL).unwrap(),
            whole[..whole.len() - 1].to_vec(),
            b"no zstd".to_vec(),
            Vec::new(),
        ] {
            fs::write(&packed, wrong).unwrap();
            let error = finish(&plain, &mut || false).unwrap_err();
            assert!(matches!(error, PackError::Differs(..)), "{error}");
            assert!(plain.exists() && packed.exists());
        }
        fs::write(&packed, whole).unwrap();
        finish(&plain, &mut || false).unwrap();
        assert!(!plain.exists() && packed.exists());
    }

    #[test]
    fn ended_or_failed_it_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("audit.log.000000000001-000000000009");
        let content = lines(&[1_500_000; 9]);
        fs::write(&plain, &content).unwrap();
        for pauses in 0..20 {
            let mut left = pauses;
            let ended = pack(&plain, &mut || {
                left -= 1;
                left < 0
            });
            assert!(matches!(ended, Err(PackError::Ended)), "after {pauses}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        // A name that is taken by a directory.
        fs::create_dir(with_end(&with_end(&plain, PACKED), DRAFT)).unwrap();
        assert!(matches!(pack(&plain, &mut || false), Err(PackError::Io { .. })));
        assert_eq!(fs::read(&plain).unwrap(), content);
    }
}
