//! `GET /metrics`: figures for Prometheus, in its text format 0.0.4.
//!
//!     who asks ─► allowed? ─► figures of engine, functions, sockets, process ─► text
//!
//! Everything is read when somebody scrapes. What is counted on hot paths are plain atomics; labels are of
//! bounded number: functions that exist, codes and statuses of fixed lists. Whoever asks shows an admin key
//! (a read-only one will do), or the token that the operator has set; without either only where the
//! operator says so (`MetricsAccess`).

mod gather;
mod text;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::credentials;
use crate::auth::{Credential, Operation};
use crate::errors::HttpError;
use crate::service::Service;
use crate::watching::MetricsAccess;

/// The type of the answer.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(
    State(service): State<Service>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, HttpError> {
    check(&service, &headers, &uri).await?;
    // The size of the store is asked of the disk.
    let gathered = tokio::task::spawn_blocking(move || gather::gather(&service)).await;
    let text = gathered.map_err(|error| HttpError::internal(&error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

async fn check(service: &Service, headers: &HeaderMap, uri: &Uri) -> Result<(), HttpError> {
    let access = &service.watching.metrics;
    match access {
        MetricsAccess::Open => return Ok(()),
        MetricsAccess::AdminKey | MetricsAccess::Token(_) => {}
    }
    let credential = credentials::credential(headers, uri)?;
    match &credential {
        Credential::User(token) if access.accepts(token) => return Ok(()),
        Credential::User(_) | Credential::None | Credential::Admin { .. } => {}
    }
    let principal = service.authenticator.authenticate(&credential, service.now()).await?;
    principal.require(Operation::ViewMetrics)?;
    Ok(())
}
