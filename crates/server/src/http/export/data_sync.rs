//! `POST /api/v1/data/sync`: a copy that is built and then kept, by one cursor.
//!
//!     tables to walk? ── snapshot not far behind ──► walk them as of `synced`, by table and id
//!           │                └── far behind ──┐
//!           └── none ─────────────────────────┴──► log after `synced`, of what was walked already
//!
//! The cursor says how far everything is; it is sealed, and whoever holds one needs an admin key too.
//! Source: spec/http-api.md 11.5.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use functions::instance::{NONCE_BYTES, Purpose};
use functions::{ExportPosition, ExportRow, ExportTable, TableFilter};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Tree, json};
use value::json::Format;
use value::{InternalId, Timestamp};

use super::selection::Selection;
use super::{Answered, SNAPSHOT_ROWS, Shared, fields_of, internal_id, refused};
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::http::request::{Client, JsonBody};
use crate::service::Service;

/// How far behind the newest commit a walk may be before it catches up, in nanoseconds.
const BEHIND_NS_MAX: u64 = 30_000_000_000;

#[derive(Deserialize)]
pub(super) struct SyncForm {
    cursor: Option<String>,
    selection: Option<Tree>,
}

#[derive(Deserialize)]
pub(super) struct FromDeltasForm {
    cursor: i64,
    selection: Option<Tree>,
}

/// How far a sync is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// Its name in answers.
    sync: String,
    /// The consumer has, of what was walked, the state as of this timestamp.
    synced: u64,
    /// Numbers of the tables that were walked.
    done: BTreeSet<u32>,
    /// The table that is being walked.
    current: Option<Walk>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    table: u32,
    /// Up to this document, in hex.
    id: Option<String>,
}

impl Walk {
    fn position(&self) -> ExportPosition {
        ExportPosition { table: self.table, id: self.id.as_deref().and_then(internal_id) }
    }

    fn has_passed(&self, row: &ExportRow) -> bool {
        let passed = self.position();
        row.table == passed.table && passed.id.is_some_and(|id| row.internal <= id)
    }
}

pub(super) async fn sync(
    State(service): Shared,
    client: Client,
    principal: Principal,
    JsonBody(form): JsonBody<SyncForm>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let selection = selection(form.selection.as_ref())?;
    let mut progress = match &form.cursor {
        Some(cursor) => open(&service, cursor)?,
        None => Progress {
            sync: sync_id(&service, &client),
            synced: service.runtime.durable().0,
            done: BTreeSet::new(),
            current: None,
        },
    };
    let tables: Vec<ExportTable> = service.runtime.export_tables();
    let tables: Vec<_> =
        tables.into_iter().filter(|t| selection.columns(t.name.as_str()).is_some()).collect();
    progress.forget_others(&tables);
    let behind = service.runtime.durable().0.saturating_sub(progress.synced);
    let page = if progress.is_complete(&tables) || behind > BEHIND_NS_MAX {
        let rows = progress.follow(&service).await?;
        Page { truncates: Vec::new(), rows }
    } else {
        progress.walk(&service, &tables).await?
    };
    let status = if !progress.is_complete(&tables) {
        json!({"type": "snapshotting"})
    } else if progress.synced < service.runtime.durable().0 {
        json!({"type": "stale", "snapshotTs": progress.synced})
    } else {
        json!({"type": "upToDate", "snapshotTs": progress.synced})
    };
    let values: Vec<Tree> = page.rows.iter().map(|row| value_of(row, &selection)).collect();
    Ok(Json(json!({
        "status": status,
        "truncates": page.truncates,
        "values": values,
        "syncId": progress.sync,
        "pagination": {"hasMore": true, "nextCursor": seal(&service, &progress)},
    })))
}

/// A cursor for whoever has all documents already, from `list_snapshot` and `document_deltas`.
pub(super) async fn cursor_from_deltas(
    State(service): Shared,
    client: Client,
    principal: Principal,
    JsonBody(form): JsonBody<FromDeltasForm>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let selection = selection(form.selection.as_ref())?;
    let tables = service.runtime.export_tables();
    let selected = tables.iter().filter(|t| selection.columns(t.name.as_str()).is_some());
    let progress = Progress {
        sync: sync_id(&service, &client),
        synced: u64::try_from(form.cursor).unwrap_or(0),
        done: selected.map(|table| table.table).collect(),
        current: None,
    };
    // What cannot be followed is refused here already.
    progress.clone().follow(&service).await?;
    Ok(Json(json!({"cursor": seal(&service, &progress)})))
}

