//! `ctx.db()`: the database as a function sees it.
//!
//! Reads see the snapshot and what the function itself wrote. Limits are counted below, in the
//! transaction. Source: spec/data-model.md 13.3, 16.

use std::ops::Deref;

use engine::{Document, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use value::{DocumentId, Object, TableName, object};

use crate::call::Frame;
use crate::document::{AnyDocument, Doc, FromDocument, Id, Reference};
use crate::error::{Error, Result};
use crate::patch::Patch;
use crate::plan::{QueryPlan, refuse_system_table};
use crate::query::{Query, to_value};
use crate::shape::Table;

/// Reads.
#[derive(Clone, Copy)]
pub struct DatabaseReader<'a> {
    pub(crate) frame: &'a Frame<'a>,
}

/// Reads and writes.
#[derive(Clone, Copy)]
pub struct DatabaseWriter<'a> {
    pub(crate) reader: DatabaseReader<'a>,
}

/// Reads of the system tables that functions may see.
#[derive(Clone, Copy)]
pub struct SystemReader<'a> {
    frame: &'a Frame<'a>,
}

impl<'a> DatabaseReader<'a> {
    /// The document of an id; None: there is none (any more).
    ///
    /// Errors: `InvalidArgument` for an id of another table, `SystemTableError`, limits.
    pub fn get<R: Reference>(&self, id: R) -> Result<Option<R::Document>> {
        let document = self.frame.call.with(|tx| {
            if !table_fits(tx, &id, "db.get")? {
                return Ok(None);
            }
            Ok::<_, Error>(tx.get(id.document_id())?)
        })?;
        document.map(R::Document::from_document).transpose()
    }

    /// The documents of a table with a Rust type.
    pub fn query<T: Table + DeserializeOwned>(&self) -> Query<'a, Doc<T>> {
        Query::new(self.frame, T::NAME, false)
    }

    /// The documents of a table by name.
    pub fn query_table(&self, table: &str) -> Query<'a, AnyDocument> {
        Query::new(self.frame, table, false)
    }

    /// The documents of a query that is data already.
    pub fn query_plan(&self, plan: QueryPlan) -> Query<'a, AnyDocument> {
        Query::from_plan(self.frame, plan)
    }

    /// The name of the table of an id; None: no such table, or one of the system.
    pub fn table_of(&self, id: DocumentId) -> Option<TableName> {
        let table = self.frame.call.with(|tx| tx.table_of(id.table));
        table.map(|table| table.name.clone()).filter(|name| !name.is_system())
    }

    /// The id in `text`, if it is one of the table `T`. Whether the document exists is not asked.
    pub fn normalize_id<T: Table>(&self, text: &str) -> Option<Id<T>> {
        self.normalize_table_id(T::NAME, text).map(Id::from_document_id)
    }

    /// The id in `text`, if it is one of the table.
    pub fn normalize_table_id(&self, table: &str, text: &str) -> Option<DocumentId> {
        let id: DocumentId = text.parse().ok()?;
        let name = TableName::new(table).ok()?;
        let number = self.frame.call.with(|tx| {
            tx.with_tables(|tables| {
                tables.number_of(&name).filter(|number| !tables.is_system(*number))
            })
        });
        (number == Some(id.table)).then_some(id)
    }

    /// System tables.
    pub fn system(&self) -> SystemReader<'a> {
        SystemReader { frame: self.frame }
    }
}

impl<'a> SystemReader<'a> {
    /// A document of a system table, such as a scheduled function.
    ///
    /// Errors: `SystemTableError` for an id of a user table.
    pub fn get<R: Reference>(&self, id: R) -> Result<Option<R::Document>> {
        let id = id.document_id();
        let backing =
            engine::system::VIRTUAL.iter().find(|(_, backing)| backing.number() == id.table);
        let Some((public, _)) = backing else {
            return Err(Error::coded("SystemTableError", format!("{id} is not of a system table")));
        };
        let query = Query::<R::Document>::new(self.frame, public, true);
        query.with_index("by_id", |q| q.eq("_id", id.to_string())).first()
    }

    /// The documents of a system table with a Rust type.
    pub fn query<T: Table + DeserializeOwned>(&self) -> Query<'a, Doc<T>> {
        Query::new(self.frame, T::NAME, true)
    }

    /// The documents of a system table by name.
    pub fn query_table(&self, table: &str) -> Query<'a, AnyDocument> {
        Query::new(self.frame, table, true)
    }
}

