//! How fast and how often something is tried: keys that destinations and OpenStack's services have in common.

use std::time::Duration;

use crate::action::Limits;
use crate::retry::Schedule;

use super::section::Section;
use super::{HOUR, SECOND, YEAR, longest_last};

/// All of them, where a request is made.
pub(super) fn limits(section: &Section<'_>, default: &Limits) -> Limits {
    let short = SECOND / 100..=HOUR;
    Limits {
        connect_timeout: section.duration("connect_timeout", short.clone(), default.connect_timeout),
        total_timeout: section.duration("timeout", short, default.total_timeout),
        rate: section.rate("rate", default.rate),
        concurrency: usize::try_from(section.integer("concurrency", 1..=256, default.concurrency as u64)).unwrap_or(1),
        ..patience(section, default)
    }
}

/// Only how it is tried again, and for how long.
pub(super) fn patience(section: &Section<'_>, default: &Limits) -> Limits {
    let retry = Schedule {
        first: section.duration("retry_first", SECOND / 100..=HOUR, default.retry.first),
        max: section.duration("retry_max", SECOND / 100..=24 * HOUR, default.retry.max),
    };
    longest_last(section, "retry_first", "retry_max", &retry);
    let give_up_after = section.duration("give_up_after", Duration::ZERO..=YEAR, default.give_up_after);
    Limits { retry, give_up_after, ..default.clone() }
}
