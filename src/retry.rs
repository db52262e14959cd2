//! How long to wait before the next attempt: at a connection, a delivery, a full disk.
//!
//! Its promise: pure; the number of attempts and the jitter go in, a delay within the stated bounds comes out.
//! It is the only place that knows the `backoff` crate.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Beyond this many doublings every schedule has long reached its bound.
const DOUBLINGS: u32 = 64;

/// Exponential: `first`, twice that, four times that, …, at most `max`; each spread by jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The delay after the first failure.
    pub first: Duration,
    /// No delay is longer, jitter included.
    pub max: Duration,
}

impl Schedule {
    /// The delay after failure number `failures` (1 for the first).
    ///
    /// `jitter` is a number drawn uniformly from 0 to 1 by the caller; the delay lies between half and the whole
    /// of the exponential one, so that many clients that failed together do not come back together.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let mut exponential = ExponentialBackoff {
            initial_interval: self.first,
            max_interval: self.max,
            multiplier: 2.0,
            // The crate would draw its own randomness; here it is an argument.
            randomization_factor: 0.0,
            // Never gives up: that decision belongs to the caller.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        exponential.reset();
        let mut delay = self.first;
        for _ in 0..failures.clamp(1, DOUBLINGS) {
            delay = exponential.next_backoff().unwrap_or(self.max);
            if delay >= self.max {
                break;
            }
        }
        delay.min(self.max).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECONNECT: Schedule = Schedule { first: Duration::from_millis(500), max: Duration::from_mins(1) };

    #[test]
    fn doubles_from_first_to_max() {
        let delays: Vec<_> = (1..=9).map(|n| RECONNECT.delay(n, 1.0).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(RECONNECT.delay(u32::MAX, 1.0), RECONNECT.max);
    }

    #[test]
    fn jitter_spreads_over_the_upper_half() {
        assert_eq!(RECONNECT.delay(1, 0.0).as_millis(), 250);
        assert_eq!(RECONNECT.delay(1, 0.5).as_millis(), 375);
        assert_eq!(RECONNECT.delay(1, 7.0).as_millis(), 500);
    }
}
