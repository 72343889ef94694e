//! What the machinery of an operator asks: is it alive, can it serve, where is it reached.
//!
//! These routes wait for no turn, so that they answer however much is asked of the others.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;

use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::service::Service;

/// URLs at which clients reach this, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideOrigins {
    /// The first port.
    pub clients: String,
    /// The second port: HTTP actions.
    pub site: String,
}

/// `router` with `/livez`, `/readyz`, `/api/v1/get_canonical_urls` and `/api/check_admin_key`.
///
/// Of two merged routers the second one answers unknown paths: that is `router`, so that preflights and
/// refusals there are still what pages of other origins can read.
pub fn beside(router: Router, service: Service, origins: OutsideOrigins) -> Router {
    routes(service, origins).layer(super::cors()).merge(router)
}

fn routes(service: Service, origins: OutsideOrigins) -> Router {
    Router::new()
        .route("/livez", get("alive\n"))
        .route("/readyz", get(ready))
        .route("/api/v1/get_canonical_urls", get(canonical_urls))
        .route("/api/check_admin_key", get(check_admin_key))
        .with_state(service)
        .layer(Extension(origins))
}

/// What must hold for this to be sent work, each `ok` or why not.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Readiness {
    ready: bool,
    /// The data was read back and its catalog is there: nothing answers before.
    recovered: String,
    /// Commits can be made durable.
    writable: String,
    /// There is room for work.
    accepting: String,
    /// Nobody has asked this to stop.
    running: String,
}

/// 200 if everything holds, else 503; the body says what does not.
async fn ready(State(service): State<Service>) -> (StatusCode, Json<Readiness>) {
    let runtime = service.runtime.clone();
    // It may try a write, which waits for the disk.
    let written = tokio::task::spawn_blocking(move || runtime.check_writable()).await;
    let writable = written.unwrap_or_else(|_| Err("the check failed".to_owned()));
    let running = if *service.stopping.borrow() { Err("stopping".to_owned()) } else { Ok(()) };
    let readiness = readiness(writable, service.runtime.check_accepting(), running);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

type Check = Result<(), String>;

fn readiness(writable: Check, accepting: Check, running: Check) -> Readiness {
    let ready = [&writable, &accepting, &running].iter().all(|check| check.is_ok());
    let text = |check: Check| check.err().unwrap_or_else(|| "ok".to_owned());
    Readiness {
        ready,
        recovered: text(Ok(())),
        writable: text(writable),
        accepting: text(accepting),
        running: text(running),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CanonicalUrls {
    convex_cloud_url: String,
    convex_site_url: String,
}

/// For the CLI. Source: spec/deploy-api.md 8.1.
async fn canonical_urls(
    principal: Principal,
    Extension(origins): Extension<OutsideOrigins>,
) -> Result<Json<CanonicalUrls>, HttpError> {
    principal.require(Operation::ViewMetrics)?;
    Ok(Json(CanonicalUrls { convex_cloud_url: origins.clients, convex_site_url: origins.site }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyFacts {
    success: bool,
    allowed_ops: Vec<&'static str>,
    is_read_only: bool,
}

/// What the key of the caller allows; the dashboard asks when somebody logs in. Any key that is good
/// may ask. Source: spec/deploy-api.md 17.2.
async fn check_admin_key(principal: Principal) -> Result<Json<KeyFacts>, HttpError> {
    let admin = principal.require(Operation::ViewMetrics)?;
    let allowed = Operation::ALL.into_iter().filter(|operation| admin.may(*operation));
    Ok(Json(KeyFacts {
        success: true,
        allowed_ops: allowed.map(Operation::as_str).collect(),
        is_read_only: admin.is_read_only,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_named() {
        let full = || Err("database or disk is full".to_owned());
        assert!(readiness(Ok(()), Ok(()), Ok(())).ready);
        let found = readiness(full(), Ok(()), Err("stopping".to_owned()));
        let expected = Readiness {
            ready: false,
            recovered: "ok".to_owned(),
            writable: "database or disk is full".to_owned(),
            accepting: "ok".to_owned(),
            running: "stopping".to_owned(),
        };
        assert_eq!(found, expected);
    }
}
