//! The two heads: what is applied in memory and what is on disk, with the catalog and the counts of each.
//!
//!     durable ──── commits that wait for the disk ────► applied
//!        └ a failed append takes everything above back, and a new epoch begins
//!
//! Catalogs and counts keep their versions as far back as somebody reads; older ones are in the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use store::TabletId;
use value::Timestamp;

use crate::catalog::Catalog;

/// How many ends of epochs are remembered. One comes with each failed append.
const EPOCHS_REMEMBERED: usize = 1024;

/// What became of a commit, or of a snapshot that somebody read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on disk: it may be told to others.
    Durable,
    /// It waits for the disk.
    Waiting,
    /// It was taken back: run again.
    TakenBack,
}

/// Catalog and counts, each as of the commit that changed them.
pub(crate) struct Heads {
    pub(crate) applied: Timestamp,
    pub(crate) durable: Timestamp,
    /// Grows whenever commits are taken back.
    pub(crate) epoch: u64,
    /// The durable head at which each epoch ended, oldest first; the last one is that before `epoch`.
    ended: VecDeque<Timestamp>,
    catalogs: VecDeque<(Timestamp, Arc<Catalog>)>,
    counts: BTreeMap<TabletId, VecDeque<(Timestamp, u64)>>,
    /// Tablets whose counts have more than one version, by the newer one.
    counted: VecDeque<(Timestamp, TabletId)>,
    /// The head at the start: counts before it are not in memory.
    opened: Timestamp,
}

impl Heads {
    /// The heads of a store that was just opened: both are what is on disk.
    pub(crate) fn new(head: Timestamp, catalog: Catalog, counts: BTreeMap<TabletId, u64>) -> Self {
        let versions = |(tablet, count)| (tablet, VecDeque::from([(head, count)]));
        Self {
            applied: head,
            durable: head,
            epoch: 0,
            ended: VecDeque::new(),
            catalogs: VecDeque::from([(head, Arc::new(catalog))]),
            counts: counts.into_iter().map(versions).collect(),
            counted: VecDeque::new(),
            opened: head,
        }
    }

    /// The catalog that held at `ts`; `None` when `ts` is older than all that are in memory.
    pub(crate) fn catalog_at(&self, ts: Timestamp) -> Option<Arc<Catalog>> {
        let found = self.catalogs.iter().rev().find(|(from, _)| *from <= ts);
        found.map(|(_, catalog)| Arc::clone(catalog))
    }

    /// The newest catalog, committed or not.
    pub(crate) fn newest_catalog(&self) -> &Arc<Catalog> {
        &self.catalogs.back().expect("there is always a catalog").1
    }

    /// A commit at `ts` changes the catalog.
    pub(crate) fn push_catalog(&mut self, ts: Timestamp, catalog: Arc<Catalog>) {
        self.catalogs.push_back((ts, catalog));
    }

    /// Documents of a tablet at `ts`; `None` when `ts` is older than all that is in memory.
    pub(crate) fn count_at(&self, tablet: TabletId, ts: Timestamp) -> Option<u64> {
        let Some(versions) = self.counts.get(&tablet) else {
            return (ts >= self.opened).then_some(0);
        };
        let found = versions.iter().rev().find(|(from, _)| *from <= ts);
        found.map(|(_, count)| *count)
    }

    /// A commit at `ts` changes how many documents a tablet has.
    pub(crate) fn count(&mut self, tablet: TabletId, ts: Timestamp, change: i64) {
        let versions = self.counts.entry(tablet).or_default();
        let newest = versions.back().map_or(0, |(_, count)| *count);
        versions.push_back((ts, newest.saturating_add_signed(change)));
        self.counted.push_back((ts, tablet));
    }

    /// What became of a commit, or of a snapshot, at `ts` of `epoch`.
    pub(crate) fn fate(&self, ts: Timestamp, epoch: u64) -> Fate {
        if epoch == self.epoch {
            return if ts <= self.durable { Fate::Durable } else { Fate::Waiting };
        }
        let back = usize::try_from(self.epoch.saturating_sub(epoch)).unwrap_or(usize::MAX);
        let end = self.ended.len().checked_sub(back).map(|at| self.ended[at]);
        if end.is_some_and(|end| ts <= end) { Fate::Durable } else { Fate::TakenBack }
    }

    /// Takes back everything above the durable head.
    pub(crate) fn take_back(&mut self) {
        let durable = self.durable;
        self.epoch += 1;
        self.applied = durable;
        self.ended.push_back(durable);
        if self.ended.len() > EPOCHS_REMEMBERED {
            self.ended.pop_front();
        }
        while self.catalogs.len() > 1 && self.catalogs.back().is_some_and(|(ts, _)| *ts > durable) {
            self.catalogs.pop_back();
        }
        for versions in self.counts.values_mut() {
            while versions.back().is_some_and(|(ts, _)| *ts > durable) {
                versions.pop_back();
            }
        }
        self.counts.retain(|_, versions| !versions.is_empty());
    }

    /// Forgets what nobody at or after `horizon` can ask for.
    pub(crate) fn trim(&mut self, horizon: Timestamp) {
        while self.catalogs.get(1).is_some_and(|(from, _)| *from <= horizon) {
            self.catalogs.pop_front();
        }
        while let Some((ts, tablet)) = self.counted.front().copied()
            && ts <= horizon
        {
            self.counted.pop_front();
            let Some(versions) = self.counts.get_mut(&tablet) else { continue };
            while versions.get(1).is_some_and(|(from, _)| *from <= horizon) {
                versions.pop_front();
            }
        }
    }
}
