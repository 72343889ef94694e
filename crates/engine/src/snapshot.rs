//! Snapshots: reads as of one timestamp, through the cache where it knows enough, else from the store.
//!
//!     rows ──► cache ── rows it knows
//!               ├ gap: load from the durable head, look again
//!               └ known only for newer snapshots, or trimmed: read the store, keep nothing

use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::Order;
use value::{DocumentId, InternalId, Interval, Timestamp};

use crate::cache::{Found, IndexCache, Lookup, after};
use crate::catalog::{Catalog, IndexDef};
use crate::document::Document;
use crate::engine::Engine;
use crate::error::{TxError, TxErrorKind};
use crate::figures;
use crate::pins::Pin;
use crate::scan::{FETCH_MAX, PREFETCH, Versioned};

/// How often a read loads into the cache before it reads past it: what was loaded may have been
/// evicted again, and many small gaps are read faster in one piece.
const LOOKS_MAX: usize = 10;

/// A view of all data as of one timestamp.
pub(crate) struct Snapshot {
    pub(crate) engine: Arc<Engine>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) pin: Pin,
    /// Heads are taken back in epochs; see `speculative`.
    pub(crate) epoch: u64,
    /// Reads commits that are not on disk, so it falls with them.
    pub(crate) speculative: bool,
}

