//! Documents of a table, in pages at one snapshot; and writes, each a transaction like any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::range::{self, RangeBound, RangeOp};
use engine::{IndexDef, IndexKind, Order, Transaction};
use parking_lot::Mutex;
use value::{
    DocumentId, FieldPath, IndexName, Interval, Object, TableName, Timestamp, Value, json,
};

use super::page::{self, Limits, Position, Sealer};
use super::user_table;
use crate::error::{Error, Result};
use crate::jobs::Step;
use crate::runtime::Runtime;

/// Most documents of one page.
pub const PAGE_DOCUMENTS_MAX: usize = 1000;
/// Most rows that one page looks at, those that a filter drops included.
pub const PAGE_ROWS_READ_MAX: usize = 4096;
/// Bytes of documents after which a page ends.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// Most documents that are written in one transaction.
pub const DOCUMENT_WRITES_MAX: usize = 1000;

/// Which documents.
#[derive(Clone, Debug)]
pub struct DocumentQuery {
    /// Of which table.
    pub table: String,
    /// By which index; none: in the order of creation.
    pub index: Option<String>,
    /// In which direction.
    pub order: Order,
    /// Fields that must be equal to a value. Those that lead the index narrow what is read, others drop
    /// rows.
    pub equal: Vec<(String, Value)>,
    /// How many, at most [`PAGE_DOCUMENTS_MAX`].
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// As of when, for a first page; none: now.
    pub at: Option<Timestamp>,
}

/// A page of documents.
#[derive(Clone, Debug)]
pub struct DocumentPage {
    /// The snapshot, of all pages of one list.
    pub ts: Timestamp,
    /// The documents.
    pub documents: Vec<Object>,
    /// Rows that were looked at.
    pub rows: usize,
    /// Where the next page begins; none: this was the last one. A page may be empty and not the last.
    pub cursor: Option<String>,
}

/// One change of one document.
#[derive(Clone, Debug)]
pub enum DocumentWrite {
    /// A new document.
    Insert {
        /// Of which table.
        table: String,
        /// Its fields.
        document: Object,
    },
    /// Some fields of a document; none removes the field.
    Patch {
        /// Which.
        id: DocumentId,
        /// The fields.
        fields: BTreeMap<String, Option<Value>>,
    },
    /// All fields of a document but its id and creation time.
    Replace {
        /// Which.
        id: DocumentId,
        /// The fields.
        document: Object,
    },
    /// No document any more.
    Delete {
        /// Which.
        id: DocumentId,
    },
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The commit.
    pub ts: Timestamp,
    /// The documents, in the order of the writes.
    pub ids: Vec<DocumentId>,
}

impl Runtime {
    /// A page of documents.
    ///
    /// Errors: `TableNotFound`, `IndexNotFoundError`, `InvalidCursor`, `InvalidArgument` for a field that
    /// is none; `OutOfRetention` when the list was begun so long ago that its snapshot is gone.
    pub async fn documents(self: &Arc<Self>, query: DocumentQuery) -> Result<DocumentPage> {
        let secret = Arc::clone(self.secret());
        let question = question(&query);
        let from = query.cursor.as_deref();
        let from = from.map(|cursor| Sealer::new(&secret, &question).open(cursor)).transpose()?;
        let at = from.as_ref().map(|from| from.ts).or(query.at);
        self.read(at, move |_, tx| {
            let (index, interval, dropping) = source(tx, &query)?;
            let after = from.as_ref().map(|from| from.after.as_slice());
            let rest = page::rest(interval, query.order, after);
            let limits = Limits {
                items: query.limit.clamp(1, PAGE_DOCUMENTS_MAX),
                rows: PAGE_ROWS_READ_MAX,
                bytes: PAGE_BYTES_MAX,
            };
            let found = page::read(tx, &index, rest, query.order, limits, |row| {
                let body = row.document.body();
                let fits =
                    dropping.iter().all(|(field, value)| body.get_path(field) == Some(value));
                Ok(fits.then(|| body.clone()))
            })?;
            let ts = tx.snapshot_ts();
            let sealer = Sealer::new(&secret, &question);
            let cursor = found.next.map(|after| sealer.seal(&Position { ts, after }));
            Ok(DocumentPage { ts, documents: found.items, rows: found.rows, cursor })
        })
        .await
    }

    /// One document, with the snapshot at which it was looked at. None: there is none.
    pub async fn document(
        self: &Arc<Self>,
        id: DocumentId,
        at: Option<Timestamp>,
    ) -> Result<(Timestamp, Option<Object>)> {
        self.read(at, move |_, tx| {
            refuse_system_id(tx, id)?;
            let found = tx.get(id)?;
            Ok((tx.snapshot_ts(), found.map(|document| document.body().clone())))
        })
        .await
    }

