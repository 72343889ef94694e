//! All documents, a page at a time, for copies outside: as of one timestamp, or what changed since.
//!
//!     snapshot  tablets in ascending order, documents by id, as of `at`
//!     log       revisions above `after` in the order of commits; a commit is never split
//!
//! Reads the store alone, past cache and read sets: nobody waits for an export to become stale, and
//! it must not drive out what functions read. System tables are left out.

use std::sync::Arc;

use store::{IndexId, Order, TabletId};
use value::{DocumentId, InternalId, Interval, Timestamp};

use crate::cache::after;
use crate::catalog::{Catalog, TableDef};
use crate::document::Document;
use crate::engine::Engine;
use crate::error::TxError;

/// Rows that are read at once. What a page holds beyond its budget is less than these, or one commit.
pub const EXPORT_CHUNK: usize = 32;

/// How much a page may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportBudget {
    /// Rows that are read, also those of tables that are not wanted.
    pub rows: usize,
    /// Bytes of documents as they are stored.
    pub bytes: usize,
}

/// One version of a document.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Its table.
    pub table: Arc<TableDef>,
    /// Its id.
    pub id: DocumentId,
    /// The commit that wrote it.
    pub ts: Timestamp,
    /// The document; `None`: it was deleted.
    pub document: Option<Arc<Document>>,
}

/// Where a walk over a snapshot stands: behind this document, which need not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The tablet.
    pub tablet: TabletId,
    /// The document in it; `None`: before all of them.
    pub id: Option<InternalId>,
}

/// A part of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotPage {
    /// Documents, all of wanted tables.
    pub rows: Vec<Revision>,
    /// Where to go on; `None`: this was the last page.
    pub next: Option<SnapshotPosition>,
}

/// A part of the log.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// Revisions by (ts, id), all of wanted tables.
    pub rows: Vec<Revision>,
    /// Everything up to here was read; go on after it.
    pub through: Timestamp,
    /// More is there already.
    pub more: bool,
}

impl Engine {
    /// Documents as of `at` behind `position`, of the tables that `wanted` picks.
    ///
    /// Errors: as [`Engine::begin_at`].
    pub fn snapshot_page(
        self: &Arc<Self>,
        at: Timestamp,
        position: Option<SnapshotPosition>,
        wanted: &dyn Fn(&TableDef) -> bool,
        budget: ExportBudget,
    ) -> Result<SnapshotPage, TxError> {
        let snapshot = self.snapshot_at(at)?;
        let mut tables: Vec<_> = user_tables(&snapshot.catalog).filter(|t| wanted(t)).collect();
        tables.sort_by_key(|table| table.tablet);
        let mut page = SnapshotPage { rows: Vec::new(), next: None };
        let mut bytes = 0;
        for table in tables {
            let mut rest = match position {
                Some(position) if table.tablet < position.tablet => continue,
                Some(SnapshotPosition { tablet, id: Some(id) }) if tablet == table.tablet => {
                    Interval { start: after(&id.0), end: None }
                }
                Some(_) | None => Interval::all(),
            };
            while !rest.is_empty() {
                if page.rows.len() >= budget.rows || bytes >= budget.bytes {
                    let last = page.rows.last().filter(|row| row.table.tablet == table.tablet);
                    let id = last.map(|row| row.id.internal);
                    page.next = Some(SnapshotPosition { tablet: table.tablet, id });
                    return Ok(page);
                }
                let limit = EXPORT_CHUNK.min(budget.rows - page.rows.len());
                let index = IndexId::by_id(table.tablet);
                let chunk = self.store.scan(table.tablet, index, &rest, at, Order::Asc, limit)?;
                rest = match chunk.rows.last() {
                    Some(last) if !chunk.exhausted => {
                        Interval { start: after(&last.key), end: None }
                    }
                    Some(_) | None => Interval::empty(),
                };
                for row in chunk.rows {
                    bytes += row.body.len();
                    page.rows.push(revision(table, row.id, row.ts, Some(&row.body))?);
                }
            }
        }
        Ok(page)
    }

    /// Revisions above `after` up to the durable head, of the tables that `wanted` picks. Those of
    /// tables that no longer exist are left out.
    ///
    /// Errors: as [`Engine::begin_at`], for `after`.
    pub fn log_page(
        self: &Arc<Self>,
        after: Timestamp,
        wanted: &dyn Fn(&TableDef) -> bool,
        budget: ExportBudget,
    ) -> Result<LogPage, TxError> {
        // Nothing above it is collected while it is pinned.
        let _pinned = self.pin_at(after)?;
        let (head, catalog) = {
            let heads = self.heads.read();
            let catalog = heads.catalog_at(heads.durable);
            (heads.durable, catalog.expect("catalogs reach back to the durable head"))
        };
        let mut page = LogPage { rows: Vec::new(), through: after, more: true };
        let (mut read, mut bytes) = (0, 0);
        while read < budget.rows && bytes < budget.bytes {
            let limit = EXPORT_CHUNK.min(budget.rows - read);
            let mut rows = self.store.log(page.through, limit)?;
            // What is on disk but not known to be must not leave the process.
            rows.retain(|row| row.ts <= head);
            let Some(last) = rows.last().map(|row| row.ts) else { break };
            page.through = last;
            for row in rows {
                read += 1;
                bytes += row.body.as_ref().map_or(0, |body| body.len());
                let table = catalog.tablet(row.tablet).filter(|t| !t.system && wanted(t));
                if let Some(table) = table {
                    page.rows.push(revision(table, row.id, row.ts, row.body.as_deref())?);
                }
            }
        }
        if read < budget.rows && bytes < budget.bytes || page.through == head {
            page.through = head;
            page.more = false;
        }
        page.rows.sort_by_key(|row| (row.ts, row.id.internal));
        Ok(page)
    }
}

fn user_tables(catalog: &Catalog) -> impl Iterator<Item = &Arc<TableDef>> {
    catalog.tables().filter(|table| !table.system)
}

fn revision(
    table: &Arc<TableDef>,
    id: InternalId,
    ts: Timestamp,
    body: Option<&[u8]>,
) -> Result<Revision, TxError> {
    let id = DocumentId { table: table.number, internal: id };
    let read = |body| {
        Document::from_stored(id, body).map(Arc::new).map_err(|error| {
            TxError::from(store::StoreError::Corrupt(format!("document {id}: {error}")))
        })
    };
    let document = body.map(read).transpose()?;
    Ok(Revision { table: Arc::clone(table), id, ts, document })
}
