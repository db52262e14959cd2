//! `[audit]`: when the audit file is rotated, and what becomes of rotated files.

use std::time::Duration;

use crate::audit::Rotation;

use super::node::Value;
use super::section::Section;
use super::{CENTURY, GIB, HOUR, SECOND};

pub(super) fn read(section: &Section<'_>) -> Rotation {
    let default = Rotation::default();
    let bytes = |key: &str, least, default: Option<u64>| {
        (!says(section, key, "off")).then(|| section.bytes(key, least..=1024 * GIB, default.unwrap_or_default()))
    };
    let age = || section.duration("rotate_age", 60 * SECOND..=CENTURY, default.age.unwrap_or(Duration::MAX));
    let is_kept = |key, word| section.get(key).is_none() || says(section, key, word);
    Rotation {
        size: bytes("rotate_size", 1024, default.size),
        age: (!says(section, "rotate_age", "off")).then(age),
        keep: (!is_kept("keep", "all")).then(|| section.integer("keep", 1..=1_000_000, 1_000_000)),
        keep_for: (!is_kept("keep_for", "forever")).then(|| section.duration("keep_for", HOUR..=CENTURY, CENTURY)),
        compress: section.boolean("compress", default.compress),
        min_free: bytes("min_free", 0, default.min_free).filter(|least| *least > 0),
    }
}

/// Whether the key has this word as its value.
fn says(section: &Section<'_>, key: &str, word: &str) -> bool {
    matches!(section.get(key).map(|node| &node.value), Some(Value::String(text)) if text == word)
}
