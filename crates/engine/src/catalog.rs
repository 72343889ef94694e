//! The catalog: which tables and indexes exist, and which schema holds, as of one timestamp.
//!
//! It is a view of the documents in `_tables`, `_index` and `_schemas`, rebuilt document by document
//! as they are written, so it can never disagree with them. System tables are compiled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::{IndexId, TabletId};
use value::schema::Schema;
use value::validator::Validator;
use value::{DocumentId, FieldPath, IndexName, Object, TableName, TableNumber, Value};

use crate::document::{CREATION_TIME_FIELD, Document};
use crate::system::{self, SystemTable};

/// What the keys of an index are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// The documents themselves; the key is the 16 bytes of the internal id.
    ById,
    /// Encoded fields, then the id as a string.
    Fields,
}

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Writes maintain it; older documents are still being added.
    Backfilling,
    /// Complete, not readable yet (or staged).
    Backfilled,
    /// Readable.
    Enabled,
}

/// One index of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexDef {
    /// Its id in the store.
    pub id: IndexId,
    /// The tablet whose documents it orders.
    pub tablet: TabletId,
    /// The table it belongs to.
    pub table: TableName,
    /// The number in the ids of its documents.
    pub number: TableNumber,
    /// Its name.
    pub name: IndexName,
    /// Fields of the key, `_creationTime` included, without the `_id` that ends every key.
    pub fields: Vec<FieldPath>,
    /// What its keys are.
    pub kind: IndexKind,
    /// How far it is.
    pub state: IndexState,
    /// Built and maintained, but not to be read.
    pub staged: bool,
    /// Its document in `_index`; none for built-in indexes of system tables.
    pub document: Option<DocumentId>,
}

/// One table.
#[derive(Clone, Debug)]
pub struct TableDef {
    /// Its name.
    pub name: TableName,
    /// The number in ids of its documents.
    pub number: TableNumber,
    /// Where its documents are.
    pub tablet: TabletId,
    /// Kept by the system: not counted in limits, not subject to a schema.
    pub system: bool,
    /// All indexes, `by_id` first.
    pub indexes: Vec<Arc<IndexDef>>,
    /// What the active schema demands of a document.
    pub validator: Option<Arc<Validator>>,
    /// What a schema that is being pushed demands.
    pub pending: Option<Arc<Validator>>,
    /// Its document in `_tables`; none for system tables.
    pub document: Option<DocumentId>,
}

impl TableDef {
    /// The index of this name, whatever its state; an enabled one before others.
    pub fn index(&self, name: &IndexName) -> Option<&Arc<IndexDef>> {
        let named = || self.indexes.iter().filter(|index| index.name == *name);
        named().find(|index| index.state == IndexState::Enabled).or_else(|| named().next())
    }

    /// The documents themselves, by id.
    pub fn by_id(&self) -> &Arc<IndexDef> {
        self.indexes.first().expect("every table has by_id first")
    }
}

/// Tables, indexes and schemas as of one timestamp. Cheap to share, copied when it changes.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    by_name: BTreeMap<TableName, Arc<TableDef>>,
    names: BTreeMap<TableNumber, TableName>,
    tablets: BTreeMap<TabletId, TableName>,
    index_documents: BTreeMap<DocumentId, (TabletId, IndexId)>,
    schemas: BTreeMap<DocumentId, (SchemaState, Arc<Schema>)>,
}

/// The state of a schema row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaState {
    /// Existing documents are being checked.
    Pending,
    /// All existing documents fit.
    Validated,
    /// It holds.
    Active,
    /// It did not fit, or another took its place.
    Ended,
}

impl Catalog {
    /// The catalog of an empty database: system tables alone.
    pub fn system() -> Self {
        let mut catalog = Self::default();
        for table in system::ALL {
            catalog.insert(system_table(table));
        }
        catalog
    }

    /// The table of this name.
    pub fn table(&self, name: &TableName) -> Option<&Arc<TableDef>> {
        self.by_name.get(name)
    }

    /// The name of the table whose ids carry `number`.
    pub fn name_of(&self, number: TableNumber) -> Option<&TableName> {
        self.names.get(&number)
    }

