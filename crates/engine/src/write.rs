//! What a transaction stages: inserts, patches, replacements, deletions, and tables that appear.
//!
//! Several writes to one document collapse into one. A write that changes nothing stages nothing: it
//! conflicts with nobody and wakes nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::{IndexId, TabletId};
use value::{DocumentId, IndexName, InternalId, Object, TableName, TableNumber, Value};

use crate::catalog::{
    Catalog, IndexDef, IndexKind, IndexRow, IndexState, TableDef, TableRow, creation_time_fields,
    static_name,
};
use crate::document::{CREATION_TIME_FIELD, Document, ID_FIELD};
use crate::error::TxError;
use crate::range::{continuing, key_of};
use crate::scan::Versioned;
use crate::system::{self, SystemTable};
use crate::transaction::Transaction;
use crate::write_log::{IndexWrite, WriteKind};

/// The one document in `_db`: its internal id.
const COUNTERS: InternalId = InternalId([0; 16]);

/// One document of a transaction: as committed, and as it shall be.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) old: Option<Versioned>,
    pub(crate) new: Option<Arc<Document>>,
}

impl Staged {
    /// By how much it changes the number of documents.
    pub(crate) fn count_change(&self) -> i64 {
        i64::from(self.new.is_some()) - i64::from(self.old.is_some())
    }