    /// Makes all changes in one transaction; done when it is durable. `request` is told to those who
    /// ask which commit caused what.
    ///
    /// Errors: `NonexistentDocument`, `SchemaEnforcementError` and the other ones of writing; then nothing
    /// is written.
    pub async fn write_documents(
        self: &Arc<Self>,
        writes: Vec<DocumentWrite>,
        request: Option<Arc<str>>,
    ) -> Result<Written> {
        if writes.len() > DOCUMENT_WRITES_MAX {
            let text = format!("more than {DOCUMENT_WRITES_MAX} documents in one transaction");
            return Err(Error::coded("TooManyWrites", text));
        }
        let ids = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&ids);
        let step: Step = Arc::new(move |tx| {
            let done: Result<Vec<_>> = writes.iter().map(|write| apply(tx, write)).collect();
            *written.lock() = done?;
            Ok(true)
        });
        let ts = self.write(request, step).await?;
        let ids = ids.lock().clone();
        Ok(Written { ts, ids })
    }
}

/// Index, interval of its keys, and the equalities that drop rows.
type Narrowed = (Arc<IndexDef>, Interval, Vec<(FieldPath, Value)>);

fn source(tx: &mut Transaction, query: &DocumentQuery) -> Result<Narrowed> {
    let table = user_table(tx.catalog(), &query.table)?;
    let name = match &query.index {
        Some(name) => IndexName::new(name).map_err(|error| {
            Error::coded("IndexNotFoundError", format!("{name:?} is no index: {error}"))
        })?,
        None => IndexName::by_creation_time(),
    };
    let index = tx.index(&table.name, &name)?;
    let mut equal = Vec::new();
    for (field, value) in &query.equal {
        let path = FieldPath::new(field)
            .map_err(|error| Error::coded("InvalidArgument", format!("{field:?}: {error}")))?;
        equal.push((path, value.clone()));
    }
    let leads = match index.kind {
        IndexKind::ById => vec![FieldPath::id()],
        IndexKind::Fields => index.fields.clone(),
    };
    let mut bounds = Vec::new();
    for field in leads {
        let Some(at) = equal.iter().position(|(path, _)| *path == field) else { break };
        let (path, value) = equal.swap_remove(at);
        bounds.push(RangeBound::new(RangeOp::Eq, path, Some(value)));
    }
    let interval = match index.kind {
        IndexKind::ById => range::interval_by_id(index.number, &bounds),
        IndexKind::Fields => range::interval(&index.fields, &bounds),
    };
    let interval = interval.map_err(|error| Error::coded(error.code, error.message))?;
    Ok((index, interval, equal))
}

/// What a cursor is bound to.
fn question(query: &DocumentQuery) -> String {
    let equal: Vec<_> =
        query.equal.iter().map(|(field, value)| (field, json::to_string(value))).collect();
    format!("documents {:?} {:?} {:?} {equal:?}", query.table, query.index, query.order)
}

fn apply(tx: &mut Transaction, write: &DocumentWrite) -> Result<DocumentId> {
    match write {
        DocumentWrite::Insert { table, document } => {
            let name = TableName::new(table)
                .map_err(|error| Error::coded("InvalidTableName", error.to_string()))?;
            if name.is_system() {
                return Err(system_table(table));
            }
            Ok(tx.insert(&name, document.clone())?)
        }
        DocumentWrite::Patch { id, fields } => {
            refuse_system_id(tx, *id)?;
            tx.patch(*id, fields.clone())?;
            Ok(*id)
        }
        DocumentWrite::Replace { id, document } => {
            refuse_system_id(tx, *id)?;
            tx.replace(*id, document.clone())?;
            Ok(*id)
        }
        DocumentWrite::Delete { id } => {
            refuse_system_id(tx, *id)?;
            tx.delete(*id)?;
            Ok(*id)
        }
    }
}

fn refuse_system_id(tx: &mut Transaction, id: DocumentId) -> Result<()> {
    match tx.table_of(id.table) {
        Some(table) if table.system => Err(system_table(table.name.as_str())),
        Some(_) => Ok(()),
        None => Err(Error::coded("NonexistentDocument", format!("{id} is of no table"))),
    }
}

fn system_table(name: &str) -> Error {
    Error::coded(
        "SystemTableError",
        format!("table {name:?} is the system's: it has its own pages"),
    )
}
