//! The engine against a naive model: documents replayed by timestamp, every read computed anew.
//!
//! Several transactions are open at once. Every row that is read is compared with the snapshot of
//! the model plus the transaction's own writes. A commit must be refused exactly when a later commit
//! wrote an old or a new key into an interval that was consumed.

use std::collections::{BTreeMap, VecDeque};

use store::Order;
use value::{DocumentId, FieldPath, Interval, Object, Timestamp, Value, object};

use super::dice::Dice;
use super::faults::{Fault, FaultyStore};
use super::world::{self, World, index, indexed, table, tables};
use crate::cache::after;
use crate::range::key_of;
use crate::{AppendOutcome, CommitError, Document, Head, Savepoint, Transaction};

const TABLES: [&str; 2] = ["left", "right"];
const INDEXES: [(&str, &[&str]); 4] = [
    ("by_id", &[]),
    ("by_creation_time", &["_creationTime"]),
    ("by_k", &["k", "_creationTime"]),
    ("by_k_n", &["k", "n", "_creationTime"]),
];
const OPEN_MAX: usize = 5;

type Documents = BTreeMap<(usize, DocumentId), Object>;

/// An interval that was consumed: table, index, keys.
type Consumed = (usize, usize, Interval);

struct Open {
    tx: Transaction,
    base: Documents,
    view: Documents,
    consumed: Vec<Consumed>,
    savepoints: Vec<(Savepoint, Documents)>,
    /// What it read was taken back.
    fallen: bool,
}

/// How a run is set up besides its numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setting {
    pub(super) faults: bool,
    pub(super) reopen: bool,
}

pub(super) struct Run {
    world: World,
    faulty: Option<std::sync::Arc<FaultyStore>>,
    setting: Setting,
    dice: Dice,
    /// The state after each commit, the first one being empty.
    states: BTreeMap<Timestamp, Documents>,
    ids: Vec<(usize, DocumentId)>,
    open: VecDeque<Open>,
    last_ts: Timestamp,
    /// Commits at or below are not in the write log.
    forgotten: Timestamp,
    retention_ns: u64,
    unavailable: bool,
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) rows: usize,
}

pub(super) fn key(fields: &[&str], id: DocumentId, body: &Object) -> Vec<u8> {
    let fields: Vec<FieldPath> = fields.iter().map(|field| field.parse().unwrap()).collect();
    if fields.is_empty() { id.internal.0.to_vec() } else { key_of(&fields, body) }
}

impl Run {
    pub(super) fn new(
        world: World,
        faulty: Option<std::sync::Arc<FaultyStore>>,
        retention_ns: u64,
        setting: Setting,
        dice: Dice,
    ) -> Self {
        let indexed =
            TABLES.map(|name| indexed(name, &[("by_k", &["k"]), ("by_k_n", &["k", "n"])]));
        world.engine.apply_schema(tables(&indexed)).unwrap();
        // The schema change told what it appended.
        world.engine.flush();
        let head = world.engine.durable();
        Self {
            states: BTreeMap::from([(head, Documents::new())]),
            ids: Vec::new(),
            open: VecDeque::new(),
            last_ts: head,
            forgotten: Timestamp::MIN,
            unavailable: false,
            accepted: 0,
            refused: 0,
            rows: 0,
            world,
            faulty,
            setting,
            dice,
            retention_ns,
        }
    }

    pub(super) fn go(&mut self) {
        while self.dice.has_more() {
            self.step();
            let held = self.world.engine.cache.held();
            assert_eq!(held.bytes, self.world.engine.cache.bytes(), "bytes are counted right");
        }
        self.open.clear();
        self.settle();
        self.compare_with_the_newest_state();
    }

    fn step(&mut self) {
        match self.dice.roll(24) {
            0..=2 => self.begin(),
            3..=4 => self.append(),
            5 => self.world.clock.advance_ns(self.dice.roll(3_000_000) as u64),
            6 => self.collect(),
            7 => self.reopen(),
            8..=10 => self.commit(),
            _ => {
                if let Some(mut open) = self.open.pop_front() {
                    self.work(&mut open);
                    self.open.push_back(open);
                }
            }
        }
        if self.dice.once_in(2) {
            self.open.rotate_left(usize::from(!self.open.is_empty()));
        }
    }

    fn state_at(&self, ts: Timestamp) -> &Documents {
        self.states.range(..=ts).next_back().expect("the first state is older than all").1
    }

    fn newest(&self) -> &Documents {
        self.states.values().next_back().unwrap()
    }

