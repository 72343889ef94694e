//! Appends that fail, surely or perhaps: what is taken back, and who hears of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use store::{
    AppendError, Collected, Commit, EntryWrite, IndexId, LogRow, MemoryStore, Order, Page, Store,
    StoreError, TabletId,
};
use value::{Interval, Timestamp, object};

use super::world::{World, collect, index_name, indexed, numbers, table, tables};
use crate::{AppendOutcome, CommitError, Committed, Fate, Head, Options};

/// What the next append does instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NotWritten,
    UnknownLost,
    UnknownWritten,
}

/// A store in memory whose appends fail on demand.
pub(super) struct FaultyStore {
    inner: MemoryStore,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    /// So many appends succeed before the next fault.
    good_appends: usize,
    faults: VecDeque<Fault>,
    failing_reopens: usize,
    /// Named values cannot be written.
    full: bool,
    /// An outcome is unknown, so the store must be reopened first.
    closed: bool,
}

impl FaultyStore {
    pub(super) fn new() -> Self {
        Self { inner: MemoryStore::new(), plan: Mutex::default() }
    }

    pub(super) fn fail_next(&self, fault: Fault) {
        self.plan.lock().faults.push_back(fault);
    }

    pub(super) fn fail_reopens(&self, times: usize) {
        self.plan.lock().failing_reopens = times;
    }

    /// Whether named values can be written.
    pub(super) fn set_full(&self, full: bool) {
        self.plan.lock().full = full;
    }

    /// No more faults.
    pub(super) fn recover(&self) {
        let mut plan = self.plan.lock();
        plan.faults.clear();
        plan.failing_reopens = 0;
    }
}

