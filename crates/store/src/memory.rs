//! The reference: the plainest code that answers right. Nothing outlives the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use value::{InternalId, Interval, Timestamp};

use crate::types::{check_backfill, check_group};
use crate::{
    AppendError, Collected, Commit, EntryWrite, IndexId, LogRow, Order, Page, Row, Store,
    StoreError, TIMESTAMP_MAX, TabletId,
};

/// A store in memory. Everything that a call of `collect` or of a drop can remove is removed at
/// once, whatever the budget.
pub struct MemoryStore {
    state: RwLock<State>,
}

struct State {
    documents: BTreeMap<(TabletId, InternalId), BTreeMap<Timestamp, Version>>,
    entries: BTreeMap<(IndexId, Arc<[u8]>), Holders>,
    /// The keys of all versions by time.
    log: BTreeSet<(Timestamp, TabletId, InternalId)>,
    counts: BTreeMap<TabletId, u64>,
    globals: BTreeMap<String, Vec<u8>>,
    /// The newest commit, and the greatest reserved timestamp.
    committed: Timestamp,
    reserved: Timestamp,
    /// Snapshots below this one are not complete any more.
    oldest: Timestamp,
}

/// Who is under an index key from which timestamp on.
type Holders = BTreeMap<Timestamp, Option<InternalId>>;

struct Version {
    prev_ts: Option<Timestamp>,
    body: Option<Arc<[u8]>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        let state = State {
            documents: BTreeMap::new(),
            entries: BTreeMap::new(),
            log: BTreeSet::new(),
            counts: BTreeMap::new(),
            globals: BTreeMap::new(),
            committed: Timestamp(0),
            reserved: Timestamp(0),
            oldest: Timestamp(0),
        };
        MemoryStore { state: RwLock::new(state) }
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl Store for MemoryStore {
    fn append(&self, group: &[Commit]) -> Result<(), AppendError> {
        let mut state = self.state.write();
        check_group(group, state.committed.max(state.oldest))?;
        for commit in group {
            state.apply(commit);
        }
        Ok(())
    }

    fn backfill(&self, at: Timestamp, entries: &[EntryWrite]) -> Result<(), AppendError> {
        let mut state = self.state.write();
        check_backfill(at, entries, state.oldest, state.head())?;
        for entry in entries {
            let key = (entry.index, entry.key.clone());
            state.entries.entry(key).or_default().entry(at).or_insert(entry.id);
        }
        Ok(())
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
        let state = self.state.read();
        state.check_age(at)?;
        if limit == 0 || interval.is_empty() {
            return Ok(Page { rows: Vec::new(), exhausted: limit > 0 });
        }
        let mut rows = Vec::new();
        let mut visit = |key: Arc<[u8]>, id: InternalId| -> Result<bool, StoreError> {
            if let Some((ts, body)) = state.live(tablet, id, at) {
                rows.push(Row { key, id, ts, body });
            } else if index.as_by_id().is_none() {
                return Err(StoreError::Corrupt(format!("entry of {index:?} has no document")));
            }
            Ok(rows.len() >= limit)
        };
        let keys: Box<dyn DoubleEndedIterator<Item = (Arc<[u8]>, InternalId)>> =
            if let Some(tablet) = index.as_by_id() {
                Box::new(state.ids(tablet, interval))
            } else {
                Box::new(state.keys(index, interval, at))
            };
        let keys: Box<dyn Iterator<Item = (Arc<[u8]>, InternalId)>> = match order {
            Order::Asc => keys,
            Order::Desc => Box::new(keys.rev()),
        };
        for (key, id) in keys {
            if visit(key, id)? {
                break;
            }
        }
        let exhausted = rows.len() < limit;
        Ok(Page { rows, exhausted })
    }

    fn log(&self, after: Timestamp, limit: usize) -> Result<Vec<LogRow>, StoreError> {
        let state = self.state.read();
        state.check_age(after)?;
        let mut rows: Vec<LogRow> = Vec::new();
        let mut whole = 0;
        let first = (Timestamp(after.0.saturating_add(1)), TabletId(0), InternalId([0; 16]));
        for &(ts, tablet, id) in state.log.range(first..) {
            if rows.last().is_some_and(|last| last.ts != ts) {
                whole = rows.len();
            }
            if rows.len() >= limit && whole > 0 {
                rows.truncate(whole);
                return Ok(rows);
            }
            let version = &state.documents[&(tablet, id)][&ts];
            let (prev_ts, body) = (version.prev_ts, version.body.clone());
            rows.push(LogRow { ts, tablet, id, prev_ts, body });
        }
        Ok(rows)
    }

    fn head(&self) -> Result<Timestamp, StoreError> {
        Ok(self.state.read().head())
    }

    fn reserve(&self, up_to: Timestamp) -> Result<(), StoreError> {
        if up_to.0 >= TIMESTAMP_MAX {
            return Err(StoreError::Io(format!("timestamp {up_to} is out of range")));
        }
        let mut state = self.state.write();
        state.reserved = state.reserved.max(up_to);
        Ok(())
    }

    fn counts(&self) -> Result<BTreeMap<TabletId, u64>, StoreError> {
        let state = self.state.read();
        let live = state.counts.iter().filter(|(_, count)| **count > 0);
        Ok(live.map(|(tablet, count)| (*tablet, *count)).collect())
    }

    fn global(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.read().globals.get(key).cloned())
    }