    fn begin(&mut self) {
        if self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        let engine = &self.world.engine;
        let tx = match self.dice.roll(5) {
            0..=1 => engine.begin(Head::Applied),
            2..=3 => engine.begin(Head::Durable),
            _ => {
                let known: Vec<_> = self.states.keys().copied().collect();
                let at = known[self.dice.roll(known.len())];
                let now = engine.env().clock.now().0;
                let oldest = (now - self.retention_ns).min(engine.durable().0);
                match engine.begin_at(at) {
                    Ok(tx) => {
                        assert!(at.0 >= oldest && at <= engine.durable());
                        tx
                    }
                    Err(error) if at > engine.durable() => {
                        assert_eq!(error.code, "TimestampInFuture");
                        return;
                    }
                    Err(error) => {
                        assert_eq!(error.code, "OutOfRetention");
                        assert!(at.0 < oldest);
                        return;
                    }
                }
            }
        };
        let base = self.state_at(tx.snapshot_ts()).clone();
        let view = base.clone();
        let (consumed, savepoints) = (Vec::new(), Vec::new());
        self.open.push_back(Open { tx, base, view, consumed, savepoints, fallen: false });
    }

    fn work(&mut self, open: &mut Open) {
        if open.fallen {
            return;
        }
        match self.dice.roll(12) {
            0..=2 => self.write(open),
            3..=4 => self.get(open),
            5 => self.count(open),
            6 => {
                let savepoint = open.tx.savepoint();
                open.savepoints.push((savepoint, open.view.clone()));
            }
            7 => {
                // The newest one, or one below it.
                let dropped = self.dice.roll(2).min(open.savepoints.len().saturating_sub(1));
                open.savepoints.truncate(open.savepoints.len() - dropped);
                if let Some((savepoint, view)) = open.savepoints.pop() {
                    open.tx.rollback(savepoint);
                    open.view = view;
                }
            }
            _ => self.scan(open),
        }
    }

    fn body(&mut self) -> Object {
        let mut body = object! { "n" => self.dice.roll(4) as f64 };
        match self.dice.roll(5) {
            0 => {}
            1 => drop(body.insert("k", Value::Null)),
            2 => drop(body.insert("k", "x".repeat(self.dice.roll(200)))),
            _ => drop(body.insert("k", self.dice.roll(4) as f64)),
        }
        body
    }

    fn some_id(&mut self) -> Option<(usize, DocumentId)> {
        // The newer half more often: they are alive.
        let count = self.ids.len();
        let at = self.dice.roll(count.max(1)).max(self.dice.roll(count.max(1)));
        self.ids.get(at).copied()
    }

    fn write(&mut self, open: &mut Open) {
        let Some((number, id)) = self.some_id().filter(|_| !self.dice.once_in(3)) else {
            return self.insert(open);
        };
        let at = (number, id);
        let point = Interval::point(&id.internal.0);
        open.consumed.push((number, 0, point));
        let there = open.view.get(&at).cloned();
        let result = match self.dice.roll(4) {
            0 => {
                let result = open.tx.delete(id);
                open.view.remove(&at);
                result
            }
            1 => {
                let mut body = self.body();
                let result = open.tx.replace(id, body.clone());
                if let Some(old) = &there {
                    for field in ["_id", "_creationTime"] {
                        body.insert(field, old.get(field).unwrap().clone());
                    }
                    open.view.insert(at, body);
                }
                result
            }
            kind => {
                let mut patch = BTreeMap::new();
                if kind == 2 {
                    patch.insert("n".to_owned(), Some(Value::from(self.dice.roll(3) as f64)));
                } else {
                    let body = self.body();
                    patch.insert("k".to_owned(), body.get("k").cloned());
                }
                let result = open.tx.patch(id, patch.clone());
                if let Some(mut body) = there.clone() {
                    for (name, value) in patch {
                        match value {
                            Some(value) => drop(body.insert(name, value)),
                            None => drop(body.remove(&name)),
                        }
                    }
                    open.view.insert(at, body);
                }
                result
            }
        };
        match result {
            Ok(()) => assert!(there.is_some()),
            Err(error) => {
                assert_eq!(error.code, "NonexistentDocument");
                assert!(there.is_none());
            }
        }
    }

    fn insert(&mut self, open: &mut Open) {
        let number = self.dice.roll(TABLES.len());
        let body = self.body();
        let id = open.tx.insert(&table(TABLES[number]), body).unwrap();
        let document = open.tx.get(id).unwrap().expect("own writes are seen");
        open.view.insert((number, id), document.body().clone());
        open.consumed.push((number, 0, Interval::point(&id.internal.0)));
        self.ids.push((number, id));
    }

    fn get(&mut self, open: &mut Open) {
        let Some((number, id)) = self.some_id() else { return };
        let found = open.tx.get(id).unwrap();
        open.consumed.push((number, 0, Interval::point(&id.internal.0)));
        assert_eq!(found.as_ref().map(|d| d.body()), open.view.get(&(number, id)));
    }

