//! Commit order: the only place where two transactions meet.
//!
//!     snapshot ts ───── commits of others ─────► now
//!         │     do their keys fall into our read set?
//!         └── yes: Conflict, run again    no: next ts, apply to memory, queue for the disk
//!
//! Under one lock a transaction is validated, gets its timestamp and is applied to memory. Whoever calls
//! `append_pending` then writes all that is queued in one group. Invariant: timestamps grow, and none is
//! used twice, also when a group could not be written and its commits are taken back.
//! Must not run a function, nor read the store, under the lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use store::{AppendError, DocumentWrite, EntryWrite};
use value::{DocumentId, Timestamp};

use crate::catalog::{Catalog, SchemaState, schema_row};
use crate::engine::{AppendOutcome, Engine};
use crate::error::{CommitError, TxError};
use crate::figures;
use crate::heads::Fate;
use crate::reservation::Reservation;
use crate::system;
use crate::transaction::Transaction;
use crate::write_log::{IndexWrite, LogEntry, WriteKind};

/// Most commits in one durable write.
pub const GROUP_COMMITS_MAX: usize = 1000;
/// Bytes of documents after which no more commits join a group.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// Most commits that wait for the disk; above, commits are refused as unavailable.
pub const PENDING_COMMITS_MAX: usize = 20_000;
/// Bytes of documents that wait for the disk, above which commits are refused as unavailable.
pub const PENDING_BYTES_MAX: usize = 256 << 20;
/// The named value that is written to learn whether anything can be.
const PROBE_KEY: &str = "probe";

/// A transaction that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its timestamp; that of the snapshot when nothing was written. It may be told to others once the
    /// durable head has reached it.
    pub ts: Timestamp,
    /// Whether anything was written.
    pub wrote: bool,
    /// The epoch in which it was accepted: if it ends before `ts` is durable, so does the commit.
    pub epoch: u64,
}

struct Pending {
    commit: store::Commit,
    entry: Arc<LogEntry>,
}

/// What the commit lock guards.
pub(crate) struct CommitState {
    last_assigned: Timestamp,
    pending: VecDeque<Pending>,
    /// Bytes of the documents in `pending`.
    pending_bytes: usize,
    /// Why nobody knows whether the last group is on disk. No commits until that is known.
    pub(crate) unknown: Option<String>,
    /// What maintenance appended, for whoever owns [`Engine::append_pending`].
    untold: VecDeque<AppendOutcome>,
}

/// A group of which nobody knows whether it is on disk.
#[derive(Default)]
pub(crate) struct InDoubt(Option<Vec<Pending>>);

impl CommitState {
    pub(crate) fn new(head: Timestamp) -> Self {
        Self {
            last_assigned: head,
            pending: VecDeque::new(),
            pending_bytes: 0,
            unknown: None,
            untold: VecDeque::new(),
        }
    }

    /// Commits that wait for the disk, and bytes of their documents.
    pub(crate) fn pending(&self) -> (usize, usize) {
        (self.pending.len(), self.pending_bytes)
    }
}

/// A transaction's writes, made ready outside the lock.
struct Prepared {
    writes: Vec<IndexWrite>,
    documents: Vec<DocumentWrite>,
    entries: Vec<EntryWrite>,
    counts: Vec<(store::TabletId, i64)>,
    changes_catalog: bool,
}

impl Engine {
    /// Commits a transaction: validates it, applies it to memory, and queues it for the disk.
    /// An accepted transaction is spent; of a refused one only its footprint is of use.
    ///
    /// Returns at once; the caller waits for the durable head before it tells anybody. Errors:
    /// `Conflict`, `Reserved`, `Aborted`: run again; `Unavailable`.
    pub fn commit(
        &self,
        tx: &mut Transaction,
        reservation: Option<&Reservation>,
    ) -> Result<Committed, CommitError> {
        let failed = tx.fail_pending_schema();
        failed.map_err(|error| CommitError::Unavailable(error.message))?;
        let prepared = prepare(tx);
        if prepared.writes.is_empty() {
            return self.commit_read_only(tx);
        }
        let validated = self.validate(tx, tx.snapshot_ts())?;
        let mut state = self.commits.lock();
        if let Some(why) = &state.unknown {
            return Err(CommitError::Unavailable(why.clone()));
        }
        if state.pending.len() >= PENDING_COMMITS_MAX || state.pending_bytes >= PENDING_BYTES_MAX {
            return Err(CommitError::Unavailable("too many commits wait for the disk".to_owned()));
        }
        if self.has_fallen(tx) {
            return Err(CommitError::Aborted);
        }
        self.validate(tx, validated)?;
        let turn = reservation.map(Reservation::number);
        if self.reservations.refuse(&prepared.writes, turn) {
            return Err(CommitError::Reserved);
        }
        let committed = self.apply(&mut state, tx, prepared);
        drop(state);
        figures::count(&self.figures.commits);
        self.work.notify_one();
        Ok(committed)
    }

