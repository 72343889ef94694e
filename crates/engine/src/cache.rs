//! The index cache: ordered ranges of index keys in memory, with versions.
//!
//!     store ──load [a, b) as of D──► range "complete from D" ◄──write-through── commits
//!
//! A range answers any snapshot at or after its D that is not below the trim horizon; other reads go
//! to the store. Commits write through into ranges that are there and skip the rest: the write log
//! holds them until they are durable, and is laid over whatever is loaded.
//! Whole ranges are evicted, by second chance, within a byte budget.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use store::{IndexId, Order};
use value::{Interval, Timestamp};

use crate::chain::Chain;
use crate::document::Document;
use crate::write_log::{LogEntry, WriteLog};

/// What a cached key costs besides its bytes and its document.
const KEY_OVERHEAD_BYTES: usize = 120;
/// What a range costs besides its keys.
const RANGE_OVERHEAD_BYTES: usize = 160;
/// What the JSON text and the parsed fields of a document cost, per byte of its size.
const DOCUMENT_FACTOR: usize = 4;

/// A key with the version of the document that a snapshot sees there.
pub(crate) type Found = (Arc<[u8]>, Timestamp, Arc<Document>);

/// What the cache knows of an interval.
pub(crate) enum Lookup {
    /// Rows from the start of the scan on. `rest` is what was not looked at.
    Rows { rows: Vec<Found>, rest: Interval },
    /// Nothing is known of the first part of the interval.
    Gap(Interval),
    /// The first part is known only for newer snapshots: read the store, install nothing.
    TooNew(Interval),
}

struct Range {
    end: Option<Vec<u8>>,
    from: Timestamp,
    used: AtomicBool,
}

#[derive(Default)]
struct CachedIndex {
    rows: BTreeMap<Arc<[u8]>, Chain>,
    ranges: BTreeMap<Vec<u8>, Range>,
}

/// All cached ranges of all indexes.
pub(crate) struct IndexCache {
    indexes: RwLock<HashMap<IndexId, Arc<RwLock<CachedIndex>>>>,
    clock: Mutex<VecDeque<(IndexId, Vec<u8>)>>,
    garbage: Mutex<VecDeque<(Timestamp, IndexId, Arc<[u8]>)>>,
    bytes: AtomicUsize,
    budget: usize,
}