    fn count(&mut self, open: &mut Open) {
        let number = self.dice.roll(TABLES.len());
        let counted = open.tx.count(&table(TABLES[number])).unwrap();
        open.consumed.push((number, 0, Interval::all()));
        let expected = open.view.keys().filter(|(of, _)| *of == number).count();
        assert_eq!(counted, expected as u64);
    }

    /// A bound that is often at or right behind an existing key.
    fn bound(&mut self, open: &Open, number: usize, fields: &[&str]) -> Vec<u8> {
        let rows = rows(&open.view, number, fields, &Interval::all());
        if rows.is_empty() || self.dice.once_in(6) {
            let body = self.body();
            return value::key::encode_all([body.get("k"), body.get("n")]);
        }
        let key = rows[self.dice.roll(rows.len())].0.clone();
        match self.dice.roll(3) {
            0 => key,
            1 => after(&key),
            _ => key[..self.dice.roll(key.len() + 1)].to_vec(),
        }
    }

    fn interval(&mut self, open: &Open, number: usize, fields: &[&str]) -> Interval {
        if self.dice.once_in(3) {
            return Interval::all();
        }
        let start = self.bound(open, number, fields);
        let end = (!self.dice.once_in(4)).then(|| self.bound(open, number, fields));
        match end {
            Some(end) if end < start => Interval { start: end, end: Some(start) },
            end => Interval { start, end },
        }
    }

    fn scan(&mut self, open: &mut Open) {
        let number = self.dice.roll(TABLES.len());
        let by = self.dice.roll(INDEXES.len());
        let (name, fields) = INDEXES[by];
        let whole = self.interval(open, number, fields);
        let order = if self.dice.once_in(2) { Order::Asc } else { Order::Desc };
        let definition = index(&mut open.tx, TABLES[number], name);
        let mut scan = open.tx.scan(&definition, whole.clone(), order);
        if self.dice.once_in(2) {
            scan = scan.prefetching(1 + self.dice.roll(3));
        }
        let take = if self.dice.once_in(2) { usize::MAX } else { self.dice.roll(5) };
        let mut rest = whole.clone();
        let mut taken = 0;
        while taken < take {
            if self.dice.once_in(12) {
                self.write(open);
            }
            let expected = rows(&open.view, number, fields, &rest);
            let expected = match order {
                Order::Asc => expected.first(),
                Order::Desc => expected.last(),
            };
            let row = open.tx.next(&mut scan).unwrap();
            self.rows += 1;
            let Some((key, body)) = expected else {
                assert!(row.is_none(), "{row:?} where nothing is left of {whole:?}");
                open.consumed.push((number, by, whole));
                return;
            };
            let row = row.unwrap_or_else(|| panic!("nothing where {body} is left of {whole:?}"));
            assert_eq!((&*row.key, row.document.body()), (key.as_slice(), *body));
            match order {
                Order::Asc => rest.start = after(key),
                Order::Desc => rest.end = Some(key.clone()),
            }
            taken += 1;
        }
        let passed = match order {
            Order::Asc => Interval { start: whole.start, end: Some(rest.start) },
            Order::Desc => Interval { start: rest.end.unwrap_or_default(), end: whole.end },
        };
        if taken > 0 {
            open.consumed.push((number, by, passed));
        }
    }

