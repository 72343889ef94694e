//! A transaction: one snapshot, what was read of it, and what is to be written.
//!
//! Reads see the snapshot with the transaction's own writes laid over it. Every read leaves its
//! interval in the read set, also what names depend on. Nested calls are savepoints: a rollback undoes
//! writes and keeps reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use store::{IndexId, Order, TabletId};
use value::validator::Tables;
use value::{
    DocumentId, IndexName, InternalId, Interval, TableName, TableNumber, Timestamp, Value, key,
};

use crate::catalog::{Catalog, IndexDef, IndexState, TableDef};
use crate::document::Document;
use crate::error::TxError;
use crate::limits::{self, Limits, UNUSED, Usage};
use crate::range::continuing;
use crate::read_set::ReadSet;
use crate::scan::{FETCH_MAX, Versioned};
use crate::snapshot::Snapshot;
use crate::system;
use crate::write::{Staged, Undo};
use crate::write_log::Source;

/// What is staged under the keys of one index; `None`: the key is to go.
pub(crate) type StagedKeys = BTreeMap<Arc<[u8]>, Option<Arc<Document>>>;

/// A transaction. Dropping it changes nothing.
pub struct Transaction {
    pub(crate) snapshot: Snapshot,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) reads: ReadSet,
    pub(crate) writes: BTreeMap<(TabletId, InternalId), Staged>,
    pub(crate) staged: BTreeMap<IndexId, StagedKeys>,
    pub(crate) undo: Vec<Undo>,
    pub(crate) next_creation_time: f64,
    pub(crate) schema_failure: Option<String>,
    limits: Limits,
    usage: Usage,
    rng: ChaCha8Rng,
    day: u16,
    source: Option<Arc<Source>>,
}

/// A point to which a transaction can be rolled back.
#[derive(Debug)]
pub struct Savepoint {
    writes: usize,
    catalog: Arc<Catalog>,
    schema_failure: Option<String>,
}

impl Transaction {
    pub(crate) fn new(snapshot: Snapshot, now: Timestamp, seed: [u8; 32], limits: Limits) -> Self {
        let start = snapshot.ts().succ().max(now);
        Self {
            catalog: Arc::clone(snapshot.catalog()),
            next_creation_time: start.as_ms_f64(),
            // Days fit 16 bits until the year 2149; ids only carry them for their age.
            day: u16::try_from(start.0 / 86_400_000_000_000).unwrap_or(u16::MAX),
            snapshot,
            reads: ReadSet::default(),
            writes: BTreeMap::new(),
            staged: BTreeMap::new(),
            undo: Vec::new(),
            schema_failure: None,
            limits,
            usage: UNUSED,
            rng: ChaCha8Rng::from_seed(seed),
            source: None,
        }
    }

    /// The timestamp of the snapshot that is read.
    pub fn snapshot_ts(&self) -> Timestamp {
        self.snapshot.ts()
    }

    /// Everything that was read so far.
    pub fn reads(&self) -> &ReadSet {
        &self.reads
    }

    /// What was read, and the keys that are to be written: what a reservation must cover.
    pub fn footprint(&self) -> ReadSet {
        let mut footprint = self.reads.clone();
        for write in self.index_writes() {
            footprint.add(write.index, Interval::point(&write.key));
        }
        footprint
    }

    /// Adds what somebody else read on this transaction's behalf, at the same snapshot.
    pub fn depend_on(&mut self, reads: &ReadSet) {
        self.reads.merge(reads);
    }

    /// Whether anything was written.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// What was used of the limits.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The limits that hold.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Counts functions that are scheduled, with the bytes of their arguments.
    ///
    /// Errors: `TooManyFunctionsScheduled`, `ScheduledFunctionsArgumentsTooLarge`.
    pub fn count_scheduled(&mut self, args_bytes: usize) -> Result<(), TxError> {
        self.usage.functions_scheduled += 1;
        self.usage.scheduled_function_args_bytes += args_bytes;
        if self.usage.functions_scheduled > self.limits.functions_scheduled {
            return Err(TxError::developer(
                "TooManyFunctionsScheduled",
                format!(
                    "Too many functions scheduled by this mutation (limit: {})",
                    self.limits.functions_scheduled
                ),
            ));
        }
        if self.usage.scheduled_function_args_bytes > self.limits.scheduled_function_args_bytes {
            return Err(TxError::developer(
                "ScheduledFunctionsArgumentsTooLarge",
                format!(
                    "Too large total size of the arguments of scheduled functions from this mutation (limit: {} bytes)",
                    self.limits.scheduled_function_args_bytes
                ),
            ));
        }
        Ok(())
    }

    /// Says what commits, for those who ask which commit caused what.
    pub fn set_source(&mut self, source: Source) {
        self.source = Some(Arc::new(source));
    }

    pub(crate) fn source(&self) -> Option<Arc<Source>> {
        self.source.clone()
    }

    /// The table of this name; that it is there, or is not, becomes a dependency.
    pub fn table(&mut self, name: &TableName) -> Option<Arc<TableDef>> {
        let table = self.catalog.table(name).cloned();
        if table.as_ref().is_none_or(|table| !table.system) {
            self.depend_on_name(name);
        }
        table
    }

