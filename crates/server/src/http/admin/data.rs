//! Tables and documents.

use ::functions::Order;
use ::functions::admin::{DocumentPage, DocumentQuery, DocumentWrite, TableView, Written};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Tree, json};
use value::json::Format;
use value::{DocumentId, Object, Value};

use super::{failed, invalid, not_found, page_size, request_of, ts, ts_of};
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::http::formats;
use crate::http::request::{JsonBody, QueryArgs, RequestId};
use crate::service::Service;

type Answered = Result<Json<Tree>, HttpError>;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/api/concave/v1/tables", get(tables))
        .route("/api/concave/v1/tables/{table}/documents", get(documents).post(insert))
        .route("/api/concave/v1/documents", post(write))
        .route(
            "/api/concave/v1/documents/{id}",
            get(document).patch(patch).put(replace).delete(delete),
        )
}

async fn tables(State(service): State<Service>, principal: Principal) -> Answered {
    principal.require(Operation::ViewData)?;
    let tables = service.runtime.tables().await.map_err(failed)?;
    let tables: Vec<Tree> = tables.iter().map(table_json).collect();
    Ok(Json(json!({ "tables": tables })))
}

fn table_json(table: &TableView) -> Tree {
    let index = |index: &::functions::admin::IndexView| {
        json!({
            "name": index.name,
            "fields": index.fields,
            "state": index.state,
            "staged": index.staged,
        })
    };
    json!({
        "name": table.name,
        "documents": table.documents,
        "indexes": table.indexes.iter().map(index).collect::<Vec<_>>(),
        "declared": table.declared,
        "ephemeral": table.ephemeral,
        "validator": table.validator,
    })
}

#[derive(Deserialize)]
struct ListForm {
    index: Option<String>,
    order: Option<String>,
    /// Fields and values, as JSON text.
    equal: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    at: Option<String>,
    format: Option<String>,
}

async fn documents(
    State(service): State<Service>,
    principal: Principal,
    table: Result<Path<String>, PathRejection>,
    QueryArgs(form): QueryArgs<ListForm>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let format = formats::requested(form.format.as_deref(), Format::Encoded)?;
    let query = DocumentQuery {
        table: path(table)?,
        index: form.index,
        order: order(form.order.as_deref())?,
        equal: equal(form.equal.as_deref())?,
        limit: page_size(form.limit)?,
        cursor: form.cursor,
        at: form.at.as_deref().map(ts_of).transpose()?,
    };
    let page = service.runtime.documents(query).await.map_err(failed)?;
    Ok(Json(page_json(page, format)))
}

fn page_json(page: DocumentPage, format: Format) -> Tree {
    let shown = page.documents.into_iter().map(|body| format.to_json(&Value::Object(body)));
    json!({
        "ts": ts(page.ts),
        "documents": shown.collect::<Vec<_>>(),
        "rowsRead": page.rows,
        "isDone": page.cursor.is_none(),
        "cursor": page.cursor,
    })
}

fn order(text: Option<&str>) -> Result<Order, HttpError> {
    match text {
        None | Some("asc") => Ok(Order::Asc),
        Some("desc") => Ok(Order::Desc),
        Some(other) => Err(invalid(format!("order {other:?} is neither asc nor desc"))),
    }
}

/// Fields that must have a value: an object as JSON text.
fn equal(text: Option<&str>) -> Result<Vec<(String, Value)>, HttpError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    // Names may be paths, which are no names of fields: read one by one.
    let fields: serde_json::Map<String, Tree> =
        serde_json::from_str(text).map_err(|error| invalid(format!("equal: {error}")))?;
    let value = |(field, json): (String, Tree)| {
        let value = value::json::from_json(json);
        value
            .map(|value| (field, value))
            .map_err(|error| invalid(format!("equal: {}", error.message)))
    };
    fields.into_iter().map(value).collect()
}

#[derive(Deserialize)]
struct GetForm {
    at: Option<String>,
    format: Option<String>,
}

async fn document(
    State(service): State<Service>,
    principal: Principal,
    id: Result<Path<String>, PathRejection>,
    QueryArgs(form): QueryArgs<GetForm>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let format = formats::requested(form.format.as_deref(), Format::Encoded)?;
    let id = document_id(&path(id)?)?;
    let at = form.at.as_deref().map(ts_of).transpose()?;
    let (snapshot, found) = service.runtime.document(id, at).await.map_err(failed)?;
    let found = found.ok_or_else(|| not_found(format!("there is no document {id}")))?;
    let document = format.to_json(&Value::Object(found));
    Ok(Json(json!({ "ts": ts(snapshot), "document": document })))
}

