//! The lines of one file of a trail.

use std::io::{self, BufRead, Read as _};

use memchr::memchr;

use crate::record::LONGEST_LINE;

/// A line as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its bytes, with the line feed unless the file ends before it.
    pub bytes: &'a [u8],
}

impl Line<'_> {
    /// Whether it ends with the file instead of a line feed.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        !self.is_whole() && (self.bytes.len() as u64) < LONGEST_LINE
    }

    /// Whether it has its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.ends_with(b"\n")
    }
}

/// Lines from a reader, one at a time, where they stand in its buffer; what does not is put together in one of ours.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    /// So much of the reader's buffer is the last line.
    given: usize,
    number: u64,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Self { reader, line: Vec::new(), given: 0, number: 0 }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read or unpacked.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.reader.consume(std::mem::take(&mut self.given));
        let number = self.number + 1;
        let bytes = if let Some(end) = memchr(b'\n', self.reader.fill_buf()?) {
            self.given = end + 1;
            self.reader.fill_buf()?.get(..self.given).unwrap_or_default()
        } else {
            self.line.clear();
            if read_line(&mut self.reader, &mut self.line)? == 0 {
                return Ok(None);
            }
            &self.line
        };
        self.number = number;
        Ok(Some(Line { number, bytes }))
    }
}

/// Appends the next line to `line`, or what there is of it before the end; gives its length.
pub(super) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    reader.take(LONGEST_LINE).read_until(b'\n', line)
}
