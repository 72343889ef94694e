//! Versioned documents and index entries: in memory, and in SQLite.
//!
//!     append(group) ──► documents (tablet, id, ts) ──► log, counts
//!                  └──► entries   (index, key, ts) ──► scan at a timestamp
//!     collect(horizon) removes what no reader at or after the horizon can see
//!
//! A store keeps bytes: it knows neither tables nor fields, has no clock and starts no thread.
//! Every version stays until it is collected, so a scan at a timestamp always gives the same rows.
//! `MemoryStore` is the reference; `SqliteStore` must give the same answers and keep them on disk.

mod memory;
mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod types;

pub use memory::MemoryStore;
pub use sqlite::{
    DatabaseFacts, Durability, SCHEMA_VERSION, SqliteOptions, SqliteStore, check_database,
    copy_database,
};
pub use types::{
    AppendError, Collected, Commit, DocumentWrite, EntryWrite, IndexId, LogRow, Order, Page, Row,
    Store, StoreError, TIMESTAMP_MAX, TabletId,
};
