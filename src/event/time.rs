//! Times as publishers write them.
//!
//! Its promise: with and without a fraction, `+0000`, `+00:00`, `Z` or no offset (UTC), space or `T`: all become the
//! same instant in microseconds.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Reads a time; one that cannot be read is remarked upon.
pub(super) fn read(text: &str, place: &str, odd: &mut Vec<String>) -> Option<Timestamp> {
    let time = parse(text.trim());
    if time.is_none() {
        odd.push(format!("{place}: not a time that could be read"));
    }
    time
}

fn parse(text: &str) -> Option<Timestamp> {
    // With an offset first: a civil time would silently drop it.
    let exact = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    // RFC 3339 has four digits for the year, and none below zero.
    let time = Timestamp::from_microsecond(exact.as_microsecond()).ok()?;
    (TimeZone::UTC.to_datetime(time).year() >= 0).then_some(time)
}
