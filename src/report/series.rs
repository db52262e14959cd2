//! Events by outcome, over time.
//!
//! Its promise: pure. There are never more than forty steps, each of a length that people count in: minutes, hours,
//! days, weeks; the sum of all is the number of events.

use jiff::Timestamp;

use super::span::Span;

/// Outcomes in the order in which they are stacked and told.
pub(super) const OUTCOMES: [&str; 4] = ["success", "failure", "pending", "unknown"];

/// Events by outcome, in that order.
pub(super) type Counts = [u64; OUTCOMES.len()];

/// Steps at most.
const MOST: i64 = 40;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// Lengths of a step, in seconds; longer ones are doubled weeks.
const STEPS: [i64; 12] =
    [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, WEEK];

/// 1970-01-01 was a Thursday: weeks begin on Mondays.
const MONDAY: i64 = 4 * DAY;

/// Counts, step by step.
#[derive(Debug)]
pub(super) struct Series {
    /// Where the first step begins, in seconds since 1970.
    from: i64,
    /// How long each is, in seconds.
    step: i64,
    counts: Vec<Counts>,
}

/// Where an outcome stands in [`OUTCOMES`].
pub(super) fn place_of(outcome: &str) -> usize {
    OUTCOMES.iter().position(|known| *known == outcome).unwrap_or(OUTCOMES.len() - 1)
}

impl Series {
    /// Of nothing yet.
    pub(super) fn new(span: &Span) -> Self {
        let (since, until) = (span.since.as_second(), span.until.as_second().max(span.since.as_second() + 1));
        let doubled = std::iter::successors(Some(2 * WEEK), |step| step.checked_mul(2));
        let fits = |step: &i64| count(since, until, *step) <= MOST;
        let step = STEPS.into_iter().chain(doubled).find(fits).unwrap_or(i64::MAX / 2);
        let counts = vec![Counts::default(); usize::try_from(count(since, until, step)).unwrap_or(1)];
        Self { from: floor(since, step), step, counts }
    }

    /// Counts an event of the span.
    pub(super) fn add(&mut self, at: Timestamp, outcome: usize) {
        let step = at.as_second().saturating_sub(self.from) / self.step;
        let counts = usize::try_from(step).ok().and_then(|step| self.counts.get_mut(step));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(outcome)) {
            *count += 1;
        }
    }

    pub(super) fn step(&self) -> i64 {
        self.step
    }

    /// The step in words.
    pub(super) fn step_in_words(&self) -> String {
        let (count, unit) = match self.step {
            step if step % WEEK == 0 => (step / WEEK, "week"),
            step if step % DAY == 0 => (step / DAY, "day"),
            step if step % HOUR == 0 => (step / HOUR, "hour"),
            step => (step / MINUTE, "minute"),
        };
        if count == 1 { unit.to_owned() } else { format!("{count} {unit}s") }
    }

    /// Each step's beginning, in words that tell it from the others, and its counts.
    pub(super) fn steps(&self) -> impl Iterator<Item = (String, &Counts)> {
        (0_i64..).zip(&self.counts).map(|(at, counts)| (self.label(at), counts))
    }

    fn label(&self, step: i64) -> String {
        let form = if self.step % DAY == 0 { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M" };
        let at = self.from.saturating_add(step.saturating_mul(self.step));
        Timestamp::from_second(at).map_or_else(|_| String::new(), |at| at.strftime(form).to_string())
    }
}

/// Steps that touch the time from `since` to `until`.
fn count(since: i64, until: i64, step: i64) -> i64 {
    (floor(until - 1, step) - floor(since, step)) / step + 1
}

fn floor(at: i64, step: i64) -> i64 {
    let first = if step % WEEK == 0 { MONDAY } else { 0 };
    (at - first).div_euclid(step) * step + first
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn span(since: &str, until: &str) -> Span {
        Span { since: since.parse().unwrap(), until: until.parse().unwrap() }
    }

    #[test]
    fn steps_are_of_lengths_that_people_count_in() {
        for (since, until, step, steps, first) in [
            ("2026-11-21T07:00:30Z", "2026-11-21T07:05:00Z", "minute", 5, "2026-11-21 07:00"),
            ("2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z", "hour", 24, "2026-11-20 10:00"),
            ("2026-10-22T10:30:00Z", "2026-11-21T10:30:00Z", "day", 31, "2026-10-22"),
            ("2025-11-21T00:00:00Z", "2026-11-21T00:00:00Z", "2 weeks", 27, "2025-11-10"),
            ("1970-01-01T00:00:00Z", "2026-11-21T00:00:00Z", "128 weeks", 25, "1967-07-24"),
        ] {
            let series = Series::new(&span(since, until));
            let labels: Vec<_> = series.steps().map(|(label, _)| label).collect();
            assert_eq!((series.step_in_words().as_str(), labels.len(), labels[0].as_str()), (step, steps, first));
        }
    }

    #[test]
    fn every_moment_of_the_span_has_its_step() {
        let span = span("2026-11-21T07:00:30Z", "2026-11-21T07:05:00Z");
        let mut series = Series::new(&span);
        for second in span.since.as_second()..span.until.as_second() {
            series.add(Timestamp::from_second(second).unwrap(), place_of("failure"));
        }
        let counts: Vec<_> = series.steps().map(|(_, counts)| counts[1]).collect();
        assert_eq!(counts, [30, 60, 60, 60, 60]);
    }
}