#[derive(Deserialize)]
struct InsertForm {
    document: Box<RawValue>,
}

async fn insert(
    State(service): State<Service>,
    principal: Principal,
    id: RequestId,
    table: Result<Path<String>, PathRejection>,
    JsonBody(form): JsonBody<InsertForm>,
) -> Answered {
    principal.require(Operation::WriteData)?;
    let write = DocumentWrite::Insert { table: path(table)?, document: object(&form.document)? };
    service.write(vec![write], &id).await
}

#[derive(Deserialize)]
struct PatchForm {
    fields: Box<RawValue>,
}

async fn patch(
    State(service): State<Service>,
    principal: Principal,
    request: RequestId,
    id: Result<Path<String>, PathRejection>,
    JsonBody(form): JsonBody<PatchForm>,
) -> Answered {
    principal.require(Operation::WriteData)?;
    let id = document_id(&path(id)?)?;
    service.write(vec![DocumentWrite::Patch { id, fields: fields(&form.fields)? }], &request).await
}

async fn replace(
    State(service): State<Service>,
    principal: Principal,
    request: RequestId,
    id: Result<Path<String>, PathRejection>,
    JsonBody(form): JsonBody<InsertForm>,
) -> Answered {
    principal.require(Operation::WriteData)?;
    let id = document_id(&path(id)?)?;
    let document = object(&form.document)?;
    service.write(vec![DocumentWrite::Replace { id, document }], &request).await
}

async fn delete(
    State(service): State<Service>,
    principal: Principal,
    request: RequestId,
    id: Result<Path<String>, PathRejection>,
) -> Answered {
    principal.require(Operation::WriteData)?;
    let id = document_id(&path(id)?)?;
    service.write(vec![DocumentWrite::Delete { id }], &request).await
}

#[derive(Deserialize)]
struct WritesForm {
    writes: Vec<WriteForm>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
enum WriteForm {
    Insert { table: String, document: Tree },
    Patch { id: String, fields: Tree },
    Replace { id: String, document: Tree },
    Delete { id: String },
}

/// All of them in one transaction, or none.
async fn write(
    State(service): State<Service>,
    principal: Principal,
    request: RequestId,
    JsonBody(form): JsonBody<WritesForm>,
) -> Answered {
    principal.require(Operation::WriteData)?;
    let writes: Result<Vec<_>, HttpError> = form.writes.into_iter().map(WriteForm::read).collect();
    service.write(writes?, &request).await
}

impl WriteForm {
    fn read(self) -> Result<DocumentWrite, HttpError> {
        let raw = |tree: Tree| {
            let raw = serde_json::value::to_raw_value(&tree);
            raw.map_err(|error| invalid(error.to_string()))
        };
        Ok(match self {
            WriteForm::Insert { table, document } => {
                DocumentWrite::Insert { table, document: object(&raw(document)?)? }
            }
            WriteForm::Patch { id, fields: changed } => {
                DocumentWrite::Patch { id: document_id(&id)?, fields: fields(&raw(changed)?)? }
            }
            WriteForm::Replace { id, document } => {
                DocumentWrite::Replace { id: document_id(&id)?, document: object(&raw(document)?)? }
            }
            WriteForm::Delete { id } => DocumentWrite::Delete { id: document_id(&id)? },
        })
    }
}

impl Service {
    async fn write(&self, writes: Vec<DocumentWrite>, request: &RequestId) -> Answered {
        let written = self.runtime.write_documents(writes, request_of(request)).await;
        let Written { ts: commit, ids } = written.map_err(failed)?;
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        Ok(Json(json!({ "ts": ts(commit), "ids": ids })))
    }
}

fn object(raw: &RawValue) -> Result<Object, HttpError> {
    let value = value::json::parse(raw.get()).map_err(|error| invalid(error.message))?;
    value.into_object().map_err(|other| invalid(format!("a document is no {}", other.type_name())))
}

fn fields(raw: &RawValue) -> Result<value::json::Patch, HttpError> {
    value::json::parse_patch(raw.get()).map_err(|error| invalid(error.message))
}

fn document_id(text: &str) -> Result<DocumentId, HttpError> {
    text.parse().map_err(|error| invalid(format!("{text:?} is no id of a document: {error}")))
}

fn path(path: Result<Path<String>, PathRejection>) -> Result<String, HttpError> {
    path.map(|Path(text)| text).map_err(|error| invalid(error.body_text()))
}
