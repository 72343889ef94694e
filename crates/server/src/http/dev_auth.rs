//! Tokens for a browser in development: `POST /dev-auth/token {"user":"alice"}` → `{"token":"…"}`.
//!
//! There only with `--dev-auth`. Whoever gets an answer can be any user, so a request must come from
//! this machine, or from a page that this server (or another on this machine) gave out, and through no
//! proxy that says so. That keeps out the pages of strangers, not strangers: never ask for it where they
//! can connect.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::JsonBody;
use crate::auth::dev_issuer::{DevIssuer, DevIssuerError, TTL_DEFAULT};
use crate::errors::HttpError;
use crate::service::Service;

#[derive(Deserialize)]
struct TokenForm {
    user: String,
    /// Life of the token in seconds.
    ttl: Option<u64>,
}

type Issuing = State<(Service, Arc<DevIssuer>)>;

pub(super) fn routes(service: Service, issuer: Arc<DevIssuer>) -> Router {
    Router::new()
        .route("/dev-auth/token", post(token))
        .route("/dev-auth/.well-known/jwks.json", get(jwks))
        .route_layer(middleware::from_fn(only_near))
        .with_state((service, issuer))
}

async fn token(
    State((service, issuer)): Issuing,
    JsonBody(form): JsonBody<TokenForm>,
) -> Result<Json<Value>, HttpError> {
    let ttl = form.ttl.map_or(TTL_DEFAULT, Duration::from_secs);
    match issuer.token(&form.user, ttl, service.now()) {
        Ok(token) => Ok(Json(json!({ "token": token }))),
        Err(error @ DevIssuerError::BadUser) => {
            Err(HttpError::bad_request("BadUser", error.to_string()))
        }
        Err(error @ (DevIssuerError::File(_, _) | DevIssuerError::Broken(_))) => {
            Err(HttpError::internal(&error.to_string()))
        }
    }
}

async fn jwks(State((_, issuer)): Issuing) -> Json<Value> {
    Json(issuer.jwks())
}

async fn only_near(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    if is_near(request.headers(), peer) {
        return next.run(request).await;
    }
    let message = "development tokens are only for this machine and for pages of this server";
    HttpError::forbidden("DevAuthRefused", message).into_response()
}

/// A page names its origin in every POST; without an origin the address of the peer decides.
///
/// A host is this machine or an address: a name of its own can be made to lead here by whoever owns it
/// (DNS rebinding), and then the page of a stranger is one of this server. What a proxy passed on comes
/// from anywhere, whatever the address of the peer.
fn is_near(headers: &HeaderMap, peer: Option<IpAddr>) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST);
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) || !host.is_none_or(names_no_one) {
        return false;
    }
    match text(header::ORIGIN) {
        Some(origin) => {
            let Ok(origin) = origin.parse::<Uri>() else { return false };
            let Some(authority) = origin.authority() else { return false };
            is_this_machine(authority.host()) || host == Some(authority.as_str())
        }
        None => peer.is_some_and(|peer| peer.to_canonical().is_loopback()),
    }
}

/// Headers with which proxies say for whom they ask.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Whether a `Host` is this machine or an address, which nobody's name server decides about.
fn names_no_one(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    is_this_machine(host) || without_brackets(host).parse::<IpAddr>().is_ok()
}

fn is_this_machine(host: &str) -> bool {
    let host = without_brackets(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_near() {
        let check = |origin: Option<&str>, host: &str, peer: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("host", host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert("origin", origin.parse().unwrap());
            }
            let peer = peer.map(|peer| peer.parse().unwrap());
            assert_eq!(is_near(&headers, peer), expected, "{origin:?} {host} {peer:?}");
        };
        let (here, there) = (Some("127.0.0.1"), Some("192.0.2.7"));
        check(None, "127.0.0.1:3210", here, true);
        check(None, "127.0.0.1:3210", Some("::1"), true);
        check(None, "127.0.0.1:3210", Some("::ffff:127.0.0.1"), true);
        check(None, "127.0.0.1:3210", there, false);
        check(None, "127.0.0.1:3210", None, false);
        check(Some("http://localhost:5173"), "127.0.0.1:3210", here, true);
        check(Some("http://[::1]:5173"), "127.0.0.1:3210", here, true);
        check(Some("http://192.0.2.1:3210"), "192.0.2.1:3210", there, true);
        check(Some("http://[2001:db8::1]:3210"), "[2001:db8::1]:3210", there, true);
        // Its owner may let this name lead here.
        check(Some("http://rebound.example:3210"), "rebound.example:3210", here, false);
        check(Some("https://demo.example"), "demo.example", there, false);
        check(None, "demo.example", here, false);
        check(None, "localhost:3210", here, true);
        check(Some("http://192.0.2.9:3210"), "192.0.2.1:3210", here, false);
        check(Some("https://evil.example"), "127.0.0.1:3210", here, false);
        check(Some("http://localhost.evil.example"), "127.0.0.1:3210", here, false);
        check(Some("http://127.0.0.1.evil.example"), "127.0.0.1:3210", here, false);
        check(Some("https://demo.example"), "demo.example:3210", there, false);
        check(Some("null"), "127.0.0.1:3210", here, false);
        check(Some(""), "127.0.0.1:3210", here, false);
    }

    #[test]
    fn what_a_proxy_passed_on_is_not_near() {
        for name in FORWARDED {
            let mut headers = HeaderMap::new();
            headers.insert("host", "127.0.0.1:3210".parse().unwrap());
            let here = Some(IpAddr::from([127, 0, 0, 1]));
            assert!(is_near(&headers, here));
            headers.insert(name, "192.0.2.7".parse().unwrap());
            assert!(!is_near(&headers, here), "{name}");
        }
    }
}
