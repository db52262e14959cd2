//! `[audit]`: when the audit file is rotated, and what becomes of rotated files.

use std::time::Duration;

use crate::audit::Rotation;

use super::section::Section;
use super::{CENTURY, GIB, HOUR, SECOND};

pub(super) fn read(section: &Section<'_>) -> Rotation {
    let default = Rotation::default();
    let bytes = |key: &str, least, default: Option<u64>| {
        section.unless(key, "off", || section.bytes(key, least..=1024 * GIB, default.unwrap_or_default()))
    };
    let age = || section.duration("rotate_age", 60 * SECOND..=CENTURY, default.age.unwrap_or(Duration::MAX));
    let keep = || section.integer("keep", 1..=1_000_000, 1_000_000);
    let keep_for = || section.duration("keep_for", HOUR..=CENTURY, CENTURY);
    let is_written = |key| section.get(key).is_some();
    Rotation {
        // Smaller ones would be filled by what the trail itself tells of their removal.
        size: bytes("rotate_size", 4096, default.size),
        age: section.unless("rotate_age", "off", age),
        keep: section.unless("keep", "all", keep).filter(|_| is_written("keep")),
        keep_for: section.unless("keep_for", "forever", keep_for).filter(|_| is_written("keep_for")),
        compress: section.boolean("compress", default.compress),
        min_free: bytes("min_free", 0, default.min_free).filter(|least| *least > 0),
    }
}