    fn set_global(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.state.write().globals.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn collect(&self, horizon: Timestamp, _budget: usize) -> Result<Collected, StoreError> {
        let mut state = self.state.write();
        let horizon = horizon.min(state.head());
        state.oldest = state.oldest.max(horizon);
        Ok(Collected { rows: state.collect(), done: true })
    }

    fn drop_index(&self, index: IndexId, _budget: usize) -> Result<Collected, StoreError> {
        let mut state = self.state.write();
        let mut rows = 0;
        state.entries.retain(|(other, _), versions| {
            rows += if *other == index { versions.len() } else { 0 };
            *other != index
        });
        Ok(Collected { rows, done: true })
    }

    fn drop_tablet(&self, tablet: TabletId, _budget: usize) -> Result<Collected, StoreError> {
        let mut state = self.state.write();
        let before = state.log.len();
        state.documents.retain(|(other, _), _| *other != tablet);
        state.log.retain(|(_, other, _)| *other != tablet);
        state.counts.remove(&tablet);
        Ok(Collected { rows: before - state.log.len(), done: true })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        let state = self.state.read();
        let versions = state.documents.values().flat_map(BTreeMap::values);
        let bodies: usize = versions.flat_map(|version| &version.body).map(|body| body.len()).sum();
        let keys: usize = state.entries.keys().map(|(_, key)| key.len()).sum();
        Ok((bodies + keys) as u64)
    }
}

impl State {
    fn head(&self) -> Timestamp {
        self.committed.max(self.reserved)
    }

    fn check_age(&self, asked: Timestamp) -> Result<(), StoreError> {
        let oldest = self.oldest;
        if asked < oldest { Err(StoreError::TooOld { asked, oldest }) } else { Ok(()) }
    }

    fn apply(&mut self, commit: &Commit) {
        let ts = commit.ts;
        self.committed = ts;
        for write in &commit.documents {
            let count = self.counts.entry(write.tablet).or_default();
            match (write.prev_ts.is_some(), write.body.is_some()) {
                (false, true) => *count += 1,
                (true, false) => *count = count.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
            let version = Version { prev_ts: write.prev_ts, body: write.body.clone() };
            self.documents.entry((write.tablet, write.id)).or_default().insert(ts, version);
            self.log.insert((ts, write.tablet, write.id));
        }
        for write in &commit.entries {
            let key = (write.index, write.key.clone());
            self.entries.entry(key).or_default().insert(ts, write.id);
        }
    }

    /// The newest version of a document as of `at`, unless it is deleted.
    fn live(
        &self,
        tablet: TabletId,
        id: InternalId,
        at: Timestamp,
    ) -> Option<(Timestamp, Arc<[u8]>)> {
        let (ts, version) = self.documents.get(&(tablet, id))?.range(..=at).next_back()?;
        Some((*ts, version.body.clone()?))
    }

    /// All ids in an interval that ever had a document.
    fn ids<'a>(
        &'a self,
        tablet: TabletId,
        interval: &'a Interval,
    ) -> impl DoubleEndedIterator<Item = (Arc<[u8]>, InternalId)> + 'a {
        let from = padded(&interval.start);
        let to = interval.end.as_deref().map_or(InternalId([255; 16]), padded);
        self.documents
            .range((tablet, from)..=(tablet, to))
            .map(|((_, id), _)| *id)
            .filter(|id| interval.contains(&id.0))
            .map(|id| (Arc::from(id.0.as_slice()), id))
    }

    /// The keys in an interval that are there as of `at`.
    fn keys<'a>(
        &'a self,
        index: IndexId,
        interval: &'a Interval,
        at: Timestamp,
    ) -> impl DoubleEndedIterator<Item = (Arc<[u8]>, InternalId)> + 'a {
        let from = (index, Arc::from(interval.start.as_slice()));
        let to = match &interval.end {
            Some(end) => (index, Arc::from(end.as_slice())),
            None => (IndexId(index.0 + 1), Arc::from([].as_slice())),
        };
        self.entries.range(from..to).filter_map(move |((_, key), versions)| {
            let (_, id) = versions.range(..=at).next_back()?;
            Some((key.clone(), (*id)?))
        })
    }

    /// Removes every version that is replaced, or says "deleted", at or below the horizon.
    fn collect(&mut self) -> usize {
        let (horizon, mut rows) = (self.oldest, 0);
        let log = &mut self.log;
        self.documents.retain(|&(tablet, id), versions| {
            let newest = versions.range(..=horizon).next_back().map(|(ts, v)| (*ts, &v.body));
            let keep =
                newest.map_or(
                    horizon,
                    |(ts, body)| if body.is_some() { ts } else { Timestamp(ts.0 + 1) },
                );
            let gone: Vec<Timestamp> = versions.range(..keep).map(|(ts, _)| *ts).collect();
            for ts in gone {
                versions.remove(&ts);
                log.remove(&(ts, tablet, id));
                rows += 1;
            }
            !versions.is_empty()
        });
        self.entries.retain(|_, versions| {
            let newest = versions.range(..=horizon).next_back().map(|(ts, id)| (*ts, *id));
            let keep = newest
                .map_or(horizon, |(ts, id)| if id.is_some() { ts } else { Timestamp(ts.0 + 1) });
            let before = versions.len();
            versions.retain(|ts, _| *ts >= keep);
            rows += before - versions.len();
            !versions.is_empty()
        });
        rows
    }
}

/// The bytes cut or filled up with zeros to the length of an id: ids in an interval lie between
/// the padded ends, both included.
fn padded(bytes: &[u8]) -> InternalId {
    let mut id = [0; 16];
    let length = bytes.len().min(16);
    id[..length].copy_from_slice(&bytes[..length]);
    InternalId(id)
}
