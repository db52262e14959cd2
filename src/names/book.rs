//! All that is known by name, in memory.
//!
//! Its promise: pure; knowledge only ever replaces what is older, a deletion is kept with the last name, and what a thing
//! was like before a change is kept until the event that tells of the change has come.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::name::{Before, How, Kind, Known, Thing};

/// As many things are known at most; some 300 bytes each.
const MAX: usize = 1_000_000;

/// How far the clocks of Keystone's machines and ours may be apart.
pub(super) const SKEW: Duration = Duration::from_mins(5);

/// What the stream says again and again is taken in again after this time, and
const FRESH: Duration = Duration::from_hours(1);

/// what is as it was is written again after this one: the time at which it was last known is as old on disk at most.
const KEPT: Duration = Duration::from_hours(12);

/// Names by kind and id.
#[derive(Debug, Default)]
pub struct Book {
    things: HashMap<Kind, HashMap<String, Entry>>,
    len: usize,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// When it was last worth a write.
    kept: Timestamp,
    /// An event told of a change, and what it changed could not be found out: what is learnt next is no news.
    untold: bool,
    /// An event tells of what was `before`, and is not yet on disk.
    claimed: bool,
}

impl Book {
    /// The book with these in it.
    #[must_use]
    pub fn of(all: impl IntoIterator<Item = Known>) -> Self {
        let mut book = Self::default();
        all.into_iter().for_each(|known| book.put(known));
        book
    }

