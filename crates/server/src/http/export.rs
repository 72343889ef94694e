//! Streaming export: all documents for a copy outside, then what changes. For administrators alone.
//!
//!     list_snapshot ─ page, page … ─► document_deltas ─ page, page, (wait) page …
//!     data/sync     ─ both in one, its cursor knows where it is (`data_sync`)
//!
//! `params` reads what is asked, `selection` which tables and columns, `json_schema` says how the
//! answers look. Nothing is remembered here: cursors hold all. Source: spec/http-api.md section 11.

mod data_sync;
mod json_schema;
mod params;
mod selection;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use functions::{
    EXPORT_PAGE_ROWS_MAX, ExportError, ExportPosition, ExportRow, ExportTable, TableFilter,
};
use serde_json::{Map, Value as Tree, json};
use value::json::Format;
use value::{InternalId, TableName, Value};

use super::formats;
use super::request::Client;
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::service::Service;
use params::Params;
use selection::{Columns, Selection};

/// Rows of one page of a snapshot. Source: spec/http-api.md 11.1.
const SNAPSHOT_ROWS: usize = EXPORT_PAGE_ROWS_MAX;
/// Rows that are read for one page of deltas; its last commit may add to them. Source: 11.2.
const DELTAS_ROWS: usize = 128;

type Shared = State<Service>;
type Answered = Result<Json<Tree>, HttpError>;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/api/list_snapshot", get(list_snapshot).post(list_snapshot))
        .route("/api/document_deltas", get(document_deltas).post(document_deltas))
        .route("/api/json_schemas", get(json_schemas))
        .route("/api/get_table_column_names", get(column_names))
        .route("/api/test_streaming_export_connection", get(test_connection))
        .route("/api/v1/data/sync", post(data_sync::sync))
        .route("/api/data_sync_cursor_from_deltas", post(data_sync::cursor_from_deltas))
}

async fn list_snapshot(
    State(service): Shared,
    client: Client,
    principal: Principal,
    params: Params,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let format = formats::requested(params.text("format")?, formats::default_of(&client.0))?;
    let selection = params.selection()?;
    let position = params.text("cursor")?.map(position).transpose()?;
    let at = match params.timestamp("snapshot")? {
        Some(at) => at,
        None if position.is_none() => service.runtime.durable(),
        None => return Err(bad_position("a cursor is good with its snapshot alone")),
    };
    let wanted = selection.filter();
    let page = service.runtime.export_snapshot(at, position, wanted, SNAPSHOT_ROWS).await;
    let page = page.map_err(|error| refused(error, "SnapshotTooOld", "SnapshotTooNew"))?;
    let values: Vec<Tree> =
        page.rows.iter().map(|row| value_of(row, &selection, format, false)).collect();
    Ok(Json(json!({
        "values": values,
        "snapshot": at.0,
        "cursor": page.next.map(cursor),
        "hasMore": page.next.is_some(),
    })))
}

async fn document_deltas(
    State(service): Shared,
    client: Client,
    principal: Principal,
    params: Params,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let format = formats::requested(params.text("format")?, formats::default_of(&client.0))?;
    let selection = params.selection()?;
    let after = params.timestamp("cursor")?.ok_or_else(|| {
        let message =
            "document_deltas needs a cursor: the snapshot of list_snapshot, or the last cursor";
        HttpError::bad_request("DocumentDeltasCursorRequired", message)
    })?;
    let page = service.runtime.export_deltas(after, selection.filter(), DELTAS_ROWS).await;
    let code = "InvalidWindowToReadDocuments";
    let page = page.map_err(|error| refused(error, code, code))?;
    let values: Vec<Tree> =
        page.rows.iter().map(|row| value_of(row, &selection, format, true)).collect();
    Ok(Json(json!({"values": values, "cursor": page.through.0, "hasMore": page.more})))
}

async fn json_schemas(
    State(service): Shared,
    client: Client,
    principal: Principal,
    params: Params,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let format = formats::requested(params.text("format")?, formats::default_of(&client.0))?;
    let (deltas, by_component) = (params.boolean("deltaSchema")?, params.boolean("byComponent")?);
    let mut schemas = Map::new();
    for table in service.runtime.export_tables() {
        let columns = columns_of(&service, &table).await?;
        let schema = json_schema::of_table(&table.name, &columns, format, deltas);
        schemas.insert(table.name.to_string(), schema);
    }
    Ok(Json(if by_component { json!({ "": schemas }) } else { Tree::Object(schemas) }))
}

