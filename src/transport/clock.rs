//! How far our clock is from another's, by the `Date` of an HTTP answer.
//!
//! Its promise: pure; never more than what is certain: an answer's way and the second that `Date` is cut to are no
//! difference.

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap};

/// `Date` is in whole seconds (RFC 9110 section 6.6.1).
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// By how much our clock is behind the other's, negative where it is ahead; `None` without a `Date`.
///
/// `asked` and `answered` are of our clock.
pub(crate) fn skew(headers: &HeaderMap, asked: Timestamp, answered: Timestamp) -> Option<SignedDuration> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let (behind, ahead) = (date.duration_since(answered), asked.duration_since(date) - SECOND);
    Some(if behind.is_positive() {
        behind
    } else if ahead.is_positive() {
        -ahead
    } else {
        SignedDuration::ZERO
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_a_certain_difference_counts() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut headers = HeaderMap::new();
        let (asked, answered) = (at("2026-11-21T07:00:10.2Z"), at("2026-11-21T07:00:12.1Z"));
        assert_eq!(skew(&headers, asked, answered), None);
        for (date, seconds) in [
            ("Sat, 21 Nov 2026 07:00:09 GMT", -0.2),
            ("Sat, 21 Nov 2026 07:00:10 GMT", 0.0),
            ("Sat, 21 Nov 2026 07:00:12 GMT", 0.0),
            ("Sat, 21 Nov 2026 07:01:12 GMT", 59.9),
            ("Sat, 21 Nov 2026 06:59:10 GMT", -59.2),
        ] {
            headers.insert(DATE, date.parse().unwrap());
            let found = skew(&headers, asked, answered).unwrap();
            assert!((found.as_secs_f64() - seconds).abs() < 0.001, "{date}: {found:?}");
        }
        headers.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(skew(&headers, asked, answered), None);
    }
}