impl<'a> Deref for DatabaseWriter<'a> {
    type Target = DatabaseReader<'a>;

    fn deref(&self) -> &DatabaseReader<'a> {
        &self.reader
    }
}

impl DatabaseWriter<'_> {
    /// Inserts a document; gives its new id.
    ///
    /// Errors: `SchemaEnforcementError`, limits of documents and of writing.
    pub fn insert<T: Table + Serialize>(&self, document: T) -> Result<Id<T>> {
        let body = to_value(&document)?;
        let body = body.into_object().map_err(|_| {
            Error::coded("InvalidDocumentError", format!("{} is not an object", T::NAME))
        })?;
        self.insert_into(T::NAME, body).map(Id::from_document_id)
    }

    /// Inserts a document into a table by name.
    pub fn insert_into(&self, table: &str, document: Object) -> Result<DocumentId> {
        let table = TableName::new(table)
            .map_err(|error| Error::coded("InvalidTableName", error.to_string()))?;
        refuse_system_table(&table)?;
        Ok(self.reader.frame.call.with(|tx| tx.insert(&table, document))?)
    }

    /// Changes fields of a document; the others stay. A patch that changes nothing writes nothing.
    ///
    /// Errors: `NonexistentDocument`, `InvalidArgument`, and those of an insert.
    pub fn patch(&self, id: impl Reference, patch: impl Into<Patch>) -> Result<()> {
        let fields = patch.into().into_fields()?;
        self.write(&id, "db.patch", |tx| Ok(tx.patch(id.document_id(), fields)?))
    }

    /// Replaces a document with another of its table; id and creation time are kept.
    pub fn replace<T: Table + Serialize + DeserializeOwned>(
        &self,
        id: &Id<T>,
        document: T,
    ) -> Result<()> {
        let body = to_value(&document)?.into_object().map_err(|_| {
            Error::coded("InvalidDocumentError", format!("{} is not an object", T::NAME))
        })?;
        self.replace_fields(id, body)
    }

    /// Replaces all fields of a document.
    pub fn replace_fields(&self, id: impl Reference, document: Object) -> Result<()> {
        self.write(&id, "db.replace", |tx| Ok(tx.replace(id.document_id(), document)?))
    }

    /// Deletes a document. Errors: `NonexistentDocument`, `InvalidArgument`.
    pub fn delete(&self, id: impl Reference) -> Result<()> {
        self.write(&id, "db.delete", |tx| Ok(tx.delete(id.document_id())?))
    }

    fn write<R: Reference>(
        &self,
        id: &R,
        method: &str,
        step: impl FnOnce(&mut Transaction) -> Result<()>,
    ) -> Result<()> {
        self.reader.frame.call.with(|tx| {
            if !table_fits(tx, id, method)? {
                let text = format!("Invalid argument `id` for `{method}`: unknown table of the id");
                return Err(Error::coded("InvalidArgument", text));
            }
            step(tx)
        })
    }
}

/// Whether the id's table exists; fails when it is not the one that the caller means.
fn table_fits<R: Reference>(tx: &mut Transaction, id: &R, method: &str) -> Result<bool> {
    let document_id = id.document_id();
    let Some(table) = tx.table_of(document_id.table) else { return Ok(false) };
    refuse_system_table(&table.name)?;
    match R::TABLE {
        Some(expected) if expected != table.name.as_str() => Err(Error::coded(
            "InvalidArgument",
            format!(
                "Invalid argument `id` for `{method}`: expected an id of table '{expected}', but \
                 {document_id} is from table '{}'",
                table.name
            ),
        )),
        _ => Ok(true),
    }
}

/// What functions see of a row about a stored file.
pub(crate) fn storage_view(row: &Document) -> Option<Document> {
    let body = row.body();
    let mut shown = object! {
        "_id" => body.get("_id")?.clone(),
        "_creationTime" => body.get("_creationTime")?.clone(),
    };
    for field in ["sha256", "size", "contentType"] {
        if let Some(value) = body.get(field) {
            shown.insert(field, value.clone());
        }
    }
    Some(Document::new(row.id(), shown))
}
