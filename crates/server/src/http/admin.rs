//! The admin endpoints: what an operator and the dashboard ask of a running server, as JSON.
//!
//!     /api/concave/v1 ─┬─ summary                                  one page of figures
//!                      ├─ tables, tables/{t}/documents, documents  data (`data`)
//!                      ├─ functions, functions/run                 (`functions`)
//!                      ├─ crons, scheduled, scheduled/cancel       (`later`)
//!                      ├─ sessions, live, live/{n}                 who looks at what, and why it ran (`live`)
//!                      └─ executions                               what ran, with log lines (`executions`)
//!
//! Every endpoint names the operation that its caller needs; a read-only key looks, and no more. Lists come
//! in pages. Timestamps are texts of nanoseconds, other times numbers of milliseconds. Shapes are in
//! docs/admin.md; fields may come, none goes.

mod data;
mod executions;
mod functions;
mod later;
mod live;
mod summary;

use ::functions::Error;
use axum::Router;
use axum::http::StatusCode;
use serde_json::Value as Tree;
use value::Timestamp;

use super::request::RequestId;
use crate::errors::HttpError;
use crate::service::Service;

/// Items of a page when the request does not say.
const PAGE_DEFAULT: usize = 100;
/// Most items of a page.
const PAGE_MAX: usize = 1000;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .merge(summary::routes())
        .merge(data::routes())
        .merge(functions::routes())
        .merge(later::routes())
        .merge(live::routes())
        .merge(executions::routes())
}

/// How many items a page has. Errors: 400 `InvalidArgument` for 0 and for more than [`PAGE_MAX`].
fn page_size(asked: Option<usize>) -> Result<usize, HttpError> {
    match asked.unwrap_or(PAGE_DEFAULT) {
        size @ 1..=PAGE_MAX => Ok(size),
        size => Err(invalid(format!("limit {size} is not between 1 and {PAGE_MAX}"))),
    }
}

fn invalid(message: impl Into<String>) -> HttpError {
    HttpError::bad_request("InvalidArgument", message)
}

/// A failure of an admin call: what names nothing is 404, a snapshot that is gone 410.
fn failed(error: Error) -> HttpError {
    let code = match &error {
        Error::Developer { code, .. } => code.unwrap_or("InvalidArgument"),
        Error::Application { .. } => "InvalidArgument",
        Error::System { code: "OutOfRetention", .. } => "OutOfRetention",
        Error::System { code, message } => return HttpError::of_system(code, message),
    };
    let status = match code {
        "TableNotFound" | "NonexistentDocument" | "IndexNotFoundError" => StatusCode::NOT_FOUND,
        "OutOfRetention" => StatusCode::GONE,
        _ => StatusCode::BAD_REQUEST,
    };
    HttpError::new(status, code, error.message())
}

fn not_found(message: impl Into<String>) -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, "NotFound", message)
}

/// A timestamp: nanoseconds do not fit the numbers of JavaScript.
fn ts(ts: Timestamp) -> Tree {
    Tree::from(ts.0.to_string())
}

/// A timestamp from its text.
fn ts_of(text: &str) -> Result<Timestamp, HttpError> {
    text.parse().map(Timestamp).map_err(|_| invalid(format!("{text:?} is no timestamp")))
}

/// A time in milliseconds.
fn ms(ts: Timestamp) -> Tree {
    Tree::from(ts.as_ms_f64())
}

/// The request, as others find it in causes and executions.
fn request_of(id: &RequestId) -> Option<std::sync::Arc<str>> {
    Some(std::sync::Arc::from(id.0.as_str()))
}

#[cfg(test)]
mod tests;