    /// Whether it leaves the document as it was.
    pub(crate) fn is_idle(&self) -> bool {
        match (&self.old, &self.new) {
            (None, None) => true,
            (Some((_, old)), Some(new)) => old.body() == new.body(),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// A key of an index with what was staged there before; `None` is nothing.
type StagedKey = (IndexId, Arc<[u8]>, Option<Option<Arc<Document>>>);

/// How to take one write back.
pub(crate) struct Undo {
    document: ((TabletId, InternalId), Option<Staged>),
    keys: Vec<StagedKey>,
}

impl Undo {
    pub(crate) fn apply(self, tx: &mut Transaction) {
        for (index, key, before) in self.keys.into_iter().rev() {
            let staged = tx.staged.entry(index).or_default();
            match before {
                Some(document) => staged.insert(key, document),
                None => staged.remove(&key),
            };
        }
        let (at, before) = self.document;
        match before {
            Some(staged) => tx.writes.insert(at, staged),
            None => tx.writes.remove(&at),
        };
    }
}

impl Transaction {
    /// Inserts a document; its table is created when it is the first.
    ///
    /// Errors: `InvalidTableName`, `InvalidIdError`, `InvalidCreationTimeError`,
    /// `InvalidDocumentError`, `ValueTooLargeError`, `SchemaEnforcementError`, limits of writing.
    pub fn insert(&mut self, table: &TableName, body: Object) -> Result<DocumentId, TxError> {
        let table = match self.table(table) {
            Some(table) => table,
            None => self.create_table(table)?,
        };
        let internal = self.new_internal_id();
        self.insert_into(&table, internal, body)
    }

    /// Inserts a document into a system table.
    pub fn insert_system(
        &mut self,
        table: &SystemTable,
        body: Object,
    ) -> Result<DocumentId, TxError> {
        let table = self.system_table(table);
        let internal = self.new_internal_id();
        self.insert_into(&table, internal, body)
    }

    /// Inserts a document into a system table under an id that the caller made.
    pub fn insert_system_with_id(
        &mut self,
        table: &SystemTable,
        internal: InternalId,
        body: Object,
    ) -> Result<DocumentId, TxError> {
        let table = self.system_table(table);
        self.insert_into(&table, internal, body)
    }

    /// Merges `fields` into a document at its top level; `None` removes a field.
    ///
    /// Errors: `NonexistentDocument`, and those of [`Transaction::insert`].
    pub fn patch(
        &mut self,
        id: DocumentId,
        fields: BTreeMap<String, Option<Value>>,
    ) -> Result<(), TxError> {
        let (table, old) = self.existing(id, "Update")?;
        let mut body = old.1.body().clone();
        for (name, value) in fields {
            let system = name == ID_FIELD || name == CREATION_TIME_FIELD;
            match value {
                Some(value) => {
                    body.insert(name, value);
                }
                None if system => {}
                None => {
                    body.remove(&name);
                }
            }
        }
        self.put(&table, id, &old, body)
    }

    /// Replaces a document; `_id` and `_creationTime` are kept.
    ///
    /// Errors: as [`Transaction::patch`].
    pub fn replace(&mut self, id: DocumentId, mut body: Object) -> Result<(), TxError> {
        let (table, old) = self.existing(id, "Replace")?;
        for field in [ID_FIELD, CREATION_TIME_FIELD] {
            if !body.contains_key(field)
                && let Some(value) = old.1.body().get(field)
            {
                body.insert(field.to_owned(), value.clone());
            }
        }
        self.put(&table, id, &old, body)
    }

    /// Deletes a document. Errors: `NonexistentDocument`, limits of writing.
    pub fn delete(&mut self, id: DocumentId) -> Result<(), TxError> {
        let (table, old) = self.existing(id, "Delete")?;
        if !table.system {
            self.count_write(old.1.size())?;
        }
        self.stage(&table, id.internal, Some(&old), None);
        Ok(())
    }

    fn existing(
        &mut self,
        id: DocumentId,
        verb: &str,
    ) -> Result<(Arc<TableDef>, Versioned), TxError> {
        let missing = || {
            TxError::developer(
                "NonexistentDocument",
                format!("{verb} on nonexistent document ID {id}"),
            )
        };
        let table = self.table_of(id.table).ok_or_else(missing)?;
        let found = self.read(&table, id)?.ok_or_else(missing)?;
        Ok((table, found))
    }

    fn insert_into(
        &mut self,
        table: &Arc<TableDef>,
        internal: InternalId,
        mut body: Object,
    ) -> Result<DocumentId, TxError> {
        let id = DocumentId { table: table.number, internal };
        if body.contains_key(ID_FIELD) {
            return Err(TxError::developer(
                "InvalidIdError",
                format!("Document to insert into table \"{}\" has an `_id` already", table.name),
            ));
        }
        if body.contains_key(CREATION_TIME_FIELD) {
            return Err(creation_time_error(&table.name));
        }
        let creation_time = self.next_creation_time;
        body.insert(ID_FIELD.to_owned(), Value::from(id.to_string()));
        body.insert(CREATION_TIME_FIELD.to_owned(), Value::Float64(creation_time));
        // The id is new, but an import may have taken it. Nobody asked to read, so it is not counted.
        self.reads.add(table.by_id().id, value::Interval::point(&internal.0));
        let document = self.checked(table, id, body)?;
        self.next_creation_time = creation_time.next_up();
        self.stage(table, internal, None, Some(document));
        Ok(id)
    }

    fn put(
        &mut self,
        table: &Arc<TableDef>,
        id: DocumentId,
        old: &Versioned,
        body: Object,
    ) -> Result<(), TxError> {
        let before = old.1.body();
        if body == *before {
            return Ok(());
        }
        if body.get(ID_FIELD) != before.get(ID_FIELD) {
            return Err(TxError::developer(
                "InvalidIdError",
                format!("Document {id} in table \"{}\" cannot get another `_id`", table.name),
            ));
        }
        if body.get(CREATION_TIME_FIELD) != before.get(CREATION_TIME_FIELD) {
            return Err(creation_time_error(&table.name));
        }
        let document = self.checked(table, id, body)?;
        self.stage(table, id.internal, Some(old), Some(document));
        Ok(())
    }

    /// A document that may be stored, counted as written.
    fn checked(
        &mut self,
        table: &Arc<TableDef>,
        id: DocumentId,
        body: Object,
    ) -> Result<Arc<Document>, TxError> {
        if table.system {
            return Ok(Arc::new(Document::new(id, body)));
        }
        value::limits::check_document(&body).map_err(|e| TxError::developer(e.code, e.message))?;
        let document = Arc::new(Document::new(id, body));
        self.count_write(document.size())?;
        self.enforce_schema(table, &document)?;
        Ok(document)
    }

    fn enforce_schema(
        &mut self,
        table: &Arc<TableDef>,
        document: &Document,
    ) -> Result<(), TxError> {
        self.depend_on_system_documents(&system::SCHEMAS);
        if let Some(validator) = &table.validator {
            let checked = self.with_tables(|tables| check_fields(validator, document, tables));
            checked.map_err(|error| {
                TxError::developer(
                    "SchemaEnforcementError",
                    format!(
                        "Failed to insert or update a document in table \"{}\" because it does not match the schema: {error}",
                        table.name
                    ),
                )
            })?;
        }
        if let Some(pending) = &table.pending
            && let Err(error) = self.with_tables(|tables| check_fields(pending, document, tables))
        {
            self.schema_failure = Some(format!(
                "New document in table \"{}\" does not match the schema: {error}",
                table.name
            ));
        }
        Ok(())
    }

    /// Stages one change of one document in the overlay of every index of its table. `old` is what
    /// `read` gave: the version of the snapshot, or what this transaction made of it.
    fn stage(
        &mut self,
        table: &Arc<TableDef>,
        internal: InternalId,
        old: Option<&Versioned>,
        new: Option<Arc<Document>>,
    ) {
        if !table.system {
            // Which indexes a table has decides what a write must maintain.
            let prefix = value::key::encode_all([Some(&Value::Int64(i64::from(table.tablet.0)))]);
            self.depend_on_system(&system::INDEX, 0, continuing(&prefix));
        }
        let mut keys: Vec<StagedKey> = Vec::new();
        for index in &table.indexes {
            let old_key = old.map(|(_, document)| index_key(index, document));
            let new_key = new.as_ref().map(|document| index_key(index, document));
            let staged = self.staged.entry(index.id).or_default();
            if let Some(old_key) = old_key.filter(|key| Some(key) != new_key.as_ref()) {
                let before = staged.insert(Arc::clone(&old_key), None);
                keys.push((index.id, old_key, before));
            }
            if let Some(new_key) = new_key {
                let before = staged.insert(Arc::clone(&new_key), new.clone());
                keys.push((index.id, new_key, before));
            }
        }
        let at = (table.tablet, internal);
        let before = self.writes.get(&at).cloned();
        let committed = match &before {
            Some(staged) => staged.old.clone(),
            None => old.cloned(),
        };
        let staged = Staged { old: committed, new };
        if Catalog::is_made_of(table.tablet) {
            let old = old.map(|(_, document)| document);
            self.apply_to_catalog(table, internal, old, staged.new.as_ref());
        }
        self.writes.insert(at, staged);
        self.undo.push(Undo { document: (at, before), keys });
    }

    fn apply_to_catalog(
        &mut self,
        table: &Arc<TableDef>,
        internal: InternalId,
        old: Option<&Arc<Document>>,
        new: Option<&Arc<Document>>,
    ) {
        let id = DocumentId { table: table.number, internal };
        let catalog = Arc::make_mut(&mut self.catalog);
        let applied =
            catalog.apply(table.tablet, id, old.map(AsRef::as_ref), new.map(AsRef::as_ref));
        debug_assert!(applied.is_ok(), "the engine writes catalog rows it can read");
    }

    /// Creates a user table with its built-in indexes.
    ///
    /// Errors: `InvalidTableName` for a system name, `TooManyTables`.
    pub fn create_table(&mut self, name: &TableName) -> Result<Arc<TableDef>, TxError> {
        if name.is_system() {
            return Err(TxError::developer(
                "InvalidTableName",
                format!("Table name \"{name}\" is reserved for the system"),
            ));
        }
        // Numbers are unique, so whoever takes one depends on all of them.
        self.depend_on_system(&system::TABLES, 0, value::Interval::all());
        let user: Vec<u32> = self
            .catalog
            .tables()
            .filter(|table| !table.system)
            .map(|table| table.number.0)
            .collect();
        if user.len() >= system::USER_TABLES_MAX {
            return Err(TxError::developer(
                "TooManyTables",
                format!("Too many tables (limit: {})", system::USER_TABLES_MAX),
            ));
        }
        let taken: std::collections::BTreeSet<u32> = user.into_iter().collect();
        let number = (system::FIRST_USER_TABLE_NUMBER..=u32::MAX)
            .find(|number| !taken.contains(number))
            .map(TableNumber)
            .expect("there are more numbers than tables");
        let tablet = TabletId(self.take_counter("nextTablet", system::FIRST_USER_TABLET)?);
        let row = TableRow { name: name.clone(), number, tablet };
        self.insert_system(&system::TABLES, row.write())?;
        self.create_index(
            tablet,
            static_name("by_creation_time"),
            creation_time_fields(),
            IndexState::Enabled,
            false,
        )?;
        let created = self.catalog.table(name).cloned();
        Ok(created.expect("the row was just applied to the catalog"))
    }

    /// Adds an index to a table; its keys are written by every commit from then on.
    pub(crate) fn create_index(
        &mut self,
        tablet: TabletId,
        name: IndexName,
        fields: Vec<value::FieldPath>,
        state: IndexState,
        staged: bool,
    ) -> Result<IndexId, TxError> {
        let index = IndexId(self.take_counter("nextIndex", system::FIRST_USER_INDEX)?);
        let row = IndexRow { tablet, index, name, fields, state, staged };
        self.insert_system(&system::INDEX, row.write())?;
        Ok(index)
    }

    /// Takes the next number of a counter that never steps back.
    fn take_counter(&mut self, name: &str, first: u32) -> Result<u32, TxError> {
        let table = self.system_table(&system::GLOBALS);
        let id = DocumentId { table: table.number, internal: COUNTERS };
        let current = self.read(&table, id)?;
        let next = current
            .as_ref()
            .and_then(|(_, document)| document.body().get(name))
            .and_then(Value::as_i64)
            .and_then(|next| u32::try_from(next).ok())
            .unwrap_or(first);
        let after = Value::Int64(i64::from(next) + 1);
        match current {
            Some(_) => self.patch(id, BTreeMap::from([(name.to_owned(), Some(after))]))?,
            None => {
                let body = Object::from_iter([(name.to_owned(), after)]);
                self.insert_system_with_id(&system::GLOBALS, COUNTERS, body)?;
            }
        }
        Ok(next)
    }

    /// Every key that the staged writes change, in every index of their tables.
    pub(crate) fn index_writes(&self) -> Vec<IndexWrite> {
        let mut writes = Vec::new();
        for ((tablet, _), staged) in self.writes.iter().filter(|(_, staged)| !staged.is_idle()) {
            let Some(table) = self.catalog.tablet(*tablet) else { continue };
            for index in &table.indexes {
                push_writes(index, staged, &mut writes);
            }
        }
        writes
    }
}

fn push_writes(index: &IndexDef, staged: &Staged, writes: &mut Vec<IndexWrite>) {
    let old = staged.old.as_ref().map(|(_, document)| index_key(index, document));
    let new = staged.new.as_ref().map(|document| index_key(index, document));
    let mut push = |key: Arc<[u8]>, kind, document: Option<&Arc<Document>>| {
        writes.push(IndexWrite { index: index.id, key, kind, document: document.cloned() });
    };
    match (old, new) {
        (Some(old), Some(new)) if old == new => {
            push(new, WriteKind::Changed, staged.new.as_ref());
        }
        (old, new) => {
            if let Some(old) = old {
                push(old, WriteKind::Vanished, None);
            }
            if let Some(new) = new {
                push(new, WriteKind::Appeared, staged.new.as_ref());
            }
        }
    }
}

/// The key of a document in an index.
pub(crate) fn index_key(index: &IndexDef, document: &Document) -> Arc<[u8]> {
    match index.kind {
        IndexKind::ById => Arc::from(document.id().internal.0.as_slice()),
        IndexKind::Fields => Arc::from(key_of(&index.fields, document.body())),
    }
}

/// Checks a document without its system fields, which no schema names.
pub(crate) fn check_fields(
    validator: &value::validator::Validator,
    document: &Document,
    tables: &dyn value::validator::Tables,
) -> Result<(), value::validator::ValidationError> {
    let mut body = document.body().clone();
    body.remove(ID_FIELD);
    body.remove(CREATION_TIME_FIELD);
    validator.check(&Value::Object(body), tables)
}

fn creation_time_error(table: &TableName) -> TxError {
    TxError::developer(
        "InvalidCreationTimeError",
        format!("Document in table \"{table}\" cannot get a `_creationTime` of its own"),
    )
}
