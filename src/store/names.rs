//! Names in the store: kept with the events that taught them, listed and imported by the command line.
//!
//! Its promise: a row says what [`Known`] says, to the millisecond.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{OpenError, schema};
use crate::name::{How, Kind, Known, Thing};

pub(super) fn keep(connection: &Connection, names: &[Known]) -> rusqlite::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO name (kind, id, name, domain, enabled, members, how, at, deleted, before)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for Known { thing, how, at, deleted, before } in names {
        let Thing { kind, id, name, domain_id, enabled, members } = thing;
        let members = members.as_ref().and_then(|members| serde_json::to_string(members).ok());
        let before = before.as_ref().and_then(|before| serde_json::to_string(before).ok());
        let (at, deleted) = (at.as_millisecond(), deleted.map(Timestamp::as_millisecond));
        statement.execute(params![
            kind.as_str(),
            id,
            name,
            domain_id,
            enabled,
            members,
            how.as_str(),
            at,
            deleted,
            before
        ])?;
    }
    Ok(())
}

pub(super) fn forget(connection: &Connection, before: Timestamp) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM name WHERE deleted < ?1", [before.as_millisecond()]).map(drop)
}

/// How often the command line has changed them.
pub(super) fn changes(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT value FROM meta WHERE key = 'names'";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// All of them, by kind and id.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Known>> {
    let mut statement = connection.prepare(
        "SELECT kind, id, name, domain, enabled, members, how, at, deleted, before FROM name ORDER BY kind, id",
    )?;
    let rows = statement.query_map([], known)?;
    // A row of a kind that a later version added is passed over.
    rows.filter_map(Result::transpose).collect()
}

fn known(row: &Row<'_>) -> rusqlite::Result<Option<Known>> {
    let (kind, how): (String, String) = (row.get(0)?, row.get(6)?);
    let (Some(kind), Some(how)) = (Kind::of(&kind), How::of(&how)) else { return Ok(None) };
    let time = |at| Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    let members: Option<String> = row.get(5)?;
    let thing = Thing {
        kind,
        id: row.get(1)?,
        name: row.get(2)?,
        domain_id: row.get(3)?,
        enabled: row.get(4)?,
        members: members.and_then(|members| serde_json::from_str(&members).ok()),
    };
    let before: Option<String> = row.get(9)?;
    let before = before.and_then(|before| serde_json::from_str(&before).ok());
    Ok(Some(Known { thing, how, at: time(row.get(7)?), deleted: row.get::<_, Option<i64>>(8)?.map(time), before }))
}

/// The command line's handle on the names.
#[derive(Debug)]
pub struct NameTable(Connection);

impl NameTable {
    /// Opens the store in `dir`, which must exist.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        schema::open_beside(dir).map(Self)
    }

    /// All names, by kind and name.
    ///
    /// # Errors
    /// When the store cannot be read, or was not yet opened by a daemon of this version.
    pub fn all(&self) -> rusqlite::Result<Vec<Known>> {
        let mut all = all(&self.0)?;
        all.sort_by(|a, b| (a.thing.kind, &a.thing.name, &a.thing.id).cmp(&(b.thing.kind, &b.thing.name, &b.thing.id)));
        Ok(all)
    }

    /// One of them.
    ///
    /// # Errors
    /// As [`NameTable::all`].
    pub fn get(&self, kind: Kind, id: &str) -> rusqlite::Result<Option<Known>> {
        let sql = "SELECT kind, id, name, domain, enabled, members, how, at, deleted, before FROM name
                   WHERE kind = ?1 AND id = ?2";
        let found = self.0.prepare_cached(sql)?.query_row(params![kind.as_str(), id], known).optional()?;
        Ok(found.flatten())
    }

    /// Keeps what `choose` makes of all that is known, in one transaction: says how many. A running daemon knows them
    /// within a second.
    ///
    /// # Errors
    /// Nothing was kept.
    pub fn import(&mut self, choose: impl FnOnce(Vec<Known>) -> Vec<Known>) -> rusqlite::Result<usize> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let names = choose(all(&tx)?);
        keep(&tx, &names)?;
        let changes = changes(&tx)? + 1;
        tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('names', ?1)", [changes])?;
        tx.commit()?;
        Ok(names.len())
    }
}