impl IndexCache {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            indexes: RwLock::default(),
            clock: Mutex::default(),
            garbage: Mutex::default(),
            bytes: AtomicUsize::new(0),
            budget,
        }
    }

    /// Bytes held now, by the cache's own estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The first rows of `interval` in `order` as of `ts`, at most `limit`.
    pub(crate) fn lookup(
        &self,
        index: IndexId,
        interval: &Interval,
        ts: Timestamp,
        order: Order,
        limit: usize,
    ) -> Lookup {
        let Some(cached) = self.indexes.read().get(&index).cloned() else {
            return Lookup::Gap(interval.clone());
        };
        let cached = cached.read();
        match order {
            Order::Asc => cached.ascending(interval, ts, limit),
            Order::Desc => cached.descending(interval, ts, limit),
        }
    }

    /// Installs what was read from the store as of `from`: `covered` holds exactly `rows` then.
    /// The write log is laid over it; a log that no longer reaches back to `from` installs nothing.
    pub(crate) fn install(
        &self,
        index: IndexId,
        covered: Interval,
        from: Timestamp,
        rows: &[Found],
        log: &WriteLog,
    ) {
        let cached = self.indexes.read().get(&index).cloned();
        let cached =
            cached.unwrap_or_else(|| Arc::clone(self.indexes.write().entry(index).or_default()));
        let mut inside = cached.write();
        // A commit that is applied after this line finds the range and writes through; one that was
        // applied before is in the log. One in between does both, which `Chain::push` forgives.
        let Some(overlay) = log.between(from, Timestamp(u64::MAX)) else { return };
        if inside.overlaps(&covered) {
            return;
        }
        let mut bytes = RANGE_OVERHEAD_BYTES + 2 * covered.start.len();
        for (key, ts, document) in rows {
            bytes += row_bytes(key, Some(document));
            inside.rows.insert(Arc::clone(key), Chain::new((*ts, Some(Arc::clone(document)))));
        }
        let range = Range { end: covered.end.clone(), from, used: AtomicBool::new(true) };
        inside.ranges.insert(covered.start.clone(), range);
        for entry in overlay {
            bytes += self.write_into(&mut inside, index, &entry);
        }
        drop(inside);
        self.clock.lock().push_back((index, covered.start));
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Writes a commit into the ranges that are there.
    pub(crate) fn write_through(&self, entry: &LogEntry) {
        let mut done: Vec<IndexId> = Vec::new();
        for write in &entry.writes {
            if done.contains(&write.index) {
                continue;
            }
            done.push(write.index);
            let Some(cached) = self.indexes.read().get(&write.index).cloned() else { continue };
            let bytes = self.write_into(&mut cached.write(), write.index, entry);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn write_into(&self, cached: &mut CachedIndex, index: IndexId, entry: &LogEntry) -> usize {
        let mut bytes = 0;
        for write in entry.writes.iter().filter(|write| write.index == index) {
            if cached.range_at(&write.key).is_none() {
                continue;
            }
            let version = (entry.ts, write.document.clone());
            match cached.rows.get_mut(&write.key) {
                Some(chain) => {
                    chain.push(version);
                    self.garbage.lock().push_back((entry.ts, index, Arc::clone(&write.key)));
                }
                None if write.document.is_some() => {
                    bytes += row_bytes(&write.key, write.document.as_ref());
                    cached.rows.insert(Arc::clone(&write.key), Chain::new(version));
                }
                None => {}
            }
        }
        bytes
    }

    /// Takes back the versions of commits that were not written to disk.
    pub(crate) fn take_back(&self, dropped: &[Arc<LogEntry>], durable: Timestamp) {
        for write in dropped.iter().flat_map(|entry| &entry.writes) {
            let Some(cached) = self.indexes.read().get(&write.index).cloned() else { continue };
            let mut cached = cached.write();
            if let Some(chain) = cached.rows.get_mut(&write.key)
                && !chain.take_back(durable)
            {
                cached.rows.remove(&write.key);
            }
        }
    }

    /// Drops versions that nobody at or after `horizon` sees, then ranges above the budget.
    pub(crate) fn collect(&self, horizon: Timestamp) {
        loop {
            let next = {
                let mut garbage = self.garbage.lock();
                match garbage.front() {
                    Some((ts, _, _)) if *ts <= horizon => garbage.pop_front(),
                    Some(_) | None => None,
                }
            };
            let Some((_, index, key)) = next else { break };
            let Some(cached) = self.indexes.read().get(&index).cloned() else { continue };
            let mut cached = cached.write();
            if let Some(chain) = cached.rows.get_mut(&key)
                && chain.trim(horizon)
            {
                cached.rows.remove(&key);
                self.release(row_bytes(&key, None));
            }
        }
        while self.bytes() > self.budget && self.evict_one() {}
    }

    /// Forgets an index that no longer exists.
    pub(crate) fn forget(&self, index: IndexId) {
        let removed = self.indexes.write().remove(&index);
        if let Some(removed) = removed {
            let removed = removed.read();
            let rows: usize = removed.rows.keys().map(|key| row_bytes(key, None)).sum();
            self.release(rows + removed.ranges.len() * RANGE_OVERHEAD_BYTES);
        }
    }

    /// Second chance: the first range that was not used since the hand last passed it goes.
    fn evict_one(&self) -> bool {
        let tries = self.clock.lock().len() * 2;
        for _ in 0..tries {
            let Some((index, start)) = self.clock.lock().pop_front() else { return false };
            let Some(cached) = self.indexes.read().get(&index).cloned() else { continue };
            let mut cached = cached.write();
            let Some(range) = cached.ranges.get(&start) else { continue };
            if range.used.swap(false, Ordering::Relaxed) {
                drop(cached);
                self.clock.lock().push_back((index, start));
                continue;
            }
            let freed = cached.remove_range(&start);
            drop(cached);
            self.release(freed);
            return true;
        }
        false
    }

    fn release(&self, bytes: usize) {
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            Some(held.saturating_sub(bytes))
        });
    }
}

impl CachedIndex {
    /// The range that holds `key`.
    fn range_at(&self, key: &[u8]) -> Option<(&Vec<u8>, &Range)> {
        let before = (Bound::Unbounded, Bound::Included(key));
        let (start, range) = self.ranges.range::<[u8], _>(before).next_back()?;
        range.end.as_deref().is_none_or(|end| key < end).then_some((start, range))
    }

