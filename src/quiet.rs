//! Saying the same thing once in a while instead of each time.
//!
//! Its promise: the first time is said at once; after that, at most once a minute, with how often it happened since.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The same thing is said once in so long.
const PERIOD: Duration = Duration::from_mins(1);

/// Different things that are remembered; beyond that all are forgotten, which only says something once too often.
const REMEMBERED: usize = 256;

/// What was said, and when.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    said: HashMap<String, (Instant, u32)>,
}

impl Quiet {
    /// How often `what` happened since it was last said, this time included, if it is to be said now.
    pub(crate) fn say(&mut self, what: &str, now: Instant) -> Option<u32> {
        if let Some((at, since)) = self.said.get_mut(what) {
            *since += 1;
            if now.duration_since(*at) < PERIOD {
                return None;
            }
            let count = *since;
            (*at, *since) = (now, 0);
            return Some(count);
        }
        if self.said.len() >= REMEMBERED {
            self.said.clear();
        }
        self.said.insert(what.to_owned(), (now, 0));
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_is_said_once_a_minute_with_the_count() {
        let mut quiet = Quiet::default();
        let now = Instant::now();
        assert_eq!(quiet.say("404", now), Some(1));
        assert_eq!(quiet.say("404", now), None);
        assert_eq!(quiet.say("401", now), Some(1));
        assert_eq!(quiet.say("401", now), None);
        assert_eq!(quiet.say("401", now + PERIOD), Some(2));
        assert_eq!(quiet.say("404", now + PERIOD), Some(2));
        assert_eq!(quiet.say("404", now + PERIOD), None);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let mut quiet = Quiet::default();
        for n in 0..10 * REMEMBERED {
            quiet.say(&n.to_string(), Instant::now());
            assert!(quiet.said.len() <= REMEMBERED);
        }
    }
}
