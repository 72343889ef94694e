//! One page of figures: what a dashboard shows first.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value as Tree, json};

use super::{failed, ms, ts};
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::process;
use crate::service::Service;

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/api/concave/v1/summary", get(summary))
}

async fn summary(
    State(service): State<Service>,
    principal: Principal,
) -> Result<Json<Tree>, HttpError> {
    principal.require(Operation::ViewMetrics)?;
    let gathered = tokio::task::spawn_blocking(move || gather(&service)).await;
    gathered.map_err(|error| HttpError::internal(&error.to_string()))?.map(Json)
}

/// Waits for the disk.
fn gather(service: &Service) -> Result<Tree, HttpError> {
    let runtime = &service.runtime;
    let (totals, stats, engine) = (runtime.totals(), runtime.stats(), runtime.engine_stats());
    let live = runtime.live().stats();
    let sockets = service.watching.sockets.totals();
    let started = service.watching.started;
    Ok(json!({
        "name": &**runtime.instance_name(),
        "version": env!("CARGO_PKG_VERSION"),
        "startedMs": ms(started),
        "nowMs": ms(service.now()),
        "ts": ts(totals.ts),
        "data": {
            "tables": totals.tables,
            "documents": totals.documents,
            "storeBytes": runtime.store_bytes().map_err(failed)?,
            "retentionMs": runtime.retention().as_millis() as u64,
        },
        "functions": {
            "registered": runtime.registry().iter().count(),
            "executions": stats.executions,
        },
        "sockets": {
            "open": sockets.open,
            "opened": sockets.opened,
            "receivedBytes": sockets.traffic.received_bytes,
            "sentBytes": sockets.traffic.sent_bytes,
            "unsentBytes": sockets.unsent_bytes,
        },
        "live": {
            "sessions": live.sessions,
            "queries": live.entries,
            "idle": live.idle,
            "subscriptions": live.subscriptions,
            "runs": live.runs,
            "invalidations": live.invalidations,
            "hits": live.hits,
            "subscribed": live.subscribed,
        },
        "commits": {
            "commits": engine.commits,
            "groups": engine.groups,
            "conflicts": engine.conflicts,
            "takenBack": engine.taken_back,
            "reservations": engine.reservations,
        },
        "cache": {
            "bytes": engine.cache_bytes,
            "limitBytes": engine.cache_bytes_max,
            "hits": engine.cache_hits,
            "misses": engine.cache_misses,
        },
        "waiting": {
            "work": stats.work_waiting,
            "answers": stats.answers_waiting,
            "commits": engine.pending_commits,
            "scheduled": stats.jobs.waiting,
            "crons": stats.crons.waiting,
        },
        "process": {
            "residentBytes": process::resident_bytes(),
            "openFiles": process::open_files(),
        },
    }))
}
