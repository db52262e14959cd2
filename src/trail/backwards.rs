//! Reading from the end: where the last lines of a plain file begin, and lines turned round.
//!
//! Its promise: memory is bounded, whatever the file's length and however many lines are turned round.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use super::index::BLOCK;

/// Lines that are held in memory, in bytes; more wait in a file without a name.
const HELD: usize = 8 << 20;

/// Bytes looked at for a line's end.
const CHUNK: u64 = 64 << 10;

/// Where the last part of whole lines of `file[..end]` begins: about 1 MiB, or one line that is longer.
pub(super) fn last_part(file: &File, end: u64) -> io::Result<u64> {
    let mut chunk_end = end.saturating_sub(BLOCK);
    // The part begins behind the line end that is nearest before that place.
    while chunk_end > 0 {
        let from = chunk_end.saturating_sub(CHUNK);
        let mut chunk = vec![0; usize::try_from(chunk_end - from).map_err(io::Error::other)?];
        file.read_exact_at(&mut chunk, from)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        chunk_end = from;
    }
    Ok(0)
}

/// Lines that come out last in, first out.
#[derive(Default)]
pub(super) struct Stack {
    held: Vec<Vec<u8>>,
    bytes: usize,
    /// What did not fit: each line with its length behind it, as u64.
    stored: Option<(File, u64)>,
}

impl Stack {
    pub(super) fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.held.push(line.to_owned());
        self.bytes += line.len();
        if self.bytes > HELD { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> io::Result<()> {
        let (mut file, mut len) = match self.stored.take() {
            Some(stored) => stored,
            None => (tempfile::tempfile()?, 0),
        };
        file.seek(SeekFrom::Start(len))?;
        let mut writer = io::BufWriter::new(&mut file);
        for line in self.held.drain(..) {
            writer.write_all(&line)?;
            writer.write_all(&(line.len() as u64).to_le_bytes())?;
            len += line.len() as u64 + 8;
        }
        writer.flush()?;
        drop(writer);
        (self.bytes, self.stored) = (0, Some((file, len)));
        Ok(())
    }

    pub(super) fn pop(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.held.pop() {
            self.bytes -= line.len();
            return Ok(Some(line));
        }
        let Some((file, len)) = self.stored.as_mut().filter(|(_, len)| *len > 0) else { return Ok(None) };
        let mut length = [0; 8];
        file.read_exact_at(&mut length, *len - 8)?;
        let length = u64::from_le_bytes(length);
        let mut line = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut line, *len - 8 - length)?;
        *len -= 8 + length;
        Ok(Some(line))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_does_not_fit_comes_back_in_order() {
        let mut stack = Stack::default();
        let line = |n: usize| vec![u8::try_from(n % 251).unwrap(); (n * 7919) % 200_000];
        (0..300).for_each(|n| stack.push(&line(n)).unwrap());
        assert!(stack.stored.is_some());
        for n in (150..300).rev() {
            assert_eq!(stack.pop().unwrap().unwrap(), line(n));
        }
        (150..300).for_each(|n| stack.push(&line(n)).unwrap());
        for n in (0..300).rev() {
            assert_eq!(stack.pop().unwrap().unwrap(), line(n));
        }
        assert_eq!(stack.pop().unwrap(), None);
    }

    #[test]
    fn parts_from_the_end_are_whole_lines() {
        let mut file = tempfile::tempfile().unwrap();
        let mut text = Vec::new();
        for n in 0..3000_usize {
            text.extend(vec![b'x'; (n * 7919) % 3000]);
            text.push(b'\n');
        }
        text.extend(vec![b'y'; 3 << 20]);
        text.push(b'\n');
        file.write_all(&text).unwrap();
        let (mut end, mut parts) = (text.len() as u64, Vec::new());
        while end > 0 {
            let from = last_part(&file, end).unwrap();
            assert!(from < end && (from == 0 || text[usize::try_from(from).unwrap() - 1] == b'\n'));
            parts.push(end - from);
            end = from;
        }
        assert!(parts.len() >= 4, "{parts:?}");
    }
}
