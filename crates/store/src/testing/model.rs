//! Random work on memory and SQLite side by side, and on a plain map of what must be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use value::{InternalId, Interval, Timestamp};

use super::MirroredStore;
use crate::{
    AppendError, Commit, DocumentWrite, Durability, EntryWrite, IndexId, MemoryStore, Order,
    SqliteOptions, SqliteStore, Store, StoreError, TabletId,
};

/// One thing that a test does.
#[derive(Clone, Debug)]
enum Step {
    /// A group of commits, each some writes: table, id, and what the document is filed under.
    Append(Vec<Vec<(usize, u8, Option<u8>)>>),
    /// A commit that changes nothing.
    Empty,
    Scan {
        table: usize,
        index: Which,
        bounds: (Vec<u8>, Option<Vec<u8>>),
        age: u64,
        limit: usize,
    },
    Log {
        age: u64,
        limit: usize,
    },
    /// An index begins to be written, or, if it is, is filled from a snapshot.
    Build {
        table: usize,
        age: u64,
    },
    Collect {
        age: u64,
        budget: usize,
    },
    DropTable {
        table: usize,
        budget: usize,
    },
    Reserve {
        ahead: u64,
    },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    ById,
    First,
    Late,
}

const TABLES: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    let table = 0..TABLES;
    let write = (table.clone(), 0u8..6, proptest::option::weighted(0.75, 0u8..4));
    let commit = proptest::collection::vec(write, 1..5);
    let which = prop_oneof![Just(Which::ById), Just(Which::First), Just(Which::Late)];
    let key = || proptest::collection::vec(prop_oneof![0u8..6, Just(255)], 0..3);
    let bounds = (key(), proptest::option::of(key()));
    prop_oneof![
        8 => proptest::collection::vec(commit, 1..4).prop_map(Step::Append),
        1 => Just(Step::Empty),
        6 => (table.clone(), which, bounds, 0u64..20, 0usize..6).prop_map(
            |(table, index, bounds, age, limit)| Step::Scan { table, index, bounds, age, limit }),
        2 => (0u64..20, 0usize..6).prop_map(|(age, limit)| Step::Log { age, limit }),
        2 => (table.clone(), 0u64..6).prop_map(|(table, age)| Step::Build { table, age }),
        2 => (0u64..12, 0usize..9).prop_map(|(age, budget)| Step::Collect { age, budget }),
        1 => (table, 1usize..9).prop_map(|(table, budget)| Step::DropTable { table, budget }),
        1 => (0u64..9).prop_map(|ahead| Step::Reserve { ahead }),
        1 => Just(Step::Reopen),
    ]
}

/// A table as the layer above knows it.
struct Table {
    tablet: TabletId,
    first: IndexId,
    late: Option<IndexId>,
    /// Live documents: timestamp, what it is filed under, bytes.
    live: BTreeMap<u8, (Timestamp, u8, Arc<[u8]>)>,
}

struct World<'a> {
    store: &'a MirroredStore,
    tables: Vec<Table>,
    last: u64,
    fresh: u32,
}

fn id_of(id: u8) -> InternalId {
    // Spread over the first byte, so that short bounds cut between ids.
    InternalId([id; 16])
}

fn key_of(filed: u8, id: u8) -> Arc<[u8]> {
    Arc::from([filed, id].as_slice())
}

impl<'a> World<'a> {
    fn new(store: &'a MirroredStore) -> World<'a> {
        let mut world = World { store, tables: Vec::new(), last: 0, fresh: 0 };
        for _ in 0..TABLES {
            let table = world.fresh_table();
            world.tables.push(table);
        }
        world
    }

    fn fresh_id(&mut self) -> u32 {
        self.fresh += 1;
        self.fresh
    }

    fn fresh_table(&mut self) -> Table {
        let (tablet, first) = (TabletId(self.fresh_id()), IndexId(self.fresh_id()));
        Table { tablet, first, late: None, live: BTreeMap::new() }
    }

    fn ago(&self, age: u64) -> Timestamp {
        // Up to two beyond the head.
        Timestamp((self.last + 2).saturating_sub(age))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(group) => self.append(group),
            Step::Empty => {
                self.last += 1;
                let ts = Timestamp(self.last);
                let commit = Commit { ts, documents: vec![], entries: vec![] };
                self.store.append(&[commit]).unwrap();
            }
            Step::Scan { table, index, bounds, age, limit } => {
                let interval = Interval { start: bounds.0.clone(), end: bounds.1.clone() };
                let table = &self.tables[*table];
                let index = match index {
                    Which::ById => IndexId::by_id(table.tablet),
                    Which::First => table.first,
                    Which::Late => table.late.unwrap_or(table.first),
                };
                self.scan(table.tablet, index, &interval, self.ago(*age), *limit);
            }
            Step::Log { age, limit } => {
                let _ = self.store.log(self.ago(*age), *limit);
            }
            Step::Build { table, age } => self.build(*table, *age),
            Step::Collect { age, budget } => {
                self.store.collect(self.ago(*age), *budget).unwrap();
                self.last = self.last.max(self.ago(*age).0.min(self.store.head().unwrap().0));
            }
            Step::DropTable { table, budget } => self.drop_table(*table, *budget),
            Step::Reserve { ahead } => self.store.reserve(Timestamp(self.last + ahead)).unwrap(),
            Step::Reopen => self.store.reopen().unwrap(),
        }
        self.store.head().unwrap();
    }

