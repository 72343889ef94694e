//! What runs here, for people, health checks and the CLI. Source: spec/http-api.md section 12.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http_body_util::Limited;

use super::body::Paced;
use crate::service::Service;

/// Largest body that `/echo` gives back, in bytes. Source: spec/http-api.md section 12.
pub(super) const ECHO_BYTES_MAX: usize = 128 << 20;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/", get("This Convex deployment is running. It is served by Concave."))
        .route("/version", get(version))
        .route("/instance_version", get(version))
        .route("/instance_name", get(instance_name))
        .route("/echo", post(echo))
}

async fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

async fn instance_name(State(service): State<Service>) -> String {
    service.runtime.instance_name().to_string()
}

/// Gives the body back as it comes; above the limit, or too slow, the answer breaks off.
async fn echo(body: Body) -> Body {
    Body::new(Limited::new(Paced::new(body), ECHO_BYTES_MAX))
}