    /// How many things are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nothing more can be learnt.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len >= MAX
    }

    /// What is known of a thing.
    #[must_use]
    pub fn get(&self, kind: Kind, id: &str) -> Option<&Known> {
        self.entry(kind, id).map(|entry| &entry.known)
    }

    fn entry(&self, kind: Kind, id: &str) -> Option<&Entry> {
        self.things.get(&kind)?.get(id)
    }

    fn entry_mut(&mut self, kind: Kind, id: &str) -> Option<&mut Entry> {
        self.things.get_mut(&kind)?.get_mut(id)
    }

    fn put(&mut self, known: Known) {
        if self.is_full() {
            return;
        }
        let things = self.things.entry(known.thing.kind).or_default();
        let (id, kept) = (known.thing.id.clone(), known.at);
        if things.insert(id, Entry { known, kept, untold: false, claimed: false }).is_none() {
            self.len += 1;
        }
    }

    /// Takes what `how` says of a thing at `at`. What is to be kept of it, if that is worth a write.
    pub fn learn(&mut self, thing: Thing, how: How, at: Timestamp) -> Option<Known> {
        let thing = self.called(thing);
        let Some(entry) = self.entry_mut(thing.kind, &thing.id) else {
            if self.is_full() {
                return None;
            }
            let known = Known { thing, how, at, deleted: None, before: None };
            self.put(known.clone());
            return Some(known);
        };
        if entry.is_newer(how, at) {
            let filled = merge(&thing, entry.known.thing.clone());
            let is_more = filled != entry.known.thing;
            entry.known.thing = filled;
            return is_more.then(|| entry.known.clone());
        }
        let deleted = entry.known.deleted.filter(|deleted| !is_back(how, at, *deleted));
        let merged = merge(&entry.known.thing, thing);
        let is_same = merged == entry.known.thing && deleted == entry.known.deleted;
        if how.is_answer() && std::mem::take(&mut entry.untold) {
            entry.known.before = None;
        } else if entry.known.before.is_none() && differs(&entry.known.thing, &merged) {
            let Thing { name, enabled, members, .. } = entry.known.thing.clone();
            entry.known.before = Some(Box::new(Before { name, enabled, members, since: entry.known.at, until: at }));
        }
        (entry.known.thing, entry.known.how, entry.known.at, entry.known.deleted) = (merged, how, at, deleted);
        if is_same && at.duration_since(entry.kept).unsigned_abs() < KEPT {
            return None;
        }
        entry.kept = at;
        Some(entry.known.clone())
    }

    /// Takes a row that was written beside the daemon, where it says more than is known.
    pub fn take_in(&mut self, row: Known) {
        let Some(entry) = self.entry_mut(row.thing.kind, &row.thing.id) else {
            self.put(row);
            return;
        };
        if row.at > entry.known.at || (row.at == entry.known.at && row.deleted.is_some()) {
            entry.known.thing = merge(&entry.known.thing, row.thing);
            (entry.known.how, entry.known.at, entry.known.deleted) = (row.how, row.at, row.deleted);
        } else {
            entry.known.thing = merge(&row.thing, entry.known.thing.clone());
        }
    }

    /// The stream says a name, as it does with nearly every event: what is known already costs nothing more.
    pub fn hear(&mut self, kind: Kind, id: &str, name: &str, at: Timestamp) -> Option<Known> {
        let is_known = self.get(kind, id).is_some_and(|known| {
            known.thing.name.as_deref() == Some(name) && at.duration_since(known.at).unsigned_abs() < FRESH
        });
        if is_known {
            return None;
        }
        let (id, name) = (id.to_owned(), Some(name.to_owned()));
        let thing = Thing { kind, id, name, domain_id: None, enabled: None, members: None };
        self.learn(thing, How::Event, at)
    }

    /// A trust is called after its two users, by name where they are known.
    fn called(&self, mut thing: Thing) -> Thing {
        // In one order, so that only a change of the members is one.
        if let Some(members) = &mut thing.members {
            members.sort_unstable();
        }
        if thing.kind == Kind::Trust
            && let Some((trustor, trustee)) = thing.name.as_deref().and_then(|name| name.split_once(" to "))
        {
            let name = |id| self.get(Kind::User, id).and_then(|user| user.thing.name.as_deref()).unwrap_or(id);
            thing.name = Some(format!("{} to {}", name(trustor), name(trustee)));
        }
        thing
    }

    /// It was deleted at that time. What is to be kept of it.
    pub fn delete(&mut self, kind: Kind, id: &str, at: Timestamp) -> Option<Known> {
        let entry = self.entry_mut(kind, id)?;
        entry.known.deleted.get_or_insert(at);
        entry.known.before = None;
        Some(entry.known.clone())
    }

    /// It was created at that time: if its id is that of a deleted thing, it is another one.
    pub fn create(&mut self, kind: Kind, id: &str, at: Timestamp) {
        if let Some(entry) = self.entry_mut(kind, id) {
            if entry.known.deleted.is_some_and(|deleted| deleted < at) {
                entry.known.deleted = None;
            }
            entry.known.before = None;
        }
    }

    /// What a thing was like before the change that an event of that time tells of. Nobody else is told while that event
    /// is on its way to the disk; a `repeat`, which may be there already, takes it from nobody.
    pub fn claim_before(&mut self, kind: Kind, id: &str, told: Timestamp, repeat: bool) -> Option<Before> {
        let entry = self.entry_mut(kind, id)?;
        if entry.claimed {
            return None;
        }
        let before = entry.known.before.as_deref()?.clone();
        // What was seen long before the event was another change, whose event never came.
        if told > before.until + SKEW {
            entry.known.before = None;
            return None;
        }
        entry.claimed = !repeat;
        Some(before)
    }

    /// The event that claimed it is on disk, or it is not.
    pub fn settle(&mut self, kind: Kind, id: &str, is_kept: bool) {
        if let Some(entry) = self.entry_mut(kind, id) {
            entry.claimed = false;
            if is_kept {
                entry.known.before = None;
            }
        }
    }

    /// An event told of a change, and it could not be found out.
    pub fn untold(&mut self, kind: Kind, id: &str) {
        if let Some(entry) = self.entry_mut(kind, id) {
            entry.known.before = None;
            entry.untold = true;
        }
    }

    /// Forgets what was deleted before that time.
    pub fn forget(&mut self, before: Timestamp) {
        for things in self.things.values_mut() {
            things.retain(|_, entry| entry.known.deleted.is_none_or(|deleted| deleted >= before));
        }
        self.len = self.things.values().map(HashMap::len).sum();
    }
}

impl Entry {
    /// Whether more recent knowledge is here already. Keystone's own answer is of now, whatever time its clock had written
    /// into an event; two answers are told apart by ours.
    fn is_newer(&self, how: How, at: Timestamp) -> bool {
        at < self.known.at && (!how.is_answer() || self.known.how.is_answer())
    }
}

/// Whether what was deleted is there again: ids are never given twice, but some are chosen (regions), and clocks differ.
fn is_back(how: How, at: Timestamp, deleted: Timestamp) -> bool {
    how != How::Event && at > deleted + SKEW
}

/// What is new, with what it does not say as it was.
fn merge(old: &Thing, new: Thing) -> Thing {
    Thing {
        name: new.name.or_else(|| old.name.clone()),
        domain_id: new.domain_id.or_else(|| old.domain_id.clone()),
        enabled: new.enabled.or(old.enabled),
        members: new.members.or_else(|| old.members.clone()),
        kind: new.kind,
        id: new.id,
    }
}

