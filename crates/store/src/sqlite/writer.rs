//! The one writer: appends, and what is certain after one failed.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use value::Timestamp;

use super::connection::checkpoint_all;
use super::errors::{store_error, write_error};
use crate::types::{check_backfill, check_group};
use crate::{AppendError, Commit, EntryWrite, StoreError, TIMESTAMP_MAX, TabletId};

/// A WAL above this size is emptied by the append that meets it, which then waits for scans that
/// still read it. Passive checkpoints keep it far below, unless scans never pause.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// How much the WAL grows before emptying it is tried again, if scans did not let it.
const WAL_RETRY_BYTES: u64 = 16 << 20;

/// The greatest timestamp of a commit, where no document row says it.
pub(super) const MARK_COMMITTED: &str = "committed";
/// The end of the reserved block.
const MARK_RESERVED: &str = "reserved";
/// The collected horizon.
pub(super) const MARK_OLDEST: &str = "oldest";

/// The writing connection, and what it knows of the log.
pub(super) struct Writer {
    /// `None` after a failed reopen.
    connection: Option<Connection>,
    /// An append may be on disk or not. No append before a reopen.
    doubt: bool,
    places: Places,
    /// The size of the WAL at which it is emptied.
    wal_limit: u64,
}

#[derive(Clone, Copy)]
struct Places {
    committed: Timestamp,
    reserved: Timestamp,
    oldest: Timestamp,
}

/// Bytes of the WAL file; 0 where there is none to be seen.
pub(super) fn wal_bytes(file: &Path) -> u64 {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).map_or(0, |wal| wal.len())
}

impl Writer {
    /// A writer over an open database: reads the places from disk and checks its newest commit.
    pub(super) fn load(connection: Connection) -> Result<Writer, StoreError> {
        let mark = |name: &str| read_mark(&connection, name);
        let committed = Writer::read_committed(&connection)?;
        let (reserved, oldest) = (mark(MARK_RESERVED)?, mark(MARK_OLDEST)?);
        check_newest(&connection)?;
        let places = Places { committed, reserved, oldest };
        Ok(Writer { connection: Some(connection), doubt: false, places, wal_limit: WAL_BYTES_MAX })
    }

    /// The timestamp of the newest commit.
    pub(super) fn read_committed(connection: &Connection) -> Result<Timestamp, StoreError> {
        let newest = newest_ts(connection).map_err(store_error)?;
        Ok(newest.max(read_mark(connection, MARK_COMMITTED)?))
    }

    pub(super) fn head(&self) -> Timestamp {
        // The horizon counts too: the newest row may have been a deletion that is collected.
        let Places { committed, reserved, oldest } = self.places;
        committed.max(reserved).max(oldest)
    }

    pub(super) fn committed(&self) -> Timestamp {
        self.places.committed
    }

    pub(super) fn oldest(&self) -> Timestamp {
        self.places.oldest
    }

    pub(super) fn set_oldest(&mut self, oldest: Timestamp) {
        self.places.oldest = oldest;
    }

    pub(super) fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or_else(|| StoreError::Io("store is closed".into()))
    }

    /// Closes the connection; gives the newest commit that surely is on disk.
    pub(super) fn close(&mut self) -> Timestamp {
        self.connection = None;
        self.places.committed
    }

    /// Goes on with what was opened, if it has all that was acknowledged.
    pub(super) fn replace(&mut self, opened: Writer, known: Timestamp) -> Result<(), StoreError> {
        let found = opened.places.committed.max(opened.places.oldest);
        if found < known {
            return Err(StoreError::Corrupt(format!(
                "the newest commit is {found} after reopening, though {known} was written"
            )));
        }
        *self = opened;
        Ok(())
    }

    pub(super) fn append(&mut self, group: &[Commit], file: &Path) -> Result<(), AppendError> {
        self.check_doubt()?;
        check_group(group, self.places.committed.max(self.places.oldest))?;
        let Some(last) = group.last() else { return Ok(()) };
        self.surely(|connection| write_group(connection, group))?;
        self.places.committed = last.ts;
        self.bound_wal(file);
        Ok(())
    }

    pub(super) fn backfill(
        &mut self,
        at: Timestamp,
        entries: &[EntryWrite],
        file: &Path,
    ) -> Result<(), AppendError> {
        self.check_doubt()?;
        check_backfill(at, entries, self.places.oldest, self.head())?;
        self.surely(|connection| {
            let mut statement = connection.prepare_cached(
                "INSERT OR IGNORE INTO entries (index_id, key, ts, id) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for entry in entries {
                let id = entry.id.as_ref().map(|id| id.0.as_slice());
                statement.execute(params![entry.index.0, &entry.key[..], at.0 as i64, id])?;
            }
            Ok(())
        })?;
        self.bound_wal(file);
        Ok(())
    }

    pub(super) fn reserve(&mut self, up_to: Timestamp) -> Result<(), StoreError> {
        if up_to <= self.places.reserved {
            return Ok(());
        }
        if up_to.0 >= TIMESTAMP_MAX {
            return Err(StoreError::Io(format!("timestamp {up_to} is out of range")));
        }
        self.transact(|connection| set_mark(connection, MARK_RESERVED, up_to))
            .map_err(write_error)?;
        self.places.reserved = up_to;
        Ok(())
    }

    pub(super) fn set_global(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.transact(|connection| {
            let sql = "INSERT INTO globals (key, value) VALUES (?1, ?2)
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            connection.prepare_cached(sql)?.execute(params![key, value]).map(drop)
        })
        .map_err(write_error)
    }

    /// One transaction whose loss would matter: after an unknown outcome nothing more is written.
    fn surely(
        &mut self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), AppendError> {
        let outcome = self.transact(write);
        self.doubt = matches!(outcome, Err(AppendError::Unknown(_)));
        outcome
    }

    /// One transaction, durable as the options say.
    pub(super) fn transact<T>(
        &self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, AppendError> {
        let connection =
            self.connection().map_err(|error| AppendError::NotWritten(error.to_string()))?;
        let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
        let written = run("BEGIN IMMEDIATE").and_then(|()| write(connection));
        match written {
            Ok(answer) => match run("COMMIT") {
                Ok(()) => Ok(answer),
                Err(error) => Err(self.roll_back(connection, &error, true)),
            },
            Err(error) => Err(self.roll_back(connection, &error, false)),
        }
    }

    /// Undoes a failed transaction and says what is certain.
    ///
    /// Before COMMIT the WAL holds no end of the transaction, so it is gone once rolled back. A
    /// COMMIT that failed for want of space did not write its last frame. After any other failure
    /// of COMMIT that frame may be in the file, and recovery after a crash would find it.
    fn roll_back(
        &self,
        connection: &Connection,
        error: &rusqlite::Error,
        committing: bool,
    ) -> AppendError {
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "rollback failed");
        }
        let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        let undone = connection.is_autocommit()
            && newest_ts(connection).is_ok_and(|newest| newest <= self.places.committed);
        if undone && (full || !committing) {
            AppendError::NotWritten(error.to_string())
        } else {
            AppendError::Unknown(error.to_string())
        }
    }

    fn check_doubt(&self) -> Result<(), AppendError> {
        if self.doubt {
            let text = "an earlier append is in doubt, the store must be reopened";
            return Err(AppendError::NotWritten(text.into()));
        }
        Ok(())
    }

    fn bound_wal(&mut self, file: &Path) {
        let bytes = wal_bytes(file);
        if bytes <= WAL_BYTES_MAX {
            self.wal_limit = WAL_BYTES_MAX;
        }
        if bytes <= self.wal_limit {
            return;
        }
        self.wal_limit = match self.connection().and_then(checkpoint_all) {
            Ok(()) => WAL_BYTES_MAX,
            Err(error) => {
                tracing::warn!(%error, bytes, "the write-ahead log could not be emptied");
                bytes + WAL_RETRY_BYTES
            }
        };
    }
}

