//! The bytes of an index: what its pages and its root are written as and read from.
//!
//! Its promise: pure and total. Any bytes are read, or refused; none makes it panic or allocate more than they are.

use std::io::{self, Read};

use super::{Block, IndexError};
use crate::chain::Hash;

const MAGIC: &[u8; 8] = b"cadfdidx";
const VERSION: u32 = 2;

/// The first bytes of an index.
pub(super) struct Header {
    pub(super) root_at: u64,
    pub(super) root_len: u64,
    pub(super) digest: Hash,
}

impl Header {
    pub(super) const LENGTH: u64 = 64;

    pub(super) fn read(reader: &mut impl Read) -> Result<Self, IndexError> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let mut fields = Fields(&bytes);
        if fields.take::<8>().as_ref() != Some(MAGIC) {
            return Err(IndexError::Damaged);
        }
        if fields.u32() != Some(VERSION) {
            return Err(IndexError::Stale);
        }
        let header = |fields: &mut Fields<'_>| {
            fields.u32()?;
            Some(Self { root_at: fields.u64()?, root_len: fields.u64()?, digest: fields.digest()? })
        };
        header(&mut fields).ok_or(IndexError::Damaged)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(self.root_at.to_le_bytes());
        bytes.extend(self.root_len.to_le_bytes());
        bytes.extend(self.digest.bytes());
        bytes
    }
}

/// What is read of an index in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) file_len: u64,
    pub(super) ends: Hash,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) last_digest: Hash,
    pub(super) records: u64,
    pub(super) blocks: Vec<Block>,
    pub(super) pages: Vec<Page>,
}

/// Where terms are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) first: u64,
    pub(super) at: u64,
    pub(super) len: u32,
    pub(super) check: u64,
}

impl Root {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (file_len, ends) = (fields.u64()?, fields.digest()?);
        let (first, last, last_digest, records) = (fields.u64()?, fields.u64()?, fields.digest()?, fields.u64()?);
        let (block_count, page_count) = (fields.u32()?, fields.u32()?);
        let mut root =
            Self { file_len, ends, first, last, last_digest, records, blocks: Vec::new(), pages: Vec::new() };
        for _ in 0..block_count {
            root.blocks.push(Block {
                at: fields.u64()?,
                len: fields.u64()?,
                first: fields.u64()?,
                last: fields.u64()?,
                earliest: fields.i64()?,
                latest: fields.i64()?,
            });
        }
        for _ in 0..page_count {
            root.pages.push(Page { first: fields.u64()?, at: fields.u64()?, len: fields.u32()?, check: fields.u64()? });
        }
        fields.0.is_empty().then_some(root)
    }

    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(128 + self.blocks.len() * 48 + self.pages.len() * 28);
        bytes.extend(self.file_len.to_le_bytes());
        bytes.extend(self.ends.bytes());
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.last.to_le_bytes());
        bytes.extend(self.last_digest.bytes());
        bytes.extend(self.records.to_le_bytes());
        for count in [self.blocks.len(), self.pages.len()] {
            bytes.extend(u32::try_from(count).map_err(io::Error::other)?.to_le_bytes());
        }
        for block in &self.blocks {
            for number in [block.at, block.len, block.first, block.last] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(block.earliest.to_le_bytes());
            bytes.extend(block.latest.to_le_bytes());
        }
        for page in &self.pages {
            bytes.extend(page.first.to_le_bytes());
            bytes.extend(page.at.to_le_bytes());
            bytes.extend(page.len.to_le_bytes());
            bytes.extend(page.check.to_le_bytes());
        }
        Ok(bytes)
    }
}

/// Bytes that are read from their beginning.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Hash> {
        self.take::<{ Hash::BYTES }>().and_then(|bytes| Hash::from_bytes(&bytes))
    }

    /// LEB128.
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

/// LEB128.
pub(super) fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// The blocks of a term in a page, none where it is not there; `None` where this is no page.
pub(super) fn find_in_page(fields: &mut Fields<'_>, wanted: u64) -> Option<Vec<u32>> {
    let mut term = 0_u64;
    while !fields.0.is_empty() {
        term = term.checked_add(fields.number()?)?;
        let count = fields.number()?;
        if term > wanted {
            break;
        }
        let (mut blocks, mut block) = (Vec::new(), 0_u64);
        for _ in 0..count {
            block = block.checked_add(fields.number()?)?;
            if term == wanted {
                blocks.push(u32::try_from(block).ok()?);
            }
        }
        if term == wanted {
            return Some(blocks);
        }
    }
    Some(Vec::new())
}

/// The first 8 bytes of a digest.
pub(super) fn short(digest: &Hash) -> u64 {
    digest.bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
