//! The index beside a file of a trail: in which parts of the file which user, address, request and so on occur.
//!
//! Its promise: an index never makes a search wrong. It names the file that it was made from by length, first record and
//! digests, and every part of it that is read is checked; where anything does not fit, there is an [`IndexError`] and
//! the file is read whole. It is made whole or not at all.
//!
//! The format is our own, version 2; numbers are little-endian, digests are SHA-256. `<file>.idx` is
//!
//! ```text
//! header   "cadfdidx", version u32, 0 u32, where the root is u64, its length u64, its digest
//! pages    one after another; each has terms in ascending order, each term:
//!            how much it is above the one before it in the page (above 0 for the first), number of blocks,
//!            and the blocks' numbers, each less the one before it: all LEB128
//! root     of the file: length u64, digest of its first and last 64 KiB as stored; its records: first u64, last u64,
//!            digest of the last line, how many u64; number of blocks u32, number of pages u32;
//!          a block:  where it begins in the file as stored u64, length there u64, first and last record u64 each,
//!            earliest and latest time of a record i64 each, microseconds since 1970
//!          a page:   its first term u64, where it is u64, its length u32, the first 8 bytes of its digest
//! ```
//!
//! A block is about 1 MiB of whole lines: in a plain file what lies there, in one packed with zstd the frames that hold
//! them; a gzip file is one block. A term is 64 bits of the digest of what it is about and of the text in lower case
//! ([`term`]): two that fall together cost a block read in vain, nothing else.

mod build;
mod codec;
mod postings;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::entry::Class;
use super::files::TrailFile;
use crate::chain::Hash;
pub use build::{build, build_counted};
use codec::{Fields, Header, Root};

/// So much of a block is whole lines, unpacked, and the line that goes beyond it.
pub const BLOCK: u64 = 1 << 20;

/// So much of a file's beginning and end, as stored, says which file it is.
const ENDS: u64 = 64 << 10;

/// No root is longer: a file of 10 TiB has one of this length.
const LONGEST_ROOT: u64 = 1 << 30;

/// Why there is no answer from an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// There is none.
    #[error("there is no index")]
    Absent,
    /// It is of what the file was before, of another file, or of another version of cadfd's.
    #[error("the index is of another file, or of another version of cadfd")]
    Stale,
    /// It does not hold together.
    #[error("the index is damaged")]
    Damaged,
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A part of a file: whole lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins in the file as stored, in bytes.
    pub at: u64,
    /// How long it is there.
    pub len: u64,
    /// Its first record; 0 where it has none.
    pub first: u64,
    /// Its last record.
    pub last: u64,
    /// The earliest time of a record in it, in microseconds since 1970; above `latest` where none has one.
    pub earliest: i64,
    /// The latest.
    pub latest: i64,
}

/// The index of one file.
#[derive(Debug)]
pub struct Index {
    file: File,
    root: Root,
}

/// Where the index of a file is.
#[must_use]
pub fn path_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".idx");
    name.into()
}

/// The term of a text that is in lower case.
#[must_use]
pub fn term(class: Class<'_>, folded: &str) -> u64 {
    let mut text = Vec::with_capacity(64);
    match class {
        Class::Thing(kind) => {
            text.extend_from_slice(b"thing\0");
            text.extend_from_slice(kind.as_bytes());
        }
        Class::Address => text.extend_from_slice(b"address"),
        Class::EventType => text.extend_from_slice(b"event_type"),
        Class::Outcome => text.extend_from_slice(b"outcome"),
        Class::Rule => text.extend_from_slice(b"rule"),
        Class::Destination => text.extend_from_slice(b"destination"),
        Class::Request => text.extend_from_slice(b"request"),
        Class::Message => text.extend_from_slice(b"message"),
        Class::Delivery => text.extend_from_slice(b"delivery"),
        Class::Type => text.extend_from_slice(b"type"),
    }
    text.push(0);
    text.extend_from_slice(folded.as_bytes());
    codec::short(&Hash::of(&text))
}

