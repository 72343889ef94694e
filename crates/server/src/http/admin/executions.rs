//! What ran, newest last: a page, or a wait for the next one.

use std::time::Duration;

use ::functions::LogLine;
use ::functions::recent::{Execution, RecentPage};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value as Tree, json};

use super::functions::kind_of;
use super::{invalid, ms, page_size, ts};
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::http::request::QueryArgs;
use crate::service::Service;

/// Longest wait for something to happen.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/api/concave/v1/executions", get(executions))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    after: Option<u64>,
    limit: Option<usize>,
    /// Those alone that logged something or failed.
    said: Option<bool>,
    /// How long to wait when there is nothing yet.
    wait_ms: Option<u64>,
}

async fn executions(
    State(service): State<Service>,
    principal: Principal,
    QueryArgs(form): QueryArgs<Form>,
) -> Result<Json<Tree>, HttpError> {
    principal.require(Operation::ViewLogs)?;
    let (after, limit) = (form.after.unwrap_or(0), page_size(form.limit)?);
    let said = form.said.unwrap_or(false);
    let wait = Duration::from_millis(form.wait_ms.unwrap_or(0));
    if wait > WAIT_MAX {
        return Err(invalid(format!("waitMs is above {}", WAIT_MAX.as_millis())));
    }
    let recent = service.runtime.recent();
    let mut stopping = service.stopping.clone();
    let news = async {
        tokio::select! {
            _ = tokio::time::timeout(wait, recent.wait(after, limit, said)) => {}
            // Whoever follows must not keep the server from ending.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    };
    if !wait.is_zero() {
        // Too many who wait would keep others from their turn: one more is answered at once.
        match service.watching.followers.0.try_acquire() {
            Ok(_place) => news.await,
            Err(_) => drop(news),
        }
    }
    Ok(Json(page_json(&recent.page(after, limit, said))))
}

fn page_json(page: &RecentPage) -> Tree {
    json!({
        "executions": page.executions.iter().map(|e| execution_json(e)).collect::<Vec<_>>(),
        "after": page.cursor,
        "missed": page.missed,
    })
}

fn execution_json(execution: &Execution) -> Tree {
    let line = |line: &LogLine| {
        json!({
            "level": line.level.as_str(),
            "text": line.text,
            "truncated": line.truncated,
            "timeMs": ms(line.ts),
            "function": line.function,
        })
    };
    json!({
        "number": execution.number,
        "function": &*execution.function,
        "kind": kind_of(execution.kind),
        "origin": execution.origin.as_str(),
        "request": execution.request.as_deref(),
        "user": execution.user.as_deref(),
        "ts": ts(execution.ts),
        "beganMs": ms(execution.began),
        "durationMs": execution.elapsed.as_secs_f64() * 1e3,
        "error": execution.error,
        "logLines": execution.log_lines.iter().map(line).collect::<Vec<_>>(),
    })
}
