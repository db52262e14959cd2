//! Which messages were taken already.
//!
//! Its promise: an id is found for as long as it is to be remembered, exactly; asking about a new one costs the same
//! however many are remembered, and no look into the tables but for one in ten thousand.
//!
//! Ids are appended, a row for each transaction, and never searched by an index: an index over random ids would touch
//! another page for each message. What keeps the search short is a Bloom filter for each generation of ids; only what a
//! filter takes for known is looked for in that generation's rows.

use std::collections::VecDeque;

use fastbloom::BloomFilter;
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

/// Bytes of an id as it is kept.
const BYTES: usize = 16;

/// A message's id as it is kept: a UUID's own bytes, of any other text the first of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey([u8; BYTES]);

/// Ids of one generation: about a megabyte of them, looked through in a tenth of a millisecond.
const GENERATION: usize = 1 << 16;

/// Bits of a filter for each id, and how many of them an id sets: 4 of 100,000 new ids are taken for known.
const BITS: usize = 24;
const HASHES: u32 = 8;

/// The same for all filters, so that one hash does for all of them. Nobody who could choose ids gains by knowing it: what
/// a filter takes for known is looked for.
const SEED: u128 = 0;

/// Ids remembered at most, however long they are to be: 30 MB of filters, 160 MB on disk.
const MOST: usize = 10_000_000;

/// A generation is closed when it has lasted for this part of the time that ids are remembered for, so that none is
/// remembered for much longer.
const PART: i64 = 8;

/// What was taken, in memory and in the table `seen`.
#[derive(Debug)]
pub(super) struct Seen {
    /// Oldest first; each is one row.
    sealed: VecDeque<Generation>,
    /// The one that ids are added to, its rows those that are not sealed.
    open: Generation,
    /// Ids of the transaction under way, one after another.
    fresh: Vec<u8>,
}

#[derive(Debug)]
struct Generation {
    /// The last of its rows.
    n: i64,
    /// When its first and its last id came, in milliseconds since 1970.
    since: i64,
    until: i64,
    ids: usize,
    filter: BloomFilter,
}

impl Generation {
    fn new(capacity: usize) -> Self {
        let filter = BloomFilter::with_num_bits((capacity * BITS).max(64)).seed(&SEED).hashes(HASHES);
        Self { n: 0, since: i64::MAX, until: i64::MIN, ids: 0, filter }
    }

    fn add(&mut self, ids: &[u8]) {
        for id in ids.chunks_exact(BYTES) {
            self.filter.insert(id);
            self.ids += 1;
        }
    }

    fn at(&mut self, n: i64, since: i64, until: i64) {
        (self.n, self.since, self.until) = (n, self.since.min(since), self.until.max(until));
    }
}

impl MessageKey {
    /// Of a `message_id`.
    #[must_use]
    pub fn of(message_id: &str) -> Self {
        let other = || {
            let mut bytes = [0; BYTES];
            bytes.copy_from_slice(&Sha256::digest(message_id)[..BYTES]);
            bytes
        };
        Self(uuid(message_id.as_bytes()).unwrap_or_else(other))
    }

