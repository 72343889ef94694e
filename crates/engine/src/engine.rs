//! The engine itself: the heads, snapshots of them, and reads through the cache.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use store::{IndexId, Order, Store, TabletId};
use value::{DocumentId, InternalId, Interval, Timestamp};

use crate::cache::{Found, IndexCache, Lookup};
use crate::catalog::{Catalog, IndexDef};
use crate::commit::CommitState;
use crate::document::Document;
use crate::env::Env;
use crate::error::{EngineError, TxError, TxErrorKind};
use crate::limits::Limits;
use crate::read_set::ReadSet;
use crate::reservation::{Reservations, ReserveTicket};
use crate::scan::Versioned;
use crate::snapshot::{Pin, Pins};
use crate::system;
use crate::transaction::Transaction;
use crate::write_log::{LogEntry, WriteLog};

/// How often a transaction looks again when the head moves while it begins or loads.
const LOOKS_MAX: usize = 100;

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of index ranges kept in memory.
    pub cache_bytes: usize,
    /// How long superseded versions stay readable, in nanoseconds.
    pub retention_ns: u64,
    /// Limits of one transaction.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20, retention_ns: 3_600_000_000_000, limits: Limits::default() }
    }
}

/// Which head a transaction begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The newest commit in memory. For mutations only: it may still be taken back.
    Applied,
    /// The newest commit on disk. For all that leaves the process.
    Durable,
}

/// What [`Engine::append_pending`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Nothing was waiting.
    Idle,
    /// Commits up to this timestamp are on disk.
    Durable(Timestamp),
    /// Commits above `durable` were taken back, and `epoch` begins; their functions must run again.
    TakenBack {
        /// What is on disk.
        durable: Timestamp,
        /// The epoch of whatever is accepted from now on.
        epoch: u64,
    },
    /// The store must be reopened first; nothing was decided.
    Unavailable(String),
}

/// Figures for people who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Commits since the start.
    pub commits: u64,
    /// Commits refused because of a conflict.
    pub conflicts: u64,
    /// Durable writes; commits / groups is the group size.
    pub groups: u64,
    /// Rows read from the store because the cache did not have them.
    pub rows_loaded: u64,
    /// Bytes in the index cache.
    pub cache_bytes: usize,
    /// Calls that have a reservation or wait for one.
    pub reservations: usize,
}

/// Catalog and counts, each as of the commit that changed them.
pub(crate) struct Heads {
    pub(crate) applied: Timestamp,
    pub(crate) durable: Timestamp,
    /// Grows whenever commits are taken back.
    pub(crate) epoch: u64,
    pub(crate) catalogs: VecDeque<(Timestamp, Arc<Catalog>)>,
    pub(crate) counts: BTreeMap<TabletId, VecDeque<(Timestamp, u64)>>,
}

impl Heads {
    /// The catalog that held at `ts`; `None` when `ts` is older than all that are in memory.
    fn catalog_at(&self, ts: Timestamp) -> Option<Arc<Catalog>> {
        let found = self.catalogs.iter().rev().find(|(from, _)| *from <= ts);
        found.map(|(_, catalog)| Arc::clone(catalog))
    }

    /// The newest catalog, committed or not.
    pub(crate) fn newest_catalog(&self) -> &Arc<Catalog> {
        &self.catalogs.back().expect("there is always a catalog").1
    }

    /// Documents of a tablet at `ts`; `None` when `ts` is older than all that is in memory.
    fn count_at(&self, tablet: TabletId, ts: Timestamp) -> Option<u64> {
        let Some(versions) = self.counts.get(&tablet) else { return Some(0) };
        let found = versions.iter().rev().find(|(from, _)| *from <= ts);
        found.map(|(_, count)| *count)
    }

    fn trim(&mut self, horizon: Timestamp) {
        while self.catalogs.get(1).is_some_and(|(from, _)| *from <= horizon) {
            self.catalogs.pop_front();
        }
        for versions in self.counts.values_mut() {
            while versions.get(1).is_some_and(|(from, _)| *from <= horizon) {
                versions.pop_front();
            }
        }
    }
}

/// The engine of one deployment. Shared by all threads.
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) env: Env,
    pub(crate) options: Options,
    pub(crate) cache: IndexCache,
    pub(crate) log: WriteLog,
    pub(crate) heads: RwLock<Heads>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) commits: Mutex<CommitState>,
    pub(crate) appending: Mutex<()>,
    pub(crate) work: Condvar,
    pub(crate) published: Mutex<VecDeque<Arc<LogEntry>>>,
    pub(crate) reservations: Reservations,
    pub(crate) trimmed: AtomicU64,
    pub(crate) dropped: Mutex<Vec<(Timestamp, IndexId)>>,
    pub(crate) figures: Figures,
}

#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) commits: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) rows_loaded: AtomicU64,
}

