//! Records that were committed together, on their way to the audit file and standard output.

use crate::chain::Hash;
use crate::record;

/// A chunk is closed when its lines have so many bytes: what a follower writes with one sync, more or less.
const CLOSE: usize = 256 << 10;

/// Consecutive records of one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The first record's number.
    pub first: u64,
    /// The last record's number.
    pub last: u64,
    /// The records: whole lines with their ends.
    pub lines: Vec<u8>,
    /// Lines for standard output that go with them, each with its end; may be empty.
    pub log: String,
    /// How many records have such lines.
    pub logs: usize,
}

impl Chunk {
    /// Adds the next record, given without its number, which is `seq`, and its link to the one before, whose hash is
    /// `prev`. Gives its own hash.
    pub(super) fn push(&mut self, seq: u64, prev: &Hash, rest: &[u8], log: Option<&str>) -> Hash {
        if self.lines.is_empty() {
            self.first = seq;
        }
        self.last = seq;
        let hash = record::push_line(&mut self.lines, seq, prev, rest);
        if let Some(log) = log {
            self.log.push_str(log);
            self.logs += 1;
        }
        hash
    }

    /// Whether no more should be added.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= CLOSE
    }

    /// What it counts for in the bound of the backlog.
    pub(super) fn bytes(&self) -> u64 {
        (self.lines.len() + self.log.len()) as u64
    }

    /// The lines of the records after `seq`.
    #[must_use]
    pub fn lines_after(&self, seq: u64) -> &[u8] {
        let mut lines = self.lines.as_slice();
        for _ in self.first..=seq.min(self.last) {
            let end = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
            lines = lines.get(end..).unwrap_or_default();
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_chunk_begins_behind_a_record() {
        let mut chunk = Chunk::default();
        for seq in 7..=9 {
            chunk.push(seq, &Hash::START, b"}", None);
        }
        let after = |seq| String::from_utf8_lossy(chunk.lines_after(seq)).into_owned();
        let [seven, eight, nine] = [7, 8, 9].map(|seq| format!("{{\"seq\":{seq},\"prev\":\"{}\",}}\n", Hash::START));
        assert_eq!([after(0), after(6)], [format!("{seven}{eight}{nine}"), format!("{seven}{eight}{nine}")]);
        assert_eq!(
            [after(7), after(8), after(9), after(10)],
            [format!("{eight}{nine}"), nine, String::new(), String::new()]
        );
    }
}
