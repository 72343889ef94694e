//! What clients see of failures: the one table of codes, statuses and texts.
//!
//!     AuthError ─────────┐
//!     functions::Error ──┼─► HttpError ──► status + {"code","message"}
//!     bad requests ──────┘
//!
//! A function that fails is no failure here: it answers 200 with `status: "error"` (`http::calls`).
//! Source: spec/http-api.md section 4.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use protocol::limits::ERROR_TEXT_BYTES_MAX;
use protocol::{ClientVersion, ErrorClass, Support};

use crate::auth::AuthError;

/// The text of failures whose reason is for the operator alone.
pub const INTERNAL_TEXT: &str = "Your request couldn't be completed. Try again later.";
/// The code of those failures.
pub const INTERNAL_CODE: &str = "InternalServerError";

/// A request that failed outside a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct HttpError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The short code.
    pub code: Cow<'static, str>,
    /// The text for the client.
    pub message: String,
}

impl HttpError {
    /// A failure with this status. The text is cut after `ERROR_TEXT_BYTES_MAX`: it may repeat what
    /// somebody sent.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> HttpError {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(ERROR_TEXT_BYTES_MAX));
        HttpError { status, code: Cow::Borrowed(code), message }
    }

    /// 400: the client must change its request.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> HttpError {
        HttpError::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 403: known, and not allowed.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> HttpError {
        HttpError::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 500. The reason goes to the log, not to the client.
    pub fn internal(reason: &str) -> HttpError {
        tracing::error!(reason, "a request failed");
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_CODE, INTERNAL_TEXT)
    }

    /// A failure of the system under a function, by its short code.
    pub fn of_system(code: &'static str, message: &str) -> HttpError {
        match status_of(class_of(code)) {
            StatusCode::INTERNAL_SERVER_ERROR => HttpError::internal(&format!("{code}: {message}")),
            status => HttpError::new(status, code, message),
        }
    }
}

/// The class of a system failure. What is not named here is a fault of ours.
pub fn class_of(code: &str) -> ErrorClass {
    match code {
        "ServerShutdown" => ErrorClass::GoingAway,
        "CommitterFullError"
        | "ExecuteFullError"
        | "ExpiredInQueue"
        | "OptimisticConcurrencyControlFailure"
        | "OutOfRetention"
        | "SystemTimeoutError"
        | "TooManyConcurrentRequests" => ErrorClass::Overloaded,
        _ => ErrorClass::Internal,
    }
}

/// The HTTP status of a class. How it ends a socket: `protocol::SystemError::ending`.
pub fn status_of(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::BadRequest | ErrorClass::PaginationLimit => StatusCode::BAD_REQUEST,
        ErrorClass::Unauthenticated | ErrorClass::AuthUpdateFailed => StatusCode::UNAUTHORIZED,
        ErrorClass::Forbidden => StatusCode::FORBIDDEN,
        ErrorClass::NotFound => StatusCode::NOT_FOUND,
        ErrorClass::ClientDisconnect => StatusCode::REQUEST_TIMEOUT,
        ErrorClass::Conflict => StatusCode::CONFLICT,
        ErrorClass::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorClass::Overloaded | ErrorClass::GoingAway => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"code": self.code, "message": self.message});
        (self.status, Json(body)).into_response()
    }
}

impl From<AuthError> for HttpError {
    fn from(error: AuthError) -> HttpError {
        let status =
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        HttpError::new(status, error.code(), error.to_string())
    }
}

/// The refusal of a client that is too old, with the headers that it understands.
/// Source: spec/sync-protocol.md 1.1.
pub fn refuse_old_client(client: &ClientVersion) -> Result<(), Box<Response>> {
    let message = match client.support() {
        Support::Supported => return Ok(()),
        Support::Unsupported(message) => message,
    };
    let mut headers = HeaderMap::new();
    headers.insert(DEPRECATION_STATE, HeaderValue::from_static("Unsupported"));
    if let Ok(text) = HeaderValue::from_str(&message) {
        headers.insert(DEPRECATION_MESSAGE, text);
    }
    let error = HttpError::bad_request("ClientVersionUnsupported", message);
    Err(Box::new((headers, error).into_response()))
}

const DEPRECATION_STATE: HeaderName = HeaderName::from_static("x-convex-deprecation-state");
const DEPRECATION_MESSAGE: HeaderName = HeaderName::from_static("x-convex-deprecation-message");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthCode;
    use crate::http::testing::{body_text, json_body};

    #[tokio::test]
    async fn the_shape() {
        let response = HttpError::bad_request("BadFormat", "unknown \"x\"").into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/json");
        let expected = r#"{"code":"BadFormat","message":"unknown \"x\""}"#;
        assert_eq!(body_text(response).await, expected);
    }

    #[test]
    fn texts_are_cut() {
        let error = HttpError::bad_request("BadJsonBody", "é".repeat(ERROR_TEXT_BYTES_MAX));
        assert_eq!(error.message, "é".repeat(ERROR_TEXT_BYTES_MAX / 2));
        assert_eq!(HttpError::bad_request("BadJsonBody", "short").message, "short");
    }

    #[test]
    fn auth_failures_keep_code_and_status() {
        let check = |error: AuthError, status: u16, code: &str| {
            let error = HttpError::from(error);
            assert_eq!((error.status.as_u16(), &*error.code), (status, code));
        };
        for code in [AuthCode::NoAuthProvider, AuthCode::InvalidAuthHeader, AuthCode::BadAdminKey] {
            check(AuthError::rejected(code, "x"), 401, code.as_str());
        }
        for status in [400, 401, 404, 429, 503] {
            let error = AuthError::Unavailable { status, message: "x".into() };
            check(error, status, "AuthProviderDiscoveryFailed");
        }
    }

    #[tokio::test]
    async fn system_failures_hide_what_is_ours() {
        let busy = HttpError::of_system("TooManyConcurrentRequests", "wait");
        assert_eq!((busy.status.as_u16(), &*busy.message), (503, "wait"));
        let broken = HttpError::of_system("Corrupt", "page 7 of /data/db").into_response();
        assert_eq!(broken.status(), 500);
        let body = json_body(broken).await;
        assert_eq!(body, serde_json::json!({"code":INTERNAL_CODE,"message":INTERNAL_TEXT}));
    }

    #[tokio::test]
    async fn old_clients_are_told() {
        let client = |header: &str| ClientVersion::resolve(Some(header), None).unwrap();
        assert!(refuse_old_client(&client("npm-1.48.0")).is_ok());
        assert!(refuse_old_client(&ClientVersion::UNKNOWN).is_ok());
        let response = *refuse_old_client(&client("npm-0.19.1")).unwrap_err();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-convex-deprecation-state"], "Unsupported");
        assert!(response.headers().contains_key("x-convex-deprecation-message"));
        assert_eq!(json_body(response).await["code"], "ClientVersionUnsupported");
    }
}
