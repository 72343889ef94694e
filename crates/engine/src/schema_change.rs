//! Changing the schema under traffic: tables and indexes appear, are filled, and one commit switches.
//!
//!     begin ──► step … step ──► finish
//!       │         │               └ one transaction: indexes enabled, schema active
//!       │         └ index entries of older documents; older documents against the new validators
//!       └ one transaction: missing tables, new indexes (written by every commit from now on), schema pending
//!
//! Entries of older documents are written as of the snapshot they were read at, so whatever a later
//! commit says about the same key stands above them. Nothing serves differently before `finish`.

use std::sync::Arc;

use store::{EntryWrite, IndexId, Order};
use value::schema::{IndexSchema, Schema, TableSchema};
use value::{DocumentId, FieldPath, IndexName, Interval, TableName, Timestamp};

use crate::catalog::{IndexDef, IndexRow, IndexState, SchemaState, TableDef, schema_row};
use crate::commit::Committed;
use crate::document::CREATION_TIME_FIELD;
use crate::engine::{AppendOutcome, Engine, Head};
use crate::error::{CommitError, EngineError, TxError};
use crate::heads::Fate;
use crate::system;
use crate::transaction::Transaction;
use crate::write::{check_fields, index_key};

/// Documents read in one step.
pub const STEP_DOCUMENTS: usize = 500;
/// How often a maintenance transaction runs again because of conflicts.
pub const ATTEMPTS_MAX: usize = 200;
/// The global that lists indexes whose entries are still to be removed.
const DROPPED_GLOBAL: &str = "dropped_indexes";

/// A schema on its way to be the active one.
pub struct SchemaChange {
    schema: Arc<Schema>,
    pending: Option<DocumentId>,
    work: Vec<Work>,
}

struct Work {
    table: Arc<TableDef>,
    indexes: Vec<Arc<IndexDef>>,
    validate: bool,
    /// Keeps the snapshot readable while its documents are read.
    snapshot: Transaction,
    rest: Interval,
}

/// Why a schema did not become the active one. What held before still holds.
#[derive(Debug, thiserror::Error)]
pub enum SchemaChangeError {
    /// A document does not fit. The text names table, document and field.
    #[error("{0}")]
    Mismatch(String),
    /// Another schema was pushed meanwhile.
    #[error("another schema was pushed meanwhile")]
    Overwritten,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<TxError> for SchemaChangeError {
    fn from(error: TxError) -> Self {
        Self::Engine(error.into())
    }
}

impl Engine {
    /// Makes `schema` the active one, all steps at once.
    ///
    /// Errors: a document that does not fit; the engine's.
    pub fn apply_schema(self: &Arc<Self>, schema: Schema) -> Result<(), SchemaChangeError> {
        let mut change = self.begin_schema_change(schema)?;
        while !self.step_schema_change(&mut change)? {}
        self.finish_schema_change(change, |_| Ok(()))
    }

    /// Announces a schema: creates what it names, and has new documents checked against it.
    /// A schema that was under way before is overwritten.
    pub fn begin_schema_change(
        self: &Arc<Self>,
        schema: Schema,
    ) -> Result<SchemaChange, SchemaChangeError> {
        let schema = Arc::new(schema);
        let (pending, _) = self.transact(|tx| announce(tx, &schema))?;
        let mut work = Vec::new();
        let probe = self.begin(Head::Durable);
        for (name, table) in &schema.tables {
            let Some(definition) = probe.catalog.table(name).cloned() else { continue };
            let unfinished = |index: &&Arc<IndexDef>| {
                index.state == IndexState::Backfilling && wanted(table, index).is_some()
            };
            let indexes: Vec<_> = definition.indexes.iter().filter(unfinished).cloned().collect();
            let validate = schema.validation
                && table.document.as_ref().is_some_and(|new| match &definition.validator {
                    Some(old) => !old.is_subset_of(new),
                    None => true,
                });
            if validate || !indexes.is_empty() {
                work.push(Work {
                    table: definition,
                    indexes,
                    validate,
                    snapshot: self.begin(Head::Durable),
                    rest: Interval::all(),
                });
            }
        }
        Ok(SchemaChange { schema, pending, work })
    }

