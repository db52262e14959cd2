//! The audit trail's file, and standard output beside it: both follow the store.
//!
//! Its promise: each record stands in the file exactly once, whole, in the order of its number, and is on disk before
//! the store forgets it; a line for standard output is written at least once. Neither waits for the other. A third
//! thread keeps the files that the audit file was rotated to.

mod desk;
mod ending;
mod file;
mod floor;
mod follow;
mod followers;
pub mod key;
mod pack;
mod retain;
mod rotation;
mod to_file;
mod upkeep;

use std::path::PathBuf;
use std::time::Duration;

pub use desk::{Desk, Upkept};
pub use ending::Stored;
pub use file::{AuditError, AuditFile};
pub use floor::free_bytes;
pub use follow::Health;
pub use followers::{Followers, Output};
pub use rotation::Rotation;
pub use upkeep::{Cover, Upkeep};

/// The audit trail's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its file.
    pub path: PathBuf,
    /// Between checkpoints.
    pub checkpoint_every: Duration,
    /// The private key for them; `None`: one of our own in the state directory.
    pub key_file: Option<PathBuf>,
    /// Its rotation, and what becomes of rotated files.
    pub rotation: Rotation,
}