    /// The table whose documents are in `tablet`.
    pub fn tablet(&self, tablet: TabletId) -> Option<&Arc<TableDef>> {
        self.tablets.get(&tablet).and_then(|name| self.by_name.get(name))
    }

    /// All tables in the order of their names, system tables included.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.by_name.values()
    }

    /// The table that has the index, for texts.
    pub(crate) fn table_of_index(&self, index: IndexId) -> Option<&TableName> {
        if let Some(tablet) = index.as_by_id() {
            return self.tablets.get(&tablet);
        }
        self.by_name
            .values()
            .find(|table| table.indexes.iter().any(|i| i.id == index))
            .map(|table| &table.name)
    }

    /// The schema that holds, if one was ever pushed.
    pub fn active_schema(&self) -> Option<(DocumentId, &Arc<Schema>)> {
        self.schema_in(SchemaState::Active)
    }

    pub(crate) fn schema_in(&self, state: SchemaState) -> Option<(DocumentId, &Arc<Schema>)> {
        self.schemas.iter().find(|(_, (s, _))| *s == state).map(|(id, (_, schema))| (*id, schema))
    }

    /// Takes over the change of one document of a catalog table; others are ignored.
    /// Errors: a document that is not what the engine writes there.
    pub(crate) fn apply(
        &mut self,
        tablet: TabletId,
        id: DocumentId,
        old: Option<&Document>,
        new: Option<&Document>,
    ) -> Result<(), String> {
        if tablet == system::TABLES.tablet() {
            self.apply_table(id, old, new)
        } else if tablet == system::INDEX.tablet() {
            self.apply_index(id, new)
        } else if tablet == system::SCHEMAS.tablet() {
            self.apply_schema(id, new)
        } else {
            Ok(())
        }
    }

    /// Whether documents of `tablet` make up the catalog.
    pub(crate) fn is_made_of(tablet: TabletId) -> bool {
        [system::TABLES.tablet(), system::INDEX.tablet(), system::SCHEMAS.tablet()]
            .contains(&tablet)
    }

    fn insert(&mut self, table: TableDef) {
        self.names.insert(table.number, table.name.clone());
        self.tablets.insert(table.tablet, table.name.clone());
        self.by_name.insert(table.name.clone(), Arc::new(table));
    }

    fn apply_table(
        &mut self,
        id: DocumentId,
        old: Option<&Document>,
        new: Option<&Document>,
    ) -> Result<(), String> {
        if let Some(old) = old {
            let row = TableRow::read(old.body())?;
            self.names.remove(&row.number);
            self.tablets.remove(&row.tablet);
            self.by_name.remove(&row.name);
        }
        if let Some(new) = new {
            let row = TableRow::read(new.body())?;
            let mut table = user_table(row, id);
            (table.validator, table.pending) = self.validators().of(&table.name);
            self.insert(table);
        }
        Ok(())
    }

    fn apply_index(&mut self, id: DocumentId, new: Option<&Document>) -> Result<(), String> {
        if let Some((tablet, index)) = self.index_documents.remove(&id)
            && let Some(table) = self.table_mut(tablet)
        {
            table.indexes.retain(|i| i.id != index);
        }
        if let Some(new) = new {
            let row = IndexRow::read(new.body())?;
            let tablet = row.tablet;
            let index_id = row.index;
            if let Some(table) = self.table_mut(tablet) {
                let index = row.definition(table, id);
                table.indexes.push(Arc::new(index));
            }
            self.index_documents.insert(id, (tablet, index_id));
        }
        Ok(())
    }

    fn apply_schema(&mut self, id: DocumentId, new: Option<&Document>) -> Result<(), String> {
        self.schemas.remove(&id);
        if let Some(new) = new {
            let (state, schema) = read_schema(new.body())?;
            if state != SchemaState::Ended {
                self.schemas.insert(id, (state, Arc::new(schema)));
            }
        }
        self.assign_validators();
        Ok(())
    }

    fn validators(&self) -> Validators {
        let of = |schema: Option<(DocumentId, &Arc<Schema>)>| schema.map(|(_, s)| Arc::clone(s));
        let pending = self.schema_in(SchemaState::Pending);
        Validators {
            active: of(self.schema_in(SchemaState::Active)),
            pending: of(pending.or_else(|| self.schema_in(SchemaState::Validated))),
        }
    }

    /// Gives every user table the validators of the schemas that concern it.
    fn assign_validators(&mut self) {
        let validators = self.validators();
        for table in self.by_name.values_mut().filter(|table| !table.system) {
            let (now, next) = validators.of(&table.name);
            if table.validator != now || table.pending != next {
                let table = Arc::make_mut(table);
                table.validator = now;
                table.pending = next;
            }
        }
    }

    fn table_mut(&mut self, tablet: TabletId) -> Option<&mut TableDef> {
        let name = self.tablets.get(&tablet)?;
        self.by_name.get_mut(name).map(Arc::make_mut)
    }
}