    /// Does a part of the work. True: all is done, and `finish` may follow.
    pub fn step_schema_change(
        self: &Arc<Self>,
        change: &mut SchemaChange,
    ) -> Result<bool, SchemaChangeError> {
        let Some(work) = change.work.last_mut() else {
            return Ok(true);
        };
        if let Err(mismatch) = self.step(work, &change.schema)? {
            let (dropped, ts) =
                self.transact(|tx| end_pending(tx, change.pending, &change.schema, &mismatch))?;
            self.note_dropped(ts, &dropped);
            return Err(SchemaChangeError::Mismatch(mismatch));
        }
        if work.rest.is_empty() {
            let filled: Vec<_> = work.indexes.iter().filter_map(|index| index.document).collect();
            self.transact(|tx| {
                filled.iter().try_for_each(|id| set_state(tx, *id, IndexState::Backfilled, None))
            })?;
            change.work.pop();
        }
        Ok(change.work.is_empty())
    }

    /// Switches to the schema in one transaction, together with what `with` writes. Steps that were
    /// not done yet are done first.
    pub fn finish_schema_change(
        self: &Arc<Self>,
        mut change: SchemaChange,
        mut with: impl FnMut(&mut Transaction) -> Result<(), TxError>,
    ) -> Result<(), SchemaChangeError> {
        while !self.step_schema_change(&mut change)? {}
        let (outcome, ts) = self.transact(|tx| {
            let switched = switch(tx, &change)?;
            if switched.is_ok() {
                with(tx)?;
            }
            Ok(switched)
        })?;
        let dropped = outcome.map_err(|why| match why {
            Some(mismatch) => SchemaChangeError::Mismatch(mismatch),
            None => SchemaChangeError::Overwritten,
        })?;
        self.note_dropped(ts, &dropped);
        Ok(())
    }

