//! Counting and listing within bounds, and saying what was left out.
//!
//! Its promise: pure. No trail, however long, and no stranger who invents names makes it grow past its bound; what it
//! shows is exact, and what it does not show is counted.

use std::collections::{HashMap, VecDeque};

use super::page::counted;

/// What is known of each key, for so many keys and no more; the first that come are kept.
#[derive(Debug)]
pub(super) struct Tally<V> {
    most: usize,
    known: HashMap<String, V>,
    /// Times that something came with a key for which there was no room.
    left_out: u64,
}

impl<V: Default> Tally<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: HashMap::new(), left_out: 0 }
    }

    /// What is known of `key`; `None` where there is no room for it, which is counted.
    pub(super) fn of(&mut self, key: &str) -> Option<&mut V> {
        if !self.known.contains_key(key) {
            if self.known.len() >= self.most {
                self.left_out += 1;
                return None;
            }
            self.known.insert(key.to_owned(), V::default());
        }
        self.known.get_mut(key)
    }

    /// The same, only if there is something.
    pub(super) fn known(&mut self, key: &str) -> Option<&mut V> {
        self.known.get_mut(key)
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> Keys {
        Keys { count: self.known.len() as u64, more: self.left_out > 0 }
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// All of them, those with the greatest rank first, equal ones by their keys.
    pub(super) fn ranked(&self, rank: impl Fn(&V) -> u64) -> Vec<(&str, &V)> {
        let mut all: Vec<_> = self.known.iter().map(|(key, value)| (key.as_str(), value)).collect();
        all.sort_by(|a, b| rank(b.1).cmp(&rank(a.1)).then_with(|| a.0.cmp(b.0)));
        all
    }
}

/// How many different keys came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// Those that are told apart.
    pub(super) count: u64,
    /// Whether there were more.
    pub(super) more: bool,
}

impl Keys {
    pub(super) fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, more: self.more || other.more }
    }

    /// `2 users`, or `more than 20,000 users`.
    pub(super) fn words(self, one: &str, many: &str) -> String {
        let words = counted(self.count, one, many);
        if self.more { format!("more than {words}") } else { words }
    }
}

/// The latest of many.
#[derive(Debug)]
pub(super) struct Latest<T> {
    most: usize,
    kept: VecDeque<T>,
    left_out: u64,
}

impl<T> Latest<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: VecDeque::new(), left_out: 0 }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.kept.len() >= self.most {
            self.left_out += 1;
            self.kept.pop_front();
        }
        self.kept.push_back(item);
    }

    /// Those that are kept, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.kept.iter()
    }

    /// Those before them.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_exact_for_what_it_holds_and_counts_the_rest() {
        let mut tally: Tally<u64> = Tally::new(2);
        for key in ["b", "a", "b", "c", "a", "d", "b"] {
            if let Some(count) = tally.of(key) {
                *count += 1;
            }
        }
        assert_eq!(tally.ranked(|count| *count), [("b", &3), ("a", &2)]);
        assert_eq!((tally.keys(), tally.left_out(), tally.known("c")), (Keys { count: 2, more: true }, 2, None));
        assert_eq!(tally.keys().words("user", "users"), "more than 2 users");
    }

    #[test]
    fn the_latest_stay() {
        let mut latest = Latest::new(2);
        (1..=5).for_each(|item| latest.push(item));
        assert_eq!((latest.iter().copied().collect::<Vec<_>>(), latest.left_out()), (vec![4, 5], 3));
    }
}
