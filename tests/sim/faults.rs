//! What may go wrong in a run, drawn once for each seed: a run with all faults hides some of them.

use std::sync::Arc;

use engine::Options;
use store::{Durability, MemoryStore, SqliteOptions, SqliteStore, Store};
use tempfile::TempDir;

use crate::workload::Rng;

/// What may happen in one run, in steps out of a thousand, and how large things are.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) clients: u64,
    pub(crate) rooms: u64,
    pub(crate) steps: u64,
    /// Connections break.
    pub(crate) cuts: u64,
    /// The store refuses or does not answer.
    pub(crate) store: u64,
    /// The process ends.
    pub(crate) crashes: u64,
    /// The clock jumps by seconds.
    pub(crate) jumps: u64,
    /// History is collected.
    pub(crate) collects: u64,
    /// Chance in a hundred that a step is a write to disk.
    pub(crate) appends: u64,
    /// Chance in a hundred that something else runs in the middle of a body or of a scan.
    pub(crate) interleave: u64,
    /// Bytes of the index cache.
    pub(crate) cache_bytes: usize,
    /// Seconds of history kept.
    pub(crate) retention_s: u64,
    /// The disk is SQLite's, not the reference in memory.
    pub(crate) sqlite: bool,
}

impl Faults {
    /// Reasons of closes that only a failing store, or a clock that jumps, explains.
    pub(crate) fn close_reasons(&self) -> impl Iterator<Item = &'static str> {
        let of_store: &[_] = &["CommitterFullError", "InternalServerError", "OutOfRetention"];
        let store = of_store.iter().filter(|_| self.store > 0);
        // Of queries and of mutations that take too long.
        let of_time: &[_] = &["SystemTimeoutError", "InternalServerError"];
        let jumps = of_time.iter().filter(|_| self.jumps > 0);
        store.chain(jumps).copied()
    }

    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut sometimes = |most: u64| if rng.chance(50) { rng.below(most) + 1 } else { 0 };
        let (cuts, store, crashes) = (sometimes(30), sometimes(20), sometimes(10));
        let (jumps, collects, interleave) = (sometimes(20), sometimes(30), sometimes(60));
        Self {
            clients: rng.below(4) + 1,
            rooms: rng.below(3) + 1,
            steps: rng.below(400) + 200,
            cuts,
            store,
            crashes,
            jumps,
            collects,
            appends: *rng.pick(&[2, 5, 10, 20]),
            interleave,
            cache_bytes: *rng.pick(&[0, 500, 4000, 1 << 20]),
            retention_s: *rng.pick(&[120, 3600]),
            sqlite: rng.chance(4),
        }
    }

    /// The disk, and the folder it is in.
    pub(crate) fn disk(&self) -> (Arc<dyn Store>, Option<TempDir>) {
        if !self.sqlite {
            return (Arc::new(MemoryStore::new()), None);
        }
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { durability: Durability::Relaxed, ..SqliteOptions::default() };
        (Arc::new(SqliteStore::open(folder.path(), &options).unwrap()), Some(folder))
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            cache_bytes: self.cache_bytes,
            retention_ns: self.retention_s * 1_000_000_000,
            ..Options::default()
        }
    }
}