    /// Runs a maintenance transaction until it is on disk.
    ///
    /// Errors: the body's; `Unavailable`; a conflict that does not end within [`ATTEMPTS_MAX`].
    pub fn transact<R>(
        self: &Arc<Self>,
        mut body: impl FnMut(&mut Transaction) -> Result<R, TxError>,
    ) -> Result<(R, Timestamp), EngineError> {
        let mut last = CommitError::Aborted;
        for _ in 0..ATTEMPTS_MAX {
            let mut tx = self.begin(Head::Applied);
            let result = body(&mut tx)?;
            match self.commit(&mut tx, None) {
                Ok(committed) => match self.until_durable(&committed)? {
                    true => return Ok((result, committed.ts)),
                    false => last = CommitError::Aborted,
                },
                Err(error @ CommitError::Unavailable(_)) => return Err(error.into()),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Appends until a commit is on disk. False: it was taken back.
    fn until_durable(&self, committed: &Committed) -> Result<bool, EngineError> {
        loop {
            match self.fate(committed) {
                Fate::Durable => return Ok(true),
                Fate::TakenBack => return Ok(false),
                Fate::Waiting => {}
            }
            if let AppendOutcome::Unavailable(why) = self.append_for_maintenance() {
                return Err(CommitError::Unavailable(why).into());
            }
        }
    }

    /// Indexes that nobody may read any more since `ts`: their entries go when no snapshot is older.
    /// They are gone whatever happens to this note; where it is lost with a crash, entries stay.
    fn note_dropped(&self, ts: Timestamp, dropped: &[IndexId]) {
        if dropped.is_empty() {
            return;
        }
        let mut waiting = self.dropped.lock();
        waiting.extend(dropped.iter().map(|index| (ts, *index)));
        if let Err(error) = self.save_dropped(&waiting) {
            tracing::error!(%error, "dropped indexes were not noted on disk");
        }
    }

    fn save_dropped(&self, waiting: &[(Timestamp, IndexId)]) -> Result<(), EngineError> {
        let bytes: Vec<u8> = waiting.iter().flat_map(|(_, index)| index.0.to_be_bytes()).collect();
        Ok(self.store.set_global(DROPPED_GLOBAL, &bytes)?)
    }

    /// Reads back which indexes were being dropped when the engine was last closed.
    pub(crate) fn load_dropped(
        store: &dyn store::Store,
        head: Timestamp,
    ) -> Result<Vec<(Timestamp, IndexId)>, EngineError> {
        let bytes = store.global(DROPPED_GLOBAL)?.unwrap_or_default();
        let ids = bytes.as_chunks::<4>().0.iter();
        Ok(ids.map(|id| (head, IndexId(u32::from_be_bytes(*id)))).collect())
    }

    /// Removes entries of dropped indexes. True: none are left.
    pub(crate) fn collect_dropped(
        &self,
        horizon: Timestamp,
        budget: usize,
    ) -> Result<bool, EngineError> {
        let mut waiting = self.dropped.lock();
        let Some((ts, index)) = waiting.first().copied() else { return Ok(true) };
        if ts > horizon {
            return Ok(true);
        }
        self.cache.forget(index);
        if self.store.drop_index(index, budget)?.done {
            waiting.remove(0);
            self.save_dropped(&waiting)?;
        }
        Ok(waiting.is_empty())
    }

    /// Reads the next documents of one table. `Err` inside: one that does not fit.
    fn step(
        &self,
        work: &mut Work,
        schema: &Schema,
    ) -> Result<Result<(), String>, SchemaChangeError> {
        let by_id = work.table.by_id();
        let snapshot = &work.snapshot.snapshot;
        // Past the cache: a long table must not push out what is being used.
        let at = snapshot.ts();
        let (rows, rest) =
            snapshot.read_store(by_id, &work.rest, Order::Asc, STEP_DOCUMENTS, at)?;
        let mut entries = Vec::new();
        for (_, _, document) in &rows {
            for index in &work.indexes {
                let key = index_key(index, document);
                let id = Some(document.id().internal);
                entries.push(EntryWrite { index: index.id, key, id });
            }
        }
        if !entries.is_empty() {
            self.store.backfill(at, &entries).map_err(EngineError::from)?;
        }
        work.rest = rest;
        let validator = schema.tables.get(&work.table.name).and_then(|t| t.document.as_ref());
        if let Some(validator) = validator.filter(|_| work.validate) {
            for (_, _, document) in &rows {
                let checked =
                    work.snapshot.with_tables(|tables| check_fields(validator, document, tables));
                if let Err(error) = checked {
                    return Ok(Err(format!(
                        "Document with ID \"{}\" in table \"{}\" does not match the schema: {error}",
                        document.id(),
                        work.table.name
                    )));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// The fields of an index as it is stored: those of the schema, then `_creationTime`.
fn stored_fields(fields: &[FieldPath]) -> Vec<FieldPath> {
    let mut fields = fields.to_vec();
    fields.push(crate::catalog::static_name(CREATION_TIME_FIELD));
    fields
}

/// The declaration of an index, if the schema has it.
fn wanted<'a>(table: &'a TableSchema, index: &IndexDef) -> Option<&'a IndexSchema> {
    let same = |want: &&IndexSchema| {
        want.name == index.name && stored_fields(&want.fields) == index.fields
    };
    table.indexes.iter().find(same)
}

fn is_built_in(index: &IndexDef) -> bool {
    index.name == IndexName::by_id() || index.name == IndexName::by_creation_time()
}

/// Creates tables and indexes that are missing, and makes the schema the pending one.
/// `None`: it is the active one already, and nothing has to be done for it.
pub(crate) fn announce(
    tx: &mut Transaction,
    schema: &Arc<Schema>,
) -> Result<Option<DocumentId>, TxError> {
    tx.depend_on_system_documents(&system::SCHEMAS);
    for (name, table) in &schema.tables {
        let definition = match tx.table(name) {
            Some(definition) => definition,
            None => tx.create_table(name)?,
        };
        for index in &table.indexes {
            let fields = stored_fields(&index.fields);
            let same =
                |i: &&Arc<IndexDef>| i.name == index.name && i.fields == fields && !is_built_in(i);
            if !definition.indexes.iter().any(|i| same(&i)) {
                // Only an empty table must stay as it is until this is committed.
                let empty = tx.count_unseen(&definition)? == 0 && tx.count(name)? == 0;
                let state = if empty { IndexState::Backfilled } else { IndexState::Backfilling };
                tx.create_index(
                    definition.tablet,
                    index.name.clone(),
                    fields,
                    state,
                    index.staged,
                )?;
            }
        }
    }
    for state in [SchemaState::Pending, SchemaState::Validated] {
        if let Some((id, old)) = tx.catalog.schema_in(state).map(|(id, s)| (id, Arc::clone(s))) {
            tx.replace(id, schema_row(SchemaState::Ended, &old, None))?;
        }
    }
    if tx.catalog.active_schema().is_some_and(|(_, active)| active == schema) {
        return Ok(None);
    }
    tx.insert_system(&system::SCHEMAS, schema_row(SchemaState::Pending, schema, None)).map(Some)
}

/// The push failed: its row says why, and what it built is given up. Gives the indexes that go.
fn end_pending(
    tx: &mut Transaction,
    pending: Option<DocumentId>,
    schema: &Schema,
    why: &str,
) -> Result<Vec<IndexId>, TxError> {
    let (Some(id), Some((current, _))) = (pending, tx.catalog.schema_in(SchemaState::Pending))
    else {
        return Ok(Vec::new());
    };
    if id != current {
        // Another push has taken over, with whatever it finds built.
        return Ok(Vec::new());
    }
    tx.replace(id, schema_row(SchemaState::Ended, schema, Some(why)))?;
    let active = tx.catalog.active_schema().map(|(_, active)| Arc::clone(active));
    let tables: Vec<_> = tx.catalog.tables().filter(|table| !table.system).cloned().collect();
    let mut dropped = Vec::new();
    for table in tables {
        let declared = active.as_ref().and_then(|active| active.tables.get(&table.name));
        let of_push = table.indexes.iter().filter(|index| {
            let kept = declared.and_then(|table| wanted(table, index)).is_some();
            index.state != IndexState::Enabled && !kept
        });
        for index in of_push {
            let Some(document) = index.document else { continue };
            dropped.push(index.id);
            tx.delete(document)?;
        }
    }
    Ok(dropped)
}

/// The switch. Inner error: the schema failed meanwhile, with the reason, or was overwritten.
fn switch(
    tx: &mut Transaction,
    change: &SchemaChange,
) -> Result<Result<Vec<IndexId>, Option<String>>, TxError> {
    tx.depend_on_system_documents(&system::SCHEMAS);
    if let Some(pending) = change.pending {
        let row = tx.get(pending)?;
        let body = row.as_ref().map(|row| row.body());
        let state = body.and_then(|body| body.get("state")).and_then(value::Value::as_str);
        if state != Some("pending") {
            let why = body.and_then(|body| body.get("error")).and_then(value::Value::as_str);
            return Ok(Err(why.map(str::to_owned)));
        }
        if let Some((old, schema)) = tx.catalog.active_schema().map(|(i, s)| (i, Arc::clone(s))) {
            tx.replace(old, schema_row(SchemaState::Ended, &schema, None))?;
        }
        tx.replace(pending, schema_row(SchemaState::Active, &change.schema, None))?;
    }
    let tables: Vec<_> = tx.catalog.tables().filter(|table| !table.system).cloned().collect();
    let mut dropped = Vec::new();
    for table in tables {
        switch_indexes(tx, &table, &change.schema, &mut dropped)?;
    }
    Ok(Ok(dropped))
}

fn switch_indexes(
    tx: &mut Transaction,
    table: &TableDef,
    schema: &Schema,
    dropped: &mut Vec<IndexId>,
) -> Result<(), TxError> {
    let declared = schema.tables.get::<TableName>(&table.name);
    for index in table.indexes.iter().filter(|index| !is_built_in(index)) {
        let Some(document) = index.document else { continue };
        match declared.and_then(|table| wanted(table, index)) {
            None => {
                dropped.push(index.id);
                tx.delete(document)?;
            }
            Some(want) => {
                let state = if want.staged { IndexState::Backfilled } else { IndexState::Enabled };
                if index.state != IndexState::Backfilling
                    && (index.state != state || index.staged != want.staged)
                {
                    set_state(tx, document, state, Some(want.staged))?;
                }
            }
        }
    }
    Ok(())
}

/// Rewrites the row of an index with another state.
fn set_state(
    tx: &mut Transaction,
    document: DocumentId,
    state: IndexState,
    staged: Option<bool>,
) -> Result<(), TxError> {
    let tables: Vec<_> = tx.catalog.tables().cloned().collect();
    let indexes = tables.iter().flat_map(|table| &table.indexes);
    let found = indexes.into_iter().find(|index| index.document == Some(document)).cloned();
    let Some(index) = found else { return Ok(()) };
    let row = IndexRow {
        tablet: index.tablet,
        index: index.id,
        name: index.name.clone(),
        fields: index.fields.clone(),
        state,
        staged: staged.unwrap_or(index.staged),
    };
    tx.replace(document, row.write())
}