    /// As it is kept.
    #[must_use]
    pub fn bytes(self) -> [u8; BYTES] {
        self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// The bytes of a UUID in the one form that Python writes: lower case, with dashes.
fn uuid(text: &[u8]) -> Option<[u8; BYTES]> {
    if text.len() != 36 {
        return None;
    }
    let mut id = [0; BYTES];
    let mut digits = 0;
    for (at, byte) in text.iter().enumerate() {
        let digit = match byte {
            b'-' if matches!(at, 8 | 13 | 18 | 23) => continue,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        // A dash less elsewhere leaves a digit too many.
        let slot = id.get_mut(digits / 2)?;
        *slot = *slot << 4 | digit;
        digits += 1;
    }
    Some(id)
}

impl Seen {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut seen = Self { sealed: VecDeque::new(), open: Generation::new(GENERATION), fresh: Vec::new() };
        let mut statement = connection.prepare("SELECT n, since, until, sealed, ids FROM seen ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (n, since, until, sealed) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let ids = row.get_ref(4)?.as_blob()?;
            if sealed {
                let mut generation = Generation::new(ids.len() / BYTES);
                generation.add(ids);
                generation.at(n, since, until);
                seen.sealed.push_back(generation);
            } else {
                seen.open.add(ids);
                seen.open.at(n, since, until);
            }
        }
        Ok(seen)
    }

    /// Takes an id that is new; false where it is known.
    pub(super) fn take(&mut self, connection: &Connection, id: MessageKey) -> rusqlite::Result<bool> {
        let hash = self.open.filter.source_hash(id.0.as_slice());
        if self.open.filter.contains_hash(hash)
            && (has(&self.fresh, id) || is_in_open(connection, self.last_sealed(), id)?)
        {
            return Ok(false);
        }
        for generation in self.sealed.iter().rev().filter(|generation| generation.filter.contains_hash(hash)) {
            if is_in_sealed(connection, generation.n, id)? {
                return Ok(false);
            }
        }
        self.open.filter.insert_hash(hash);
        self.fresh.extend(id.0);
        Ok(true)
    }

    /// Writes what this transaction took, and closes the generation when it is full or has lasted long enough.
    pub(super) fn save(&mut self, connection: &Connection, now: i64, remember: i64) -> rusqlite::Result<()> {
        let fresh = std::mem::take(&mut self.fresh);
        if !fresh.is_empty() {
            let sql = "INSERT INTO seen (since, until, sealed, ids) VALUES (?1, ?1, FALSE, ?2)";
            connection.prepare_cached(sql)?.execute(params![now, fresh])?;
            self.open.ids += fresh.len() / BYTES;
            self.open.at(connection.last_insert_rowid(), now, now);
        }
        let is_old = self.open.ids > 0 && now.saturating_sub(self.open.since) >= remember / PART;
        if self.open.ids >= GENERATION || is_old {
            self.seal(connection)?;
        }
        Ok(())
    }

    /// The row that the open generation's come after.
    fn last_sealed(&self) -> i64 {
        self.sealed.back().map_or(0, |generation| generation.n)
    }

    /// Makes one row of the open generation's.
    fn seal(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut ids = Vec::with_capacity(self.open.ids * BYTES);
        let mut statement = connection.prepare_cached("SELECT ids FROM seen WHERE n > ?1 ORDER BY n")?;
        let sealed = self.last_sealed();
        let mut rows = statement.query([sealed])?;
        while let Some(row) = rows.next()? {
            ids.extend_from_slice(row.get_ref(0)?.as_blob()?);
        }
        let Generation { n, since, until, .. } = self.open;
        connection.prepare_cached("DELETE FROM seen WHERE n > ?1 AND n < ?2")?.execute([sealed, n])?;
        let sql = "UPDATE seen SET since = ?2, until = ?3, sealed = TRUE, ids = ?4 WHERE n = ?1";
        connection.prepare_cached(sql)?.execute(params![n, since, until, ids])?;
        let mut sealed = Generation::new(ids.len() / BYTES);
        sealed.add(&ids);
        sealed.at(n, since, until);
        self.sealed.push_back(sealed);
        self.open = Generation::new(GENERATION);
        Ok(())
    }

    /// Forgets a generation whose time is over.
    pub(super) fn forget(&mut self, connection: &Connection, before: i64) -> rusqlite::Result<()> {
        let all: usize = self.sealed.iter().map(|generation| generation.ids).sum();
        if let Some(oldest) = self.sealed.pop_front_if(|oldest| oldest.until < before || all > MOST) {
            connection.prepare_cached("DELETE FROM seen WHERE n = ?1")?.execute([oldest.n])?;
        }
        Ok(())
    }
}

fn has(ids: &[u8], id: MessageKey) -> bool {
    ids.chunks_exact(BYTES).any(|other| other == id.0)
}

fn is_in_sealed(connection: &Connection, n: i64, id: MessageKey) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT ids FROM seen WHERE n = ?1")?;
    statement.query_row([n], |row| Ok(has(row.get_ref(0)?.as_blob()?, id)))
}

/// Newest first: what comes again has mostly just been taken.
fn is_in_open(connection: &Connection, sealed: i64, id: MessageKey) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT ids FROM seen WHERE n > ?1 ORDER BY n DESC")?;
    let mut rows = statement.query([sealed])?;
    while let Some(row) = rows.next()? {
        if has(row.get_ref(0)?.as_blob()?, id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Packs the ids of schema version 1, in the order they came; of each, its message's id and when it was taken.
pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let insert = |since: i64, until: i64, ids: &[u8]| {
        let sql = "INSERT INTO seen (since, until, sealed, ids) VALUES (?1, ?2, TRUE, ?3)";
        connection.prepare_cached(sql)?.execute(params![since, until, ids]).map(drop)
    };
    let mut statement = connection.prepare("SELECT id, at FROM seen_1 ORDER BY n")?;
    let mut rows = statement.query([])?;
    let (mut since, mut until, mut ids) = (i64::MAX, i64::MIN, Vec::new());
    while let Some(row) = rows.next()? {
        let at = row.get(1)?;
        (since, until) = (since.min(at), until.max(at));
        ids.extend(MessageKey::of(row.get_ref(0)?.as_str()?).0);
        if ids.len() >= GENERATION * BYTES {
            insert(since, until, &ids)?;
            (since, until) = (i64::MAX, i64::MIN);
            ids.clear();
        }
    }
    if ids.is_empty() { Ok(()) } else { insert(since, until, &ids) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn table() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(super::super::schema::SCHEMA).unwrap();
        connection
    }

    fn number(n: usize) -> MessageKey {
        MessageKey::of(&format!("0123abcd-0000-4000-8000-{n:012x}"))
    }

    fn rows(connection: &Connection) -> (i64, i64) {
        connection
            .query_row("SELECT count(*), sum(sealed) FROM seen", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    }

    #[test]
    fn a_uuid_is_its_bytes_and_other_texts_are_told_apart() {
        let id = MessageKey::of("17fdb790-24d5-455d-8418-1e4946d7f690");
        assert_eq!(id.0[..4], [0x17, 0xfd, 0xb7, 0x90]);
        for other in [
            "17FDB790-24d5-455d-8418-1e4946d7f690",
            "17fdb790024d5-455d-8418-1e4946d7f690",
            "17fdb79024d5455d84181e4946d7f690",
            "17fdb790-24d5-455d-8418-1e4946d7f69",
            "17fdb790-24d5-455d-8418-1e4946d7f69-",
            "",
        ] {
            assert_ne!(MessageKey::of(other), id, "{other}");
        }
    }

    #[test]
    fn every_id_is_known_in_its_transaction_after_it_when_sealed_and_when_loaded_again() {
        let table = table();
        let mut seen = Seen::load(&table).unwrap();
        let count = GENERATION + 1000;
        for first in (0..count).step_by(700) {
            for n in first..first + 700 {
                assert!(seen.take(&table, number(n)).unwrap(), "{n} is new");
            }
            assert!(!seen.take(&table, number(first + 699)).unwrap(), "within the transaction");
            seen.save(&table, 5, i64::MAX).unwrap();
        }
        let (all, sealed) = rows(&table);
        assert_eq!(sealed, 1);
        assert!(all < 5, "the sealed generation is one row: {all}");
        for mut seen in [seen, Seen::load(&table).unwrap()] {
            for n in (0..count).step_by(97) {
                assert!(!seen.take(&table, number(n)).unwrap(), "{n} is known");
            }
            assert!(seen.take(&table, number(count + 700)).unwrap());
        }
    }

    #[test]
    fn a_generation_is_forgotten_when_its_last_id_is_old_enough() {
        let table = table();
        let mut seen = Seen::load(&table).unwrap();
        for (n, at) in [(0, 0), (1, 99), (2, 100), (3, 150)] {
            assert!(seen.take(&table, number(n)).unwrap());
            // An eighth of it is 100.
            seen.save(&table, at, 800).unwrap();
        }
        assert_eq!(rows(&table), (2, 1), "0, 1 and 2 are sealed");
        seen.forget(&table, 100).unwrap();
        assert_eq!(rows(&table), (2, 1), "the last of them came at 100");
        seen.forget(&table, 101).unwrap();
        assert!(seen.take(&table, number(0)).unwrap());
        assert!(!seen.take(&table, number(3)).unwrap());
    }

    #[test]
    fn what_version_1_knew_is_known() {
        let table = table();
        let sql = "CREATE TABLE seen_1 (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL)";
        table.execute_batch(sql).unwrap();
        let uuid = "0123abcd-0000-4000-8000-000000000007";
        for id in ["b", "a", uuid] {
            table.execute("INSERT INTO seen_1 (id, at) VALUES (?1, 17)", [id]).unwrap();
        }
        migrate(&table).unwrap();
        let mut seen = Seen::load(&table).unwrap();
        for (id, is_new) in [("a", false), ("b", false), (uuid, false), ("c", true)] {
            assert_eq!(seen.take(&table, MessageKey::of(id)).unwrap(), is_new, "{id}");
        }
    }
}