/// A view of all data as of one timestamp.
pub(crate) struct Snapshot {
    pub(crate) engine: Arc<Engine>,
    catalog: Arc<Catalog>,
    pin: Pin,
    /// Heads are taken back in epochs; see `speculative`.
    pub(crate) epoch: u64,
    /// Reads commits that are not on disk, so it falls with them.
    pub(crate) speculative: bool,
}

impl Engine {
    /// Opens the engine over a store; reads the catalog, nothing else.
    ///
    /// Errors: the store's; a catalog that contradicts itself.
    pub fn open(
        store: Arc<dyn Store>,
        env: Env,
        options: Options,
    ) -> Result<Arc<Self>, EngineError> {
        let head = store.head()?;
        let mut heads = Heads {
            applied: head,
            durable: head,
            epoch: 0,
            catalogs: VecDeque::from([(head, Arc::new(load_catalog(store.as_ref(), head)?))]),
            counts: BTreeMap::new(),
        };
        for (tablet, count) in store.counts()? {
            heads.counts.insert(tablet, VecDeque::from([(head, count)]));
        }
        Ok(Arc::new(Self {
            cache: IndexCache::new(options.cache_bytes),
            log: WriteLog::new(head),
            heads: RwLock::new(heads),
            pins: Arc::default(),
            commits: Mutex::new(CommitState::new(head)),
            appending: Mutex::new(()),
            work: Condvar::new(),
            published: Mutex::default(),
            reservations: Reservations::new(Arc::clone(&env.clock)),
            trimmed: AtomicU64::new(0),
            dropped: Mutex::new(Self::load_dropped(store.as_ref(), head)?),
            figures: Figures::default(),
            store,
            env,
            options,
        }))
    }

    /// Begins a transaction at a head.
    pub fn begin(self: &Arc<Self>, head: Head) -> Transaction {
        // The catalog must be the one of the pinned timestamp, so both are read under one lock.
        let heads = self.heads.read();
        let ts = match head {
            Head::Applied => heads.applied,
            Head::Durable => heads.durable,
        };
        let catalog = heads.catalog_at(ts).expect("catalogs reach back to the durable head");
        let snapshot = self.snapshot(catalog, ts, &heads);
        drop(heads);
        self.transaction(snapshot)
    }

    /// Begins a transaction that reads as of `ts`, which must be durable and still kept.
    ///
    /// Errors: `OutOfRetention`; a timestamp above the durable head.
    pub fn begin_at(self: &Arc<Self>, ts: Timestamp) -> Result<Transaction, TxError> {
        let heads = self.heads.read();
        if ts > heads.durable {
            return Err(TxError {
                code: "TimestampInFuture",
                message: format!("timestamp {ts} is above the newest one, {}", heads.durable),
                kind: TxErrorKind::Developer,
            });
        }
        let now = self.env.clock.now();
        let oldest = Timestamp(now.0.saturating_sub(self.options.retention_ns)).min(heads.durable);
        if ts < oldest {
            return Err(TxError {
                code: "OutOfRetention",
                message: format!("timestamp {ts} is older than the kept history, from {oldest}"),
                kind: TxErrorKind::OutOfRetention,
            });
        }
        let catalog = match heads.catalog_at(ts) {
            Some(catalog) => catalog,
            None => Arc::new(load_catalog(self.store.as_ref(), ts).map_err(unreadable)?),
        };
        let snapshot = self.snapshot(catalog, ts, &heads);
        drop(heads);
        Ok(self.transaction(snapshot))
    }

    fn snapshot(self: &Arc<Self>, catalog: Arc<Catalog>, ts: Timestamp, heads: &Heads) -> Snapshot {
        Snapshot {
            engine: Arc::clone(self),
            catalog,
            pin: self.pins.pin(ts),
            epoch: heads.epoch,
            speculative: ts > heads.durable,
        }
    }

    /// Asks for a turn of one's own on `reads`, after a conflict. `granted` is called at once, or by
    /// whoever gives back the turn before; it must not block.
    pub fn reserve(&self, reads: ReadSet, granted: ReserveTicket) {
        self.reservations.ask(reads, granted);
    }

    fn transaction(&self, snapshot: Snapshot) -> Transaction {
        let now = self.env.clock.now();
        Transaction::new(snapshot, now, self.env.random.seed(), self.options.limits)
    }

    /// The newest timestamp that is on disk.
    pub fn durable(&self) -> Timestamp {
        self.heads.read().durable
    }

    /// The newest timestamp in memory.
    pub fn applied(&self) -> Timestamp {
        self.heads.read().applied
    }

    /// The clock and the seeds.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The limits of one transaction.
    pub fn limits(&self) -> Limits {
        self.options.limits
    }

    /// The catalog as of the durable head.
    pub fn catalog(&self) -> Arc<Catalog> {
        let heads = self.heads.read();
        let catalog = heads.catalog_at(heads.durable);
        catalog.expect("catalogs reach back to the durable head")
    }

    /// Commits in `(after, through]`, oldest first; `None` when they are no longer known.
    pub fn log_between(&self, after: Timestamp, through: Timestamp) -> Option<Vec<Arc<LogEntry>>> {
        self.log.between(after, through)
    }

