//! An engine with a clock that is moved by hand, and short names for what tests do all the time.

use std::sync::Arc;

use store::{MemoryStore, Order, Store};
use value::schema::Schema;
use value::{DocumentId, IndexName, Interval, Object, TableName, Timestamp, Value};

use crate::{
    Committed, Document, Engine, Env, Head, IndexDef, ManualClock, Options, Row, Scan,
    SeededRandom, Transaction, TxError,
};

pub(super) const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<dyn Store>,
    options: Options,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        Self::over(Arc::new(MemoryStore::new()), options)
    }

    pub(super) fn over(store: Arc<dyn Store>, options: Options) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let engine = open(&store, &clock, options, 1);
        Self { engine, clock, store, options }
    }

    /// The engine again, over the same store, with nothing in memory.
    pub(super) fn reopen(&mut self) {
        let seed = self.engine.durable().0;
        self.engine = open(&self.store, &self.clock, self.options, seed);
    }

    /// Runs `body` until it is committed, and appends it.
    pub(super) fn commit<R>(&self, mut body: impl FnMut(&mut Transaction) -> R) -> R {
        let mut tx = self.engine.begin(Head::Applied);
        let result = body(&mut tx);
        self.engine.commit(&mut tx, None).unwrap();
        // It pins what it read.
        drop(tx);
        self.engine.flush();
        result
    }

    /// As [`World::commit`], without the append.
    pub(super) fn apply(&self, body: impl FnOnce(&mut Transaction)) -> Committed {
        let mut tx = self.engine.begin(Head::Applied);
        body(&mut tx);
        self.engine.commit(&mut tx, None).unwrap()
    }

    pub(super) fn begin(&self) -> Transaction {
        self.engine.begin(Head::Applied)
    }

    pub(super) fn insert(&self, name: &str, body: Object) -> DocumentId {
        self.commit(|tx| tx.insert(&table(name), body.clone()).unwrap())
    }
}

fn open(
    store: &Arc<dyn Store>,
    clock: &Arc<ManualClock>,
    options: Options,
    seed: u64,
) -> Arc<Engine> {
    let env = Env { clock: Arc::clone(clock) as _, random: Arc::new(SeededRandom::new(seed)) };
    Engine::open(Arc::clone(store), env, options).unwrap()
}

pub(super) fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

pub(super) fn index_name(name: &str) -> IndexName {
    name.parse().unwrap()
}

/// A schema of tables without validators: `name: index(field,field) …`.
pub(super) fn schema(text: &str) -> Schema {
    Schema::from_json(text).unwrap()
}

/// One table `t` with indexes given as `(name, fields)`.
pub(super) fn indexed(name: &str, indexes: &[(&str, &[&str])]) -> String {
    let indexes: Vec<String> = indexes
        .iter()
        .map(|(name, fields)| {
            format!(r#"{{"indexDescriptor":"{name}","fields":{}}}"#, serde_json::json!(fields))
        })
        .collect();
    format!(r#"{{"tableName":"{name}","indexes":[{}]}}"#, indexes.join(","))
}

pub(super) fn tables(tables: &[String]) -> Schema {
    schema(&format!(r#"{{"tables":[{}],"schemaValidation":true}}"#, tables.join(",")))
}

pub(super) fn index(tx: &mut Transaction, name: &str, index: &str) -> Arc<IndexDef> {
    tx.index(&table(name), &index_name(index)).unwrap()
}

/// All rows of a scan.
pub(super) fn all(tx: &mut Transaction, mut scan: Scan) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some(row) = tx.next(&mut scan).unwrap() {
        rows.push(row);
    }
    rows
}

/// All documents of an index in order.
pub(super) fn collect(
    tx: &mut Transaction,
    name: &str,
    by: &str,
    order: Order,
) -> Vec<Arc<Document>> {
    let by = index(tx, name, by);
    let scan = tx.scan(&by, Interval::all(), order);
    all(tx, scan).into_iter().map(|row| row.document).collect()
}

/// One field of documents, as numbers.
pub(super) fn numbers(documents: &[Arc<Document>], field: &str) -> Vec<f64> {
    documents.iter().map(|d| d.body().get(field).and_then(Value::as_f64).unwrap()).collect()
}

pub(super) fn code<T: std::fmt::Debug>(result: Result<T, TxError>) -> (&'static str, String) {
    let error = result.unwrap_err();
    (error.code, error.message)
}
