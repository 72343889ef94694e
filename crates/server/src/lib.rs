//! WebSocket, HTTP, identity: everything that touches the network.
//!
//! `listen` accepts, `auth` knows who calls, `http` what is asked, `errors` how failures look. May use functions and
//! protocol: it runs functions through their one door and cannot open a transaction.

pub mod auth;
pub mod connection;
pub mod errors;
pub mod http;
pub mod listen;
mod process;
pub mod service;
pub mod socket;
pub mod watching;

use std::sync::Arc;

use auth::dev_issuer::DevIssuer;
use axum::Router;
use axum::http::StatusCode;

/// Everything that clients reach on the first port.
pub fn router(service: service::Service) -> Router {
    with_sockets(service.clone(), http::router(service, None))
}

/// As [`router`], with an endpoint that gives tokens to anyone near: only for development.
pub fn dev_router(service: service::Service, issuer: Arc<DevIssuer>) -> Router {
    with_sockets(service.clone(), http::router(service, Some(issuer)))
}

/// Sockets wait for no turn and have no end; which pages may call is the same for all.
fn with_sockets(service: service::Service, http: Router) -> Router {
    socket::upgrade::routes(service).merge(http).layer(http::cors())
}

/// The second port: HTTP actions. No application has any yet.
pub fn site_router() -> Router {
    let text = "This Convex deployment does not have HTTP actions enabled.";
    Router::new().fallback(move || async move { (StatusCode::NOT_FOUND, text) })
}
