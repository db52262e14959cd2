//! Opening the store's file: permissions, pragmas, the lock, migrations.
//!
//! Its promise: one daemon at a time; an older schema is carried forward, a newer one is refused untouched.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};

use super::seen;

/// The store's file within the state directory.
pub(super) const FILE: &str = "cadfd.db";

/// The version that [`SCHEMA`] is (`PRAGMA user_version`).
const VERSION: usize = 8;

/// A new store's.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// Version 1 had a row and an index entry for each remembered id, and a row for each record.
const RENAME_1: &str = "ALTER TABLE seen RENAME TO seen_1; ALTER TABLE trail RENAME TO trail_1;";
const MOVE_1: &str = "INSERT INTO trail (last, first, lines, log, logs)
                          SELECT seq, seq, line, coalesce(log, ''), log IS NOT NULL FROM trail_1;
                      DROP TABLE trail_1; DROP TABLE seen_1;";

/// Up to version 3 a delivery did not know the message's own time.
const ADD_SENT: &str = "ALTER TABLE delivery ADD COLUMN sent INTEGER";

/// Pages (of 4 KiB) in the WAL before it is carried over into the file. Most of what passes through is gone by then.
const CHECKPOINT: u32 = 4096;

/// KiB of pages that each connection keeps in memory, and the writer: what some batches of ordinary messages write fits into
/// it, or SQLite would write pages before the commit and again with it.
const CACHE: i32 = 1024;
const WRITERS_CACHE: i32 = 6 * 1024;

/// How long a command line beside the daemon, or the daemon beside a command line, waits for the other's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// Why the store could not be opened. Each says the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be made or opened.
    #[error("{path}: {source}; this needs to run as the daemon's user, who must be able to write there")]
    Io {
        /// What was to be opened.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("{0} is in use by another cadfd; a second one needs a [state] dir of its own")]
    Locked(PathBuf),
    /// Written by a later version.
    #[error("{path} has schema version {found}, this program knows up to {known}; install the newer cadfd again")]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The highest version this program knows.
        known: usize,
    },
    /// Written by an earlier version, and not opened by a daemon of this one yet.
    #[error("{0} is from an earlier version; start the daemon of this one, which carries it forward")]
    Older(PathBuf),
    /// There is no store yet.
    #[error("{0} does not exist; has cadfd run with these settings yet?")]
    Absent(PathBuf),
    /// SQLite cannot work with it.
    #[error("{path}: {source}; if the file is damaged, move it away: the audit trail keeps its numbering")]
    Sqlite {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Whether it may pass by itself: the disk is full, or fails.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Io { source, .. } => may_pass(source),
            Self::Sqlite { source, .. } => {
                matches!(source.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
            }
            Self::Locked(_) | Self::Newer { .. } | Self::Older(_) | Self::Absent(_) => false,
        }
    }
}

/// Whether an error of input or output may pass by itself: a full disk, a quota, a disk that fails.
#[must_use]
pub fn may_pass(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error() == Some(EIO)
}

/// "Input/output error", which has no [`io::ErrorKind`]; the number is the same on every Linux.
const EIO: i32 = 5;

/// Locked by the daemon for as long as it runs.
pub const LOCK: &str = "cadfd.lock";

/// Makes the directory (0750) and the file (0640) where they are missing, takes the lock, migrates.
///
/// The lock is held for as long as the returned file lives.
pub(super) fn open(dir: &Path) -> Result<(Connection, File), OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(io(dir))?;
    let writable = |path: &Path| OpenOptions::new().create(true).append(true).mode(0o640).open(path);
    let lock_path = dir.join(LOCK);
    let lock = writable(&lock_path).map_err(io(&lock_path))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::Locked(dir.to_owned()),
        TryLockError::Error(source) => OpenError::Io { path: lock_path.clone(), source },
    })?;
    let path = dir.join(FILE);
    writable(&path).map_err(io(&path))?;
    let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
    let mut connection = Connection::open(&path).map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    connection.pragma_update(None, "cache_size", -WRITERS_CACHE).map_err(sqlite)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
    migrate(&mut connection, &path)?;
    Ok((connection, lock))
}

/// A further connection to a store that exists: the workers' reads, and the command line's.
pub(super) fn open_beside(dir: &Path) -> Result<Connection, OpenError> {
    let path = dir.join(FILE);
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Err(OpenError::Absent(path)),
        Err(source) => return Err(OpenError::Io { path, source }),
    }
    // SQLite would only say that it cannot open it, not why.
    if let Err(source) = OpenOptions::new().read(true).write(true).open(&path) {
        return Err(OpenError::Io { path, source });
    }
    let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    let found = version(&connection).map_err(sqlite)?;
    if found > VERSION {
        return Err(OpenError::Newer { path, found, known: VERSION });
    }
    Ok(connection)
}