async fn column_names(State(service): Shared, principal: Principal) -> Answered {
    principal.require(Operation::ViewData)?;
    let mut tables = Vec::new();
    for table in service.runtime.export_tables() {
        let declared = columns_of(&service, &table).await?;
        let mut columns = vec!["_id", "_creationTime"];
        columns.extend(declared.fields.keys().map(String::as_str));
        tables.push(json!({"name": table.name.as_str(), "columns": columns}));
    }
    Ok(Json(json!({"byComponent": {"": tables}})))
}

async fn test_connection(principal: Principal) -> Answered {
    principal.require(Operation::ViewData)?;
    Ok(Json(Tree::Null))
}

/// What the schema declares of a table; where it declares nothing, what its first documents show.
async fn columns_of(
    service: &Service,
    table: &ExportTable,
) -> Result<json_schema::Columns, HttpError> {
    if let Some(declared) = table.document.as_ref().and_then(json_schema::declared) {
        return Ok(declared);
    }
    let (number, at) = (table.table, service.runtime.durable());
    let wanted: TableFilter = Arc::new(move |other, _: &TableName| other == number);
    let start = Some(ExportPosition { table: number, id: None });
    let page = service.runtime.export_snapshot(at, start, wanted, SNAPSHOT_ROWS).await;
    let page = page.map_err(|error| refused(error, "SnapshotTooOld", "SnapshotTooNew"))?;
    Ok(json_schema::observed(page.rows.iter().filter_map(ExportRow::fields)))
}

/// A document with what an export says of it.
fn value_of(row: &ExportRow, selection: &Selection, format: Format, deltas: bool) -> Tree {
    let mut value = fields_of(row, selection.columns(row.name.as_str()), format);
    value.insert("_component".to_owned(), "".into());
    value.insert("_table".to_owned(), row.name.as_str().into());
    value.insert("_ts".to_owned(), row.ts.0.into());
    if deltas {
        value.insert("_deleted".to_owned(), row.fields().is_none().into());
    }
    Tree::Object(value)
}

/// The selected fields of a document; of a deleted one its id.
fn fields_of(row: &ExportRow, columns: Option<&Columns>, format: Format) -> Map<String, Tree> {
    let Some(fields) = row.fields() else {
        return Map::from_iter([("_id".to_owned(), row.id.as_str().into())]);
    };
    let selected = |(name, _): &(&str, &Value)| columns.is_none_or(|columns| columns.has(name));
    let fields = fields.iter().map(|(name, value)| (name.as_ref(), value)).filter(selected);
    fields.map(|(name, value)| (name.to_owned(), format.to_json(value))).collect()
}

fn cursor(position: ExportPosition) -> String {
    let id = position.id.map(|InternalId(id)| u128::from_be_bytes(id));
    let id = id.map(|id| format!("{id:032x}"));
    json!({"tablet": position.table.to_string(), "id": id}).to_string()
}

fn position(cursor: &str) -> Result<ExportPosition, HttpError> {
    let read = || -> Option<ExportPosition> {
        let tree: Tree = serde_json::from_str(cursor).ok()?;
        let table = tree.get("tablet")?.as_str()?.parse().ok()?;
        let id = match tree.get("id")? {
            Tree::Null => None,
            id => Some(internal_id(id.as_str()?)?),
        };
        Some(ExportPosition { table, id })
    };
    read().ok_or_else(|| bad_position("the cursor is none of this deployment"))
}

fn internal_id(text: &str) -> Option<InternalId> {
    let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = is_one.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(InternalId(id.to_be_bytes()))
}

fn bad_position(message: &str) -> HttpError {
    HttpError::bad_request("InvalidListSnapshotCursor", message)
}

fn refused(error: ExportError, too_old: &'static str, in_future: &'static str) -> HttpError {
    match error {
        ExportError::TooOld(message) => HttpError::bad_request(too_old, message),
        ExportError::InFuture(message) => HttpError::bad_request(in_future, message),
        ExportError::Failed(error) => {
            HttpError::of_system(error.code().unwrap_or("InternalServerError"), error.message())
        }
    }
}
