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

/// A key that has versions below the one that was written at the timestamp.
type Outdated = (Timestamp, IndexId, Arc<[u8]>);

struct Range {
    end: Option<Vec<u8>>,
    from: Timestamp,
    used: AtomicBool,
}

#[derive(Default)]
struct CachedIndex {
    rows: BTreeMap<Arc<[u8]>, Chain>,
    ranges: BTreeMap<Vec<u8>, Range>,
    /// What rows and ranges cost.
    bytes: usize,
    /// No longer in the cache: whoever still holds it must not add to it.
    forgotten: bool,
}

/// All cached ranges of all indexes.
pub(crate) struct IndexCache {
    indexes: RwLock<HashMap<IndexId, Arc<RwLock<CachedIndex>>>>,
    clock: Mutex<VecDeque<(IndexId, Vec<u8>)>>,
    garbage: Mutex<VecDeque<Outdated>>,
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
        let before = inside.bytes;
        // A commit that is applied after this line finds the range and writes through; one that was
        // applied before is in the log. One in between does both, which `Chain::push` forgives.
        let Some(overlay) = log.between(from, Timestamp(u64::MAX)) else { return };
        if inside.forgotten || inside.overlaps(&covered) {
            return;
        }
        for (key, ts, document) in rows {
            inside.insert(Arc::clone(key), Chain::new((*ts, Some(Arc::clone(document)))));
        }
        inside.bytes += range_bytes(&covered.start);
        let range = Range { end: covered.end, from, used: AtomicBool::new(true) };
        inside.ranges.insert(covered.start.clone(), range);
        for entry in overlay {
            self.write_into(&mut inside, index, &entry);
        }
        self.account(before, inside.bytes);
        drop(inside);
        self.clock.lock().push_back((index, covered.start.clone()));
        // What was just loaded stays, whatever it costs: somebody waits for it.
        self.shrink(Some((index, &covered.start)));
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
            let mut cached = cached.write();
            let before = cached.bytes;
            self.write_into(&mut cached, write.index, entry);
            self.account(before, cached.bytes);
        }
    }

    fn write_into(&self, cached: &mut CachedIndex, index: IndexId, entry: &LogEntry) {
        for write in entry.writes.iter().filter(|write| write.index == index) {
            if cached.range_at(&write.key).is_none() {
                continue;
            }
            let version = (entry.ts, write.document.clone());
            match cached.rows.get_mut(&write.key) {
                Some(chain) => {
                    cached.bytes += chain.push(version);
                    self.garbage.lock().push_back((entry.ts, index, Arc::clone(&write.key)));
                }
                None if write.document.is_some() => {
                    cached.insert(Arc::clone(&write.key), Chain::new(version));
                }
                None => {}
            }
        }
    }

    /// Takes back the versions of commits that were not written to disk.
    pub(crate) fn take_back(&self, dropped: &[Arc<LogEntry>], durable: Timestamp) {
        for write in dropped.iter().flat_map(|entry| &entry.writes) {
            let Some(cached) = self.indexes.read().get(&write.index).cloned() else { continue };
            let mut cached = cached.write();
            let before = cached.bytes;
            cached.change(&write.key, |chain| chain.take_back(durable));
            self.account(before, cached.bytes);
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
            let before = cached.bytes;
            cached.change(&key, |chain| !chain.trim(horizon));
            self.account(before, cached.bytes);
        }
        self.shrink(None);
    }

    /// Evicts ranges above the budget, but not `keep`.
    fn shrink(&self, keep: Option<(IndexId, &[u8])>) {
        while self.bytes() > self.budget && self.evict_one(keep) {}
    }

    /// Forgets an index that no longer exists.
    pub(crate) fn forget(&self, index: IndexId) {
        let removed = self.indexes.write().remove(&index);
        if let Some(removed) = removed {
            let mut removed = removed.write();
            self.account(removed.bytes, 0);
            *removed = CachedIndex { forgotten: true, ..CachedIndex::default() };
        }
    }

    /// Second chance: the first range that was not used since the hand last passed it goes.
    fn evict_one(&self, keep: Option<(IndexId, &[u8])>) -> bool {
        let tries = self.clock.lock().len() * 2;
        for _ in 0..tries {
            let Some((index, start)) = self.clock.lock().pop_front() else { return false };
            let Some(cached) = self.indexes.read().get(&index).cloned() else { continue };
            let mut cached = cached.write();
            let Some(range) = cached.ranges.get(&start) else { continue };
            let kept = keep == Some((index, start.as_slice()));
            if range.used.swap(false, Ordering::Relaxed) || kept {
                drop(cached);
                self.clock.lock().push_back((index, start));
                continue;
            }
            let before = cached.bytes;
            cached.remove_range(&start);
            self.account(before, cached.bytes);
            return true;
        }
        false
    }

    /// One index went from `before` to `after` bytes.
    fn account(&self, before: usize, after: usize) {
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl CachedIndex {
    fn insert(&mut self, key: Arc<[u8]>, chain: Chain) {
        self.bytes += key.len() + KEY_OVERHEAD_BYTES + chain.bytes();
        self.rows.insert(key, chain);
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(chain) = self.rows.remove(key) {
            self.bytes -= key.len() + KEY_OVERHEAD_BYTES + chain.bytes();
        }
    }

    /// Shortens the versions of one key; removes it where `change` says that nothing is left.
    fn change(&mut self, key: &[u8], change: impl FnOnce(&mut Chain) -> bool) {
        let Some(chain) = self.rows.get_mut(key) else { return };
        let before = chain.bytes();
        let keep = change(chain);
        self.bytes -= before - chain.bytes();
        if !keep {
            self.remove(key);
        }
    }

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

    /// Removes a range with its rows.
    fn remove_range(&mut self, start: &[u8]) {
        let Some(range) = self.ranges.remove(start) else { return };
        self.bytes -= range_bytes(start);
        let upper = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let inside = (Bound::Included(start), upper);
        let keys: Vec<_> = self.rows.range::<[u8], _>(inside).map(|(k, _)| Arc::clone(k)).collect();
        for key in keys {
            self.remove(&key);
        }
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

fn range_bytes(start: &[u8]) -> usize {
    RANGE_OVERHEAD_BYTES + 2 * start.len()
}

/// What the cache holds, counted one by one.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) ranges: usize,
    pub(crate) keys: usize,
    pub(crate) versions: usize,
    pub(crate) bytes: usize,
    pub(crate) garbage: usize,
}

#[cfg(test)]
impl IndexCache {
    pub(crate) fn held(&self) -> Held {
        let mut held = Held { garbage: self.garbage.lock().len(), ..Held::default() };
        for cached in self.indexes.read().values() {
            let cached = cached.read();
            held.ranges += cached.ranges.len();
            held.keys += cached.rows.len();
            held.versions += cached.rows.values().map(Chain::versions).sum::<usize>();
            held.bytes += cached.ranges.keys().map(|start| range_bytes(start)).sum::<usize>();
            let row =
                |(key, chain): (&Arc<[u8]>, &Chain)| key.len() + KEY_OVERHEAD_BYTES + chain.bytes();
            held.bytes += cached.rows.iter().map(row).sum::<usize>();
        }
        held
    }
}
