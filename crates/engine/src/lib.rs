//! The engine: snapshots, transactions, commit order, and what a commit makes stale.
//!
//!     begin ──► Transaction (reads a snapshot, stages writes) ──► commit ──► append ──► published
//!                  │ reads: cache over store                        │ one order, in memory
//!                  └ read set: exact intervals of index keys        └ conflict: run again
//!
//! Knows no function, no frame, no thread and no wall clock: time and randomness come in by [`Env`],
//! and whoever owns a thread calls [`Engine::append_pending`].
//! May use value and store. Must not call upward.

mod cache;
mod catalog;
mod chain;
mod commit;
mod document;
mod engine;
mod env;
mod error;
mod export;
mod figures;
pub mod filter;
mod heads;
pub mod interval_index;
mod limits;
mod pins;
pub mod range;
pub mod read_set;
mod reservation;
mod scan;
mod schema_change;
mod snapshot;
pub mod system;
mod transaction;
mod write;
mod write_log;

#[cfg(test)]
mod tests;

pub use catalog::{Catalog, IndexDef, IndexKind, IndexState, TableDef};
pub use commit::{
    Committed, GROUP_BYTES_MAX, GROUP_COMMITS_MAX, PENDING_BYTES_MAX, PENDING_COMMITS_MAX,
};
pub use document::Document;
pub use engine::{AppendOutcome, Engine, EngineStats, Head, Options};
pub use env::{Clock, Env, ManualClock, Random, SeededRandom};
pub use error::{CommitError, EngineError, TxError, TxErrorKind};
pub use export::{EXPORT_CHUNK, ExportBudget, LogPage, Revision, SnapshotPage, SnapshotPosition};
pub use figures::{DURATION_BOUNDS_NS, Histogram, HistogramView};
pub use heads::Fate;
pub use limits::{Limits, Usage};
pub use reservation::{RESERVATION_NS_MAX, Reservation, ReserveTicket};
pub use scan::{FETCH_MAX, PREFETCH, Row, Scan};
pub use schema_change::{ATTEMPTS_MAX, STEP_DOCUMENTS, SchemaChange, SchemaChangeError};
pub use store::{IndexId, Order, TabletId};
pub use transaction::{Savepoint, Transaction};
pub use write_log::{
    IndexWrite, LOG_BYTES_MAX, LOG_COMMITS_MAX, LOG_WRITES_MAX, LogEntry, Source, WriteKind,
};