/// Remembers a place in the log.
pub(super) fn set_mark(connection: &Connection, name: &str, ts: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT INTO marks (name, ts) VALUES (?1, ?2)
               ON CONFLICT (name) DO UPDATE SET ts = excluded.ts WHERE ts <> excluded.ts";
    connection.prepare_cached(sql)?.execute(params![name, ts.0 as i64]).map(drop)
}

fn write_group(connection: &Connection, group: &[Commit]) -> rusqlite::Result<()> {
    let mut document = connection.prepare_cached(
        "INSERT INTO documents (tablet, id, ts, prev_ts, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut entry = connection
        .prepare_cached("INSERT INTO entries (index_id, key, ts, id) VALUES (?1, ?2, ?3, ?4)")?;
    let mut changes: BTreeMap<TabletId, i64> = BTreeMap::new();
    for commit in group {
        let ts = commit.ts.0 as i64;
        for write in &commit.documents {
            let (id, body) = (write.id.0.as_slice(), write.body.as_deref());
            let prev_ts = write.prev_ts.map(|prev| prev.0 as i64);
            document.execute(params![write.tablet.0, id, ts, prev_ts, body])?;
            let change = i64::from(body.is_some()) - i64::from(prev_ts.is_some());
            *changes.entry(write.tablet).or_default() += change;
        }
        for write in &commit.entries {
            let id = write.id.as_ref().map(|id| id.0.as_slice());
            entry.execute(params![write.index.0, &write.key[..], ts, id])?;
        }
    }
    let mut count = connection.prepare_cached(
        "INSERT INTO counts (tablet, live) VALUES (?1, max(?2, 0))
         ON CONFLICT (tablet) DO UPDATE SET live = max(live + ?2, 0)",
    )?;
    for (tablet, change) in changes.into_iter().filter(|(_, change)| *change != 0) {
        count.execute(params![tablet.0, change])?;
    }
    if let Some(last) = group.last().filter(|last| last.documents.is_empty()) {
        set_mark(connection, MARK_COMMITTED, last.ts)?;
    }
    Ok(())
}

fn read_mark(connection: &Connection, name: &str) -> Result<Timestamp, StoreError> {
    connection
        .query_row("SELECT ts FROM marks WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map(|ts: Option<i64>| Timestamp(ts.map_or(0, i64::unsigned_abs)))
        .map_err(store_error)
}

/// The timestamp of the newest document row.
fn newest_ts(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let sql = "SELECT max(ts) FROM documents INDEXED BY documents_by_ts";
    let ts: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(Timestamp(ts.map_or(0, i64::unsigned_abs)))
}

/// The newest commit must stand in both trees of the log: what was written last is what a loss of
/// power would have torn.
fn check_newest(connection: &Connection) -> Result<(), StoreError> {
    let sql = "SELECT count(*), count(documents.id) FROM
               (SELECT ts, tablet, id FROM documents INDEXED BY documents_by_ts
                WHERE ts = (SELECT max(ts) FROM documents)) AS newest
               LEFT JOIN documents USING (tablet, id, ts)";
    let (listed, found): (i64, i64) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(store_error)?;
    if listed != found {
        return Err(StoreError::Corrupt(format!(
            "the newest commit lists {listed} documents, {found} are there"
        )));
    }
    Ok(())
}
