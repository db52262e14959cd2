//! How long things took, in buckets.
//!
//! Its promise: pure; it holds the same few numbers however much is noted, and nothing is allocated for it.

use std::time::Duration;

/// The buckets' upper bounds in seconds: from what a healthy daemon takes to a broker that was down for days.
pub const BOUNDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0];

/// Durations, by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delays {
    counts: [u64; BOUNDS.len() + 1],
    seconds: f64,
}

impl Delays {
    /// Notes one.
    pub fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.seconds += seconds;
    }

    /// Adds what was noted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.seconds += other.seconds;
    }

    /// How many were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Each bucket's upper bound in seconds, the last without end, and how many are in it and in no earlier one.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().chain([f64::INFINITY]).zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_first_bucket_that_holds_it() {
        let mut delays = Delays::default();
        for millis in [0, 5, 6, 1000, 1001, 86_400_000, 86_400_001] {
            delays.note(Duration::from_millis(millis));
        }
        let filled: Vec<_> = delays.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.005, 2), (0.01, 1), (1.0, 1), (2.5, 1), (86400.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((delays.count(), delays.seconds().round()), (7, 172_802.0));
        let mut sum = delays;
        sum.add(&delays);
        assert_eq!((sum.count(), sum.seconds().round()), (14, 345_604.0));
    }
}
