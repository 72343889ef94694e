//! The store on disk: one SQLite database in WAL mode inside a data folder.
//!
//!     append, collect ──► writer (one connection, one lock)
//!     scan, log       ──► pool (a few connections, each on its own snapshot)
//!
//! A lock on a file in the folder keeps a second process out; it dies with the process. Timestamps
//! that every call needs (head, horizon) are in memory, so `append` reads nothing.
//! Invariant: an append that returned is in the WAL, and under `Full` the WAL is synced.

mod collect;
mod connection;
mod copy;
mod errors;
mod pool;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use value::{Interval, Timestamp};

use crate::{
    AppendError, Collected, Commit, EntryWrite, IndexId, LogRow, Order, Page, Store, StoreError,
    TabletId,
};
pub use copy::{DatabaseFacts, SCHEMA_VERSION, check_database, copy_database};
use errors::store_error;
use pool::Pool;
use writer::Writer;

/// The database inside the data folder; SQLite puts `-wal` and `-shm` beside it.
const DATABASE_FILE: &str = "concave.sqlite3";

/// Beside the database: the file whose lock says that it is in use. Its content means nothing.
const LOCK_EXTENSION: &str = "lock";

/// Connections for reading when the options name none.
const READERS: usize = 4;

/// Page cache of all connections together when the options name none.
const CACHE_BYTES: u64 = 64 << 20;

/// What an acknowledged append survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, of the operating system, and of power: one sync for each append.
    Full,
    /// The end of the process. A crash of the operating system or loss of power may take the
    /// newest appends, up to the last checkpoint (some MiB), though never a part of one and never
    /// an older one before a newer one. Clients may have seen what is then gone.
    Relaxed,
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// What an acknowledged append survives.
    pub durability: Durability,
    /// Page cache of all connections together, in bytes.
    pub cache_bytes: u64,
    /// Connections for reading: as many scans run at once. With 0, reads use the writer's.
    pub readers: usize,
    /// One connection locks the file and shares no memory (needs `readers: 0`). For file systems
    /// without shared memory, and for tests with a file layer of their own.
    pub exclusive: bool,
    /// A registered file layer of SQLite instead of the default one.
    pub vfs: Option<String>,
}

impl Default for SqliteOptions {
    fn default() -> SqliteOptions {
        SqliteOptions {
            durability: Durability::Full,
            cache_bytes: CACHE_BYTES,
            readers: READERS,
            exclusive: false,
            vfs: None,
        }
    }
}

/// A store in a data folder.
pub struct SqliteStore {
    file: PathBuf,
    options: SqliteOptions,
    writer: Mutex<Writer>,
    pool: Pool,
    /// The head, as it was when the last write ended.
    head: AtomicU64,
    /// The collected horizon; raised before anything below it is removed.
    oldest: AtomicU64,
    /// Held while the store lives.
    _lock: File,
}

impl SqliteStore {
    /// Opens the database in a folder, creating both where they are missing.
    ///
    /// Errors: as [`SqliteStore::open_file`].
    pub fn open(
        folder: impl AsRef<Path>,
        options: &SqliteOptions,
    ) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_file(folder.as_ref().join(DATABASE_FILE), options)
    }

    /// Opens a database file, creating it and its folder where they are missing.
    ///
    /// Errors: `Io`, also if another process, or another store of this one, has it open, or if it is
    /// a database of another program; `Corrupt`.
    pub fn open_file(
        file: impl Into<PathBuf>,
        options: &SqliteOptions,
    ) -> Result<SqliteStore, StoreError> {
        if options.exclusive && options.readers > 0 {
            return Err(StoreError::Io("an exclusive store has no readers".into()));
        }
        let file = file.into();
        let lock = lock(&file)?;
        let (writer, readers) = open_all(&file, options)?;
        let store = SqliteStore {
            file,
            options: options.clone(),
            head: AtomicU64::new(writer.head().0),
            oldest: AtomicU64::new(writer.oldest().0),
            writer: Mutex::new(writer),
            pool: Pool::new(readers),
            _lock: lock,
        };
        Ok(store)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.options.readers == 0 {
            return read(self.writer.lock().connection()?);
        }
        self.pool.read(read).unwrap_or_else(|| Err(StoreError::Io("store is closed".into())))
    }

    /// A read as of `asked`. Its age is looked at afterwards: had the horizon passed it before the
    /// read began, rows could be missing.
    fn read_at<T>(
        &self,
        asked: Timestamp,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let answer = self.read(read);
        let oldest = Timestamp(self.oldest.load(Ordering::SeqCst));
        if asked < oldest { Err(StoreError::TooOld { asked, oldest }) } else { answer }
    }

    /// Runs a write and publishes the head it leaves.
    fn write<T>(&self, write: impl FnOnce(&mut Writer) -> T) -> T {
        let mut writer = self.writer.lock();
        let answer = write(&mut writer);
        self.head.store(writer.head().0, Ordering::SeqCst);
        answer
    }
}