struct Page {
    truncates: Vec<Tree>,
    rows: Vec<ExportRow>,
}

impl Progress {
    /// Tables that are gone, or no longer selected, are walked again should they come back.
    fn forget_others(&mut self, tables: &[ExportTable]) {
        let is_there = |number: u32| tables.iter().any(|table| table.table == number);
        self.done.retain(|number| is_there(*number));
        self.current = self.current.take().filter(|walk| is_there(walk.table));
    }

    fn is_complete(&self, tables: &[ExportTable]) -> bool {
        self.current.is_none() && tables.iter().all(|table| self.done.contains(&table.table))
    }

    /// The next documents of tables that are not done, as of `synced`.
    async fn walk(&mut self, service: &Service, tables: &[ExportTable]) -> Result<Page, HttpError> {
        let mut page = Page { truncates: Vec::new(), rows: Vec::new() };
        while page.rows.len() < SNAPSHOT_ROWS {
            let walk = match self.current.take() {
                Some(walk) => walk,
                None => {
                    let next = tables.iter().find(|table| !self.done.contains(&table.table));
                    let Some(next) = next else { break };
                    page.truncates.push(json!({"component": "", "table": next.name.as_str()}));
                    Walk { table: next.table, id: None }
                }
            };
            let number = walk.table;
            let wanted: TableFilter = Arc::new(move |other, _| other == number);
            let (at, left) = (Timestamp(self.synced), SNAPSHOT_ROWS - page.rows.len());
            let part = service.runtime.export_snapshot(at, Some(walk.position()), wanted, left);
            let part = part.await.map_err(bad_cursor)?;
            page.rows.extend(part.rows);
            match part.next {
                Some(ExportPosition { id, .. }) => {
                    self.current = Some(Walk { table: number, id: id.map(to_hex) });
                    break;
                }
                None => drop(self.done.insert(number)),
            }
        }
        Ok(page)
    }

    /// What was committed after `synced`, of what the consumer has.
    async fn follow(&mut self, service: &Service) -> Result<Vec<ExportRow>, HttpError> {
        let mut known = self.done.clone();
        known.extend(self.current.iter().map(|walk| walk.table));
        let wanted: TableFilter = Arc::new(move |table, _| known.contains(&table));
        let page = service.runtime.export_deltas(Timestamp(self.synced), wanted, SNAPSHOT_ROWS);
        let page = page.await.map_err(bad_cursor)?;
        self.synced = page.through.0;
        let has = |row: &ExportRow| {
            self.done.contains(&row.table)
                || self.current.as_ref().is_some_and(|walk| walk.has_passed(row))
        };
        Ok(page.rows.into_iter().filter(has).collect())
    }
}

fn value_of(row: &ExportRow, selection: &Selection) -> Tree {
    let value = fields_of(row, selection.columns(row.name.as_str()), Format::Export);
    json!({
        "component": "",
        "table": row.name.as_str(),
        "ts": row.ts.0,
        "deleted": row.fields().is_none(),
        "value": value,
    })
}

fn selection(tree: Option<&Tree>) -> Result<Selection, HttpError> {
    match tree {
        None | Some(Tree::Null) => Ok(Selection::everything()),
        Some(tree) => Selection::read(tree)
            .map_err(|message| HttpError::bad_request("InvalidDataSyncSelection", message)),
    }
}

/// Sixteen random hex digits, behind the name of the connector if it has one.
fn sync_id(service: &Service, client: &Client) -> String {
    let name = client.0.to_string();
    let connector = ["airbyte-", "fivetran-"].into_iter().find(|start| name.starts_with(start));
    let digits: String = service.entropy()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{digits}", connector.unwrap_or_default())
}

fn seal(service: &Service, progress: &Progress) -> String {
    let nonce: [u8; NONCE_BYTES] = *service.entropy().first_chunk().expect("a seed is longer");
    let text = serde_json::to_vec(progress).expect("these types have a JSON form");
    service.runtime.secret().seal(Purpose::DataSyncCursor, nonce, &text)
}

fn open(service: &Service, cursor: &str) -> Result<Progress, HttpError> {
    let text = service.runtime.secret().open(Purpose::DataSyncCursor, cursor);
    let progress = text.and_then(|text| serde_json::from_slice(&text).ok());
    let message = "the cursor is none of this deployment";
    progress.ok_or_else(|| HttpError::bad_request("InvalidDataSyncCursor", message))
}

fn bad_cursor(error: functions::ExportError) -> HttpError {
    refused(error, "DataSyncCursorExpired", "InvalidDataSyncCursor")
}

fn to_hex(InternalId(id): InternalId) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}
