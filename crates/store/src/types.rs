//! The words of a store: ids, writes, rows, errors, and the trait that every store answers to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use value::{InternalId, Interval, Timestamp};

/// Timestamps stay below this bound, so that they fit a signed 64-bit column.
pub const TIMESTAMP_MAX: u64 = i64::MAX as u64;

/// The bit that marks an [`IndexId`] as the `by_id` index of a tablet.
const BY_ID_BIT: u32 = 1 << 31;

/// One physical table. Never used again after the table was dropped. Below 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TabletId(pub u32);

/// One index of one tablet. Ids of stored indexes are below 2^31 and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexId(pub u32);

impl IndexId {
    /// The index of a tablet by document id. It has no entries: it is the documents themselves,
    /// and its keys are the 16 raw bytes of the internal id.
    pub fn by_id(tablet: TabletId) -> IndexId {
        IndexId(tablet.0 | BY_ID_BIT)
    }

    /// The tablet, if this is the index by document id.
    pub fn as_by_id(self) -> Option<TabletId> {
        (self.0 & BY_ID_BIT != 0).then_some(TabletId(self.0 & !BY_ID_BIT))
    }
}

/// Direction of a scan by index key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Smallest key first.
    Asc,
    /// Greatest key first.
    Desc,
}

/// A new version of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentWrite {
    /// The tablet of the document.
    pub tablet: TabletId,
    /// The id of the document inside its tablet.
    pub id: InternalId,
    /// Timestamp of the live version that this one replaces; `None` if no document was there.
    /// Counts and collection rely on it.
    pub prev_ts: Option<Timestamp>,
    /// The document as opaque bytes; `None`: deleted.
    pub body: Option<Arc<[u8]>>,
}

/// An index key that appears or vanishes. Not written when a document changes under the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryWrite {
    /// The index; never a `by_id` one.
    pub index: IndexId,
    /// The ordered bytes of the key.
    pub key: Arc<[u8]>,
    /// The document under the key; `None`: the key is gone from this timestamp on.
    pub id: Option<InternalId>,
}

/// All writes of one transaction. Names a document, and an index key, at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Above the timestamp of every commit before.
    pub ts: Timestamp,
    /// New versions of documents.
    pub documents: Vec<DocumentWrite>,
    /// Index keys that appear or vanish.
    pub entries: Vec<EntryWrite>,
}

/// One row of a scan: an index key and the document version under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The ordered bytes of the index key.
    pub key: Arc<[u8]>,
    /// The id of the document.
    pub id: InternalId,
    /// Timestamp of this version of the document.
    pub ts: Timestamp,
    /// The document as opaque bytes.
    pub body: Arc<[u8]>,
}

/// The answer to a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows in scan order, at most `limit`.
    pub rows: Vec<Row>,
    /// The end of the interval was reached: true exactly if there are fewer rows than `limit`.
    /// A full page is never exhausted, as looking behind its last row may be dear.
    pub exhausted: bool,
}

/// One version of a document as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Timestamp of the transaction.
    pub ts: Timestamp,
    /// The tablet of the document.
    pub tablet: TabletId,
    /// The id of the document inside its tablet.
    pub id: InternalId,
    /// Timestamp of the live version that was replaced. That version may be collected already.
    pub prev_ts: Option<Timestamp>,
    /// The document; `None`: deleted.
    pub body: Option<Arc<[u8]>>,
}

/// What one call of an incremental removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Rows removed by this call.
    pub rows: usize,
    /// Nothing is left to do; else call again.
    pub done: bool,
}

/// Why an append failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Surely not on disk, and never will be: the group can be dropped or tried again.
    #[error("not written: {0}")]
    NotWritten(String),
    /// May be on disk. Take no more writes before [`Store::reopen`], then look at the head.
    #[error("unknown whether written: {0}")]
    Unknown(String),
}

/// Why a read, or the care of the store, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk or the operating system refused. May pass.
    #[error("{0}")]
    Io(String),
    /// The content contradicts itself. A person must look.
    #[error("store is corrupt: {0}")]
    Corrupt(String),
    /// Versions at this timestamp were collected. Begin again on a newer snapshot.
    #[error("timestamp {asked} is older than the oldest kept one, {oldest}")]
    TooOld {
        /// The timestamp that was asked for.
        asked: Timestamp,
        /// The oldest timestamp that can be read.
        oldest: Timestamp,
    },
}

/// Versioned documents and index entries.
///
/// Any number of threads may read while one appends. Whoever calls orders the commits: calls of
/// `append` follow each other. Rows of a tablet or an index that is being dropped must not be
/// read.
pub trait Store: Send + Sync {
    /// Makes a group of commits durable in one write, all or nothing, in ascending order of `ts`.
    ///
    /// Every `ts` must be above those of all commits on disk (it may lie in a reserved block) and
    /// above the collected horizon. After `Unknown` further appends give `NotWritten` until the
    /// store was reopened.
    fn append(&self, group: &[Commit]) -> Result<(), AppendError>;