impl Index {
    /// The index beside `file`, if it is of this very file.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn open(file: &TrailFile) -> Result<Self, IndexError> {
        let opened = match File::open(path_of(&file.path)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IndexError::Absent),
            Err(error) => return Err(error.into()),
        };
        let metadata = opened.metadata()?;
        let length = metadata.len();
        let header = Header::read(&mut (&opened).take(Header::LENGTH))?;
        if header.root_len > LONGEST_ROOT.min(length) {
            return Err(IndexError::Damaged);
        }
        let root = at(&opened, header.root_at, header.root_len)?;
        if Hash::of(&root) != header.digest {
            return Err(IndexError::Damaged);
        }
        let root = Root::read(&root).ok_or(IndexError::Damaged)?;
        let of = File::open(&file.path)?;
        // Somebody may have edited it in the middle since.
        let is_older = metadata.modified()? < of.metadata()?.modified()?;
        let is_same =
            !is_older && root.file_len == file.len && root.first == file.first.seq && root.ends == ends(&of, file.len)?;
        if is_same { Ok(Self { file: opened, root }) } else { Err(IndexError::Stale) }
    }

    /// The parts of the file, in its order.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.root.blocks
    }

    /// The number of the last record, and the digest of its line.
    #[must_use]
    pub fn last(&self) -> (u64, Hash) {
        (self.root.last, self.root.last_digest)
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.root.records
    }

    /// The numbers of the blocks with a record that has the term, ascending.
    ///
    /// # Errors
    /// When the page that should have it is damaged or cannot be read.
    pub fn holding(&self, term: u64) -> Result<Vec<u32>, IndexError> {
        let after = self.root.pages.partition_point(|page| page.first <= term);
        let Some(page) = after.checked_sub(1).and_then(|number| self.root.pages.get(number)) else {
            return Ok(Vec::new());
        };
        let bytes = at(&self.file, page.at, page.len.into())?;
        if codec::short(&Hash::of(&bytes)) != page.check {
            return Err(IndexError::Damaged);
        }
        let blocks = codec::find_in_page(&mut Fields(&bytes), term).ok_or(IndexError::Damaged)?;
        let is_known = blocks.iter().all(|block| (*block as usize) < self.root.blocks.len());
        if is_known { Ok(blocks) } else { Err(IndexError::Damaged) }
    }

    /// The numbers of the blocks that can have a record with one at least of each list of terms, ascending.
    ///
    /// # Errors
    /// As [`Index::holding`].
    pub fn candidates(&self, terms: &[Vec<u64>]) -> Result<Vec<u32>, IndexError> {
        let count = u32::try_from(self.root.blocks.len()).map_err(|_| IndexError::Damaged)?;
        let mut candidates: Vec<u32> = (0..count).collect();
        for any in terms {
            if candidates.is_empty() {
                break;
            }
            let mut holding = Vec::new();
            for term in any {
                holding.extend(self.holding(*term)?);
            }
            holding.sort_unstable();
            candidates.retain(|block| holding.binary_search(block).is_ok());
        }
        Ok(candidates)
    }
}

/// Bytes of an index; those that are not there are damage.
fn at(file: &File, at: u64, len: u64) -> Result<Vec<u8>, IndexError> {
    let len = usize::try_from(len).map_err(|_| IndexError::Damaged)?;
    if at.checked_add(len as u64).is_none_or(|end| file.metadata().map_or(0, |metadata| metadata.len()) < end) {
        return Err(IndexError::Damaged);
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// What a file of this length begins and ends with.
fn ends(file: &File, len: u64) -> io::Result<Hash> {
    let mut bytes = vec![0; usize::try_from(len.min(2 * ENDS)).map_err(io::Error::other)?];
    let half = bytes.len() / 2;
    let (head, tail) = bytes.split_at_mut(half);
    let read = |buffer: &mut [u8], at| match file.read_exact_at(buffer, at) {
        // It is shorter by now, so it is another.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other,
    };
    read(head, 0)?;
    read(tail, len - tail.len() as u64)?;
    Ok(Hash::of(&bytes))
}

#[cfg(test)]
mod tests;
