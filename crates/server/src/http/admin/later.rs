//! Crons and scheduled functions.

use ::functions::JobState;
use ::functions::admin::{CronRun, CronView, JobList, JobQuery, JobView};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value as Tree, json};
use value::{DocumentId, Value};

use super::{failed, invalid, ms, page_size, request_of, ts};
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::http::request::{JsonBody, QueryArgs, RequestId};
use crate::service::Service;

type Answered = Result<Json<Tree>, HttpError>;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/api/concave/v1/crons", get(crons))
        .route("/api/concave/v1/scheduled", get(scheduled))
        .route("/api/concave/v1/scheduled/cancel", post(cancel))
}

async fn crons(State(service): State<Service>, principal: Principal) -> Answered {
    principal.require(Operation::ViewData)?;
    let crons = service.runtime.crons().await.map_err(failed)?;
    let now = service.now();
    let json = |cron: CronView| {
        let lag = cron.next.map(|next| now.0.saturating_sub(next.0) as f64 / 1e6);
        json!({
            "name": cron.name,
            "schedule": value::json::to_export(&Value::Object(cron.schedule)),
            "function": cron.function,
            "args": value::json::to_json(&Value::Object(cron.args)),
            "nextMs": cron.next.map(ms),
            "previousMs": cron.previous.map(ms),
            "running": cron.running,
            "lagMs": lag.unwrap_or(0.0),
            "runs": cron.runs.iter().map(run_json).collect::<Vec<_>>(),
        })
    };
    Ok(Json(json!({ "crons": crons.into_iter().map(json).collect::<Vec<_>>() })))
}

fn run_json(run: &CronRun) -> Tree {
    json!({
        "dueMs": ms(run.due),
        "outcome": run.outcome,
        "detail": run.detail,
        "durationMs": run.seconds * 1e3,
        "logLines": run.log_lines,
    })
}

#[derive(Deserialize)]
struct ListForm {
    list: Option<String>,
    function: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn scheduled(
    State(service): State<Service>,
    principal: Principal,
    QueryArgs(form): QueryArgs<ListForm>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let list = match form.list.as_deref() {
        None | Some("due") => JobList::Due,
        Some("finished") => JobList::Finished,
        Some("all") => JobList::All,
        Some(other) => return Err(invalid(format!("list {other:?} is not due, finished or all"))),
    };
    let (function, limit, cursor) = (form.function, page_size(form.limit)?, form.cursor);
    let query = JobQuery { list, function, limit, cursor };
    let page = service.runtime.scheduled(query).await.map_err(failed)?;
    Ok(Json(json!({
        "ts": ts(page.ts),
        "scheduled": page.jobs.iter().map(job_json).collect::<Vec<_>>(),
        "isDone": page.cursor.is_none(),
        "cursor": page.cursor,
    })))
}

fn job_json(job: &JobView) -> Tree {
    let (state, error) = match &job.state {
        JobState::Pending => ("pending", None),
        JobState::InProgress => ("running", None),
        JobState::Success => ("success", None),
        JobState::Failed { error } => ("failed", Some(error)),
        JobState::Canceled => ("canceled", None),
    };
    json!({
        "id": job.id.to_string(),
        "function": job.function,
        "args": value::json::to_json(&job.args),
        "state": state,
        "error": error,
        "createdMs": job.created_ms,
        "scheduledMs": ms(job.scheduled),
        "nextMs": job.next.map(ms),
        "completedMs": job.completed.map(ms),
        "systemErrors": job.system_errors,
    })
}

/// What to cancel: exactly one of the three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelForm {
    id: Option<String>,
    function: Option<String>,
    all: Option<bool>,
}

async fn cancel(
    State(service): State<Service>,
    principal: Principal,
    request: RequestId,
    JsonBody(form): JsonBody<CancelForm>,
) -> Answered {
    principal.require(Operation::Control)?;
    let request = request_of(&request);
    let runtime = &service.runtime;
    let canceled = match (form.id, form.function, form.all) {
        (Some(id), None, None) => {
            let id: DocumentId =
                id.parse().map_err(|error| invalid(format!("{id:?} is no id: {error}")))?;
            runtime.cancel_scheduled(id, request).await
        }
        (None, Some(function), None) => runtime.cancel_all_scheduled(Some(function), request).await,
        (None, None, Some(true)) => runtime.cancel_all_scheduled(None, request).await,
        (_, _, _) => return Err(invalid("expected one of \"id\", \"function\" and \"all\": true")),
    };
    Ok(Json(json!({ "canceled": canceled.map_err(failed)?.jobs })))
}
