//! `GET /api/sync` and `GET /api/{version}/sync`: from HTTP to a socket.

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use protocol::ClientVersion;
use protocol::limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

use crate::errors::{HttpError, refuse_old_client};
use crate::service::Service;

/// The routes of the sync socket.
pub fn routes(service: Service) -> Router {
    Router::new()
        .route("/api/sync", get(without_version))
        .route("/api/{version}/sync", get(with_version))
        .with_state(service)
}

async fn without_version(
    State(service): State<Service>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    answer(service, &headers, None, upgrade)
}

async fn with_version(
    State(service): State<Service>,
    Path(version): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    answer(service, &headers, Some(&version), upgrade)
}

fn answer(
    service: Service,
    headers: &HeaderMap,
    version: Option<&str>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let header = headers.get("convex-client").map(HeaderValue::to_str);
    let client = match header.transpose().map(|header| ClientVersion::resolve(header, version)) {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return refuse("InvalidClientVersion", error.to_string()),
        Err(_) => return refuse("InvalidClientVersion", "the Convex-Client header is not text"),
    };
    if let Err(refusal) = refuse_old_client(&client) {
        return *refusal;
    }
    match upgrade {
        Ok(upgrade) => upgrade
            .max_frame_size(FRAME_BYTES_MAX)
            .max_message_size(MESSAGE_BYTES_MAX)
            .on_upgrade(|socket| super::serve(socket, service, client)),
        Err(rejection) => refuse(code_of(&rejection), rejection.body_text()),
    }
}

fn code_of(rejection: &WebSocketUpgradeRejection) -> &'static str {
    match rejection {
        WebSocketUpgradeRejection::InvalidConnectionHeader(_) => "InvalidConnectionHeader",
        WebSocketUpgradeRejection::InvalidUpgradeHeader(_) => "InvalidUpgradeHeader",
        WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(_) => {
            "InvalidWebSocketVersionHeader"
        }
        WebSocketUpgradeRejection::WebSocketKeyHeaderMissing(_) => "WebSocketKeyHeaderMissing",
        // The enum of the framework is open: whatever else it finds, there is no upgrade.
        _ => "ConnectionNotUpgradable",
    }
}

fn refuse(code: &'static str, message: impl Into<String>) -> Response {
    HttpError::bad_request(code, message).into_response()
}