/// Whether there is a change that an event tells of: what was not known before is no change.
fn differs(old: &Thing, new: &Thing) -> bool {
    let named = old.name.is_some() && old.name != new.name;
    let switched = old.enabled.is_some() && old.enabled != new.enabled;
    let moved = old.members.is_some() && old.members != new.members;
    named || switched || moved
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_795_244_600 + 60 * minute).unwrap()
    }

    fn user(id: &str, name: &str) -> Thing {
        let (id, name) = (id.to_owned(), Some(name.to_owned()));
        Thing { kind: Kind::User, id, name, domain_id: None, enabled: Some(true), members: None }
    }

    fn name<'a>(book: &'a Book, id: &str) -> &'a str {
        book.get(Kind::User, id).unwrap().thing.name.as_deref().unwrap()
    }

    #[test]
    fn what_is_older_replaces_nothing_but_fills_gaps() {
        let mut book = Book::default();
        book.learn(Thing { enabled: None, ..user("1", "new") }, How::Event, at(10)).unwrap();
        let old = Thing { domain_id: Some("default".into()), ..user("1", "old") };
        let filled = book.learn(old.clone(), How::Import, at(5)).unwrap();
        assert_eq!((filled.how, filled.at, filled.thing.domain_id.as_deref()), (How::Event, at(10), Some("default")));
        assert_eq!(name(&book, "1"), "new");
        assert_eq!(book.learn(old, How::Event, at(5)), None, "there is no gap left");
        book.learn(user("1", "newest"), How::Import, at(11)).unwrap();
        assert_eq!(name(&book, "1"), "newest");
    }

    #[test]
    fn keystone_s_own_answer_counts_whatever_its_clock_says_in_events() {
        let mut book = Book::default();
        book.learn(user("1", "bob"), How::Event, at(3));
        book.learn(Thing { enabled: Some(false), ..user("1", "bob") }, How::Lookup, at(0)).unwrap();
        assert_eq!(book.get(Kind::User, "1").unwrap().thing.enabled, Some(false));
    }

    #[test]
    fn an_answer_that_was_under_way_longer_changes_nothing_back() {
        let mut book = Book::default();
        book.learn(user("1", "new"), How::Lookup, at(5));
        assert_eq!(book.learn(user("1", "old"), How::Listing, at(4)), None);
        assert_eq!(name(&book, "1"), "new");
        assert_eq!(book.claim_before(Kind::User, "1", at(5), false), None);
    }

    #[test]
    fn a_row_that_was_imported_is_taken_in_where_it_says_more() {
        let mut book = Book::default();
        book.learn(user("1", "bob"), How::Lookup, at(5));
        book.learn(Thing { name: None, ..user("2", "") }, How::Lookup, at(5));
        let row = |id: &str, name: &str, minute, deleted| {
            let thing = Thing { enabled: None, ..user(id, name) };
            Known { thing, how: How::Import, at: at(minute), deleted, before: None }
        };
        for row in [row("1", "not so", 4, None), row("2", "eve", 4, None), row("3", "new", 4, Some(at(4)))] {
            book.take_in(row);
        }
        assert_eq!([name(&book, "1"), name(&book, "2"), name(&book, "3")], ["bob", "eve", "new"]);
        assert_eq!((book.len(), book.get(Kind::User, "3").unwrap().deleted), (3, Some(at(4))));
        book.take_in(row("1", "robert", 6, None));
        let known = book.get(Kind::User, "1").unwrap();
        assert_eq!((known.thing.name.as_deref(), known.thing.enabled), (Some("robert"), Some(true)));
    }

    #[test]
    fn what_the_stream_says_again_is_not_written_again() {
        let mut book = Book::default();
        assert!(book.hear(Kind::User, "1", "bob", at(0)).is_some());
        assert_eq!(book.hear(Kind::User, "1", "bob", at(1)), None);
        assert!(book.hear(Kind::User, "1", "bobby", at(2)).is_some());
        assert_eq!(book.hear(Kind::User, "1", "bobby", at(63)), None, "known anew, and not written");
        assert_eq!(book.get(Kind::User, "1").unwrap().at, at(63));
        assert!(book.learn(user("1", "bobby"), How::Listing, at(64)).is_some(), "more is said");
        assert_eq!(book.learn(user("1", "bobby"), How::Listing, at(65)), None, "known anew, and not written");
        assert_eq!(book.get(Kind::User, "1").unwrap().at, at(65));
        assert!(book.learn(user("1", "bobby"), How::Listing, at(64 + 12 * 60)).is_some(), "twice a day");
    }

    #[test]
    fn a_deletion_keeps_the_name_and_stays() {
        let mut book = Book::default();
        book.learn(user("1", "bob"), How::Listing, at(0));
        assert_eq!(book.delete(Kind::User, "1", at(2)).unwrap().deleted, Some(at(2)));
        book.delete(Kind::User, "1", at(3));
        book.learn(user("1", "bob"), How::Lookup, at(4));
        assert_eq!(book.get(Kind::User, "1").unwrap().deleted, Some(at(2)), "an answer that crossed the deletion");
        book.learn(user("1", "bob"), How::Listing, at(60));
        assert_eq!(book.get(Kind::User, "1").unwrap().deleted, None, "a region of the same name");
        book.delete(Kind::User, "1", at(70));
        book.create(Kind::User, "1", at(69));
        assert!(book.get(Kind::User, "1").unwrap().deleted.is_some(), "that one was before");
        book.create(Kind::User, "1", at(71));
        assert_eq!(book.get(Kind::User, "1").unwrap().deleted, None);
        assert!(book.delete(Kind::User, "2", at(2)).is_none(), "nothing is known of it");
    }

    #[test]
    fn what_was_deleted_long_ago_is_forgotten() {
        let mut book = Book::default();
        book.learn(user("1", "bob"), How::Listing, at(0));
        book.learn(user("2", "eve"), How::Listing, at(0));
        book.delete(Kind::User, "1", at(1));
        book.forget(at(1));
        assert_eq!(book.len(), 2);
        book.forget(at(2));
        assert_eq!((book.len(), book.get(Kind::User, "1")), (1, None));
    }

    #[test]
    fn what_it_was_like_before_a_change_waits_for_its_event() {
        let disabled = || Thing { enabled: Some(false), ..user("1", "bob") };
        let mut book = Book::default();
        book.learn(user("1", "bob"), How::Listing, at(0));
        book.learn(user("1", "bob"), How::Listing, at(1));
        let claim = |book: &mut Book, told, repeat| book.claim_before(Kind::User, "1", at(told), repeat);
        assert_eq!(claim(&mut book, 1, false), None, "nothing changed");
        book.learn(disabled(), How::Listing, at(2));
        book.learn(disabled(), How::Lookup, at(3));
        let before = claim(&mut book, 2, true).unwrap();
        assert_eq!((before.enabled, before.since, before.until), (Some(true), at(1), at(2)));
        assert_eq!(claim(&mut book, 2, false), Some(before.clone()), "who comes again takes it from nobody");
        assert_eq!(claim(&mut book, 2, false), None, "one event tells of it");
        book.settle(Kind::User, "1", false);
        assert_eq!(claim(&mut book, 2, false), Some(before), "that one was not kept");
        book.settle(Kind::User, "1", true);
        assert_eq!(claim(&mut book, 2, false), None, "it was told");
        book.learn(user("1", "bob"), How::Listing, at(4));
        assert_eq!(claim(&mut book, 30, false), None, "that event tells of something else");
    }

    #[test]
    fn a_change_that_could_not_be_found_out_is_not_taken_for_the_next() {
        let mut book = Book::default();
        book.learn(user("1", "bob"), How::Listing, at(0));
        book.untold(Kind::User, "1");
        book.hear(Kind::User, "1", "bob", at(1));
        book.learn(Thing { enabled: Some(false), ..user("1", "bob") }, How::Lookup, at(2));
        assert_eq!(book.claim_before(Kind::User, "1", at(2), false), None);
        book.learn(user("1", "bob"), How::Lookup, at(3));
        assert_eq!(book.claim_before(Kind::User, "1", at(3), false).unwrap().enabled, Some(false));
    }

    #[test]
    fn members_are_the_same_in_any_order() {
        let group = |members: &[&str]| Thing {
            kind: Kind::Group,
            members: Some(members.iter().map(|id| (*id).to_owned()).collect()),
            ..user("g", "ops")
        };
        let mut book = Book::default();
        book.learn(group(&["a", "b"]), How::Listing, at(0));
        book.learn(group(&["b", "a"]), How::Lookup, at(1));
        assert_eq!(book.claim_before(Kind::Group, "g", at(1), false), None);
        book.learn(group(&["b"]), How::Lookup, at(2));
        assert!(book.claim_before(Kind::Group, "g", at(2), false).is_some());
    }

    #[test]
    fn a_trust_is_called_after_its_users() {
        let trust = Thing { kind: Kind::Trust, enabled: None, ..user("t", "1 to 2") };
        let mut book = Book::default();
        book.learn(user("1", "bob"), How::Listing, at(0));
        book.learn(trust, How::Listing, at(0));
        assert_eq!(book.get(Kind::Trust, "t").unwrap().thing.name.as_deref(), Some("bob to 2"));
    }
}
