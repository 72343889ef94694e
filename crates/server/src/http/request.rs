//! What endpoints take out of a request: a JSON body, the client, the request id.
//!
//! Each refuses with the code that clients know, where the framework would answer in its own words.
//! Source: spec/http-api.md section 2.

use std::convert::Infallible;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use protocol::ClientVersion;
use serde::de::DeserializeOwned;

use super::body;
use super::limits::Turn;
use crate::errors::{self, HttpError};
use crate::service::Service;

/// Largest body of a function endpoint, in bytes, unless an operator says otherwise. Source: spec/http-api.md section 13.
pub const BODY_BYTES_MAX: usize = (16 << 20) + 2000;
/// Longest request id that is taken from a client, in bytes; it appears in error texts.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// A JSON body of this shape. Refuses with 400 `BadJsonBody` whatever is wrong with it, and with 408
/// what comes too slowly.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<JsonBody<T>, HttpError> {
        if !is_json(request.headers()) {
            let message = "Expected request with `Content-Type: application/json`";
            return Err(bad_body(message));
        }
        let turn = request.extensions().get::<Turn>();
        let bytes_max = turn.map_or(BODY_BYTES_MAX, Turn::body_bytes_max);
        let bytes = body::collect(request, bytes_max).await?;
        serde_json::from_slice(&bytes).map(JsonBody).map_err(|error| bad_body(error.to_string()))
    }
}

pub(super) fn bad_body(message: impl Into<String>) -> HttpError {
    HttpError::bad_request("BadJsonBody", message)
}

/// `application/json` or `application/…+json`, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(text)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.strip_prefix("application/") {
        Some(subtype) => subtype == "json" || subtype.len() > 5 && subtype.ends_with("+json"),
        None => false,
    }
}

/// The query string in this shape. Refuses with 400 `BadQueryArgs`.
pub struct QueryArgs<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryArgs<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<QueryArgs<T>, HttpError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(args)) => Ok(QueryArgs(args)),
            Err(error) => Err(HttpError::bad_request("BadQueryArgs", error.body_text())),
        }
    }
}

/// The client behind a request. Refuses with 400 `InvalidClientVersion` what can not be read, and
/// `ClientVersionUnsupported` what is too old.
pub struct Client(pub ClientVersion);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Client, Response> {
        let client = client_of(&parts.headers).map_err(|error| error.into_response())?;
        errors::refuse_old_client(&client).map_err(|refusal| *refusal)?;
        Ok(Client(client))
    }
}

fn client_of(headers: &HeaderMap) -> Result<ClientVersion, HttpError> {
    let invalid = |message: String| HttpError::bad_request("InvalidClientVersion", message);
    let header = match headers.get("convex-client") {
        None => None,
        Some(value) => {
            Some(value.to_str().map_err(|_| invalid("Convex-Client is not text".to_owned()))?)
        }
    };
    ClientVersion::resolve(header, None).map_err(|error| invalid(error.to_string()))
}

/// The id of a request in error texts and logs: the client's own, else sixteen random hex digits.
pub struct RequestId(pub String);

impl FromRequestParts<Service> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Service,
    ) -> Result<RequestId, Infallible> {
        Ok(request_id(&parts.headers, || service.entropy()))
    }
}

fn request_id(headers: &HeaderMap, entropy: impl FnOnce() -> [u8; 32]) -> RequestId {
    let own = headers.get("convex-request-id").and_then(|value| value.to_str().ok());
    let own = own.filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()));
    let random = || entropy()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    RequestId(own.map_or_else(random, str::to_owned))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;

    use super::*;
    use crate::http::testing::json_body;

    #[derive(Debug, Deserialize)]
    struct Shape {
        path: String,
    }

    async fn read(content_type: Option<&str>, body: impl Into<Body>) -> Result<String, HttpError> {
        let mut request = Request::post("/");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.body(body.into()).unwrap();
        let JsonBody(shape) = JsonBody::<Shape>::from_request(request, &()).await?;
        Ok(shape.path)
    }

    #[tokio::test]
    async fn json_bodies() {
        let good = r#"{"path":"a:b","more":1}"#;
        for content_type in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/vnd.api+json",
        ] {
            assert_eq!(read(Some(content_type), good).await.unwrap(), "a:b", "{content_type}");
        }
        let check = async |content_type: Option<&str>, body: &str, expected: &str| {
            let error = read(content_type, body.to_owned()).await.unwrap_err();
            assert_eq!((error.status.as_u16(), &*error.code), (400, "BadJsonBody"));
            assert!(error.message.contains(expected), "{} / {expected}", error.message);
        };
        let expected = "Expected request with `Content-Type: application/json`";
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/jsonp"),
            Some("application/+json"),
            Some(""),
        ] {
            check(content_type, good, expected).await;
        }
        check(Some("application/json"), "", "EOF").await;
        check(Some("application/json"), "{", "EOF").await;
        check(Some("application/json"), "{}", "missing field `path`").await;
        check(Some("application/json"), r#"{"path":7}"#, "invalid type").await;
        check(Some("application/json"), r#"{"path":"a"} x"#, "trailing").await;
        check(Some("application/json"), &"[".repeat(100_000), "").await;
    }

    #[tokio::test]
    async fn bodies_are_limited() {
        let filler = " ".repeat(BODY_BYTES_MAX - r#"{"path":"a"}"#.len());
        let body = format!(r#"{{"path":"a"{filler}}}"#);
        assert_eq!(read(Some("application/json"), body.clone()).await.unwrap(), "a");
        let error = read(Some("application/json"), format!("{body} ")).await.unwrap_err();
        assert_eq!(&*error.code, "BadJsonBody");
        assert!(error.message.contains("larger than 16779216 bytes"), "{}", error.message);
    }

    async fn parts<T: FromRequestParts<()>>(
        header: Option<(&str, &str)>,
        uri: &str,
    ) -> Result<T, T::Rejection> {
        let request = Request::get(uri);
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        T::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn clients() {
        let Client(none) = parts(None, "/").await.ok().unwrap();
        assert_eq!(none, ClientVersion::UNKNOWN);
        let Client(npm) = parts(Some(("convex-client", "npm-1.48.0")), "/").await.ok().unwrap();
        assert_eq!(npm.to_string(), "npm-1.48.0");
        for (header, code) in [
            ("npm", "InvalidClientVersion"),
            ("npm-x", "InvalidClientVersion"),
            ("python-0.0.2", "ClientVersionUnsupported"),
        ] {
            let refusal =
                parts::<Client>(Some(("convex-client", header)), "/").await.err().unwrap();
            assert_eq!(refusal.status(), 400);
            assert_eq!(json_body(refusal).await["code"], code);
        }
    }

    #[test]
    fn request_ids() {
        let check = |value: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("convex-request-id", value.parse().unwrap());
            assert_eq!(request_id(&headers, || [0xab; 32]).0, expected);
        };
        check("mine", "mine");
        check("", "abababababababab");
        check(&"x".repeat(129), "abababababababab");
        assert_eq!(request_id(&HeaderMap::new(), || [0x01; 32]).0, "0101010101010101");
    }

    #[tokio::test]
    async fn query_strings() {
        let QueryArgs(shape) = parts::<QueryArgs<Shape>>(None, "/?path=a%3Ab&x=1").await.unwrap();
        assert_eq!(shape.path, "a:b");
        let error = parts::<QueryArgs<Shape>>(None, "/?x=1").await.err().unwrap();
        assert_eq!((error.status.as_u16(), &*error.code), (400, "BadQueryArgs"));
    }
}