    /// Whether the outcome of an append is unknown, so that no writes are taken for now.
    pub fn is_in_doubt(&self) -> bool {
        self.commits.lock().unknown.is_some()
    }

    /// Whether commits can be made durable: whether the newest append was written. After one that was
    /// not, a small write of its own is tried, so that whoever sends no work meanwhile learns that the
    /// cause is gone. Waits for the disk.
    ///
    /// Errors: why not, for people.
    pub fn check_writable(&self) -> Result<(), String> {
        if let Some(why) = &self.commits.lock().unknown {
            return Err(why.clone());
        }
        if self.refusal.lock().is_none() {
            return Ok(());
        }
        let probed = self.store.set_global(PROBE_KEY, &self.env.clock.now().0.to_be_bytes());
        let why = probed.err().map(|error| error.to_string());
        self.refusal.lock().clone_from(&why);
        why.map_or(Ok(()), Err)
    }

    fn commit_read_only(&self, tx: &Transaction) -> Result<Committed, CommitError> {
        if self.has_fallen(tx) {
            return Err(CommitError::Aborted);
        }
        let (ts, epoch) = (tx.snapshot_ts(), tx.snapshot.epoch);
        Ok(Committed { ts, wrote: false, epoch })
    }

    /// Whether what the transaction read was taken back.
    fn has_fallen(&self, tx: &Transaction) -> bool {
        let (ts, epoch) = (tx.snapshot_ts(), tx.snapshot.epoch);
        tx.snapshot.speculative && self.heads.read().fate(ts, epoch) == Fate::TakenBack
    }

    /// Looks for conflicts in the commits after `after`; gives the last one that was looked at.
    fn validate(&self, tx: &Transaction, after: Timestamp) -> Result<Timestamp, CommitError> {
        let Some(commits) = self.log.between(after, Timestamp(u64::MAX)) else {
            // So long ago that the log has forgotten: as good as a conflict.
            return Err(CommitError::Conflict { table: None, other: after });
        };
        for entry in &commits {
            if let Some(hit) = entry.hit(tx.reads()) {
                figures::count(&self.figures.conflicts);
                let table = tx.catalog.table_of_index(hit.index).cloned();
                return Err(CommitError::Conflict { table, other: entry.ts });
            }
        }
        Ok(commits.last().map_or(after, |entry| entry.ts))
    }

    /// Gives a validated transaction its timestamp and makes it part of the applied state.
    fn apply(&self, state: &mut CommitState, tx: &Transaction, prepared: Prepared) -> Committed {
        let ts = state.last_assigned.succ().max(self.env.clock.now());
        state.last_assigned = ts;
        let mut tablets: Vec<_> = prepared.documents.iter().map(|write| write.tablet).collect();
        tablets.dedup();
        let entry =
            Arc::new(LogEntry { ts, writes: prepared.writes, tablets, source: tx.source() });
        self.log.push(Arc::clone(&entry));
        self.cache.write_through(&entry);
        let mut heads = self.heads.write();
        if prepared.changes_catalog {
            let mut catalog = heads.newest_catalog().clone();
            apply_to_catalog(Arc::make_mut(&mut catalog), tx);
            heads.push_catalog(ts, catalog);
        }
        for (tablet, change) in prepared.counts {
            heads.count(tablet, ts, change);
        }
        heads.applied = ts;
        let epoch = heads.epoch;
        drop(heads);
        let commit = store::Commit { ts, documents: prepared.documents, entries: prepared.entries };
        state.pending_bytes += body_bytes(&commit);
        state.pending.push_back(Pending { commit, entry });
        Committed { ts, wrote: true, epoch }
    }

    /// What became of a commit. The head alone does not tell: it may have passed the timestamp of a
    /// commit that was taken back.
    pub fn fate(&self, committed: &Committed) -> Fate {
        self.heads.read().fate(committed.ts, committed.epoch)
    }

    /// Waits until a commit is queued, or for `at_most`.
    pub fn wait_for_work(&self, at_most: Duration) {
        let mut state = self.commits.lock();
        if state.pending.is_empty() && state.untold.is_empty() {
            self.work.wait_for(&mut state, at_most);
        }
    }