    /// Commits that became durable since the last call, oldest first.
    pub fn take_published(&self) -> Vec<Arc<LogEntry>> {
        self.published.lock().drain(..).collect()
    }

    /// Figures for people who watch.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            commits: self.figures.commits.load(Ordering::Relaxed),
            conflicts: self.figures.conflicts.load(Ordering::Relaxed),
            groups: self.figures.groups.load(Ordering::Relaxed),
            rows_loaded: self.figures.rows_loaded.load(Ordering::Relaxed),
            cache_bytes: self.cache.bytes(),
            reservations: self.reservations.len(),
        }
    }

    /// Drops versions in memory that nobody can see any more.
    pub(crate) fn trim_memory(&self) {
        let durable = self.durable();
        let horizon = self.pins.oldest(durable, |horizon| {
            self.trimmed.fetch_max(horizon.0, Ordering::AcqRel);
        });
        self.cache.collect(horizon);
        self.heads.write().trim(horizon);
        self.log.purge(durable);
    }

    /// Removes history that is older than the retention from the store, a little at a time.
    /// True: nothing is left to do for now.
    ///
    /// Errors: the store's.
    pub fn collect(&self, budget: usize) -> Result<bool, EngineError> {
        let durable = self.durable();
        let old = self.env.clock.now().0.saturating_sub(self.options.retention_ns);
        let horizon = self.pins.oldest(durable, |_| {}).min(Timestamp(old));
        let dropped = self.collect_dropped(horizon, budget)?;
        Ok(self.store.collect(horizon, budget)?.done && dropped)
    }
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
            let (rows, left) = self.rows(by_id, &rest, Order::Asc, crate::scan::FETCH_MAX)?;
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
        for _ in 0..LOOKS_MAX {
            if self.ts().0 < engine.trimmed.load(Ordering::Acquire) {
                return self.read_store(index, interval, order, limit, self.ts());
            }
            match engine.cache.lookup(index.id, interval, self.ts(), order, limit) {
                Lookup::Rows { rows, rest } => return Ok((rows, rest)),
                Lookup::TooNew(part) => {
                    let (rows, mut rest) =
                        self.read_store(index, &part, order, limit, self.ts())?;
                    self.widen(&mut rest, &part, interval, order);
                    if !rows.is_empty() || rest.is_empty() {
                        return Ok((rows, rest));
                    }
                    return self.rows(index, &rest, order, limit);
                }
                Lookup::Gap(gap) => {
                    self.load(index, &gap, order, limit.max(crate::scan::PREFETCH))?
                }
            }
        }
        // The range was evicted again and again before it could be read: read it past the cache.
        self.read_past_cache(index, interval, order, limit)
    }

    /// Extends what is left of a part to what is left of the whole.
    fn widen(&self, rest: &mut Interval, part: &Interval, whole: &Interval, order: Order) {
        match order {
            Order::Asc if rest.is_empty() => match &part.end {
                Some(end) => {
                    *rest = Interval { start: end.clone(), end: whole.end.clone() };
                }
                None => {}
            },
            Order::Asc => rest.end.clone_from(&whole.end),
            Order::Desc if rest.is_empty() => {
                *rest = Interval { start: whole.start.clone(), end: Some(part.start.clone()) };
            }
            Order::Desc => rest.start.clone_from(&whole.start),
        }
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
        let (rows, rest) = self.read_store(index, gap, order, limit, from)?;
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

    fn read_store(
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
                Order::Asc => {
                    Interval { start: crate::cache::after(&last.key), end: interval.end.clone() }
                }
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
        let private = IndexCache::new(usize::MAX);
        let from = self.ts().min(self.engine.durable());
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

fn unreadable(error: EngineError) -> TxError {
    match error {
        EngineError::Store(error) => error.into(),
        EngineError::Transaction(error) => error,
        EngineError::Append(_) | EngineError::Commit(_) | EngineError::Corrupt(_) => TxError {
            code: "InternalServerError",
            message: error.to_string(),
            kind: TxErrorKind::Store,
        },
    }
}

/// Reads the documents that make up the catalog.
fn load_catalog(store: &dyn Store, head: Timestamp) -> Result<Catalog, EngineError> {
    let mut catalog = Catalog::system();
    for table in [&system::TABLES, &system::INDEX, &system::SCHEMAS] {
        let mut rest = Interval::all();
        loop {
            let index = IndexId::by_id(table.tablet());
            let page = store.scan(table.tablet(), index, &rest, head, Order::Asc, 1000)?;
            for row in &page.rows {
                let id = DocumentId { table: table.number(), internal: row.id };
                let document =
                    Document::from_stored(id, &row.body).map_err(EngineError::Corrupt)?;
                catalog
                    .apply(table.tablet(), id, None, Some(&document))
                    .map_err(EngineError::Corrupt)?;
            }
            match page.rows.last() {
                Some(last) if !page.exhausted => rest.start = crate::cache::after(&last.key),
                Some(_) | None => break,
            }
        }
    }
    Ok(catalog)
}
