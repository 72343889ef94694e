//! Connections: how the database file is opened, set up and brought to the newest schema.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::errors::store_error;
use super::{Durability, SqliteOptions};
use crate::StoreError;

/// Numbered schema files in order; `PRAGMA user_version` counts those that were applied.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("../../../../schema/sqlite/0001_init.sql")];

/// The page size of a new database file. Small, as a heartbeat rewrites a page per tree it touches.
const PAGE_BYTES: i64 = 4096;

/// WAL pages after which a commit copies them into the database (a passive checkpoint).
const CHECKPOINT_PAGES: i64 = 2000;

/// Bytes of the WAL file that stay for reuse when it begins anew.
const WAL_BYTES_KEPT: i64 = 16 << 20;

/// Bytes of the database file that a connection may map. Address space only: the pages belong to
/// the operating system's cache, which all connections share.
const MMAP_BYTES: i64 = 1 << 30;

/// How long opening waits for other programs that read the file.
pub(super) const BUSY_OPEN: Duration = Duration::from_millis(5000);

/// How long a checkpoint, and so the append that runs it, waits for scans that read the WAL.
const BUSY: Duration = Duration::from_millis(250);

/// Distinct statements are about thirty.
const STATEMENTS_CACHED: usize = 64;

/// The connection that writes. Creates the database and applies the schema.
pub(super) fn open_writer(
    file: &Path,
    options: &SqliteOptions,
    cache_bytes: u64,
) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = open(file, flags, options).map_err(store_error)?;
    set_up_writer(&connection, options, cache_bytes)?;
    migrate(&mut connection)?;
    // A clean start: what recovery found in the WAL is made durable in the database itself, even
    // if a sync of the WAL failed before.
    checkpoint_all(&connection)?;
    connection.busy_timeout(BUSY).map_err(store_error)?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn open_reader(
    file: &Path,
    options: &SqliteOptions,
    cache_bytes: u64,
) -> Result<Connection, StoreError> {
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE, options).map_err(store_error)?;
    let set_up = || {
        share(&connection, cache_bytes)?;
        connection.pragma_update(None, "query_only", true)
    };
    set_up().map_err(store_error)?;
    Ok(connection)
}

/// Copies the whole WAL into the database and empties it. Waits for readers of the WAL.
pub(super) fn checkpoint_all(connection: &Connection) -> Result<(), StoreError> {
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(store_error)?;
    if busy == 0 { Ok(()) } else { Err(StoreError::Io("checkpoint was kept waiting".into())) }
}

fn open(file: &Path, flags: OpenFlags, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(file, flags, vfs.as_str())?,
        None => Connection::open_with_flags(file, flags)?,
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.busy_timeout(BUSY_OPEN)?;
    Ok(connection)
}

fn set_up_writer(
    connection: &Connection,
    options: &SqliteOptions,
    cache_bytes: u64,
) -> Result<(), StoreError> {
    let set_up = || {
        if options.exclusive {
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        }
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        // Incremental: updates reuse free pages, and `collect` can give the rest back after a
        // large drop, which no other mode does without rewriting the file.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        share(connection, cache_bytes)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        let synchronous = match options.durability {
            Durability::Full => "FULL",
            Durability::Relaxed => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // Only macOS knows the difference; there a plain fsync stops at the drive's cache.
        connection.pragma_update(None, "fullfsync", options.durability == Durability::Full)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        Ok(mode)
    };
    let mode = set_up().map_err(store_error)?;
    if mode != "wal" {
        return Err(StoreError::Io(format!("journal mode is {mode}, not wal")));
    }
    Ok(())
}

fn share(connection: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    // Negative: KiB instead of pages.
    let kib = i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kib)?;
    connection.pragma_update(None, "mmap_size", MMAP_BYTES)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version: usize = connection
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))
        .map_err(store_error)?;
    if version > MIGRATIONS.len() {
        return Err(StoreError::Io(format!(
            "data folder has schema {version}, this program knows up to {}",
            MIGRATIONS.len()
        )));
    }
    let tables = "SELECT count(*) FROM sqlite_schema";
    let found: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(store_error)?;
    if version == 0 && found > 0 {
        return Err(StoreError::Io("the file is a database of another program".into()));
    }
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let apply = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "user_version", number as i64 + 1)?;
            transaction.commit()
        };
        apply(connection).map_err(store_error)?;
    }
    Ok(())
}
