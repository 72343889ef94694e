//! What made a live query run, and what its runs took: for people who watch.

use std::sync::Arc;
use std::time::Duration;

use engine::{IndexId, IndexWrite, LogEntry, Source, WriteKind};
use value::Timestamp;

/// Runs remembered of each live query, each with the commit that caused it.
pub const RUNS_KEPT: usize = 8;

/// A commit that wrote into what a live query had read.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The commit.
    pub ts: Timestamp,
    /// What committed; none for the system itself.
    pub source: Option<Arc<Source>>,
    /// The index in which the written key had been read.
    pub index: IndexId,
    /// The key: the first one that was hit.
    pub key: Arc<[u8]>,
    /// How it changed.
    pub kind: WriteKind,
    /// Commits that came on top before the query ran.
    pub more: u32,
    /// The newest of them.
    pub(crate) last: Timestamp,
}

/// One run of a live query.
#[derive(Clone, Debug)]
pub struct LiveRun {
    /// The snapshot.
    pub ts: Timestamp,
    /// When a worker began.
    pub began: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
    /// The commit that made it necessary; none where somebody came to look, or asked for another
    /// timestamp.
    pub cause: Option<Cause>,
    /// Whether it gave something else than the run before.
    pub changed: bool,
    /// Whether the function failed.
    pub failed: bool,
}

impl Cause {
    pub(crate) fn new(commit: &LogEntry, write: &IndexWrite) -> Self {
        Self {
            ts: commit.ts,
            source: commit.source.clone(),
            index: write.index,
            key: Arc::clone(&write.key),
            kind: write.kind,
            more: 0,
            last: commit.ts,
        }
    }
}