/// The schemas whose validators concern writes.
struct Validators {
    active: Option<Arc<Schema>>,
    pending: Option<Arc<Schema>>,
}

impl Validators {
    /// What the active and the pending schema demand of the documents of a table.
    fn of(&self, table: &TableName) -> (Option<Arc<Validator>>, Option<Arc<Validator>>) {
        let find = |schema: &Option<Arc<Schema>>| -> Option<Arc<Validator>> {
            let schema = schema.as_ref().filter(|schema| schema.validation)?;
            schema.tables.get(table)?.document.clone().map(Arc::new)
        };
        (find(&self.active), find(&self.pending))
    }
}

/// The content of a document in `_tables`.
pub(crate) struct TableRow {
    pub(crate) name: TableName,
    pub(crate) number: TableNumber,
    pub(crate) tablet: TabletId,
}

impl TableRow {
    pub(crate) fn write(&self) -> Object {
        value::object! {
            "name" => self.name.to_string(),
            "number" => i64::from(self.number.0),
            "tablet" => i64::from(self.tablet.0),
            "state" => "active",
        }
    }

    fn read(body: &Object) -> Result<Self, String> {
        Ok(Self {
            name: parse_name(body, "name")?,
            number: TableNumber(integer(body, "number")?),
            tablet: TabletId(integer(body, "tablet")?),
        })
    }
}

/// The content of a document in `_index`.
pub(crate) struct IndexRow {
    pub(crate) tablet: TabletId,
    pub(crate) index: IndexId,
    pub(crate) name: IndexName,
    pub(crate) fields: Vec<FieldPath>,
    pub(crate) state: IndexState,
    pub(crate) staged: bool,
}

impl IndexRow {
    pub(crate) fn write(&self) -> Object {
        let state = match self.state {
            IndexState::Backfilling => "Backfilling",
            IndexState::Backfilled => "Backfilled2",
            IndexState::Enabled => "Enabled",
        };
        let fields: Vec<Value> = self.fields.iter().map(|f| Value::from(f.to_string())).collect();
        value::object! {
            "table_id" => i64::from(self.tablet.0),
            "index_id" => i64::from(self.index.0),
            "descriptor" => self.name.to_string(),
            "config" => value::object! {
                "type" => "database",
                "fields" => fields,
                "staged" => self.staged,
                "onDiskState" => value::object! { "type" => state },
            },
        }
    }

