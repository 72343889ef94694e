//! Several stores side by side: every call goes to all of them, and every answer must be the same.
//!
//! For tests of this crate and of the layers above (feature `testing`). A difference panics.

#[cfg(test)]
mod model;

use std::collections::BTreeMap;
use std::fmt::Debug;

use value::{Interval, Timestamp};

use crate::{
    AppendError, Collected, Commit, EntryWrite, IndexId, LogRow, Order, Page, Store, StoreError,
    TabletId,
};

/// Stores that must agree, the reference first.
pub struct MirroredStore {
    stores: Vec<Box<dyn Store>>,
}

impl MirroredStore {
    /// Mirrors stores with equal content, at least one.
    pub fn new(stores: Vec<Box<dyn Store>>) -> MirroredStore {
        assert!(!stores.is_empty(), "nothing to mirror");
        MirroredStore { stores }
    }

    /// The answer of all, which must be the same; texts of errors may differ.
    fn same<T: PartialEq + Debug>(
        &self,
        call: impl Fn(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.agree(call, |ours, other| match (ours, other) {
            (StoreError::Io(_), StoreError::Io(_)) => true,
            (StoreError::Corrupt(_), StoreError::Corrupt(_)) => true,
            (ours, other) => ours == other,
        })
    }

    fn written(
        &self,
        call: impl Fn(&dyn Store) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        self.agree(call, |ours, other| match (ours, other) {
            (AppendError::NotWritten(_), AppendError::NotWritten(_)) => true,
            (AppendError::Unknown(_), AppendError::Unknown(_)) => true,
            (AppendError::NotWritten(_), AppendError::Unknown(_)) => false,
            (AppendError::Unknown(_), AppendError::NotWritten(_)) => false,
        })
    }

    fn agree<T: PartialEq + Debug, E: Debug>(
        &self,
        call: impl Fn(&dyn Store) -> Result<T, E>,
        same_error: impl Fn(&E, &E) -> bool,
    ) -> Result<T, E> {
        let reference = call(&*self.stores[0]);
        for (number, store) in self.stores.iter().enumerate().skip(1) {
            let answer = call(&**store);
            let same = match (&reference, &answer) {
                (Ok(reference), Ok(answer)) => reference == answer,
                (Err(reference), Err(answer)) => same_error(reference, answer),
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
            };
            assert!(same, "store {number} answers {answer:?}, the reference {reference:?}");
        }
        reference
    }

    /// Removals may take different numbers of calls: done when all are, the rows of the slowest.
    fn removed(
        &self,
        call: impl Fn(&dyn Store) -> Result<Collected, StoreError>,
    ) -> Result<Collected, StoreError> {
        let mut all = Collected { rows: 0, done: true };
        for store in &self.stores {
            let one = call(&**store)?;
            all.rows = all.rows.max(one.rows);
            all.done &= one.done;
        }
        Ok(all)
    }
}

impl Store for MirroredStore {
    fn append(&self, group: &[Commit]) -> Result<(), AppendError> {
        self.written(|store| store.append(group))
    }

    fn backfill(&self, at: Timestamp, entries: &[EntryWrite]) -> Result<(), AppendError> {
        self.written(|store| store.backfill(at, entries))
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
        self.same(|store| store.scan(tablet, index, interval, at, order, limit))
    }

    fn log(&self, after: Timestamp, limit: usize) -> Result<Vec<LogRow>, StoreError> {
        self.same(|store| store.log(after, limit))
    }

    fn head(&self) -> Result<Timestamp, StoreError> {
        self.same(|store| store.head())
    }

    fn reserve(&self, up_to: Timestamp) -> Result<(), StoreError> {
        self.same(|store| store.reserve(up_to))
    }

    fn counts(&self) -> Result<BTreeMap<TabletId, u64>, StoreError> {
        self.same(|store| store.counts())
    }

    fn global(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.same(|store| store.global(key))
    }

    fn set_global(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.same(|store| store.set_global(key, value))
    }

    fn collect(&self, horizon: Timestamp, budget: usize) -> Result<Collected, StoreError> {
        self.removed(|store| store.collect(horizon, budget))
    }

    fn drop_index(&self, index: IndexId, budget: usize) -> Result<Collected, StoreError> {
        self.removed(|store| store.drop_index(index, budget))
    }

    fn drop_tablet(&self, tablet: TabletId, budget: usize) -> Result<Collected, StoreError> {
        self.removed(|store| store.drop_tablet(tablet, budget))
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.same(|store| store.reopen())
    }

    /// The size of the last store.
    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.stores[self.stores.len() - 1].size_bytes()
    }
}
