//! What a search gives, in which order, and what it tells on the way.

use std::path::Path;

use super::entry::Entry;
use super::files::TrailError;

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were written.
    Oldest,
    /// The other way round.
    Newest,
}

/// A record that was wanted.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its very bytes, with the line feed where it has one.
    pub line: Vec<u8>,
    /// What it says.
    pub entry: Entry,
}

/// What a person should know of a search.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// The index of this file is damaged; it is made anew, or the file is read whole.
    Damaged(&'a Path),
    /// What this is about cannot be unpacked, or not to its end; the rest is searched.
    Unreadable(&'a TrailError),
    /// The index of this file, which has so many bytes, is being made.
    Indexing(&'a Path, u64),
}

/// Who is told how a search goes.
pub struct Watch<'a> {
    /// Bytes that were read, or need not be.
    pub read: Box<dyn FnMut(u64) + 'a>,
    /// What should be known.
    pub note: Box<dyn FnMut(Note<'_>) + 'a>,
    /// Whether missing indexes are made on the way.
    pub make_indexes: bool,
}

impl Watch<'_> {
    /// Nobody.
    #[must_use]
    pub fn none() -> Self {
        Self { read: Box::new(|_| ()), note: Box::new(|_| ()), make_indexes: false }
    }
}
