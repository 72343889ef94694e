//! `GET /api/sync` and `GET /api/{version}/sync`: from HTTP to a socket.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use protocol::ClientVersion;
use sha1::{Digest as _, Sha1};

use super::frame::Extension;
use crate::errors::{HttpError, refuse_old_client};
use crate::service::Service;

/// What a key is hashed with (RFC 6455, 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The one version of the protocol (RFC 6455, 4.1).
const VERSION: &str = "13";

/// The routes of the sync socket.
pub fn routes(service: Service) -> Router {
    Router::new()
        .route("/api/sync", get(without_version))
        .route("/api/{version}/sync", get(with_version))
        .with_state(service)
}

async fn without_version(State(service): State<Service>, request: Request) -> Response {
    answer(service, None, request)
}

async fn with_version(
    State(service): State<Service>,
    Path(version): Path<String>,
    request: Request,
) -> Response {
    answer(service, Some(&version), request)
}

fn answer(service: Service, version: Option<&str>, mut request: Request) -> Response {
    let header = request.headers().get("convex-client").map(HeaderValue::to_str);
    let client = match header.transpose().map(|header| ClientVersion::resolve(header, version)) {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return refuse("InvalidClientVersion", error.to_string()),
        Err(_) => return refuse("InvalidClientVersion", "the Convex-Client header is not text"),
    };
    if let Err(refusal) = refuse_old_client(&client) {
        return *refusal;
    }
    let key = match check(request.method(), request.headers()) {
        Ok(key) => accept_key(key.as_bytes()),
        Err(refusal) => return *refusal,
    };
    let extension = extension(request.headers());
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return refuse("ConnectionNotUpgradable", "the connection cannot become a WebSocket");
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                super::serve(TokioIo::new(upgraded), extension, service, client).await;
            }
            Err(error) => tracing::debug!(%error, "a connection ended before it was a WebSocket"),
        }
    });
    switch(&key, extension)
}

/// The key of a request that asks for a WebSocket.
/// Source: spec/sync-protocol.md 1.2; RFC 6455, 4.2.1.
fn check<'a>(method: &Method, headers: &'a HeaderMap) -> Result<&'a HeaderValue, Box<Response>> {
    let refuse = |code, message: &str| Err(Box::new(refuse(code, message)));
    if method != Method::GET {
        return refuse("ConnectionNotUpgradable", "only GET becomes a WebSocket");
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return refuse("InvalidConnectionHeader", "the Connection header is not `upgrade`");
    }
    if !has_token(headers, &UPGRADE, "websocket") {
        return refuse("InvalidUpgradeHeader", "the Upgrade header is not `websocket`");
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        let error = HttpError::bad_request(
            "InvalidWebSocketVersionHeader",
            format!("the Sec-WebSocket-Version header is not {VERSION}"),
        );
        return Err(Box::new(([(SEC_WEBSOCKET_VERSION, VERSION)], error).into_response()));
    }
    match headers.get(SEC_WEBSOCKET_KEY) {
        Some(key) => Ok(key),
        None => refuse("WebSocketKeyHeaderMissing", "the Sec-WebSocket-Key header is missing"),
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn extension(headers: &HeaderMap) -> Option<Extension> {
    let offers = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter();
    offers.filter_map(|offer| offer.to_str().ok()).find_map(Extension::choose)
}

fn accept_key(key: &[u8]) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    base64::engine::general_purpose::STANDARD.encode(hash)
}

fn switch(accept: &str, extension: Option<Extension>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let text = |text: &str| HeaderValue::from_str(text).expect("base64 and our own names are text");
    headers.insert(SEC_WEBSOCKET_ACCEPT, text(accept));
    if let Some(extension) = extension {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, text(&extension.answer()));
    }
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn refuse(code: &'static str, message: impl Into<String>) -> Response {
    HttpError::bad_request(code, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