    /// The range that holds the keys just below `end`; `None` for `end` is the end of all keys.
    fn range_below(&self, end: Option<&[u8]>) -> Option<(&Vec<u8>, &Range)> {
        let bound = end.map_or(Bound::Unbounded, Bound::Excluded);
        let (start, range) = self.ranges.range::<[u8], _>((Bound::Unbounded, bound)).next_back()?;
        let reaches = match (&range.end, end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(range_end), Some(end)) => range_end.as_slice() >= end,
        };
        reaches.then_some((start, range))
    }

    fn overlaps(&self, covered: &Interval) -> bool {
        let bound = covered.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let last = self.ranges.range::<[u8], _>((Bound::Unbounded, bound)).next_back();
        last.is_some_and(|(_, range)| {
            range.end.as_deref().is_none_or(|end| end > covered.start.as_slice())
        })
    }

    fn ascending(&self, interval: &Interval, ts: Timestamp, limit: usize) -> Lookup {
        let mut rows = Vec::new();
        let mut rest = interval.clone();
        while !rest.is_empty() {
            let known = self.range_at(&rest.start).filter(|(_, range)| range.from <= ts);
            let Some((_, range)) = known else {
                return self.stop_ascending(rows, rest);
            };
            range.used.store(true, Ordering::Relaxed);
            let end = lesser(range.end.as_deref(), rest.end.as_deref());
            let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
            let inside = (Bound::Included(rest.start.as_slice()), upper);
            for (key, chain) in self.rows.range::<[u8], _>(inside) {
                if let Some((version, document)) = chain.at(ts) {
                    rows.push((Arc::clone(key), version, Arc::clone(document)));
                    if rows.len() == limit {
                        rest.start = after(key);
                        return Lookup::Rows { rows, rest };
                    }
                }
            }
            match end {
                Some(end) => rest.start = end.to_vec(),
                None => rest = Interval::empty(),
            }
        }
        Lookup::Rows { rows, rest: Interval::empty() }
    }

    fn stop_ascending(&self, rows: Vec<Found>, rest: Interval) -> Lookup {
        if !rows.is_empty() {
            return Lookup::Rows { rows, rest };
        }
        if let Some((_, range)) = self.range_at(&rest.start) {
            let end = lesser(range.end.as_deref(), rest.end.as_deref()).map(<[u8]>::to_vec);
            return Lookup::TooNew(Interval { start: rest.start, end });
        }
        let from = Bound::Excluded(rest.start.as_slice());
        let next = self.ranges.range::<[u8], _>((from, Bound::Unbounded)).next();
        let end = lesser(next.map(|(start, _)| start.as_slice()), rest.end.as_deref());
        Lookup::Gap(Interval { end: end.map(<[u8]>::to_vec), start: rest.start })
    }

    fn descending(&self, interval: &Interval, ts: Timestamp, limit: usize) -> Lookup {
        let mut rows = Vec::new();
        let mut rest = interval.clone();
        while !rest.is_empty() {
            let known = self.range_below(rest.end.as_deref()).filter(|(_, range)| range.from <= ts);
            let Some((start, range)) = known else {
                return self.stop_descending(rows, rest);
            };
            range.used.store(true, Ordering::Relaxed);
            let start = start.as_slice().max(rest.start.as_slice());
            let upper = rest.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for (key, chain) in self.rows.range::<[u8], _>((Bound::Included(start), upper)).rev() {
                if let Some((version, document)) = chain.at(ts) {
                    rows.push((Arc::clone(key), version, Arc::clone(document)));
                    if rows.len() == limit {
                        rest.end = Some(key.to_vec());
                        return Lookup::Rows { rows, rest };
                    }
                }
            }
            rest.end = Some(start.to_vec());
        }
        Lookup::Rows { rows, rest: Interval::empty() }
    }

    fn stop_descending(&self, rows: Vec<Found>, rest: Interval) -> Lookup {
        if !rows.is_empty() {
            return Lookup::Rows { rows, rest };
        }
        if let Some((start, _)) = self.range_below(rest.end.as_deref()) {
            let start = start.as_slice().max(rest.start.as_slice()).to_vec();
            return Lookup::TooNew(Interval { start, end: rest.end });
        }
        let bound = rest.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let last = self.ranges.range::<[u8], _>((Bound::Unbounded, bound)).next_back();
        let start = match last.and_then(|(_, range)| range.end.clone()) {
            Some(end) if end > rest.start => end,
            Some(_) | None => rest.start,
        };
        Lookup::Gap(Interval { start, end: rest.end })
    }

    /// Removes a range with its rows; gives the bytes that were held.
    fn remove_range(&mut self, start: &[u8]) -> usize {
        let Some(range) = self.ranges.remove(start) else { return 0 };
        let upper = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let inside = (Bound::Included(start), upper);
        let keys: Vec<_> = self.rows.range::<[u8], _>(inside).map(|(k, _)| Arc::clone(k)).collect();
        let mut bytes = RANGE_OVERHEAD_BYTES + 2 * start.len();
        for key in keys {
            let newest = self.rows.remove(&key);
            let document = newest.as_ref().and_then(|chain| chain.at(Timestamp(u64::MAX)));
            bytes += row_bytes(&key, document.map(|(_, document)| document));
        }
        bytes
    }
}

fn lesser<'a>(a: Option<&'a [u8]>, b: Option<&'a [u8]>) -> Option<&'a [u8]> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// The least key above `key`.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

fn row_bytes(key: &[u8], document: Option<&Arc<Document>>) -> usize {
    key.len() + KEY_OVERHEAD_BYTES + document.map_or(0, |d| d.size() * DOCUMENT_FACTOR)
}
