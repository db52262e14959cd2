//! Reading trails: the files a trail was written to, its records in order, and whether they are what was written.
//!
//! Its promise: it changes nothing, needs no settings and no daemon, and reads what any version of cadfd wrote.
//! [`crate::audit`] writes what is read here; docs/TRAIL.md describes it.

mod files;
mod lines;
mod verify;

pub use files::{Kind, TrailError, TrailFile, find, lines_of};
pub use lines::{Line, Lines};
pub use verify::{Expected, Finding, Report, Verifier, What};