impl Snapshot {
    pub(crate) fn ts(&self) -> Timestamp {
        self.pin.ts()
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// How many committed documents a table has.
    pub(crate) fn count(&self, by_id: &Arc<IndexDef>) -> Result<u64, TxError> {
        if let Some(count) = self.engine.heads.read().count_at(by_id.tablet, self.ts()) {
            return Ok(count);
        }
        let (mut count, mut rest) = (0, Interval::all());
        while !rest.is_empty() {
            let (rows, left) = self.rows(by_id, &rest, Order::Asc, FETCH_MAX)?;
            count += rows.len() as u64;
            rest = left;
        }
        Ok(count)
    }

    /// The committed version of one document.
    pub(crate) fn document(
        &self,
        by_id: &Arc<IndexDef>,
        id: InternalId,
    ) -> Result<Option<Versioned>, TxError> {
        let point = Interval::point(&id.0);
        let (rows, _) = self.rows(by_id, &point, Order::Asc, 1)?;
        Ok(rows.into_iter().next().map(|(_, ts, document)| (ts, document)))
    }

    /// The first committed rows of an interval, at most `limit`, and what is left of it.
    /// No rows and nothing left: it is empty. Loads what the cache does not have.
    pub(crate) fn rows(
        &self,
        index: &Arc<IndexDef>,
        interval: &Interval,
        order: Order,
        limit: usize,
    ) -> Result<(Vec<Found>, Interval), TxError> {
        if interval.is_empty() {
            return Ok((Vec::new(), Interval::empty()));
        }
        let engine = &self.engine;
        let ts = self.ts();
        let mut rest = interval.clone();
        let mut looks = 0;
        while looks < LOOKS_MAX {
            if rest.is_empty() {
                return Ok((Vec::new(), Interval::empty()));
            }
            if ts.0 < engine.trimmed.load(Ordering::Acquire) {
                return self.read_store(index, &rest, order, limit, ts);
            }
            match engine.cache.lookup(index.id, &rest, ts, order, limit) {
                Lookup::Rows { rows, rest } => {
                    if looks == 0 {
                        figures::count(&engine.figures.cache_hits);
                    }
                    return Ok((rows, rest));
                }
                Lookup::TooNew(part) => {
                    figures::count(&engine.figures.cache_misses);
                    let (rows, left) = self.read_store(index, &part, order, limit, ts)?;
                    rest = widen(left, &part, rest, order);
                    if !rows.is_empty() {
                        return Ok((rows, rest));
                    }
                }
                Lookup::Gap(_) if ts <= engine.durable() && !engine.log.reaches(ts) => {
                    figures::count(&engine.figures.cache_misses);
                    return self.read_store(index, &rest, order, limit, ts);
                }
                Lookup::Gap(gap) => {
                    looks += 1;
                    figures::count(&engine.figures.cache_misses);
                    self.load(index, &gap, order, limit.max(PREFETCH))?;
                }
            }
        }
        self.read_past_cache(index, &rest, order, limit)
    }

    /// Loads the beginning of a gap into the cache.
    fn load(
        &self,
        index: &Arc<IndexDef>,
        gap: &Interval,
        order: Order,
        limit: usize,
    ) -> Result<(), TxError> {
        let engine = &self.engine;
        let from = self.ts().min(engine.durable());
        let (rows, rest) = match self.read_store(index, gap, order, limit, from) {
            // Only the snapshot is pinned: the head that was read has moved, so look again.
            Err(error) if error.kind == TxErrorKind::OutOfRetention && from < self.ts() => {
                return Ok(());
            }
            read => read?,
        };
        let covered = if rest.is_empty() {
            gap.clone()
        } else {
            match order {
                Order::Asc => Interval { start: gap.start.clone(), end: Some(rest.start) },
                Order::Desc => {
                    Interval { start: rest.end.unwrap_or_default(), end: gap.end.clone() }
                }
            }
        };
        engine.cache.install(index.id, covered, from, &rows, &engine.log);
        Ok(())
    }

    /// Reads without the cache, as of `at`, which must be durable.
    pub(crate) fn read_store(
        &self,
        index: &Arc<IndexDef>,
        interval: &Interval,
        order: Order,
        limit: usize,
        at: Timestamp,
    ) -> Result<(Vec<Found>, Interval), TxError> {
        let store = &self.engine.store;
        let page = store.scan(index.tablet, index.id, interval, at, order, limit)?;
        self.engine.figures.rows_loaded.fetch_add(page.rows.len() as u64, Ordering::Relaxed);
        let mut rest = Interval::empty();
        if let Some(last) = page.rows.last().filter(|_| !page.exhausted) {
            rest = match order {
                Order::Asc => Interval { start: after(&last.key), end: interval.end.clone() },
                Order::Desc => {
                    Interval { start: interval.start.clone(), end: Some(last.key.to_vec()) }
                }
            };
        }
        let rows = page.rows.into_iter().map(|row| self.found(index, row));
        Ok((rows.collect::<Result<_, _>>()?, rest))
    }

    fn found(&self, index: &Arc<IndexDef>, row: store::Row) -> Result<Found, TxError> {
        let id = DocumentId { table: index.number, internal: row.id };
        let document = Document::from_stored(id, &row.body).map_err(|error| {
            TxError::from(store::StoreError::Corrupt(format!("document {id}: {error}")))
        })?;
        Ok((row.key, row.ts, Arc::new(document)))
    }

    /// Reads without the cache; what is not on disk yet comes from the write log.
    fn read_past_cache(
        &self,
        index: &Arc<IndexDef>,
        interval: &Interval,
        order: Order,
        limit: usize,
    ) -> Result<(Vec<Found>, Interval), TxError> {
        let from = self.ts().min(self.engine.durable());
        if from == self.ts() {
            return self.read_store(index, interval, order, limit, from);
        }
        let private = IndexCache::new(usize::MAX);
        let (rows, rest) = self.read_store(index, interval, order, limit, from)?;
        let covered = match order {
            Order::Asc if !rest.is_empty() => {
                Interval { start: interval.start.clone(), end: Some(rest.start.clone()) }
            }
            Order::Desc if !rest.is_empty() => {
                Interval { start: rest.end.clone().unwrap_or_default(), end: interval.end.clone() }
            }
            Order::Asc | Order::Desc => interval.clone(),
        };
        private.install(index.id, covered.clone(), from, &rows, &self.engine.log);
        match private.lookup(index.id, &covered, self.ts(), order, usize::MAX) {
            Lookup::Rows { rows, .. } => Ok((rows, rest)),
            Lookup::Gap(_) | Lookup::TooNew(_) => Err(TxError {
                code: "OutOfRetention",
                message: "the commits since this snapshot are no longer in memory".to_owned(),
                kind: TxErrorKind::OutOfRetention,
            }),
        }
    }
}

/// What is left of the whole when `left` is left of its part `part`.
fn widen(left: Interval, part: &Interval, whole: Interval, order: Order) -> Interval {
    match order {
        Order::Asc if left.is_empty() => match &part.end {
            Some(end) => Interval { start: end.clone(), end: whole.end },
            None => Interval::empty(),
        },
        Order::Asc => Interval { end: whole.end, ..left },
        Order::Desc if left.is_empty() => {
            Interval { start: whole.start, end: Some(part.start.clone()) }
        }
        Order::Desc => Interval { start: whole.start, ..left },
    }
}