    /// Writes one group of queued commits to disk, in one durable write.
    ///
    /// One caller at a time; others wait. A group that surely was not written is taken back, with
    /// all that came after it. After an unknown outcome the store is reopened and asked, at the next call.
    /// What [`Engine::transact`] appended meanwhile is told first, so that no end of an epoch is missed.
    pub fn append_pending(&self) -> AppendOutcome {
        self.reservations.pass_expired();
        let untold = self.commits.lock().untold.pop_front();
        untold.unwrap_or_else(|| self.append_group())
    }

    /// As [`Engine::append_pending`], and leaves word of what was done to its next caller.
    pub(crate) fn append_for_maintenance(&self) -> AppendOutcome {
        let outcome = self.append_group();
        let mut state = self.commits.lock();
        match &outcome {
            AppendOutcome::Idle | AppendOutcome::Unavailable(_) => return outcome,
            AppendOutcome::Durable(_) => {
                if let Some(AppendOutcome::Durable(_)) = state.untold.back() {
                    state.untold.pop_back();
                }
            }
            AppendOutcome::TakenBack { .. } => {}
        }
        state.untold.push_back(outcome.clone());
        drop(state);
        self.work.notify_one();
        outcome
    }

    fn append_group(&self) -> AppendOutcome {
        let mut in_doubt = self.appending.lock();
        if let Some(group) = in_doubt.0.take() {
            return self.resolve(group, &mut in_doubt);
        }
        let group = self.take_group();
        if group.is_empty() {
            return AppendOutcome::Idle;
        }
        let (commits, entries): (Vec<_>, Vec<_>) =
            group.into_iter().map(|pending| (pending.commit, pending.entry)).unzip();
        let began = self.env.clock.now();
        let appended = self.store.append(&commits);
        let took = self.env.clock.now().0.saturating_sub(began.0);
        match appended {
            Ok(()) => {
                self.figures.append_ns.observe(took);
                self.settle(entries)
            }
            Err(AppendError::NotWritten(why)) => {
                tracing::error!(%why, commits = commits.len(), "a group was not written");
                *self.refusal.lock() = Some(why);
                self.take_back()
            }
            Err(AppendError::Unknown(why)) => {
                tracing::error!(%why, commits = commits.len(), "unknown whether a group is on disk");
                let both = commits.into_iter().zip(entries);
                in_doubt.0 = Some(both.map(|(commit, entry)| Pending { commit, entry }).collect());
                self.commits.lock().unknown = Some(why.clone());
                AppendOutcome::Unavailable(why)
            }
        }
    }

    /// Appends until everything that was queued before this call is decided.
    pub fn flush(&self) -> AppendOutcome {
        loop {
            let outcome = self.append_pending();
            let done = match &outcome {
                AppendOutcome::Durable(_) | AppendOutcome::TakenBack { .. } => {
                    let state = self.commits.lock();
                    state.pending.is_empty() && state.untold.is_empty() && state.unknown.is_none()
                }
                AppendOutcome::Idle | AppendOutcome::Unavailable(_) => true,
            };
            if done {
                return outcome;
            }
        }
    }

    fn take_group(&self) -> Vec<Pending> {
        let mut state = self.commits.lock();
        let mut bytes = 0;
        let mut group = Vec::new();
        while group.len() < GROUP_COMMITS_MAX && bytes < GROUP_BYTES_MAX {
            let Some(pending) = state.pending.pop_front() else { break };
            bytes += body_bytes(&pending.commit);
            group.push(pending);
        }
        state.pending_bytes -= bytes;
        group
    }

    /// A group is on disk: it may be seen from now on.
    fn settle(&self, entries: Vec<Arc<LogEntry>>) -> AppendOutcome {
        let ts = entries.last().map_or(Timestamp::MIN, |entry| entry.ts);
        self.figures.groups.observe(entries.len() as u64);
        // First the entries, then the head: who sees the head finds all commits up to it.
        self.published.lock().extend(entries);
        self.heads.write().durable = ts;
        *self.refusal.lock() = None;
        self.trim_memory();
        AppendOutcome::Durable(ts)
    }

    /// Takes back every commit that is not on disk.
    fn take_back(&self) -> AppendOutcome {
        let mut state = self.commits.lock();
        state.pending.clear();
        state.pending_bytes = 0;
        state.unknown = None;
        let mut heads = self.heads.write();
        let durable = heads.durable;
        heads.take_back();
        let epoch = heads.epoch;
        let dropped = self.log.take_back(durable);
        self.figures.taken_back.fetch_add(dropped.len() as u64, Ordering::Relaxed);
        self.cache.take_back(&dropped, durable);
        drop(heads);
        drop(state);
        AppendOutcome::TakenBack { durable, epoch }
    }

