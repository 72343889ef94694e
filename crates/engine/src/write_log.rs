//! The newest commits by what they wrote: for validation, for the cache, and for who is stale.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;
use store::{IndexId, TabletId};
use value::Timestamp;

use crate::document::Document;
use crate::read_set::ReadSet;

/// Most commits kept in memory that are durable already.
pub const LOG_COMMITS_MAX: usize = 100_000;
/// Most index writes kept in memory of commits that are durable already.
pub const LOG_WRITES_MAX: usize = 1_000_000;
/// Most bytes of documents kept in memory by commits that are durable already.
pub const LOG_BYTES_MAX: usize = 64 << 20;

/// How a key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// The key was not there.
    Appeared,
    /// The same key, another version of the document.
    Changed,
    /// The key is gone.
    Vanished,
}

/// One key that a commit wrote in one index.
#[derive(Clone, Debug)]
pub struct IndexWrite {
    /// The index.
    pub index: IndexId,
    /// The key.
    pub key: Arc<[u8]>,
    /// How it changed.
    pub kind: WriteKind,
    /// What the key holds now.
    pub document: Option<Arc<Document>>,
}

/// What committed, for people; the engine does not look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: Arc<str>,
    /// How it came to run: a word.
    pub via: &'static str,
    /// The request that asked for it, where there was one.
    pub request: Option<Arc<str>>,
}

/// One commit, as others must know it.
#[derive(Debug)]
pub struct LogEntry {
    /// Its timestamp.
    pub ts: Timestamp,
    /// Every key it wrote, old and new.
    pub writes: Vec<IndexWrite>,
    /// Tablets whose documents it wrote, without repetition.
    pub tablets: Vec<TabletId>,
    /// What committed, where it said so.
    pub source: Option<Arc<Source>>,
}

impl LogEntry {
    /// The first write that falls into `reads`.
    pub fn hit(&self, reads: &ReadSet) -> Option<&IndexWrite> {
        self.writes.iter().find(|write| reads.contains(write.index, &write.key))
    }
}

/// Bytes of the documents an entry keeps in memory, each counted once.
fn document_bytes(entry: &LogEntry) -> usize {
    let by_id = entry.writes.iter().filter(|write| write.index.as_by_id().is_some());
    by_id.filter_map(|write| write.document.as_ref()).map(|document| document.size()).sum()
}

#[derive(Debug, Default)]
struct Entries {
    commits: VecDeque<Arc<LogEntry>>,
    writes: usize,
    bytes: usize,
    /// Commits at or below this may be missing.
    purged: Timestamp,
}

/// Commits in order of their timestamps, applied ones included.
#[derive(Debug)]
pub(crate) struct WriteLog(RwLock<Entries>);

impl WriteLog {
    /// An empty log: what was committed up to `head` is not in it.
    pub(crate) fn new(head: Timestamp) -> Self {
        Self(RwLock::new(Entries { purged: head, ..Entries::default() }))
    }

    pub(crate) fn push(&self, entry: Arc<LogEntry>) {
        let mut entries = self.0.write();
        entries.writes += entry.writes.len();
        entries.bytes += document_bytes(&entry);
        entries.commits.push_back(entry);
    }

    /// The commits in `(after, through]`; `None` when some of them are no longer known.
    pub(crate) fn between(
        &self,
        after: Timestamp,
        through: Timestamp,
    ) -> Option<Vec<Arc<LogEntry>>> {
        let entries = self.0.read();
        if after < entries.purged {
            return None;
        }
        let first = entries.commits.partition_point(|entry| entry.ts <= after);
        let last = entries.commits.partition_point(|entry| entry.ts <= through);
        Some(entries.commits.range(first..last.max(first)).cloned().collect())
    }

    /// Whether all commits after `ts` are still known.
    pub(crate) fn reaches(&self, ts: Timestamp) -> bool {
        ts >= self.0.read().purged
    }

    /// Forgets the oldest durable commits above the limits.
    pub(crate) fn purge(&self, durable: Timestamp) {
        let mut entries = self.0.write();
        while entries.commits.len() > LOG_COMMITS_MAX
            || entries.writes > LOG_WRITES_MAX
            || entries.bytes > LOG_BYTES_MAX
        {
            match entries.commits.front() {
                Some(front) if front.ts <= durable => {}
                Some(_) | None => break,
            }
            if let Some(front) = entries.commits.pop_front() {
                entries.writes -= front.writes.len();
                entries.bytes -= document_bytes(&front);
                entries.purged = front.ts;
            }
        }
    }

    /// Takes back commits above `durable`, and gives them.
    pub(crate) fn take_back(&self, durable: Timestamp) -> Vec<Arc<LogEntry>> {
        let mut entries = self.0.write();
        let first = entries.commits.partition_point(|entry| entry.ts <= durable);
        let dropped: Vec<_> = entries.commits.drain(first..).collect();
        entries.writes -= dropped.iter().map(|entry| entry.writes.len()).sum::<usize>();
        entries.bytes -= dropped.iter().map(|entry| document_bytes(entry)).sum::<usize>();
        dropped
    }
}
