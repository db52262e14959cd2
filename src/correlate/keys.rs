//! States by their keys, and which of them is the oldest.
//!
//! Its promise: pure; whatever is asked takes no longer with many keys than with few.

use std::collections::{BTreeMap, HashMap};

/// States by their keys.
#[derive(Debug)]
pub(super) struct Keys<S> {
    states: HashMap<String, (u64, S)>,
    ages: BTreeMap<u64, String>,
    next: u64,
}

impl<S> Default for Keys<S> {
    fn default() -> Self {
        Self { states: HashMap::new(), ages: BTreeMap::new(), next: 0 }
    }
}

impl<S> Keys<S> {
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<&S> {
        self.states.get(key).map(|(_, state)| state)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut S> {
        self.states.get_mut(key).map(|(_, state)| state)
    }

    /// Adds one that is not there yet, as the youngest.
    pub(super) fn add(&mut self, key: &str, state: S) {
        self.remove(key);
        self.ages.insert(self.next, key.to_owned());
        self.states.insert(key.to_owned(), (self.next, state));
        self.next += 1;
    }

    /// Makes it the youngest.
    pub(super) fn touch(&mut self, key: &str) {
        if let Some((age, _)) = self.states.get_mut(key)
            && let Some(key) = self.ages.remove(age)
        {
            *age = self.next;
            self.ages.insert(self.next, key);
            self.next += 1;
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<S> {
        let (age, state) = self.states.remove(key)?;
        self.ages.remove(&age);
        Some(state)
    }

    pub(super) fn oldest(&self) -> Option<&str> {
        self.ages.first_key_value().map(|(_, key)| key.as_str())
    }

    /// All, the oldest first.
    pub(super) fn by_age(&self) -> impl Iterator<Item = (&str, &S)> {
        self.ages.values().filter_map(|key| Some((key.as_str(), self.get(key)?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &S)> {
        self.states.iter().map(|(key, (_, state))| (key.as_str(), state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_one_not_touched_for_longest() {
        let mut keys = Keys::default();
        for key in ["a", "b", "c"] {
            keys.add(key, 0);
        }
        assert_eq!(keys.oldest(), Some("a"));
        keys.touch("a");
        assert_eq!(keys.oldest(), Some("b"));
        keys.add("b", 1);
        assert_eq!((keys.oldest(), keys.len(), keys.ages.len()), (Some("c"), 3, 3));
        assert_eq!(keys.by_age().collect::<Vec<_>>(), [("c", &0), ("a", &0), ("b", &1)]);
        assert_eq!((keys.remove("c"), keys.remove("c"), keys.oldest()), (Some(0), None, Some("a")));
    }
}