    fn scan(&self, tablet: TabletId, index: IndexId, interval: &Interval, at: Timestamp, n: usize) {
        for order in [Order::Asc, Order::Desc] {
            let page = self.store.scan(tablet, index, interval, at, order, n);
            let Ok(page) = page else { continue };
            assert_eq!(page.exhausted, page.rows.len() < n);
            assert!(page.rows.iter().all(|row| interval.contains(&row.key) && row.ts <= at));
        }
    }

    fn append(&mut self, group: &[Vec<(usize, u8, Option<u8>)>]) {
        let commits: Vec<Commit> = group.iter().map(|writes| self.commit(writes)).collect();
        self.store.append(&commits).unwrap();
        // The same group again is out of order.
        let again = self.store.append(&commits);
        assert!(matches!(again, Err(AppendError::NotWritten(_))), "{again:?}");
    }

    fn commit(&mut self, writes: &[(usize, u8, Option<u8>)]) -> Commit {
        self.last += 1 + u64::from(writes.len() == 2);
        let ts = Timestamp(self.last);
        let mut commit = Commit { ts, documents: vec![], entries: vec![] };
        let wanted: BTreeMap<(usize, u8), Option<u8>> =
            writes.iter().map(|(table, id, filed)| ((*table, *id), *filed)).collect();
        for ((table, id), filed) in wanted {
            let table = &mut self.tables[table];
            let body: Option<Arc<[u8]>> =
                filed.map(|filed| Arc::from([&[filed, id], &ts.0.to_le_bytes()[..]].concat()));
            let old = match (filed, &body) {
                (Some(filed), Some(body)) => table.live.insert(id, (ts, filed, body.clone())),
                (None, _) | (_, None) => table.live.remove(&id),
            };
            let (tablet, old_filed) = (table.tablet, old.as_ref().map(|old| old.1));
            let prev_ts = old.map(|old| old.0);
            commit.documents.push(DocumentWrite { tablet, id: id_of(id), prev_ts, body });
            if old_filed == filed {
                continue;
            }
            for index in std::iter::once(table.first).chain(table.late) {
                let gone = old_filed.map(|old| (key_of(old, id), None));
                let new = filed.map(|new| (key_of(new, id), Some(id_of(id))));
                for (key, id) in gone.into_iter().chain(new) {
                    commit.entries.push(EntryWrite { index, key, id });
                }
            }
        }
        commit
    }

