//! Whether the clock on the wall was set back.
//!
//! Its promise: pure; a clock that is merely corrected, as NTP does it, is not one that was set.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A difference that no correction makes between two looks; deliveries bear being so late.
const STEP: SignedDuration = SignedDuration::from_secs(1);

/// Compares the clock on the wall with the one that only goes forwards.
#[derive(Debug)]
pub(super) struct WallClock {
    wall: Timestamp,
    steady: Instant,
}

impl WallClock {
    pub(super) fn new(wall: Timestamp, steady: Instant) -> Self {
        Self { wall, steady }
    }

    /// Whether it was set back since this was last asked.
    pub(super) fn was_set_back(&mut self, wall: Timestamp, steady: Instant) -> bool {
        let passed: Duration = steady.duration_since(self.steady);
        let shown = wall.duration_since(self.wall);
        (self.wall, self.steady) = (wall, steady);
        SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX).saturating_sub(shown) > STEP
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn set_back_is_not_corrected_nor_set_forwards() {
        let start = Instant::now();
        let at = |milliseconds: i64| Timestamp::from_millisecond(1_795_244_603_000 + milliseconds).unwrap();
        let mut clock = WallClock::new(at(0), start);
        let mut look = |wall, steady| clock.was_set_back(at(wall), start + Duration::from_millis(steady));
        assert!(!look(10_000, 10_000));
        assert!(!look(19_200, 20_000), "corrected");
        assert!(!look(3_600_000, 30_000), "set forwards");
        assert!(look(40_000, 40_000), "and back");
        assert!(!look(50_000, 50_000), "which is news once");
    }
}