    /// The table whose ids carry this number.
    pub fn table_of(&mut self, number: TableNumber) -> Option<Arc<TableDef>> {
        if let Some(name) = self.catalog.name_of(number).cloned() {
            return self.table(&name);
        }
        // A later table may take the number.
        self.depend_on_system(&system::TABLES, 0, Interval::all());
        None
    }

    /// The index of this name, ready to be read.
    ///
    /// Errors: `IndexNotFoundError` also for an unknown table; an index that is staged or still
    /// being built.
    pub fn index(
        &mut self,
        table: &TableName,
        index: &IndexName,
    ) -> Result<Arc<IndexDef>, TxError> {
        let missing = || {
            TxError::developer("IndexNotFoundError", format!("Index {table}.{index} not found."))
        };
        let definition = self.table(table).ok_or_else(missing)?;
        if !definition.system {
            let mut prefix = key::encode_all([Some(&Value::Int64(i64::from(definition.tablet.0)))]);
            key::encode(Some(&Value::from(index.to_string())), &mut prefix);
            self.depend_on_system(&system::INDEX, 0, continuing(&prefix));
        }
        let found = definition.index(index).ok_or_else(missing)?;
        match found.state {
            IndexState::Enabled => Ok(Arc::clone(found)),
            IndexState::Backfilling | IndexState::Backfilled if found.staged => {
                Err(TxError::developer(
                    "StagedIndex",
                    format!("Index {table}.{index} is staged and cannot be used."),
                ))
            }
            IndexState::Backfilling | IndexState::Backfilled => Err(TxError::developer(
                "IndexNotReady",
                format!(
                    "Index {table}.{index} is currently backfilling and not available to query yet."
                ),
            )),
        }
    }

    /// The document of this id: `None` when it does not exist, nor its table.
    ///
    /// Errors: limits of reading; the store's.
    pub fn get(&mut self, id: DocumentId) -> Result<Option<Arc<Document>>, TxError> {
        let Some(table) = self.table_of(id.table) else { return Ok(None) };
        let found = self.read(&table, id)?;
        if let Some((_, document)) = &found {
            self.count_read(table.by_id(), document.size())?;
        }
        Ok(found.map(|(_, document)| document))
    }

    /// The document of this id in a system table; not counted.
    pub fn get_system(
        &mut self,
        table: &system::SystemTable,
        internal: InternalId,
    ) -> Result<Option<Arc<Document>>, TxError> {
        self.get(DocumentId { table: table.number(), internal })
    }

    /// The document of this id in a system table, with the timestamp of the commit that wrote it;
    /// the least timestamp where this transaction did.
    pub fn version_in_system(
        &mut self,
        table: &system::SystemTable,
        internal: InternalId,
    ) -> Result<Option<(Timestamp, Arc<Document>)>, TxError> {
        let id = DocumentId { table: table.number(), internal };
        let table = self.system_table(table);
        self.read(&table, id)
    }

    /// Brings documents of a system table into memory, without depending on them.
    pub fn warm_system(
        &mut self,
        table: &system::SystemTable,
        ids: Interval,
    ) -> Result<(), TxError> {
        let table = self.system_table(table);
        let mut rest = ids;
        while !rest.is_empty() {
            (_, rest) = self.snapshot.rows(table.by_id(), &rest, Order::Asc, FETCH_MAX)?;
        }
        Ok(())
    }

    /// The table of a system table.
    pub fn system_table(&self, table: &system::SystemTable) -> Arc<TableDef> {
        let found = self.catalog.tablet(table.tablet());
        Arc::clone(found.expect("system tables are compiled in"))
    }

    /// How many documents a table has; depends on the whole table.
    pub fn count(&mut self, table: &TableName) -> Result<u64, TxError> {
        let Some(table) = self.table(table) else { return Ok(0) };
        self.depend(table.by_id(), &[], None)?;
        self.count_unseen(&table)
    }

    /// The tables and indexes of the snapshot, with what this transaction made of them. What is looked up
    /// here is no dependency.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// How many documents a table has, without depending on them.
    ///
    /// Errors: the store's, for snapshots older than what is in memory.
    pub fn count_unseen(&self, table: &TableDef) -> Result<u64, TxError> {
        let committed = self.snapshot.count(table.by_id())?;
        let staged = self.writes.range((table.tablet, InternalId([0; 16]))..);
        let staged = staged.take_while(|((tablet, _), _)| *tablet == table.tablet);
        let change: i64 = staged.map(|(_, write)| write.count_change()).sum();
        Ok(committed.saturating_add_signed(change))
    }