    fn resolve(&self, group: Vec<Pending>, in_doubt: &mut InDoubt) -> AppendOutcome {
        let last = group.last().map_or(Timestamp::MIN, |pending| pending.commit.ts);
        match self.store.reopen().and_then(|()| self.is_on_disk(last)) {
            Ok(true) => {
                tracing::info!(commits = group.len(), "the group is on disk after all");
                let outcome = self.settle(group.into_iter().map(|pending| pending.entry).collect());
                self.commits.lock().unknown = None;
                outcome
            }
            Ok(false) => self.take_back(),
            Err(error) => {
                tracing::error!(%error, "the store cannot be reopened");
                in_doubt.0 = Some(group);
                let why = error.to_string();
                self.commits.lock().unknown = Some(why.clone());
                AppendOutcome::Unavailable(why)
            }
        }
    }

    /// Whether the commit at `ts`, which is the newest one or was never written, is on disk. The
    /// head cannot tell: it may be a reservation.
    fn is_on_disk(&self, ts: Timestamp) -> Result<bool, store::StoreError> {
        let rows = self.store.log(ts.pred(), 1)?;
        Ok(rows.first().is_some_and(|row| row.ts == ts))
    }
}

impl Transaction {
    /// Ends the transaction without its writes: when what it read is durable, so is its answer.
    ///
    /// Errors: `Aborted`, when what it read was taken back.
    pub fn as_read_only(&self) -> Result<Committed, CommitError> {
        self.snapshot.engine.commit_read_only(self)
    }

    /// A write that does not fit a schema which is being pushed ends that push.
    fn fail_pending_schema(&mut self) -> Result<(), TxError> {
        let Some(error) = self.schema_failure.take() else { return Ok(()) };
        let pending = self
            .catalog
            .schema_in(SchemaState::Pending)
            .or_else(|| self.catalog.schema_in(SchemaState::Validated))
            .map(|(id, schema)| (id, Arc::clone(schema)));
        match pending {
            Some((id, schema)) => {
                self.replace(id, schema_row(SchemaState::Ended, &schema, Some(&error)))
            }
            None => Ok(()),
        }
    }
}

fn body_bytes(commit: &store::Commit) -> usize {
    let bodies = commit.documents.iter().filter_map(|write| write.body.as_ref());
    bodies.map(|body| body.len()).sum()
}

fn prepare(tx: &Transaction) -> Prepared {
    let writes = tx.index_writes();
    let entries = writes.iter().filter(|write| write.index.as_by_id().is_none());
    let entries = entries.filter_map(|write| match write.kind {
        WriteKind::Changed => None,
        WriteKind::Appeared | WriteKind::Vanished => Some(EntryWrite {
            index: write.index,
            key: Arc::clone(&write.key),
            id: write.document.as_ref().map(|document| document.id().internal),
        }),
    });
    let effective = || tx.writes.iter().filter(|(_, staged)| !staged.is_idle());
    let documents = effective().map(|((tablet, id), staged)| DocumentWrite {
        tablet: *tablet,
        id: *id,
        prev_ts: staged.old.as_ref().map(|(ts, _)| *ts),
        body: staged.new.as_ref().map(|document| Arc::from(Arc::clone(document.json()))),
    });
    let mut counts: Vec<(store::TabletId, i64)> = Vec::new();
    for ((tablet, _), staged) in effective().filter(|(_, staged)| staged.count_change() != 0) {
        match counts.last_mut() {
            Some((last, change)) if last == tablet => *change += staged.count_change(),
            Some(_) | None => counts.push((*tablet, staged.count_change())),
        }
    }
    Prepared {
        entries: entries.collect(),
        documents: documents.collect(),
        changes_catalog: effective().any(|((tablet, _), _)| Catalog::is_made_of(*tablet)),
        counts,
        writes,
    }
}

fn apply_to_catalog(catalog: &mut Catalog, tx: &Transaction) {
    // Tables before their indexes: the order of the tablets.
    for ((tablet, internal), staged) in &tx.writes {
        let number = [&system::TABLES, &system::INDEX, &system::SCHEMAS]
            .into_iter()
            .find(|table| table.tablet() == *tablet)
            .map(|table| table.number());
        let Some(table) = number else { continue };
        let id = DocumentId { table, internal: *internal };
        let old = staged.old.as_ref().map(|(_, document)| document.as_ref());
        if let Err(error) = catalog.apply(*tablet, id, old, staged.new.as_deref()) {
            tracing::error!(%error, %id, "a catalog row cannot be read");
        }
    }
}