impl Store for FaultyStore {
    fn append(&self, group: &[Commit]) -> Result<(), AppendError> {
        let mut plan = self.plan.lock();
        assert!(!plan.closed, "appended to a store that has to be reopened");
        if plan.good_appends > 0 {
            plan.good_appends -= 1;
            return self.inner.append(group);
        }
        match plan.faults.pop_front() {
            None => self.inner.append(group),
            Some(Fault::NotWritten) => Err(AppendError::NotWritten("no space left".to_owned())),
            Some(Fault::UnknownLost) => {
                plan.closed = true;
                Err(AppendError::Unknown("the disk is gone".to_owned()))
            }
            Some(Fault::UnknownWritten) => {
                plan.closed = true;
                self.inner.append(group)?;
                Err(AppendError::Unknown("the disk is gone".to_owned()))
            }
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut plan = self.plan.lock();
        if plan.failing_reopens > 0 {
            plan.failing_reopens -= 1;
            return Err(StoreError::Io("still gone".to_owned()));
        }
        plan.closed = false;
        Ok(())
    }

    fn backfill(&self, at: Timestamp, entries: &[EntryWrite]) -> Result<(), AppendError> {
        self.inner.backfill(at, entries)
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
        self.inner.scan(tablet, index, interval, at, order, limit)
    }

    fn log(&self, after: Timestamp, limit: usize) -> Result<Vec<LogRow>, StoreError> {
        self.inner.log(after, limit)
    }

    fn head(&self) -> Result<Timestamp, StoreError> {
        self.inner.head()
    }

    fn reserve(&self, up_to: Timestamp) -> Result<(), StoreError> {
        self.inner.reserve(up_to)
    }

    fn counts(&self) -> Result<BTreeMap<TabletId, u64>, StoreError> {
        self.inner.counts()
    }

    fn global(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.global(key)
    }

    fn set_global(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        if self.plan.lock().full {
            return Err(StoreError::Io("no space left".to_owned()));
        }
        self.inner.set_global(key, value)
    }

    fn collect(&self, horizon: Timestamp, budget: usize) -> Result<Collected, StoreError> {
        self.inner.collect(horizon, budget)
    }

    fn drop_index(&self, index: IndexId, budget: usize) -> Result<Collected, StoreError> {
        self.inner.drop_index(index, budget)
    }

    fn drop_tablet(&self, tablet: TabletId, budget: usize) -> Result<Collected, StoreError> {
        self.inner.drop_tablet(tablet, budget)
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.inner.size_bytes()
    }
}

fn world() -> (World, Arc<FaultyStore>) {
    let store = Arc::new(FaultyStore::new());
    (World::over(Arc::clone(&store) as _, Options::default()), store)
}

fn add(world: &World, body: value::Object) -> Committed {
    world.apply(|tx| {
        tx.insert(&table("rooms"), body).unwrap();
    })
}

#[test]
fn what_cannot_be_written_is_known_until_it_can() {
    let (world, store) = world();
    assert_eq!(world.engine.check_writable(), Ok(()));
    store.fail_next(Fault::NotWritten);
    store.set_full(true);
    add(&world, object! {});
    world.engine.append_pending();
    let full = Err("no space left".to_owned());
    assert_eq!(world.engine.check_writable(), full);
    assert_eq!(world.engine.check_writable(), full);
    store.set_full(false);
    assert_eq!(world.engine.check_writable(), Ok(()));
    // A commit that is written says the same without being asked.
    store.fail_next(Fault::NotWritten);
    store.set_full(true);
    add(&world, object! {});
    world.engine.append_pending();
    world.insert("rooms", object! {});
    assert_eq!(world.engine.check_writable(), Ok(()));
    // Where the outcome is unknown nothing is tried.
    store.set_full(false);
    store.fail_next(Fault::UnknownLost);
    add(&world, object! {});
    world.engine.append_pending();
    assert_eq!(world.engine.check_writable(), Err("the disk is gone".to_owned()));
    world.engine.append_pending();
    assert_eq!(world.engine.check_writable(), Ok(()));
}

#[test]
fn a_group_that_was_not_written_is_taken_back_as_if_it_never_was() {
    let (world, store) = world();
    let kept = world.insert("rooms", object! { "n" => 1.0 });
    let durable = world.engine.durable();
    let mut reader = world.engine.begin(Head::Durable);
    assert_eq!(numbers(&collect(&mut reader, "rooms", "by_creation_time", Order::Asc), "n"), [1.0]);

    store.fail_next(Fault::NotWritten);
    let lost = world.apply(|tx| {
        tx.patch(kept, [("n".to_owned(), Some(2.0.into()))].into()).unwrap();
        tx.insert(&table("rooms"), object! { "n" => 3.0 }).unwrap();
        tx.insert(&table("users"), object! {}).unwrap();
    });
    // A commit on top of it, and a transaction that reads it.
    add(&world, object! { "n" => 4.0 });
    let mut speculative = world.begin();
    assert_eq!(speculative.count(&table("rooms")).unwrap(), 3);
    speculative.insert(&table("rooms"), object! { "n" => 5.0 }).unwrap();
    let mut only_reads = world.begin();
    assert_eq!(only_reads.count(&table("users")).unwrap(), 1);

    let outcome = world.engine.append_pending();
    assert_eq!(outcome, AppendOutcome::TakenBack { durable, epoch: lost.epoch + 1 });
    assert_eq!((world.engine.applied(), world.engine.durable()), (durable, durable));
    assert!(world.engine.take_published().iter().all(|entry| entry.ts <= durable));
    assert_eq!(world.engine.log_between(durable, Timestamp(u64::MAX)).unwrap().len(), 0);

    assert_eq!(world.engine.commit(&mut speculative, None), Err(CommitError::Aborted));
    assert_eq!(only_reads.as_read_only(), Err(CommitError::Aborted));
    for head in [Head::Applied, Head::Durable] {
        let mut tx = world.engine.begin(head);
        assert!(tx.table(&table("users")).is_none());
        assert_eq!(tx.count(&table("rooms")).unwrap(), 1);
        assert_eq!(tx.get(kept).unwrap().unwrap().body().get("n").unwrap().as_f64(), Some(1.0));
        for order in [Order::Asc, Order::Desc] {
            assert_eq!(numbers(&collect(&mut tx, "rooms", "by_creation_time", order), "n"), [1.0]);
        }
    }
    // Who read the durable head saw nothing of it, and may still commit.
    assert_eq!(reader.get(kept).unwrap().unwrap().body().get("n").unwrap().as_f64(), Some(1.0));
    reader.patch(kept, [("n".to_owned(), Some(6.0.into()))].into()).unwrap();
    let after = world.engine.commit(&mut reader, None).unwrap();
    assert!(after.ts > lost.ts && after.epoch == lost.epoch + 1);
    assert_eq!(world.engine.flush(), AppendOutcome::Durable(after.ts));
    assert_eq!(world.engine.cache.held().bytes, world.engine.cache.bytes());
    // The name is free, so the next one takes it.
    world.insert("users", object! {});
    assert_eq!(world.begin().count(&table("users")).unwrap(), 1);
}

/// Whether the group is on disk is found out by reading the store back.
#[test]
fn an_unknown_outcome_is_resolved_by_reopening() {
    for (fault, written) in [(Fault::UnknownLost, false), (Fault::UnknownWritten, true)] {
        for failing_reopens in [0, 2] {
            let (world, store) = world();
            world.insert("rooms", object! { "n" => 1.0 });
            let durable = world.engine.durable();
            store.fail_next(fault);
            store.fail_reopens(failing_reopens);
            let committed = add(&world, object! { "n" => 2.0 });
            let mut queries = world.engine.begin(Head::Durable);
            for _ in 0..=failing_reopens {
                let outcome = world.engine.append_pending();
                assert!(matches!(outcome, AppendOutcome::Unavailable(_)), "{outcome:?}");
                let mut tx = world.begin();
                tx.insert(&table("rooms"), object! { "n" => 3.0 }).unwrap();
                let refused = world.engine.commit(&mut tx, None);
                assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
                // Reads go on.
                assert_eq!(queries.count(&table("rooms")).unwrap(), 1);
                assert_eq!(world.engine.durable(), durable);
            }
            let outcome = world.engine.append_pending();
            let expected = if written {
                AppendOutcome::Durable(committed.ts)
            } else {
                AppendOutcome::TakenBack { durable, epoch: committed.epoch + 1 }
            };
            assert_eq!(outcome, expected);
            let count = world.engine.begin(Head::Durable).count(&table("rooms")).unwrap();
            assert_eq!(count, if written { 2 } else { 1 });
            world.insert("rooms", object! { "n" => 4.0 });
            assert!(world.engine.durable() > committed.ts);
        }
    }
}

#[test]
fn a_lost_group_below_reserved_timestamps_is_not_taken_for_written() {
    let (world, store) = world();
    world.insert("rooms", object! {});
    let durable = world.engine.durable();
    store.fail_next(Fault::UnknownLost);
    let lost = add(&world, object! {});
    store.reserve(Timestamp(lost.ts.0 + 1_000_000)).unwrap();
    assert!(matches!(world.engine.append_pending(), AppendOutcome::Unavailable(_)));
    let outcome = world.engine.append_pending();
    assert_eq!(outcome, AppendOutcome::TakenBack { durable, epoch: lost.epoch + 1 });
}

/// The head may pass the timestamp of a lost commit before anybody asks what became of it.
#[test]
fn a_lost_commit_below_the_head_of_a_later_epoch_stays_lost() {
    let (world, store) = world();
    world.insert("rooms", object! {});
    let kept = add(&world, object! {});
    world.engine.append_pending();
    store.fail_next(Fault::NotWritten);
    let lost = add(&world, object! {});
    world.engine.append_pending();
    let next = add(&world, object! {});
    let fate = |of: &Committed| world.engine.fate(of);
    assert_eq!(
        [fate(&kept), fate(&lost), fate(&next)],
        [Fate::Durable, Fate::TakenBack, Fate::Waiting]
    );
    world.engine.append_pending();
    assert!(world.engine.durable() > lost.ts);
    assert_eq!(
        [fate(&kept), fate(&lost), fate(&next)],
        [Fate::Durable, Fate::TakenBack, Fate::Durable]
    );
}

/// A maintenance transaction appends by itself; the owner of the appends must still hear of it.
#[test]
fn what_maintenance_appended_is_told_to_the_one_who_appends() {
    let (world, store) = world();
    store.fail_next(Fault::NotWritten);
    let mut mutations = 0;
    let before = world.engine.durable();
    let (_, ts) = world
        .engine
        .transact(|tx| {
            mutations += 1;
            tx.insert(&table("rooms"), object! {})
        })
        .unwrap();
    assert_eq!(mutations, 2, "the first attempt was taken back");
    let told = [world.engine.append_pending(), world.engine.append_pending()];
    assert_eq!(
        told,
        [AppendOutcome::TakenBack { durable: before, epoch: 1 }, AppendOutcome::Durable(ts)]
    );
    assert_eq!(world.engine.append_pending(), AppendOutcome::Idle);
}

#[test]
fn a_schema_push_survives_appends_that_fail() {
    for good_appends in 0..3 {
        for fault in [Fault::NotWritten, Fault::UnknownLost, Fault::UnknownWritten] {
            let (world, store) = world();
            for n in 0..10 {
                world.insert("rooms", object! { "n" => f64::from(n) });
            }
            let wanted = tables(&[indexed("rooms", &[("by_n", &["n"])])]);
            store.plan.lock().good_appends = good_appends;
            store.fail_next(fault);
            let result = world.engine.apply_schema(wanted.clone());
            assert_eq!(store.plan.lock().faults.len(), 0, "the push appends three times");
            if fault == Fault::NotWritten {
                result.unwrap();
            } else {
                // The push says so, and a second one completes it.
                assert!(result.is_err());
                world.engine.flush();
                world.engine.apply_schema(wanted).unwrap();
            }
            let mut tx = world.engine.begin(Head::Durable);
            tx.index(&table("rooms"), &index_name("by_n")).unwrap();
            let found = numbers(&collect(&mut tx, "rooms", "by_n", Order::Desc), "n");
            assert_eq!(found, (0..10).rev().map(f64::from).collect::<Vec<_>>());
        }
    }
}