    fn commit(&mut self) {
        let Some(mut open) = self.open.pop_front() else { return };
        let changed = changes(&open.base, &open.view);
        let snapshot = open.tx.snapshot_ts();
        let result = self.world.engine.commit(&mut open.tx, None);
        if open.fallen {
            let expected = if self.unavailable && !changed.is_empty() {
                matches!(result, Err(CommitError::Unavailable(_) | CommitError::Conflict { .. }))
            } else {
                result.is_err()
            };
            return assert!(expected, "{result:?} of what read commits that were taken back");
        }
        if changed.is_empty() {
            let committed = result.expect("who writes nothing never conflicts");
            return assert!(!committed.wrote && committed.ts == snapshot);
        }
        let conflicts = snapshot < self.forgotten || self.conflicts(&open);
        match result {
            Ok(committed) => {
                assert!(!conflicts, "a conflict was accepted");
                assert!(!self.unavailable);
                assert!(committed.ts > self.last_ts, "timestamps grow, and none is used twice");
                self.same_reads_now(&open);
                self.last_ts = committed.ts;
                let mut state = self.newest().clone();
                for (at, body) in changed {
                    match body {
                        Some(body) => drop(state.insert(at, body)),
                        None => drop(state.remove(&at)),
                    }
                }
                self.states.insert(committed.ts, state);
                self.accepted += 1;
            }
            Err(CommitError::Conflict { table, .. }) => {
                assert!(conflicts, "refused without a conflict, in {table:?}");
                self.refused += 1;
            }
            Err(CommitError::Unavailable(_)) => assert!(self.unavailable),
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether a commit after the snapshot wrote into what was consumed.
    fn conflicts(&self, open: &Open) -> bool {
        let snapshot = open.tx.snapshot_ts();
        let mut before = self.state_at(snapshot);
        for state in self.states.range(snapshot.succ()..).map(|(_, state)| state) {
            for (at, body) in changes(before, state) {
                let bodies = before.get(&at).into_iter().chain(&body);
                for body in bodies {
                    let hit = open.consumed.iter().any(|(number, by, interval)| {
                        *number == at.0 && interval.contains(&key(INDEXES[*by].1, at.1, body))
                    });
                    if hit {
                        return true;
                    }
                }
            }
            before = state;
        }
        false
    }

    /// Strict serializability: at the place of the commit every read gives what it gave.
    fn same_reads_now(&self, open: &Open) {
        for (number, by, interval) in &open.consumed {
            let fields = INDEXES[*by].1;
            let (then, now) = (&open.base, self.newest());
            let (then, now) =
                (rows(then, *number, fields, interval), rows(now, *number, fields, interval));
            assert_eq!(then, now);
        }
    }

    fn append(&mut self) {
        if let Some(faulty) = self.faulty.as_ref().filter(|_| self.setting.faults) {
            match self.dice.roll(8) {
                0 => faulty.fail_next(Fault::NotWritten),
                1 => faulty.fail_next(Fault::UnknownLost),
                2 => faulty.fail_next(Fault::UnknownWritten),
                3 => faulty.fail_reopens(self.dice.roll(3)),
                _ => {}
            }
        }
        let before = self.world.engine.durable();
        let outcome = self.world.engine.append_pending();
        let durable = self.world.engine.durable();
        self.unavailable = matches!(outcome, AppendOutcome::Unavailable(_));
        match outcome {
            AppendOutcome::Idle => assert_eq!(durable, before),
            AppendOutcome::Durable(ts) => assert_eq!(durable, ts),
            AppendOutcome::Unavailable(_) => assert_eq!(durable, before),
            AppendOutcome::TakenBack { durable: at, .. } => {
                assert_eq!((at, durable), (before, before));
                self.states.retain(|ts, _| *ts <= durable);
                for open in &mut self.open {
                    open.fallen |= open.tx.snapshot_ts() > durable;
                }
            }
        }
        if self.dice.once_in(4) {
            let published = self.world.engine.take_published();
            assert!(published.iter().all(|entry| entry.ts <= durable));
        }
    }

    /// Until nothing waits for the disk.
    fn settle(&mut self) {
        if let Some(faulty) = &self.faulty {
            faulty.recover();
        }
        self.setting.faults = false;
        while self.world.engine.applied() > self.world.engine.durable() || self.unavailable {
            self.append();
        }
    }

    fn collect(&mut self) {
        let budget = 1 + self.dice.roll(30);
        self.world.engine.collect(budget).unwrap();
    }

    fn reopen(&mut self) {
        if !self.setting.reopen || !self.dice.once_in(4) {
            return;
        }
        let faults = self.setting.faults;
        self.settle();
        self.setting.faults = faults;
        self.open.clear();
        self.world.reopen();
        self.forgotten = self.world.engine.durable();
        // Timestamps that were taken back were never seen outside of the process that ended.
        self.last_ts = self.forgotten;
        self.compare_with_the_newest_state();
    }

    fn compare_with_the_newest_state(&self) {
        let mut tx = self.world.begin();
        for (number, name) in TABLES.iter().enumerate() {
            for (by, fields) in INDEXES {
                let expected = rows(self.newest(), number, fields, &Interval::all());
                let found = world::collect(&mut tx, name, by, Order::Asc);
                let found: Vec<&Object> =
                    found.iter().map(|d: &std::sync::Arc<Document>| d.body()).collect();
                let expected: Vec<&Object> = expected.iter().map(|(_, body)| *body).collect();
                assert_eq!(found, expected);
            }
        }
    }
}

/// The rows of a table by key.
fn rows<'a>(
    documents: &'a Documents,
    number: usize,
    fields: &[&str],
    interval: &Interval,
) -> Vec<(Vec<u8>, &'a Object)> {
    let of_table = documents.iter().filter(|((of, _), _)| *of == number);
    let keyed = of_table.map(|((_, id), body)| (key(fields, *id, body), body));
    let mut rows: Vec<_> = keyed.filter(|(key, _)| interval.contains(key)).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

/// What differs between two states.
fn changes(before: &Documents, after: &Documents) -> Vec<((usize, DocumentId), Option<Object>)> {
    let mut changes = Vec::new();
    for (at, body) in after {
        if before.get(at) != Some(body) {
            changes.push((*at, Some(body.clone())));
        }
    }
    let gone = before.keys().filter(|at| !after.contains_key(*at));
    changes.extend(gone.map(|at| (*at, None)));
    changes
}