/// The same, for what only a store of this very version has.
pub(super) fn open_beside_current(dir: &Path) -> Result<Connection, OpenError> {
    let connection = open_beside(dir)?;
    let path = dir.join(FILE);
    let found = version(&connection).map_err(|source| OpenError::Sqlite { path: path.clone(), source })?;
    if found < VERSION { Err(OpenError::Older(path)) } else { Ok(connection) }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // A power cut after the commit must not take the commit back: the message is acknowledged by then.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    // A container has no folder for what is sorted beyond the cache; elsewhere it can be full.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let found = version(connection).map_err(sqlite)?;
    if found > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    let transaction = connection.transaction().map_err(sqlite)?;
    let migrated = match found {
        // A new one. Version 4 knew no chain, and would not keep its head; up to 5 nothing could be handed over; up to 6
        // nothing was counted; up to 7 nothing could follow a delivery.
        0 | 4..=7 => transaction.execute_batch(SCHEMA),
        1 => from_1(&transaction),
        // Version 2 had no names.
        2 | 3 => transaction.execute_batch(SCHEMA).and_then(|()| transaction.execute_batch(ADD_SENT)),
        _ => return Ok(()),
    };
    let migrated = migrated.and_then(|()| add_columns(&transaction));
    migrated.and_then(|()| transaction.pragma_update(None, "user_version", VERSION)).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}

/// Columns that came later than their tables: the first names had none for what was before, and nothing could follow the
/// first deliveries.
const ADDED: [(&str, &str); 2] = [("name", "before"), ("delivery", "steps")];

fn add_columns(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for (table, column) in ADDED {
        let sql = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
        if !transaction.prepare(sql)?.exists([table, column])? {
            transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} TEXT"))?;
        }
    }
    Ok(())
}

fn from_1(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(RENAME_1)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(ADD_SENT)?;
    seen::migrate(transaction)?;
    transaction.execute_batch(MOVE_1)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn new() -> Connection {
        let store = Connection::open_in_memory().unwrap();
        store.execute_batch(SCHEMA).unwrap();
        store
    }

    /// Tables and their columns.
    fn columns(store: &Connection) -> Vec<String> {
        let sql = "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c
                   WHERE t.type = 'table' ORDER BY 1";
        let mut statement = store.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn a_second_daemon_is_refused_and_permissions_are_narrow() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let held = open(&state).unwrap();
        assert!(matches!(open(&state), Err(OpenError::Locked(_))));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(FILE))), (0o750, 0o640));
        drop(held);
        open(&state).unwrap();
    }

    #[test]
    fn a_store_of_version_1_is_carried_forward() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join(FILE)).unwrap();
        old.execute_batch(include_str!("../../tests/data/store/version-1.sql")).unwrap();
        drop(old);
        let (store, _lock) = open(dir.path()).unwrap();
        let trail = |column: &str| -> Vec<String> {
            let mut statement = store.prepare(&format!("SELECT {column} FROM trail ORDER BY last")).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
        };
        assert_eq!(trail("first || '-' || last || ' ' || logs"), ["7-7 1", "8-8 0"]);
        assert_eq!(trail("CAST(lines AS TEXT) || log")[0], "{\"seq\":7,\"type\":\"event\"}\none line\n");
        let mut seen = seen::Seen::load(&store).unwrap();
        assert!(!seen.take(&store, seen::MessageKey::of("17fdb790-24d5-455d-8418-1e4946d7f690")).unwrap());
        let waiting: i64 = store.query_row("SELECT count(*) FROM delivery", [], |row| row.get(0)).unwrap();
        assert_eq!((waiting, version(&store).unwrap()), (1, VERSION));
        let old = "SELECT count(*) FROM sqlite_schema WHERE name IN ('seen_1', 'trail_1')";
        assert_eq!(store.query_row(old, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "nothing is left behind");
        assert_eq!(columns(&store), columns(&new()));
    }

    #[test]
    fn a_store_of_version_3_is_carried_forward() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join(FILE)).unwrap();
        old.execute_batch(include_str!("../../tests/data/store/version-3.sql")).unwrap();
        drop(old);
        let (store, _lock) = open(dir.path()).unwrap();
        let sent: Option<i64> = store.query_row("SELECT sent FROM delivery", [], |row| row.get(0)).unwrap();
        assert_eq!((sent, version(&store).unwrap()), (None, VERSION));
        assert_eq!(columns(&store), columns(&new()));
    }

    #[test]
    fn a_store_of_version_5_is_carried_forward() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let old = Connection::open(dir.path().join(FILE)).unwrap();
        old.execute_batch("DROP TABLE handed; DROP TABLE replayed; PRAGMA user_version = 5").unwrap();
        drop(old);
        assert!(matches!(open_beside_current(dir.path()), Err(OpenError::Older(_))));
        let (store, _lock) = open(dir.path()).unwrap();
        assert_eq!((version(&store).unwrap(), columns(&store)), (VERSION, columns(&new())));
        open_beside_current(dir.path()).unwrap();
    }

    #[test]
    fn a_store_of_version_6_is_carried_forward() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let old = Connection::open(dir.path().join(FILE)).unwrap();
        old.execute_batch(
            "ALTER TABLE delivery DROP COLUMN steps; DROP TABLE matched; DROP TABLE correlated; PRAGMA user_version = 6",
        )
        .unwrap();
        drop(old);
        let beside = crate::store::Outbox::open(dir.path()).unwrap();
        assert_eq!(beside.list(&crate::store::Selection::default()).unwrap().len(), 0, "what waits can be seen before");
        let (store, _lock) = open(dir.path()).unwrap();
        assert_eq!((version(&store).unwrap(), columns(&store)), (VERSION, columns(&new())));
    }

    #[test]
    fn a_newer_schema_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let (connection, lock) = open(dir.path()).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop((connection, lock));
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("schema version 99") && error.contains("install the newer cadfd"), "{error}");
        assert!(matches!(open_beside(dir.path()), Err(OpenError::Newer { .. })));
    }
}
