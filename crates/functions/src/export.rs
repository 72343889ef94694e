//! All documents for copies outside, a page at a time: what the server may see of the engine's
//! exports. Pages are read on the worker threads, as they wait for the disk.

use std::sync::Arc;

use engine::{
    Document, EXPORT_CHUNK, ExportBudget, Revision, SnapshotPosition, TableDef, TabletId,
};
use engine::{TxError, TxErrorKind};
use tokio::sync::oneshot;
use value::validator::Validator;
use value::{InternalId, Object, TableName, Timestamp};

use crate::error::Error;
use crate::runtime::Runtime;

/// Most bytes of documents, as they are stored, after which a page ends. It may exceed them by
/// `EXPORT_CHUNK` documents, or by one commit.
pub const EXPORT_PAGE_BYTES: usize = 4 << 20;
/// Most rows of one page that may be asked for.
pub const EXPORT_PAGE_ROWS_MAX: usize = 1024;

const _: () = assert!(EXPORT_CHUNK < EXPORT_PAGE_ROWS_MAX);

/// One table, as exports know it. Its number is never given to another table.
#[derive(Clone, Debug)]
pub struct ExportTable {
    /// Its number.
    pub table: u32,
    /// Its name.
    pub name: TableName,
    /// What every document in it is, if the schema says so.
    pub document: Option<Validator>,
}

/// One version of a document.
#[derive(Clone, Debug)]
pub struct ExportRow {
    /// The number of its table.
    pub table: u32,
    /// The name of its table.
    pub name: TableName,
    /// Its id, as functions see it.
    pub id: String,
    /// Its id inside its table.
    pub internal: InternalId,
    /// The commit that wrote it.
    pub ts: Timestamp,
    document: Option<Arc<Document>>,
}

impl ExportRow {
    /// All fields, `_id` and `_creationTime` too; `None`: it was deleted.
    pub fn fields(&self) -> Option<&Object> {
        self.document.as_ref().map(|document| document.body())
    }
}

/// Where a walk over a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportPosition {
    /// The number of the table.
    pub table: u32,
    /// Behind this document; `None`: before all of them.
    pub id: Option<InternalId>,
}

/// A part of a snapshot.
#[derive(Clone, Debug)]
pub struct ExportPage {
    /// Its documents, by table and id.
    pub rows: Vec<ExportRow>,
    /// Where to go on; `None`: nothing is left.
    pub next: Option<ExportPosition>,
}

/// A part of the log.
#[derive(Clone, Debug)]
pub struct ExportDeltas {
    /// Revisions by (ts, id). No commit is split.
    pub rows: Vec<ExportRow>,
    /// Go on after this.
    pub through: Timestamp,
    /// More is there already.
    pub more: bool,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The timestamp is older than the kept history: begin a new snapshot.
    #[error("{0}")]
    TooOld(String),
    /// The timestamp is above all commits.
    #[error("{0}")]
    InFuture(String),
    /// No page could be read.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Which tables an export reads: by number and name.
pub type TableFilter = Arc<dyn Fn(u32, &TableName) -> bool + Send + Sync>;

impl Runtime {
    /// The tables of the application, by name.
    pub fn export_tables(&self) -> Vec<ExportTable> {
        let catalog = self.engine().catalog();
        let schema = catalog.active_schema().map(|(_, schema)| schema);
        let schema = schema.filter(|schema| schema.validation);
        let tables = catalog.tables().filter(|table| !table.system);
        let view = |table: &Arc<TableDef>| ExportTable {
            table: table.tablet.0,
            name: table.name.clone(),
            document: schema.and_then(|s| s.tables.get(&table.name)?.document.clone()),
        };
        tables.map(view).collect()
    }

    /// Up to `rows` documents as of `at`, of the tables that `wanted` picks.
    pub async fn export_snapshot(
        self: &Arc<Self>,
        at: Timestamp,
        position: Option<ExportPosition>,
        wanted: TableFilter,
        rows: usize,
    ) -> Result<ExportPage, ExportError> {
        self.read_page(move |runtime| {
            let position = position.map(|position| SnapshotPosition {
                tablet: TabletId(position.table),
                id: position.id,
            });
            let wanted = |table: &TableDef| wanted(table.tablet.0, &table.name);
            let page = runtime.engine().snapshot_page(at, position, &wanted, budget(rows))?;
            let next = page.next;
            Ok(ExportPage {
                rows: page.rows.into_iter().map(row).collect(),
                next: next.map(|next| ExportPosition { table: next.tablet.0, id: next.id }),
            })
        })
        .await
    }

    /// Revisions above `after`, of the tables that `wanted` picks; reads about `rows`.
    pub async fn export_deltas(
        self: &Arc<Self>,
        after: Timestamp,
        wanted: TableFilter,
        rows: usize,
    ) -> Result<ExportDeltas, ExportError> {
        self.read_page(move |runtime| {
            let wanted = |table: &TableDef| wanted(table.tablet.0, &table.name);
            let page = runtime.engine().log_page(after, &wanted, budget(rows))?;
            let rows = page.rows.into_iter().map(row).collect();
            Ok(ExportDeltas { rows, through: page.through, more: page.more })
        })
        .await
    }

    async fn read_page<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Runtime) -> Result<T, TxError> + Send + 'static,
    ) -> Result<T, ExportError> {
        if self.work.is_full() {
            let text = "too many calls wait for a worker";
            return Err(Error::system("TooManyConcurrentRequests", text).into());
        }
        let (done, page) = oneshot::channel();
        // Whoever asked may have gone.
        self.spawn(Box::new(move |runtime| drop(done.send(read(runtime)))));
        let lost = || Error::system("InternalServerError", "the page was lost");
        page.await.map_err(|_| lost())?.map_err(failed)
    }
}

fn budget(rows: usize) -> ExportBudget {
    ExportBudget { rows: rows.clamp(1, EXPORT_PAGE_ROWS_MAX), bytes: EXPORT_PAGE_BYTES }
}

fn row(revision: Revision) -> ExportRow {
    ExportRow {
        table: revision.table.tablet.0,
        name: revision.table.name.clone(),
        id: revision.id.to_string(),
        internal: revision.id.internal,
        ts: revision.ts,
        document: revision.document,
    }
}

fn failed(error: TxError) -> ExportError {
    match error.kind {
        TxErrorKind::OutOfRetention => ExportError::TooOld(error.message),
        TxErrorKind::Developer if error.code == "TimestampInFuture" => {
            ExportError::InFuture(error.message)
        }
        TxErrorKind::Developer | TxErrorKind::Store => ExportError::Failed(error.into()),
    }
}
