//! Whole databases as files: a copy of one that may be in use, and whether a file is one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use value::Timestamp;

use super::connection::{BUSY_OPEN, MIGRATIONS};
use super::errors::store_error;
use super::writer::Writer;
use crate::StoreError;

/// The newest schema that this program knows.
pub const SCHEMA_VERSION: u64 = MIGRATIONS.len() as u64;

/// What a database file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Its schema.
    pub schema: u64,
    /// The timestamp of its newest commit.
    pub committed: Timestamp,
}

/// Copies the database `from`, as of one moment, into the file `to`, which is empty or missing. Whoever
/// has it open, in this process or another, goes on reading and writing; the write-ahead log cannot be
/// emptied meanwhile, so it grows by what is written. Nothing is synced.
///
/// Errors: `Io`, also if there is no such file; `Corrupt`.
pub fn copy_database(from: &Path, to: &Path) -> Result<DatabaseFacts, StoreError> {
    let connection = open(from, BUSY_OPEN)?;
    let to_text = to.to_str().ok_or_else(|| StoreError::Io(format!("{to:?} is not UTF-8")))?;
    connection.execute("VACUUM INTO ?1", [to_text]).map_err(store_error)?;
    drop(connection);
    facts(&open(to, BUSY_OPEN)?)
}

/// What the file holds, if it is a whole database of this program. Reads all of it.
///
/// Errors: `Corrupt`; `Io`, also for a newer schema and for a database of another program.
pub fn check_database(file: &Path) -> Result<DatabaseFacts, StoreError> {
    let connection = open(file, BUSY_OPEN)?;
    let said: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(store_error)?;
    if said != "ok" {
        return Err(StoreError::Corrupt(said));
    }
    facts(&connection)
}

fn open(file: &Path, busy: Duration) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(store_error)?;
    connection.busy_timeout(busy).map_err(store_error)?;
    Ok(connection)
}

fn facts(connection: &Connection) -> Result<DatabaseFacts, StoreError> {
    let version: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(store_error)?;
    match u64::try_from(version) {
        Ok(schema @ 1..=SCHEMA_VERSION) => {
            Ok(DatabaseFacts { schema, committed: Writer::read_committed(connection)? })
        }
        Ok(1..) => Err(StoreError::Io(format!(
            "it has schema {version}, this program knows up to {SCHEMA_VERSION}"
        ))),
        Ok(0) | Err(_) => Err(StoreError::Io("it is not a database of this program".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use value::InternalId;

    use super::*;
    use crate::{
        Commit, DocumentWrite, IndexId, MemoryStore, Order, SqliteOptions, SqliteStore, Store,
        TabletId,
    };

    const TABLET: TabletId = TabletId(7);

    fn commit(ts: u64) -> Commit {
        let document = DocumentWrite {
            tablet: TABLET,
            id: InternalId(u128::from(ts).to_be_bytes()),
            prev_ts: None,
            body: Some(Arc::from(ts.to_be_bytes())),
        };
        Commit { ts: Timestamp(ts), documents: vec![document], entries: Vec::new() }
    }

    fn rows(store: &dyn Store, at: Timestamp) -> Vec<crate::Row> {
        let all = value::Interval::all();
        store.scan(TABLET, IndexId::by_id(TABLET), &all, at, Order::Asc, 10_000).unwrap().rows
    }

    /// A copy that is made while another thread appends is the store of the timestamp it says.
    #[test]
    fn a_copy_is_what_was_there_at_its_timestamp() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.sqlite3"), folder.path().join("b.sqlite3"));
        let store = SqliteStore::open_file(&from, &SqliteOptions::default()).unwrap();
        store.append(&[commit(1)]).unwrap();
        let (began, begins) = std::sync::mpsc::channel();
        let copied = std::sync::atomic::AtomicBool::new(false);
        let facts = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut ts = 1;
                while !copied.load(std::sync::atomic::Ordering::SeqCst) {
                    ts += 1;
                    store.append(&[commit(ts)]).unwrap();
                    let _ = began.send(());
                }
            });
            begins.recv().unwrap();
            let facts = copy_database(&from, &to);
            copied.store(true, std::sync::atomic::Ordering::SeqCst);
            facts.unwrap()
        });
        assert_eq!(facts.schema, SCHEMA_VERSION);
        assert!(facts.committed >= Timestamp(2));
        assert_eq!(check_database(&to).unwrap(), facts);
        let copy = SqliteStore::open_file(&to, &SqliteOptions::default()).unwrap();
        let memory = MemoryStore::new();
        let commits: Vec<Commit> = (1..=facts.committed.0).map(commit).collect();
        memory.append(&commits).unwrap();
        let expected = rows(&memory, facts.committed);
        assert_eq!(rows(&copy, facts.committed), expected);
        assert_eq!(rows(&store, facts.committed), expected);
        assert_eq!(
            copy.log(Timestamp(0), 10_000).unwrap(),
            memory.log(Timestamp(0), 10_000).unwrap()
        );
    }

    #[test]
    fn files_that_are_no_database_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.sqlite3"), folder.path().join("b.sqlite3"));
        assert!(copy_database(&from, &to).is_err(), "there is none");
        assert!(!from.exists());
        let other = Connection::open(&from).unwrap();
        other.execute_batch("CREATE TABLE documents (id)").unwrap();
        drop(other);
        let said = |error: StoreError| error.to_string();
        assert_eq!(
            said(check_database(&from).unwrap_err()),
            "it is not a database of this program"
        );
        let opened = SqliteStore::open_file(&from, &SqliteOptions::default()).err().map(said);
        assert_eq!(opened.unwrap(), "the file is a database of another program");
        let newer = Connection::open(&from).unwrap();
        newer.pragma_update(None, "user_version", SCHEMA_VERSION as i64 + 1).unwrap();
        drop(newer);
        assert!(said(check_database(&from).unwrap_err()).contains("knows up to"));
    }
}
