//! The engine itself: the heads, snapshots of them, and reads through the cache.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use store::{IndexId, Order, Store};
use value::{DocumentId, Interval, Timestamp};

use crate::cache::IndexCache;
use crate::catalog::Catalog;
use crate::commit::{CommitState, InDoubt};
use crate::document::Document;
use crate::env::Env;
use crate::error::{EngineError, TxError, TxErrorKind};
use crate::figures::{self, Figures, HistogramView};
use crate::heads::Heads;
use crate::limits::Limits;
use crate::pins::{Pin, Pins};
use crate::read_set::ReadSet;
use crate::reservation::{Reservations, ReserveTicket};
use crate::snapshot::Snapshot;
use crate::system;
use crate::transaction::Transaction;
use crate::write_log::{LogEntry, WriteLog};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Commits since the start.
    pub commits: u64,
    /// Commits refused because of a conflict.
    pub conflicts: u64,
    /// Durable writes; commits / groups is the group size.
    pub groups: u64,
    /// How many commits shared each durable write.
    pub group_sizes: HistogramView,
    /// How long durable writes took, in nanoseconds.
    pub append_ns: HistogramView,
    /// Commits that were taken back, since they could not be written.
    pub taken_back: u64,
    /// Commits that wait for the disk.
    pub pending_commits: usize,
    /// Bytes of their documents.
    pub pending_bytes: usize,
    /// Rows read from the store because the cache did not have them.
    pub rows_loaded: u64,
    /// Look-ups that the index cache answered.
    pub cache_hits: u64,
    /// Look-ups that it could not answer.
    pub cache_misses: u64,
    /// Bytes in the index cache.
    pub cache_bytes: usize,
    /// Bytes that the index cache may hold.
    pub cache_bytes_max: usize,
    /// Calls that have a reservation or wait for one.
    pub reservations: usize,
    /// Reservations that were asked for since the start.
    pub reservations_asked: u64,
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
    pub(crate) appending: Mutex<InDoubt>,
    /// Why the newest append failed, if it did.
    pub(crate) refusal: Mutex<Option<String>>,
    pub(crate) work: Condvar,
    pub(crate) published: Mutex<VecDeque<Arc<LogEntry>>>,
    pub(crate) reservations: Reservations,
    pub(crate) trimmed: AtomicU64,
    pub(crate) dropped: Mutex<Vec<(Timestamp, IndexId)>>,
    pub(crate) figures: Figures,
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
        let catalog = load_catalog(store.as_ref(), head)?;
        let heads = Heads::new(head, catalog, store.counts()?);
        Ok(Arc::new(Self {
            cache: IndexCache::new(options.cache_bytes),
            log: WriteLog::new(head),
            heads: RwLock::new(heads),
            pins: Arc::default(),
            commits: Mutex::new(CommitState::new(head)),
            appending: Mutex::default(),
            refusal: Mutex::default(),
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
        Ok(self.transaction(self.snapshot_at(ts)?))
    }

    /// A view of all data as of `ts`; as [`Engine::begin_at`].
    pub(crate) fn snapshot_at(self: &Arc<Self>, ts: Timestamp) -> Result<Snapshot, TxError> {
        let heads = self.heads.read();
        self.check_age(ts, &heads)?;
        let catalog = heads.catalog_at(ts);
        // Pinned before anything is read, and read without the lock: commits need it.
        let mut snapshot = self.snapshot(catalog.clone().unwrap_or_default(), ts, &heads);
        drop(heads);
        if catalog.is_none() {
            let loaded = load_catalog(self.store.as_ref(), ts).map_err(unreadable)?;
            snapshot.catalog = Arc::new(loaded);
        }
        Ok(snapshot)
    }

    /// Keeps everything above `ts` readable. Errors: as [`Engine::begin_at`].
    pub(crate) fn pin_at(&self, ts: Timestamp) -> Result<Pin, TxError> {
        let heads = self.heads.read();
        self.check_age(ts, &heads)?;
        Ok(self.pins.pin(ts))
    }

    fn check_age(&self, ts: Timestamp, heads: &Heads) -> Result<(), TxError> {
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
        Ok(())
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
        figures::count(&self.figures.reservations);
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
        // Entries are there before the head is: what is above it waits for the next call.
        let durable = self.durable();
        let mut published = self.published.lock();
        let ready = published.partition_point(|entry| entry.ts <= durable);
        published.drain(..ready).collect()
    }

    /// Figures for people who watch.
    pub fn stats(&self) -> EngineStats {
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let (pending_commits, pending_bytes) = self.commits.lock().pending();
        let group_sizes = self.figures.groups.view();
        EngineStats {
            commits: figure(&self.figures.commits),
            conflicts: figure(&self.figures.conflicts),
            groups: group_sizes.count(),
            group_sizes,
            append_ns: self.figures.append_ns.view(),
            taken_back: figure(&self.figures.taken_back),
            pending_commits,
            pending_bytes,
            rows_loaded: figure(&self.figures.rows_loaded),
            cache_hits: figure(&self.figures.cache_hits),
            cache_misses: figure(&self.figures.cache_misses),
            cache_bytes: self.cache.bytes(),
            cache_bytes_max: self.options.cache_bytes,
            reservations: self.reservations.len(),
            reservations_asked: figure(&self.figures.reservations),
        }
    }

    /// Bytes that the store takes on disk. Asks the store: not for threads that must not wait.
    ///
    /// Errors: the store's.
    pub fn store_bytes(&self) -> Result<u64, EngineError> {
        Ok(self.store.size_bytes()?)
    }

    /// How long superseded versions stay readable.
    pub fn retention(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.options.retention_ns)
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
