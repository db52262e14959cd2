//! The audit trail's file, and standard output beside it: both follow the store.
//!
//! Its promise: each record stands in the file exactly once, whole, in the order of its number, and is on disk before
//! the store forgets it; a line for standard output is written at least once. Neither waits for the other.

mod file;
mod follow;
pub mod key;

use std::path::PathBuf;
use std::time::Duration;

pub use file::{AuditError, AuditFile};
pub use follow::{Followers, Health, Output};

/// The audit trail's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its file.
    pub path: PathBuf,
    /// Between checkpoints.
    pub checkpoint_every: Duration,
    /// The private key for them; `None`: one of our own in the state directory.
    pub key_file: Option<PathBuf>,
}
