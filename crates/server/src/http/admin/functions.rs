//! Functions: what there is, what it did, and running any of it.

use std::sync::Arc;

use ::functions::{
    ClientCall, Error, FunctionCounts, FunctionDef, FunctionKind, HistogramView, LogLine, Parent,
    Visibility,
};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Tree, json};
use value::FunctionPath;
use value::json::Format;

use super::{invalid, not_found, ts};
use crate::auth::{self, Operation, Principal};
use crate::errors::HttpError;
use crate::http::formats;
use crate::http::request::{JsonBody, RequestId};
use crate::service::Service;
use crate::socket::convert;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/api/concave/v1/functions", get(list))
        .route("/api/concave/v1/functions/run", post(run))
}

async fn list(
    State(service): State<Service>,
    principal: Principal,
) -> Result<Json<Tree>, HttpError> {
    principal.require(Operation::ViewData)?;
    let registry = service.runtime.registry();
    let functions = registry.iter().zip(registry.counts());
    let functions: Vec<Tree> = functions.map(|(def, counts)| function_json(def, &counts)).collect();
    Ok(Json(json!({ "functions": functions })))
}

fn function_json(def: &Arc<FunctionDef>, counts: &FunctionCounts) -> Tree {
    let visibility = match def.visibility {
        Visibility::Public => "public",
        Visibility::Internal => "internal",
    };
    let figures = &counts.figures;
    json!({
        "path": &*counts.name,
        "kind": kind_of(def.kind()),
        "visibility": visibility,
        "args": def.args.to_json(),
        "returns": def.returns.as_ref().map(|returns| returns.to_json()),
        "figures": {
            "executions": figures.executions(),
            "succeeded": figures.succeeded,
            "failed": figures.failed,
            "system": figures.broken,
            "abandoned": figures.abandoned,
            "liveRuns": figures.live_runs,
            "liveReruns": figures.live_reruns,
            "conflictReruns": figures.conflict_reruns,
            "durations": histogram_json(&figures.elapsed_ns),
        },
    })
}

/// Durations: upper bounds in milliseconds, with how many fell below each and above all.
fn histogram_json(view: &HistogramView) -> Tree {
    let bounds = view.bounds.iter().map(|bound| *bound as f64 / 1e6);
    json!({
        "boundsMs": bounds.collect::<Vec<_>>(),
        "counts": view.counts,
        "sumMs": view.sum as f64 / 1e6,
    })
}

pub(super) fn kind_of(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Query => "query",
        FunctionKind::Mutation => "mutation",
        FunctionKind::Action => "action",
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunForm {
    path: String,
    args: Box<RawValue>,
    /// Attributes of the user as whom it runs; else it is as the credential says.
    act_as: Option<Map<String, Tree>>,
    format: Option<String>,
}

/// Runs any function, internal ones too, also as a user. How it ended is an answer, not a failure.
async fn run(
    State(service): State<Service>,
    principal: Principal,
    id: RequestId,
    JsonBody(form): JsonBody<RunForm>,
) -> Result<Json<Tree>, HttpError> {
    principal.require(Operation::RunInternalQuery)?;
    let format = formats::requested(form.format.as_deref(), Format::Encoded)?;
    let path = FunctionPath::new(&form.path).map_err(|error| invalid(error.to_string()))?;
    let args = value::json::parse_args(form.args.get()).map_err(|error| invalid(error.message))?;
    let found = service.runtime.registry().get(&path).map(|function| function.kind());
    let kind = found.ok_or_else(|| not_found(format!("there is no function {path}")))?;
    principal.require(match kind {
        FunctionKind::Query => Operation::RunInternalQuery,
        FunctionKind::Mutation => Operation::RunInternalMutation,
        FunctionKind::Action => Operation::RunInternalAction,
    })?;
    let mut caller = convert::for_functions(&principal);
    if let Some(attributes) = form.act_as {
        caller.identity = Some(auth::act_as(attributes)?);
    }
    let call = ClientCall { path: path.to_string(), args, caller };
    let parent = Parent::of_request(&id.0);
    let runtime = &service.runtime;
    let began = service.now();
    let end = match kind {
        FunctionKind::Query => runtime.query_from_async(call, None, parent).await,
        FunctionKind::Mutation => runtime.mutation_async(call, None, parent).await,
        FunctionKind::Action => runtime.action_async(call, parent).await,
    };
    let mut answer = json!({
        "requestId": id.0,
        "ts": ts(end.ts),
        "durationMs": service.now().0.saturating_sub(began.0) as f64 / 1e6,
        "logLines": end.log_lines.iter().map(LogLine::to_text).collect::<Vec<_>>(),
    });
    match end.result {
        Ok(value) => {
            answer["status"] = json!("success");
            answer["value"] = format.to_json(&value);
        }
        Err(Error::System { code, message }) => return Err(HttpError::of_system(code, &message)),
        Err(Error::Developer { message, .. }) => {
            answer["status"] = json!("error");
            answer["errorMessage"] = json!(message);
        }
        Err(Error::Application { data, message }) => {
            answer["status"] = json!("error");
            answer["errorMessage"] = json!(message);
            answer["errorData"] = format.to_json(&data);
        }
    }
    Ok(Json(answer))
}
