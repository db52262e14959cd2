//! Keystone's own log as a witness of what it said: its files, and what it and the trail have in common.
//!
//! Its promise: it changes nothing; files are read line by line, and of a message no more than 16 bytes are kept, so that ten
//! million of them fit into memory.

mod files;
mod join;

pub use files::{Log, LogError, LogFile, find};
pub use join::{Join, MOST, Said, Span, TooMany, TrailKeys, Verdict, Window};