    /// Writes index entries as of an older timestamp. Rows that exist (same index, key and
    /// timestamp) stay as they are. All or nothing.
    ///
    /// `NotWritten` also if `at` is older than the collected horizon, since the news that a key
    /// vanished may be collected already: begin the build again on a newer snapshot.
    fn backfill(&self, at: Timestamp, entries: &[EntryWrite]) -> Result<(), AppendError>;

    /// Rows of an index with a key in `interval`, in `order`, at most `limit`, as of `at`.
    ///
    /// Reads on only as far as `limit` asks. Errors: `TooOld`; `Corrupt` if an entry has no
    /// document.
    fn scan(
        &self,
        tablet: TabletId,
        index: IndexId,
        interval: &Interval,
        at: Timestamp,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Versions of documents above `after`, by (ts, tablet, id). Whole transactions only: at most
    /// `limit` rows, but never less than one transaction. Empty: nothing is above `after`.
    ///
    /// Errors: `TooOld` if `after` is below the collected horizon.
    fn log(&self, after: Timestamp, limit: usize) -> Result<Vec<LogRow>, StoreError>;

    /// The greatest timestamp on disk, reservations included. `Timestamp(0)` in an empty store.
    fn head(&self) -> Result<Timestamp, StoreError>;

    /// Makes the head at least `up_to`, durably: after a restart every timestamp is greater.
    /// Commits may still use timestamps inside the reserved block.
    fn reserve(&self, up_to: Timestamp) -> Result<(), StoreError>;

    /// Live documents of each tablet; tablets without any are left out.
    fn counts(&self) -> Result<BTreeMap<TabletId, u64>, StoreError>;

    /// A named value outside all versions.
    fn global(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Sets a named value outside all versions, durably.
    fn set_global(&self, key: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Removes what no reader at or after `horizon` can see, looking at about `budget` rows.
    ///
    /// From this call on, reads below `horizon` (which never moves back and is cut to the head)
    /// give `TooOld`. A later call goes on where this one stopped, also after a restart.
    fn collect(&self, horizon: Timestamp, budget: usize) -> Result<Collected, StoreError>;

    /// Removes about `budget` entries of an index. It must not be read or written any more.
    fn drop_index(&self, index: IndexId, budget: usize) -> Result<Collected, StoreError>;

    /// Removes about `budget` documents of a tablet, and its count. It must not be read or written
    /// any more. Its indexes are dropped on their own.
    fn drop_tablet(&self, tablet: TabletId, budget: usize) -> Result<Collected, StoreError>;

    /// Closes everything and opens it again, to learn what is on disk after an append of unknown
    /// outcome. May be tried again after an error. Waits for scans that are running.
    fn reopen(&self) -> Result<(), StoreError>;

    /// Bytes taken on disk, or in memory where there is no disk (documents and keys only).
    fn size_bytes(&self) -> Result<u64, StoreError>;
}

/// What must hold of a group before it is written, whatever the store.
pub(crate) fn check_group(group: &[Commit], mut last: Timestamp) -> Result<(), AppendError> {
    for commit in group {
        let ts = commit.ts;
        if ts <= last || ts.0 >= TIMESTAMP_MAX {
            return not_written(format!("timestamp {ts} is out of order, the last one is {last}"));
        }
        last = ts;
        if commit.documents.iter().any(|write| write.prev_ts.is_some_and(|prev| prev >= ts)) {
            return not_written(format!("commit {ts} replaces a version that is not older"));
        }
        if repeats(commit.documents.iter().map(|write| (write.tablet, write.id))) {
            return not_written(format!("commit {ts} writes a document twice"));
        }
        check_entries(&commit.entries)?;
    }
    Ok(())
}

/// What must hold of a backfill before it is written, whatever the store.
pub(crate) fn check_backfill(
    at: Timestamp,
    entries: &[EntryWrite],
    oldest: Timestamp,
    head: Timestamp,
) -> Result<(), AppendError> {
    if at < oldest || at > head {
        return not_written(format!("backfill at {at} is outside of {oldest} to {head}"));
    }
    check_entries(entries)
}

fn check_entries(entries: &[EntryWrite]) -> Result<(), AppendError> {
    if entries.iter().any(|entry| entry.index.as_by_id().is_some()) {
        return not_written("an index by id has no entries".into());
    }
    if repeats(entries.iter().map(|entry| (entry.index, &entry.key))) {
        return not_written("an index key is written twice at one timestamp".into());
    }
    Ok(())
}

fn repeats<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    for item in items {
        if !seen.insert(item) {
            return true;
        }
    }
    false
}

fn not_written<T>(message: String) -> Result<T, AppendError> {
    Err(AppendError::NotWritten(message))
}