impl Store for SqliteStore {
    fn append(&self, group: &[Commit]) -> Result<(), AppendError> {
        self.write(|writer| writer.append(group, &self.file))
    }

    fn backfill(&self, at: Timestamp, entries: &[EntryWrite]) -> Result<(), AppendError> {
        self.write(|writer| writer.backfill(at, entries, &self.file))
    }

    fn scan(
        &self,
        tablet: TabletId,
        index: IndexId,
        interval: &Interval,
        at: Timestamp,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.read_at(at, |connection| {
            scan::scan(connection, tablet, index, interval, at, order, limit)
        })
    }

    fn log(&self, after: Timestamp, limit: usize) -> Result<Vec<LogRow>, StoreError> {
        self.read_at(after, |connection| scan::log(connection, after, limit))
    }

    fn head(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(self.head.load(Ordering::SeqCst)))
    }

    fn reserve(&self, up_to: Timestamp) -> Result<(), StoreError> {
        self.write(|writer| writer.reserve(up_to))
    }

    fn counts(&self) -> Result<BTreeMap<TabletId, u64>, StoreError> {
        self.read(|connection| {
            let read = || {
                let mut statement =
                    connection.prepare_cached("SELECT tablet, live FROM counts WHERE live > 0")?;
                let rows = statement.query_map([], |row| {
                    Ok((TabletId(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
                })?;
                rows.collect::<rusqlite::Result<_>>()
            };
            read().map_err(store_error)
        })
    }

    fn global(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let read = || {
                let mut statement =
                    connection.prepare_cached("SELECT value FROM globals WHERE key = ?1")?;
                statement.query_row(params![key], |row| row.get(0)).optional()
            };
            read().map_err(store_error)
        })
    }

    fn set_global(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write(|writer| writer.set_global(key, value))
    }

    fn collect(&self, horizon: Timestamp, budget: usize) -> Result<Collected, StoreError> {
        self.collect_versions(horizon, budget)
    }

    fn drop_index(&self, index: IndexId, budget: usize) -> Result<Collected, StoreError> {
        self.drop_entries(index, budget)
    }

    fn drop_tablet(&self, tablet: TabletId, budget: usize) -> Result<Collected, StoreError> {
        self.drop_documents(tablet, budget)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.pool.close();
        let known = writer.close();
        let opened = open_all(&self.file, &self.options);
        let readers = opened.and_then(|(opened, readers)| {
            writer.replace(opened, known)?;
            Ok(readers)
        });
        let (readers, outcome) = match readers {
            Ok(readers) => (readers, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        self.pool.open(readers);
        if outcome.is_ok() {
            self.head.store(writer.head().0, Ordering::SeqCst);
            self.oldest.fetch_max(writer.oldest().0, Ordering::SeqCst);
        }
        outcome
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let pages =
                |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let read = || Ok((pages("page_count")? * pages("page_size")?).unsigned_abs());
            let database: u64 = read().map_err(store_error)?;
            Ok(database + writer::wal_bytes(&self.file))
        })
    }
}

/// Takes the lock of a database. The operating system drops it when the process ends, however it ends.
fn lock(database: &Path) -> Result<File, StoreError> {
    let folder = database.parent().unwrap_or(Path::new(""));
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let failed = |error: std::io::Error| {
        StoreError::Io(format!("data folder {} cannot be opened: {error}", shown.display()))
    };
    std::fs::create_dir_all(shown).map_err(failed)?;
    let path = database.with_extension(LOCK_EXTENSION);
    let file =
        File::options().create(true).write(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Io(format!(
            "data folder {} is in use by another process",
            shown.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn open_all(file: &Path, options: &SqliteOptions) -> Result<(Writer, Vec<Connection>), StoreError> {
    // The writer rereads the pages it changes; readers have the system's cache below their own.
    let share = options.cache_bytes / (options.readers as u64 + 1);
    let writer = Writer::load(connection::open_writer(file, options, share)?)?;
    let readers = (0..options.readers)
        .map(|_| connection::open_reader(file, options, share))
        .collect::<Result<Vec<Connection>, StoreError>>()?;
    Ok((writer, readers))
}