    fn build(&mut self, number: usize, age: u64) {
        let (at, fresh) = (Timestamp(self.last.saturating_sub(age)), self.fresh_id());
        let table = &mut self.tables[number];
        let Some(index) = table.late else {
            table.late = Some(IndexId(fresh));
            return;
        };
        let all = Interval::all();
        let by_id = IndexId::by_id(table.tablet);
        match self.store.scan(table.tablet, by_id, &all, at, Order::Asc, 100) {
            Ok(page) => {
                let entry = |row: crate::Row| {
                    let key = key_of(row.body[0], row.body[1]);
                    EntryWrite { index, key, id: Some(row.id) }
                };
                let entries: Vec<EntryWrite> = page.rows.into_iter().map(entry).collect();
                self.store.backfill(at, &entries).unwrap();
            }
            Err(StoreError::TooOld { .. }) => {
                let outcome = self.store.backfill(at, &[]);
                assert!(matches!(outcome, Err(AppendError::NotWritten(_))), "{outcome:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn drop_table(&mut self, number: usize, budget: usize) {
        let fresh = self.fresh_table();
        let old = std::mem::replace(&mut self.tables[number], fresh);
        while !self.store.drop_tablet(old.tablet, budget).unwrap().done {}
        for index in std::iter::once(old.first).chain(old.late) {
            while !self.store.drop_index(index, budget).unwrap().done {}
        }
    }

    /// Every index at every timestamp, and the newest state against the plain map.
    fn check_all(&self) {
        for table in &self.tables {
            let by_id = IndexId::by_id(table.tablet);
            for at in 0..self.last + 2 {
                for index in [by_id, table.first].into_iter().chain(table.late) {
                    self.scan(table.tablet, index, &Interval::all(), Timestamp(at), 100);
                }
                let _ = self.store.log(Timestamp(at), 3);
            }
            let now = Timestamp(self.last);
            let page = self.store.scan(table.tablet, by_id, &Interval::all(), now, Order::Asc, 100);
            let rows: Vec<_> =
                page.unwrap().rows.into_iter().map(|row| (row.id, row.ts, row.body)).collect();
            let live: Vec<_> = (table.live.iter())
                .map(|(id, (ts, _, body))| (id_of(*id), *ts, body.clone()))
                .collect();
            assert_eq!(rows, live);
            let count = self.store.counts().unwrap().get(&table.tablet).copied();
            assert_eq!(count.unwrap_or(0), live.len() as u64);
            let keys = self.keys(table, table.first);
            let filed: std::collections::BTreeSet<_> =
                table.live.iter().map(|(id, (_, filed, _))| key_of(*filed, *id)).collect();
            assert!(keys.iter().eq(filed.iter()), "{keys:?} {filed:?}");
        }
    }

    fn keys(&self, table: &Table, index: IndexId) -> Vec<Arc<[u8]>> {
        let now = Timestamp(self.last);
        let page = self.store.scan(table.tablet, index, &Interval::all(), now, Order::Asc, 100);
        page.unwrap().rows.into_iter().map(|row| row.key).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_sqlite_agree(steps in proptest::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions {
            durability: Durability::Relaxed,
            cache_bytes: 1 << 20,
            readers: 1,
            ..SqliteOptions::default()
        };
        let sqlite = SqliteStore::open(folder.path(), &options).unwrap();
        let store = MirroredStore::new(vec![Box::new(MemoryStore::new()), Box::new(sqlite)]);
        let mut world = World::new(&store);
        for step in &steps {
            world.take(step);
        }
        world.check_all();
        // Collected to the end: only what the newest snapshot shows is left.
        while !store.collect(Timestamp(world.last), 3).unwrap().done {}
        world.check_all();
        store.reopen().unwrap();
        world.check_all();
    }
}

fn pair(folder: &std::path::Path) -> MirroredStore {
    let sqlite = SqliteStore::open(folder, &SqliteOptions::default()).unwrap();
    MirroredStore::new(vec![Box::new(MemoryStore::new()), Box::new(sqlite)])
}

fn document(ts: u64, ids: std::ops::Range<u8>) -> Commit {
    let tablet = TabletId(1);
    let body: Option<Arc<[u8]>> = Some(Arc::from([7].as_slice()));
    let write = |id| DocumentWrite { tablet, id: id_of(id), prev_ts: None, body: body.clone() };
    Commit { ts: Timestamp(ts), documents: ids.map(write).collect(), entries: vec![] }
}

#[test]
fn the_log_comes_in_whole_transactions_and_scans_see_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let store = pair(folder.path());
    store.append(&[document(1, 0..1), document(2, 1..4), document(5, 4..6)]).unwrap();
    let check = |after, limit, expected: &[u64]| {
        let rows = store.log(Timestamp(after), limit).unwrap();
        let found: Vec<u64> = rows.iter().map(|row| row.ts.0).collect();
        assert_eq!(found, expected, "after {after}, limit {limit}");
    };
    check(0, 0, &[1]);
    check(0, 1, &[1]);
    check(0, 2, &[1]);
    check(0, 3, &[1]);
    check(0, 4, &[1, 2, 2, 2]);
    check(0, 5, &[1, 2, 2, 2]);
    check(0, 6, &[1, 2, 2, 2, 5, 5]);
    check(0, usize::MAX, &[1, 2, 2, 2, 5, 5]);
    check(1, 1, &[2, 2, 2]);
    check(1, 3, &[2, 2, 2]);
    check(2, 1, &[5, 5]);
    check(4, 9, &[5, 5]);
    check(5, 9, &[]);
    check(u64::MAX, 9, &[]);
    let mut update = document(7, 0..1);
    update.documents[0].prev_ts = Some(Timestamp(1));
    store.append(&[update]).unwrap();
    for (at, expected) in [(0, None), (1, Some(1)), (6, Some(1)), (7, Some(7)), (8, Some(7))] {
        let (tablet, all) = (TabletId(1), Interval::all());
        let by_id = IndexId::by_id(tablet);
        for order in [Order::Asc, Order::Desc] {
            let page = store.scan(tablet, by_id, &all, Timestamp(at), order, 9).unwrap();
            let first = page.rows.iter().find(|row| row.id == id_of(0));
            assert_eq!(first.map(|row| row.ts.0), expected, "at {at}");
        }
    }
}

#[test]
fn what_must_not_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = pair(folder.path());
    store.append(&[document(5, 0..1)]).unwrap();
    store.reserve(Timestamp(20)).unwrap();
    store.collect(Timestamp(8), 10).unwrap();
    let entry = |index, key: &[u8]| EntryWrite { index, key: Arc::from(key), id: None };
    let entries = |entries| Commit { ts: Timestamp(10), documents: vec![], entries };
    let mut twice = document(10, 1..2);
    twice.documents.push(twice.documents[0].clone());
    let mut newer = document(10, 1..2);
    newer.documents[0].prev_ts = Some(Timestamp(10));
    let refused: Vec<(&str, Vec<Commit>)> = vec![
        ("not above the newest commit", vec![document(5, 1..2)]),
        ("not above the horizon", vec![document(8, 1..2)]),
        ("out of order", vec![document(12, 1..2), document(11, 2..3)]),
        ("above all timestamps", vec![document(u64::MAX, 1..2)]),
        ("a document twice", vec![twice]),
        ("replaces a later version", vec![newer]),
        ("entries by id", vec![entries(vec![entry(IndexId::by_id(TabletId(1)), b"a")])]),
        ("a key twice", vec![entries(vec![entry(IndexId(3), b"a"), entry(IndexId(3), b"a")])]),
    ];
    for (name, group) in refused {
        let outcome = store.append(&group);
        assert!(matches!(outcome, Err(AppendError::NotWritten(_))), "{name}: {outcome:?}");
    }
    for at in [7, 21] {
        let outcome = store.backfill(Timestamp(at), &[entry(IndexId(3), b"a")]);
        assert!(matches!(outcome, Err(AppendError::NotWritten(_))), "at {at}: {outcome:?}");
    }
    assert_eq!(store.log(Timestamp(8), 10).unwrap(), []);
    // A row that exists stays.
    let filed = EntryWrite { id: Some(id_of(0)), ..entry(IndexId(3), b"b") };
    store.backfill(Timestamp(8), &[filed]).unwrap();
    store.backfill(Timestamp(8), &[entry(IndexId(3), b"b")]).unwrap();
    let all = Interval::all();
    let page = store.scan(TabletId(1), IndexId(3), &all, Timestamp(8), Order::Desc, 2);
    assert_eq!(page.unwrap().rows.len(), 1);
    // Inside the reserved block is fine.
    store.append(&[document(9, 1..2)]).unwrap();
    assert_eq!(store.head().unwrap(), Timestamp(20));
}

#[test]
fn globals_and_the_reserved_head_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = pair(folder.path());
    assert_eq!(store.head().unwrap(), Timestamp(0));
    store.reserve(Timestamp(30)).unwrap();
    store.reserve(Timestamp(10)).unwrap();
    assert!(matches!(store.reserve(Timestamp(u64::MAX)), Err(StoreError::Io(_))));
    store.set_global("a", b"1").unwrap();
    store.set_global("a", b"2").unwrap();
    store.set_global("oldest", b"").unwrap();
    store.reopen().unwrap();
    assert_eq!(store.head().unwrap(), Timestamp(30));
    assert_eq!(store.global("a").unwrap().as_deref(), Some(b"2".as_slice()));
    assert_eq!(store.global("oldest").unwrap().as_deref(), Some(b"".as_slice()));
    assert_eq!(store.global("b").unwrap(), None);
    store.append(&[document(3, 0..1)]).unwrap();
    let empty = Commit { ts: Timestamp(40), documents: vec![], entries: vec![] };
    store.append(&[empty]).unwrap();
    store.reopen().unwrap();
    assert_eq!(store.head().unwrap(), Timestamp(40));
}
