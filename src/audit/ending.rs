//! How an audit file begins and where it ends, read from the file itself.
//!
//! Its promise: nothing is changed here; what is beyond the end is a torn line, or never reached the disk as the store has
//! it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use crate::chain::Hash;
use crate::record;
use crate::store::{Chunk, StoreError};

/// Bytes read at a time while looking for the end of the last whole line.
const CHUNK: u64 = 64 << 10;

/// A line's number stands within so many bytes.
const LINK: usize = 32;

/// What a store knows of an audit file that was written before.
pub struct Stored<'a> {
    /// Up to this record everything is on disk; 0 where nothing is known.
    pub written: u64,
    /// The records after one, which must not be before `written`.
    pub after: &'a dyn Fn(u64) -> Result<Vec<Arc<Chunk>>, StoreError>,
}

/// The first record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) seq: u64,
    /// Its time, or else when the file was opened.
    pub(super) at: Timestamp,
}

/// Why it cannot be compared with the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenOff {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The times that records have of themselves, by what they are called; the first there is counts.
#[derive(Deserialize)]
struct Times<'a> {
    received: Option<&'a str>,
    at: Option<&'a str>,
    from: Option<&'a str>,
}

/// The first line's place and time; `None` where it is no record.
pub(super) fn first_record(file: &File) -> io::Result<Option<First>> {
    let mut reader = file;
    reader.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    BufReader::new(reader.take(record::LONGEST_LINE)).read_until(b'\n', &mut line)?;
    let Some(seq) = record::seq_of(&line) else { return Ok(None) };
    let times: Option<Times<'_>> = serde_json::from_slice(&line).ok();
    let at = times.and_then(|times| times.received.or(times.at).or(times.from)?.parse().ok());
    Ok(Some(First { seq, at: at.unwrap_or_else(Timestamp::now) }))
}

/// Whether all there is could be the beginning of a record: nothing else is ever cut off.
pub(super) fn begins_like_a_record(file: &File) -> io::Result<bool> {
    const BEGINNING: &[u8] = b"{\"seq\":";
    let mut head = [0; BEGINNING.len()];
    let read = file.read_at(&mut head, 0)?;
    Ok(BEGINNING.starts_with(head.get(..read).unwrap_or_default()))
}

/// The length up to and including the last line's end, and that line's number and hash.
pub(super) fn last_record(file: &File, len: u64) -> io::Result<(u64, Option<u64>, Option<Hash>)> {
    let Some(end) = newline_before(file, len)? else { return Ok((0, None, None)) };
    let start = newline_before(file, end)?.map_or(0, |newline| newline + 1);
    let mut reader = file;
    reader.seek(SeekFrom::Start(start))?;
    let mut line = Vec::new();
    reader.take(end + 1 - start).read_to_end(&mut line)?;
    Ok((end + 1, record::seq_of(&line), Some(Hash::of(&line))))
}

/// Where the first line begins that is not as the store has it, of those behind what is known to be on disk; `None` where
/// all are, or nobody can tell. After a power cut a file can be as long as it was, with nothing in parts of what had not been
/// synced.
pub(super) fn broken_off(file: &File, len: u64, known: &Stored<'_>) -> Result<Option<u64>, BrokenOff> {
    let Some((mut at, mut seq)) = end_of_known(file, len, known.written)? else { return Ok(None) };
    let mut found = Vec::new();
    loop {
        let chunks = (known.after)(seq)?;
        if chunks.is_empty() {
            return Ok(None);
        }
        for chunk in chunks {
            // Else nothing is left of it, or something between is gone.
            if chunk.last <= seq || chunk.first > seq + 1 {
                return Ok(None);
            }
            let wanted = chunk.lines_after(seq);
            found.resize(wanted.len().min(usize::try_from(len - at).unwrap_or(usize::MAX)), 0);
            file.read_exact_at(&mut found, at)?;
            if let Some(differs) = found.iter().zip(wanted).position(|(found, wanted)| found != wanted) {
                let before = wanted.get(..differs).unwrap_or_default();
                let line = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                return Ok(Some(at + line as u64));
            }
            if found.len() < wanted.len() {
                return Ok(None);
            }
            at += wanted.len() as u64;
            seq = chunk.last;
        }
    }
}

/// Where the last line ends whose record is at most `written`, and its number; the file's beginning where the first of all
/// is the next one.
fn end_of_known(file: &File, len: u64, written: u64) -> io::Result<Option<(u64, u64)>> {
    let mut end = len;
    while end > 0 && written > 0 {
        let start = newline_before(file, end - 1)?.map_or(0, |newline| newline + 1);
        let mut head = [0; LINK];
        let wanted = usize::try_from(end - start).unwrap_or(LINK).min(LINK);
        let head = head.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(head, start)?;
        match record::seq_at_head(head) {
            Some(seq) if seq <= written => return Ok(Some((end, seq))),
            // It goes on from a file that is not looked at here.
            Some(seq) if start == 0 && seq == written + 1 => return Ok(Some((0, written))),
            _ => end = start,
        }
    }
    Ok(None)
}

/// The position of the last line feed before `end`.
fn newline_before(file: &File, end: u64) -> io::Result<Option<u64>> {
    let mut end = end;
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        chunk.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.read_exact_at(&mut chunk, start)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(start + at as u64));
        }
        end = start;
    }
    Ok(None)
}
