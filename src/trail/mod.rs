//! Reading trails: the files a trail was written to, its records in order, and whether they are what was written.
//!
//! Its promise: it changes nothing but the indexes beside rotated files, needs no settings and no daemon, and reads what
//! any version of cadfd wrote. A search is a [`Query`], carried out by a [`Scan`].
//! [`crate::audit`] writes what is read here; docs/TRAIL.md describes it.

mod ahead;
mod backwards;
mod entry;
mod files;
mod follow;
mod hit;
pub mod index;
mod lines;
mod query;
mod reading;
mod scan;
mod story;
mod verify;
mod walk;

pub use entry::{Class, Entry, Plan};
pub use files::{Counted, Kind, TrailError, TrailFile, find, find_all, in_order, lines_of};
pub use follow::Follow;
pub use hit::{Hit, Note, Order, Watch};
pub use lines::{Line, Lines};
pub use query::{Query, QueryError, before, time};
pub use scan::{Scan, Trail, trails};
pub use story::{Candidate, Candidates, Story, Times};
pub use verify::{Expected, Finding, Report, Verifier, What};
pub use walk::walk;