    fn read(body: &Object) -> Result<Self, String> {
        let config = body.get("config").and_then(Value::as_object).ok_or("no config")?;
        let state = config.get("onDiskState").and_then(Value::as_object);
        let state = match state.and_then(|s| s.get("type")).and_then(Value::as_str) {
            Some("Backfilling") => IndexState::Backfilling,
            Some("Backfilled2") => IndexState::Backfilled,
            Some("Enabled") => IndexState::Enabled,
            Some(other) => return Err(format!("unknown index state {other}")),
            None => return Err("no index state".to_owned()),
        };
        let fields = config.get("fields").and_then(Value::as_array).ok_or("no fields")?;
        let fields = fields
            .iter()
            .map(|f| f.as_str().ok_or("field name")?.parse().map_err(|_| "field name"))
            .collect::<Result<Vec<FieldPath>, &str>>()?;
        Ok(Self {
            tablet: TabletId(integer(body, "table_id")?),
            index: IndexId(integer(body, "index_id")?),
            name: parse_name(body, "descriptor")?,
            fields,
            state,
            staged: config.get("staged").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    fn definition(self, table: &TableDef, document: DocumentId) -> IndexDef {
        IndexDef {
            id: self.index,
            tablet: table.tablet,
            table: table.name.clone(),
            number: table.number,
            name: self.name,
            fields: self.fields,
            kind: IndexKind::Fields,
            state: self.state,
            staged: self.staged,
            document: Some(document),
        }
    }
}

/// The content of a document in `_schemas`.
pub(crate) fn schema_row(state: SchemaState, schema: &Schema, error: Option<&str>) -> Object {
    let name = match state {
        SchemaState::Pending => "pending",
        SchemaState::Validated => "validated",
        SchemaState::Active => "active",
        SchemaState::Ended if error.is_some() => "failed",
        SchemaState::Ended => "overwritten",
    };
    let mut row = value::object! { "state" => name };
    if let Some(error) = error {
        row.insert("error".to_owned(), Value::from(error));
    }
    if state != SchemaState::Ended {
        row.insert("schema".to_owned(), Value::from(schema.to_json().to_string()));
    }
    row
}

fn read_schema(body: &Object) -> Result<(SchemaState, Schema), String> {
    let state = match body.get("state").and_then(Value::as_str) {
        Some("pending") => SchemaState::Pending,
        Some("validated") => SchemaState::Validated,
        Some("active") => SchemaState::Active,
        Some("failed" | "overwritten") => return Ok((SchemaState::Ended, Schema::default())),
        Some(other) => return Err(format!("unknown schema state {other}")),
        None => return Err("no schema state".to_owned()),
    };
    let text = body.get("schema").and_then(Value::as_str).ok_or("no schema")?;
    let schema = Schema::from_json(text).map_err(|e| e.message)?;
    Ok((state, schema))
}

fn integer(body: &Object, field: &str) -> Result<u32, String> {
    let number = body.get(field).and_then(Value::as_i64);
    number.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| format!("no number in {field}"))
}

fn parse_name<N: std::str::FromStr>(body: &Object, field: &str) -> Result<N, String> {
    let text = body.get(field).and_then(Value::as_str);
    text.and_then(|t| t.parse().ok()).ok_or_else(|| format!("no name in {field}"))
}

fn by_id(name: &TableName, number: TableNumber, tablet: TabletId) -> Arc<IndexDef> {
    Arc::new(IndexDef {
        id: IndexId::by_id(tablet),
        tablet,
        table: name.clone(),
        number,
        name: static_name("by_id"),
        fields: Vec::new(),
        kind: IndexKind::ById,
        state: IndexState::Enabled,
        staged: false,
        document: None,
    })
}

fn user_table(row: TableRow, id: DocumentId) -> TableDef {
    TableDef {
        indexes: vec![by_id(&row.name, row.number, row.tablet)],
        name: row.name,
        number: row.number,
        tablet: row.tablet,
        system: false,
        validator: None,
        pending: None,
        document: Some(id),
    }
}

fn system_table(table: &SystemTable) -> TableDef {
    let name: TableName = static_name(table.name);
    let mut indexes = vec![by_id(&name, table.number(), table.tablet())];
    for (position, (index, fields)) in table.indexes.iter().enumerate() {
        indexes.push(Arc::new(IndexDef {
            id: table.index(position),
            tablet: table.tablet(),
            table: name.clone(),
            number: table.number(),
            name: static_name(index),
            fields: fields.iter().map(|field| static_name(field)).collect(),
            kind: IndexKind::Fields,
            state: IndexState::Enabled,
            staged: false,
            document: None,
        }));
    }
    TableDef {
        name,
        number: table.number(),
        tablet: table.tablet(),
        system: true,
        indexes,
        validator: None,
        pending: None,
        document: None,
    }
}

/// A name that is written in this crate.
pub(crate) fn static_name<N: std::str::FromStr>(name: &str) -> N {
    let parsed = name.parse().ok();
    parsed.expect("names in the code are well formed")
}

/// The fields of the index that keeps creation order.
pub(crate) fn creation_time_fields() -> Vec<FieldPath> {
    vec![static_name(CREATION_TIME_FIELD)]
}
