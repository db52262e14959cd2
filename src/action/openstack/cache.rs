//! Answers that are good for a while.
//!
//! Its promise: pure, time goes in; at most so many and so large together: the oldest make room.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::Request;

/// So many answers are kept for one service.
const MAX_ENTRIES: usize = 256;

/// And so many bytes of them, as JSON.
const MAX_BYTES: usize = 8 << 20;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    path: String,
    query: Vec<(String, String)>,
    select: Option<String>,
}

impl Key {
    pub(super) fn of(request: &Request) -> Self {
        Self { path: request.path.clone(), query: request.query.clone(), select: request.select.clone() }
    }
}

#[derive(Debug)]
struct Entry {
    value: Value,
    bytes: usize,
    asked: Asked,
}

/// When a question was asked: by the clock that nobody sets, for the age, and by the one that the store uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) time: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    bytes: usize,
}

impl Cache {
    /// An answer that is younger than `age`, to a question that was not asked before `since`.
    pub(super) fn get(&self, key: &Key, now: Instant, age: Duration, since: Timestamp) -> Option<Value> {
        let entry = self.entries.get(key)?;
        let is_good = entry.asked.time >= since && now.saturating_duration_since(entry.asked.at) < age;
        is_good.then(|| entry.value.clone())
    }

    /// Keeps what was asked for at `asked`.
    pub(super) fn put(&mut self, key: Key, value: Value, bytes: usize, asked: Asked) {
        self.remove(&key);
        self.bytes += bytes;
        self.entries.insert(key, Entry { value, bytes, asked });
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.asked.at).map(|(key, _)| key.clone())
            else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(at: usize) -> Key {
        Key { path: at.to_string(), query: Vec::new(), select: None }
    }

    /// Before every question.
    const EVER: Timestamp = Timestamp::UNIX_EPOCH;

    fn asked(at: Instant) -> Asked {
        Asked { at, time: Timestamp::constant(100, 0) }
    }

    #[tokio::test]
    async fn an_answer_is_good_for_as_long_as_who_asks_says() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(key(1), 7.into(), 1, asked(start));
        let later = start + Duration::from_secs(10);
        assert_eq!(cache.get(&key(1), later, Duration::from_secs(11), EVER), Some(7.into()));
        assert_eq!(cache.get(&key(1), later, Duration::from_secs(10), EVER), None);
        assert_eq!(cache.get(&key(1), start, Duration::ZERO, EVER), None);
        assert_eq!(cache.get(&key(2), later, Duration::from_secs(11), EVER), None);
    }

    #[tokio::test]
    async fn an_answer_says_nothing_of_what_came_after_its_question() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(key(1), 7.into(), 1, asked(start));
        let get = |since| cache.get(&key(1), start, Duration::from_secs(30), Timestamp::constant(since, 0));
        assert_eq!((get(100), get(101)), (Some(7.into()), None));
    }

    #[tokio::test]
    async fn the_oldest_make_room() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        for at in 0..MAX_ENTRIES + 10 {
            cache.put(key(at), at.into(), 1, asked(start + Duration::from_millis(at as u64)));
        }
        let age = Duration::from_hours(1);
        assert_eq!((cache.entries.len(), cache.bytes), (MAX_ENTRIES, MAX_ENTRIES));
        assert_eq!(
            (cache.get(&key(9), start, age, EVER), cache.get(&key(10), start, age, EVER)),
            (None, Some(10.into()))
        );
        // Once more is no second entry.
        cache.put(key(20), 0.into(), 5, asked(start + age));
        assert_eq!((cache.entries.len(), cache.bytes), (MAX_ENTRIES, MAX_ENTRIES + 4));
        cache.put(key(0), 0.into(), MAX_BYTES, asked(start + age + age));
        assert_eq!((cache.entries.len(), cache.bytes), (1, MAX_BYTES));
    }
}
