//! Times as a person types them.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time: RFC 3339 (`2026-11-21T07:00:00Z`), a date (its beginning, UTC), or how long ago (`2d`, `1h30m`).
pub(super) fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let expected = || {
        format!(
            "{text:?}: expected how long ago, such as 2d or 1h30m, a date (2026-11-21), or a time (2026-11-21T07:00:00Z)"
        )
    };
    if let Ok(ago) = humantime::parse_duration(text) {
        return before(now, ago).ok_or_else(|| format!("{text:?} is too long ago"));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2026-11-21".len()).ok_or_else(expected)?;
    date.to_zoned(TimeZone::UTC).map(|time| time.timestamp()).map_err(|_| expected())
}

/// The same, as of now.
pub(super) fn typed(text: &str) -> Result<Timestamp, String> {
    since(text, Timestamp::now())
}

/// So long before a time.
pub(super) fn before(now: Timestamp, ago: Duration) -> Option<Timestamp> {
    now.checked_sub(SignedDuration::try_from(ago).ok()?).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2d", "2026-11-19T12:00:00Z"),
            ("1h30m", "2026-11-21T10:30:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T07:00:00+02:00", "2026-11-20T05:00:00Z"),
        ] {
            assert_eq!(since(text, now), Ok(time.parse().unwrap()), "{text}");
        }
        for wrong in ["", "yesterday", "2026-11-31", "20261121", "2026-11-21T07:00:00", "10000000000y"] {
            assert!(since(wrong, now).is_err(), "{wrong}");
        }
    }
}
