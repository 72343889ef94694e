//! HTTP: endpoints and the rules that all of them share.
//!
//!     request ─► cors ─► time limit ─► Client, Principal, JsonBody ─► turn ─► calls ─► runtime
//!                                                       └── HttpError (crate::errors)
//!
//! `calls` runs functions, `export` gives out all documents, `admin` shows and changes what is there,
//! `metrics` counts, `health` says what runs here, `operation` whether it is well, `backup` streams all of it, `dev_auth` gives tokens
//! in development. Time
//! and randomness come from `Service`, tokens are verified in `crate::auth`.

mod admin;
pub mod backup;
#[cfg(test)]
mod bad_input;
pub mod body;
mod calls;
mod cors;
pub mod credentials;
mod dev_auth;
mod export;
mod formats;
mod health;
mod limits;
mod metrics;
pub mod operation;
pub mod request;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::auth::Principal;
use crate::auth::dev_issuer::DevIssuer;
use crate::errors::HttpError;
use crate::service::Service;
use crate::watching::Watching;

pub use cors::layer as cors;
pub use limits::{BODIES_BYTES_MAX, HttpLimits, REQUEST_TIMEOUT, REQUESTS_MAX};

/// All endpoints of the cloud origin that need no socket. With an issuer also the one that gives
/// tokens to anyone near: only for development.
pub fn router(service: Service, dev_issuer: Option<Arc<DevIssuer>>) -> Router {
    let dev = match dev_issuer {
        Some(issuer) => dev_auth::routes(service.clone(), issuer),
        None => Router::new(),
    };
    let watching = Arc::clone(&service.watching);
    let room = limits::Room::new(&service.options.http);
    calls::routes()
        .merge(export::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(admin::routes())
        .with_state(service)
        .merge(dev)
        .layer(middleware::from_fn_with_state(room, limits::limit))
        .layer(middleware::from_fn_with_state(watching, count))
}

/// Counts answers by status.
async fn count(State(watching): State<Arc<Watching>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    watching.answers.count(response.status().as_u16());
    response
}

/// The principal behind a request. Refuses as `credentials::credential` and
/// `Authenticator::authenticate` do.
impl FromRequestParts<Service> for Principal {
    type Rejection = HttpError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Service,
    ) -> Result<Principal, HttpError> {
        let credential = credentials::credential(&parts.headers, &parts.uri)?;
        Ok(service.authenticator.authenticate(&credential, service.now()).await?)
    }
}
