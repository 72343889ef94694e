//! What is due next, in memory: an ordered set fed by commits.
//!
//! Reads the keys of one index whose first field is a time, so it holds what is in the index.
//! Asking what is due costs no transaction. Commits may arrive while the rows are loaded, or after
//! a row was run: it may then be handed out once too often, never for ever. That does no harm, for
//! whoever runs it looks at the row first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::range::{self, RangeBound, RangeOp};
use engine::{
    DURATION_BOUNDS_NS, Histogram, HistogramView, IndexId, LogEntry, Transaction, WriteKind, system,
};
use parking_lot::Mutex;
use value::{DocumentId, Timestamp, Value, key};

use crate::error::{Error, Result};

/// Jobs that run at once, unless an operator says otherwise.
pub const JOBS_PARALLEL: usize = 8;
/// Crons that run at once, unless an operator says otherwise.
pub const CRONS_PARALLEL: usize = 8;

/// Rows by the time at which they are due.
#[derive(Debug)]
pub struct DueQueue {
    table: &'static system::SystemTable,
    position: usize,
    parallel: usize,
    waiting: BTreeSet<(Timestamp, DocumentId)>,
    /// With the time at which each was due.
    running: BTreeMap<DocumentId, Timestamp>,
    /// From when a row was due to when it was taken, in nanoseconds.
    delays: Arc<Histogram>,
}

/// Figures for people who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueStats {
    /// Rows that wait, for their time or for a place.
    pub waiting: usize,
    /// Rows that run.
    pub running: usize,
    /// When the first of those that wait is due.
    pub next: Option<Timestamp>,
}

/// What is due of both kinds.
#[derive(Debug)]
pub(crate) struct DueQueues {
    pub(crate) jobs: Mutex<DueQueue>,
    pub(crate) crons: Mutex<DueQueue>,
    delays: [Arc<Histogram>; 2],
}

impl DueQueues {
    /// So many run at once, of each kind.
    pub(crate) fn new(jobs_parallel: usize, crons_parallel: usize) -> DueQueues {
        let jobs = DueQueue { parallel: jobs_parallel, ..DueQueue::jobs() };
        let crons = DueQueue { parallel: crons_parallel, ..DueQueue::crons() };
        let delays = [Arc::clone(&jobs.delays), Arc::clone(&crons.delays)];
        DueQueues { jobs: Mutex::new(jobs), crons: Mutex::new(crons), delays }
    }

    /// Of scheduled functions and of crons.
    pub(crate) fn stats(&self) -> (DueStats, DueStats) {
        (self.jobs.lock().stats(), self.crons.lock().stats())
    }

    /// How late scheduled functions and crons began, in nanoseconds.
    pub(crate) fn delays(&self) -> [HistogramView; 2] {
        self.delays.each_ref().map(|delays| delays.view())
    }
}

impl DueQueue {
    /// Scheduled functions: rows of `_scheduled_jobs`.
    pub fn jobs() -> DueQueue {
        DueQueue::new(&system::SCHEDULED_JOBS, "by_next_ts", JOBS_PARALLEL)
    }

    /// Crons: rows of `_cron_next_run`.
    pub fn crons() -> DueQueue {
        DueQueue::new(&system::CRON_NEXT_RUN, "by_next_ts", CRONS_PARALLEL)
    }

    fn new(table: &'static system::SystemTable, index: &str, parallel: usize) -> DueQueue {
        let position = table.indexes.iter().position(|(name, _)| *name == index);
        DueQueue {
            table,
            position: position.expect("the index is declared with its table"),
            parallel,
            waiting: BTreeSet::new(),
            running: BTreeMap::new(),
            delays: Arc::new(Histogram::new(DURATION_BOUNDS_NS)),
        }
    }

    /// How many run at once.
    #[cfg(test)]
    pub(crate) fn parallel(&self) -> usize {
        self.parallel
    }

    /// Figures for people who watch.
    pub fn stats(&self) -> DueStats {
        DueStats {
            waiting: self.waiting.len(),
            running: self.running.len(),
            next: self.waiting.first().map(|(ts, _)| *ts),
        }
    }

    /// Reads all rows at the snapshot of `tx`; then feed it every commit after that.
    pub fn load(&mut self, tx: &mut Transaction) -> Result<()> {
        let table = tx.system_table(self.table);
        // The first index is by_id, the declared ones follow in order.
        let index = &table.indexes[self.position + 1];
        // Rows without a time are done; there may be very many of them.
        let timed = RangeBound::new(RangeOp::Gt, index.fields[0].clone(), None);
        let interval = range::interval(&index.fields, &[timed])
            .map_err(|error| Error::system("InternalServerError", error.message))?;
        let mut scan = tx.scan(index, interval, engine::Order::Asc);
        while let Some(row) = tx.next(&mut scan)? {
            if let Some(due) = due_of(&row.key) {
                self.waiting.insert(due);
            }
        }
        Ok(())
    }

    /// Takes over a durable commit.
    pub fn apply(&mut self, entry: &LogEntry) {
        let index: IndexId = self.table.index(self.position);
        for write in entry.writes.iter().filter(|write| write.index == index) {
            let Some(due) = due_of(&write.key) else { continue };
            match write.kind {
                WriteKind::Appeared | WriteKind::Changed => self.waiting.insert(due),
                WriteKind::Vanished => self.waiting.remove(&due),
            };
        }
    }

    /// Rows that are due at `now` and have a place, oldest first. Each stays out until `done`.
    pub fn take(&mut self, now: Timestamp) -> Vec<DocumentId> {
        let free = self.parallel.saturating_sub(self.running.len());
        let due = self.waiting.iter().take_while(|(ts, _)| *ts <= now).copied();
        let due = due.filter(|(_, id)| !self.running.contains_key(id));
        let taken: Vec<_> = due.take(free).collect();
        for (ts, id) in &taken {
            self.waiting.remove(&(*ts, *id));
            self.running.insert(*id, *ts);
            self.delays.observe(now.0.saturating_sub(ts.0));
        }
        taken.into_iter().map(|(_, id)| id).collect()
    }

    /// A row that was taken is through, whatever came of it: only a new time brings it back.
    pub fn done(&mut self, id: DocumentId) {
        if let Some(ts) = self.running.remove(&id) {
            self.waiting.remove(&(ts, id));
        }
    }

    /// When to look again: None when nothing waits or no place is free.
    pub fn next(&self) -> Option<Timestamp> {
        if self.running.len() >= self.parallel {
            return None;
        }
        self.waiting.iter().find(|(_, id)| !self.running.contains_key(id)).map(|(ts, _)| *ts)
    }
}

/// Time and id of an index key; None where the time is missing: nothing is due.
fn due_of(bytes: &[u8]) -> Option<(Timestamp, DocumentId)> {
    let (first, rest) = key::decode(bytes).ok()?;
    let (last, _) = key::decode(rest).ok()?;
    match (first?, last?) {
        (Value::Int64(nanos), Value::String(id)) => {
            Some((Timestamp(u64::try_from(nanos).ok()?), id.parse().ok()?))
        }
        _ => None,
    }
}