    /// Remembers the state of the writes.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint {
            writes: self.undo.len(),
            catalog: Arc::clone(&self.catalog),
            schema_failure: self.schema_failure.clone(),
        }
    }

    /// Undoes all writes since `savepoint`. Reads, and what was used of limits, stay.
    pub fn rollback(&mut self, savepoint: Savepoint) {
        while self.undo.len() > savepoint.writes {
            if let Some(undo) = self.undo.pop() {
                undo.apply(self);
            }
        }
        self.catalog = savepoint.catalog;
        self.schema_failure = savepoint.schema_failure;
    }

    /// Bytes from the transaction's own generator.
    pub fn random_bytes(&mut self, bytes: &mut [u8]) {
        self.rng.fill_bytes(bytes);
    }

    /// A fresh internal id: random, and the day at its end.
    pub(crate) fn new_internal_id(&mut self) -> InternalId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes[..14]);
        bytes[14..].copy_from_slice(&self.day.to_be_bytes());
        InternalId(bytes)
    }

    /// Reads one document by id without counting it, its own write before the snapshot's.
    pub(crate) fn read(
        &mut self,
        table: &Arc<TableDef>,
        id: DocumentId,
    ) -> Result<Option<Versioned>, TxError> {
        let end = crate::cache::after(&id.internal.0);
        self.depend(table.by_id(), &id.internal.0, Some(&end))?;
        if let Some(staged) = self.writes.get(&(table.tablet, id.internal)) {
            let version = staged.old.as_ref().map_or(Timestamp::MIN, |(ts, _)| *ts);
            return Ok(staged.new.clone().map(|document| (version, document)));
        }
        self.snapshot.document(table.by_id(), id.internal)
    }

    /// Adds the keys from `start` to before `end` to the read set, and counts the interval where it
    /// is a new one of the user's.
    pub(crate) fn depend(
        &mut self,
        index: &IndexDef,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), TxError> {
        let before = self.reads.interval_count();
        self.reads.add_range(index.id, start, end);
        let user = index.tablet.0 >= system::FIRST_USER_TABLET;
        if user && self.reads.interval_count() > before {
            limits::count_interval(&mut self.usage, &self.limits)?;
        }
        Ok(())
    }

    pub(crate) fn depend_on_system(
        &mut self,
        table: &system::SystemTable,
        index: usize,
        interval: Interval,
    ) {
        self.reads.add(table.index(index), interval);
    }

    /// Depends on every document of a system table.
    pub(crate) fn depend_on_system_documents(&mut self, table: &system::SystemTable) {
        self.reads.add(IndexId::by_id(table.tablet()), Interval::all());
    }

    fn depend_on_name(&mut self, name: &TableName) {
        let prefix = key::encode_all([Some(&Value::from(name.to_string()))]);
        self.depend_on_system(&system::TABLES, 0, continuing(&prefix));
    }

    pub(crate) fn count_read(
        &mut self,
        index: &Arc<IndexDef>,
        bytes: usize,
    ) -> Result<(), TxError> {
        if index.tablet.0 < system::FIRST_USER_TABLET {
            return Ok(());
        }
        limits::count_read(&mut self.usage, &self.limits, bytes)
    }

    pub(crate) fn count_write(&mut self, bytes: usize) -> Result<(), TxError> {
        limits::count_write(&mut self.usage, &self.limits, bytes)
    }

    pub(crate) fn staged_keys(&self, index: IndexId) -> Option<&StagedKeys> {
        self.staged.get(&index)
    }

    /// Runs `check` with a view of the tables; every name it looks up becomes a dependency.
    pub fn with_tables<R>(&mut self, check: impl FnOnce(&dyn Tables) -> R) -> R {
        let view = TablesView {
            catalog: Arc::clone(&self.catalog),
            asked: std::cell::RefCell::new(Vec::new()),
        };
        let result = check(&view);
        for name in view.asked.into_inner() {
            match name {
                Some(name) => self.depend_on_name(&name),
                None => self.depend_on_system(&system::TABLES, 0, Interval::all()),
            }
        }
        result
    }
}

/// Tables by name and number, noting what was asked.
struct TablesView {
    catalog: Arc<Catalog>,
    /// Names that were asked for; `None` is a number that no table has.
    asked: std::cell::RefCell<Vec<Option<TableName>>>,
}

impl Tables for TablesView {
    fn number_of(&self, name: &TableName) -> Option<TableNumber> {
        let backing = system::VIRTUAL.iter().find(|(public, _)| *public == name.as_str());
        if let Some((_, backing)) = backing {
            return Some(backing.number());
        }
        self.asked.borrow_mut().push(Some(name.clone()));
        self.catalog.table(name).map(|table| table.number)
    }

    fn name_of(&self, number: TableNumber) -> Option<TableName> {
        let public = system::VIRTUAL.iter().find(|(_, backing)| backing.number() == number);
        if let Some((public, _)) = public {
            return Some(crate::catalog::static_name(public));
        }
        let name = self.catalog.name_of(number).cloned();
        self.asked.borrow_mut().push(name.clone());
        name
    }

    fn is_system(&self, number: TableNumber) -> bool {
        let public = system::VIRTUAL.iter().any(|(_, backing)| backing.number() == number);
        let table = self.catalog.name_of(number).and_then(|name| self.catalog.table(name));
        !public && table.is_some_and(|table| table.system)
    }
}
