//! Times as a person types them: `2d`, `1h30m`, `2026-11-21`, `2026-11-21T10:00:00Z`.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A moment: so long before `now`, a day's beginning in UTC, or RFC 3339.
///
/// # Errors
/// A text that says what is expected.
pub(super) fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    if let Some(day) = day(text) {
        return Ok(day);
    }
    let expected = "expected how long ago (2d, 1h30m), a day (2026-11-21) or a time (2026-11-21T10:00:00Z)";
    let ago: Duration = humantime::parse_duration(text).map_err(|_| expected.to_owned())?;
    let ago = SignedDuration::try_from(ago).map_err(|_| format!("too long ago; {expected}"))?;
    now.checked_sub(ago).map_err(|_| format!("too long ago; {expected}"))
}

/// Years have four digits, so that no other number is taken for a day.
fn day(text: &str) -> Option<Timestamp> {
    let is_day = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day: Date = text.parse().ok().filter(|_| is_day)?;
    day.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2d", "2026-11-19T10:00:00Z"),
            ("1h30m", "2026-11-21T08:30:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T12:00:00+01:00", "2026-11-20T11:00:00Z"),
        ] {
            assert_eq!(since(text, now), Ok(expected.parse().unwrap()), "{text}");
        }
        for wrong in ["", "yesterday", "20", "-2d", "2026-13-01", "100000y", "2026-11-20T12:00:00"] {
            assert!(since(wrong, now).unwrap_err().contains("expected how long ago"), "{wrong}");
        }
    }
}
