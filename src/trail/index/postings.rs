//! Which terms are in which blocks, sorted, however many there are.
//!
//! Its promise: memory is bounded by [`RUN`]; what is more waits in a file without a name.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Pairs that are held: 32 MiB of them.
const RUN: usize = 2 << 20;

type Pair = (u64, u32);
type Pairs = Box<dyn Iterator<Item = io::Result<Pair>>>;

/// Pairs of a term and a block, as they come.
pub(super) struct Postings {
    /// Where there is room.
    dir: PathBuf,
    most: usize,
    held: Vec<Pair>,
    runs: Vec<File>,
}

impl Postings {
    pub(super) fn new(dir: &Path) -> Self {
        Self::holding(dir, RUN)
    }

    pub(super) fn holding(dir: &Path, most: usize) -> Self {
        Self { dir: dir.to_owned(), most, held: Vec::new(), runs: Vec::new() }
    }

    pub(super) fn push(&mut self, term: u64, block: u32) -> io::Result<()> {
        self.held.push((term, block));
        if self.held.len() < self.most {
            return Ok(());
        }
        self.held.sort_unstable();
        let mut run = BufWriter::new(tempfile::tempfile_in(&self.dir)?);
        for (term, block) in self.held.drain(..) {
            run.write_all(&term.to_le_bytes())?;
            run.write_all(&block.to_le_bytes())?;
        }
        self.runs.push(run.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(())
    }

    /// All pairs in ascending order.
    pub(super) fn sorted(mut self) -> io::Result<impl Iterator<Item = io::Result<Pair>>> {
        self.held.sort_unstable();
        let mut runs: Vec<Pairs> = vec![Box::new(self.held.into_iter().map(Ok))];
        for mut file in self.runs {
            file.rewind()?;
            runs.push(Box::new(stored(BufReader::new(file))));
        }
        Merged::of(runs)
    }
}

fn stored(mut reader: BufReader<File>) -> impl Iterator<Item = io::Result<Pair>> {
    std::iter::from_fn(move || {
        let mut bytes = [0; 12];
        match reader.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
            Err(error) => return Some(Err(error)),
        }
        let (term, block) = bytes.split_at(8);
        let (term, block) = (term.try_into().map(u64::from_le_bytes), block.try_into().map(u32::from_le_bytes));
        Some(term.and_then(|term| block.map(|block| (term, block))).map_err(io::Error::other))
    })
}

/// Several sorted runs as one.
struct Merged {
    runs: Vec<Pairs>,
    /// The next pair of each, and which one's it is.
    next: BinaryHeap<Reverse<(Pair, usize)>>,
}

impl Merged {
    fn of(runs: Vec<Pairs>) -> io::Result<Self> {
        let mut merged = Self { next: BinaryHeap::new(), runs };
        for run in 0..merged.runs.len() {
            merged.refill(run)?;
        }
        Ok(merged)
    }

    fn refill(&mut self, run: usize) -> io::Result<()> {
        if let Some(pair) = self.runs.get_mut(run).and_then(Iterator::next) {
            self.next.push(Reverse((pair?, run)));
        }
        Ok(())
    }
}

impl Iterator for Merged {
    type Item = io::Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((pair, run)) = self.next.pop()?;
        Some(self.refill(run).map(|()| pair))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_comes_back_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for most in [1, 7, 1000] {
            let mut postings = Postings::holding(dir.path(), most);
            let pairs: Vec<_> = (0..100_u32).map(|n| (u64::from(n * 37 % 101), n)).collect();
            for (term, block) in &pairs {
                postings.push(*term, *block).unwrap();
            }
            let mut expected = pairs;
            expected.sort_unstable();
            assert_eq!(postings.sorted().unwrap().collect::<io::Result<Vec<_>>>().unwrap(), expected, "{most}");
        }
    }
}
