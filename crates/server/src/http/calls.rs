//! Endpoints that run functions. A function that fails is an answer like another: status 200, with
//! `status: "error"`. Source: spec/http-api.md sections 4.2, 7 and 8.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use functions::{CallEnd, ClientCall, Error, FunctionKind, LogLine, Parent, Visibility};
use protocol::CallError;
use serde::{Deserialize, Serialize};
use serde_json::Value as Tree;
use serde_json::value::RawValue;
use value::json::Format;
use value::limits::quoted;
use value::{ComponentPath, FunctionPath, Timestamp, Value};

use super::formats;
use super::request::{Client, JsonBody, QueryArgs, RequestId};
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::service::Service;
use crate::socket::convert;

/// Most queries of one batch.
pub(super) const BATCH_QUERIES_MAX: usize = 1000;

/// Most bytes that the results of one batch may have together. One result may have a quarter of it.
pub(super) const BATCH_BYTES_MAX: usize = 64 << 20;

type Shared = State<Service>;
type Answered = Result<Json<Answer>, HttpError>;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/api/query", post(query).get(query_by_get))
        .route("/api/mutation", post(mutation))
        .route("/api/action", post(action))
        .route("/api/query_ts", post(query_ts))
        .route("/api/query_at_ts", post(query_at_ts))
        .route("/api/query_batch", post(query_batch))
        .route("/api/function", post(function))
        .route("/api/run/{*path}", post(run))
        .route("/api/run/", post(run_nothing))
}

#[derive(Deserialize)]
struct CallForm {
    path: String,
    args: Box<RawValue>,
    format: Option<String>,
}

/// As `CallForm`, in a query string: `args` is JSON text.
#[derive(Deserialize)]
struct GetForm {
    path: String,
    args: String,
    format: Option<String>,
}

#[derive(Deserialize)]
struct CallAtForm {
    path: String,
    args: Box<RawValue>,
    format: Option<String>,
    ts: String,
}

#[derive(Deserialize)]
struct BatchForm {
    queries: Vec<CallForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionForm {
    path: String,
    args: Box<RawValue>,
    format: Option<String>,
    component_path: Option<String>,
}

#[derive(Deserialize)]
struct RunForm {
    args: Box<RawValue>,
    format: Option<String>,
}

/// How a function ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Tree>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    /// There exactly for application errors, also when it is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_data: Option<Tree>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log_lines: Vec<String>,
    /// Size of the value, or of the data of the error.
    #[serde(skip)]
    bytes: usize,
}

/// A call that has been read, before anything ran.
struct Call {
    path: FunctionPath,
    args: Vec<Value>,
    format: Format,
}

impl Call {
    /// Everything is checked before the function runs, the format too.
    fn new(
        path: &str,
        args: &str,
        format: Option<&str>,
        default: Format,
    ) -> Result<Call, HttpError> {
        let format = formats::requested(format, default)?;
        let path = FunctionPath::new(path).map_err(|error| {
            HttpError::bad_request("BadConvexFunctionIdentifier", error.to_string())
        })?;
        let args = value::json::parse_args(args)
            .map_err(|error| HttpError::bad_request("BadJsonBody", error.message))?;
        Ok(Call { path, args, format })
    }
}

impl CallForm {
    fn read(&self, client: &Client) -> Result<Call, HttpError> {
        let default = formats::default_of(&client.0);
        Call::new(&self.path, self.args.get(), self.format.as_deref(), default)
    }
}

async fn query(
    State(service): Shared,
    client: Client,
    principal: Principal,
    id: RequestId,
    JsonBody(form): JsonBody<CallForm>,
) -> Answered {
    let call = form.read(&client)?;
    service.call(FunctionKind::Query, call, &principal, None, &id).await.map(Json)
}

async fn query_by_get(
    State(service): Shared,
    client: Client,
    principal: Principal,
    id: RequestId,
    QueryArgs(form): QueryArgs<GetForm>,
) -> Answered {
    let default = formats::default_of(&client.0);
    let call = Call::new(&form.path, &form.args, form.format.as_deref(), default)?;
    service.call(FunctionKind::Query, call, &principal, None, &id).await.map(Json)
}

async fn mutation(
    State(service): Shared,
    client: Client,
    principal: Principal,
    id: RequestId,
    JsonBody(form): JsonBody<CallForm>,
) -> Answered {
    let call = form.read(&client)?;
    service.call(FunctionKind::Mutation, call, &principal, None, &id).await.map(Json)
}

async fn action(
    State(service): Shared,
    client: Client,
    principal: Principal,
    id: RequestId,
    JsonBody(form): JsonBody<CallForm>,
) -> Answered {
    let call = form.read(&client)?;
    service.call(FunctionKind::Action, call, &principal, None, &id).await.map(Json)
}

async fn query_ts(State(service): Shared) -> Json<Tree> {
    Json(serde_json::json!({"ts": service.newest().to_wire()}))
}

async fn query_at_ts(
    State(service): Shared,
    client: Client,
    principal: Principal,
    id: RequestId,
    JsonBody(form): JsonBody<CallAtForm>,
) -> Answered {
    let bad_ts = |message| HttpError::bad_request("BadTimestamp", message);
    let ts = Timestamp::from_wire(&form.ts).map_err(|error| bad_ts(error.message))?;
    if ts > service.newest() {
        return Err(bad_ts("ts is in the future".to_owned()));
    }
    let default = formats::default_of(&client.0);
    let call = Call::new(&form.path, form.args.get(), form.format.as_deref(), default)?;
    service.call(FunctionKind::Query, call, &principal, Some(ts), &id).await.map(Json)
}

/// All queries see one snapshot. A failure outside a function fails the whole batch.
async fn query_batch(
    State(service): Shared,
    client: Client,
    principal: Principal,
    id: RequestId,
    JsonBody(form): JsonBody<BatchForm>,
) -> Result<Json<Tree>, HttpError> {
    if form.queries.len() > BATCH_QUERIES_MAX {
        let message = format!("more than {BATCH_QUERIES_MAX} queries in one batch");
        return Err(HttpError::bad_request("BadJsonBody", message));
    }
    let calls: Result<Vec<Call>, HttpError> =
        form.queries.iter().map(|form| form.read(&client)).collect();
    let ts = service.newest();
    let (mut results, mut bytes) = (Vec::new(), 0);
    for call in calls? {
        let answer = service.call(FunctionKind::Query, call, &principal, Some(ts), &id).await?;
        bytes += answer.bytes;
        if bytes > BATCH_BYTES_MAX {
            let message =
                format!("the results of the batch are larger than {BATCH_BYTES_MAX} bytes");
            return Err(HttpError::bad_request("BatchTooLarge", message));
        }
        results.push(answer);
    }
    Ok(Json(serde_json::json!({ "results": results })))
}

async fn run(
    State(service): Shared,
    // Read for its refusals; the format does not depend on it here.
    _: Client,
    principal: Principal,
    id: RequestId,
    path: Result<Path<String>, PathRejection>,
    JsonBody(form): JsonBody<RunForm>,
) -> Answered {
    let Path(path) =
        path.map_err(|error| HttpError::bad_request("BadPathArgs", error.body_text()))?;
    let Some((module, function)) = path.rsplit_once('/') else { return Err(no_identifier()) };
    let path = format!("{module}:{function}");
    let call = Call::new(&path, form.args.get(), form.format.as_deref(), Format::Clean)?;
    service.call_of_any_kind(call, &principal, &id).await.map(Json)
}

async fn run_nothing() -> HttpError {
    no_identifier()
}

fn no_identifier() -> HttpError {
    HttpError::bad_request("MissingIdentifier", "expected /api/run/<module>/<function>")
}

async fn function(
    State(service): Shared,
    client: Client,
    principal: Principal,
    id: RequestId,
    JsonBody(form): JsonBody<FunctionForm>,
) -> Answered {
    // Which kinds a read-only key runs is checked when the kind is known.
    principal.require(Operation::RunInternalQuery)?;
    let component = ComponentPath::new(form.component_path.as_deref().unwrap_or_default())
        .map_err(|error| HttpError::bad_request("InvalidComponentPath", error.to_string()))?;
    if !component.is_root() {
        let message = format!("there is no component {}", quoted(component.as_str()));
        return Err(HttpError::bad_request("InvalidComponentPath", message));
    }
    let default = formats::default_of(&client.0);
    let call = Call::new(&form.path, form.args.get(), form.format.as_deref(), default)?;
    service.call_of_any_kind(call, &principal, &id).await.map(Json)
}

impl Service {
    /// The newest timestamp at which everything that was answered can be seen.
    fn newest(&self) -> Timestamp {
        self.runtime.durable()
    }

    async fn call(
        &self,
        kind: FunctionKind,
        call: Call,
        principal: &Principal,
        at: Option<Timestamp>,
        id: &RequestId,
    ) -> Result<Answer, HttpError> {
        principal.require_call(kind)?;
        let caller = convert::for_functions(principal);
        let format = call.format;
        let call = ClientCall { path: call.path.to_string(), args: call.args, caller };
        let parent = Parent::of_request(&id.0);
        let end = match kind {
            FunctionKind::Query => self.runtime.query_from_async(call, at, parent).await,
            FunctionKind::Mutation => self.runtime.mutation_async(call, None, parent).await,
            FunctionKind::Action => self.runtime.action_async(call, parent).await,
        };
        self.answer(end, format, id)
    }

    /// Internal functions exist here for an administrator that acts as itself.
    async fn call_of_any_kind(
        &self,
        call: Call,
        principal: &Principal,
        id: &RequestId,
    ) -> Result<Answer, HttpError> {
        let internal_allowed = matches!(principal, Principal::Admin { acting_as: None, .. });
        let registry = self.runtime.registry();
        let found = registry.get(&call.path).filter(|function| match function.visibility {
            Visibility::Public => true,
            Visibility::Internal => internal_allowed,
        });
        let Some(kind) = found.map(|function| function.kind()) else {
            let detail = format!(
                "Could not find function for '{}'. Did you forget to run `npx convex dev`?",
                call.path
            );
            return Ok(self.failure(detail, None, &[], id));
        };
        self.call(kind, call, principal, None, id).await
    }

    fn answer(&self, end: CallEnd, format: Format, id: &RequestId) -> Result<Answer, HttpError> {
        match end.result {
            Ok(value) => Ok(Answer {
                status: "success",
                value: Some(format.to_json(&value)),
                error_message: None,
                error_data: None,
                log_lines: self.log_lines(&end.log_lines),
                bytes: value.size(),
            }),
            Err(Error::Developer { message, .. }) => {
                Ok(self.failure(message, None, &end.log_lines, id))
            }
            Err(Error::Application { data, message }) => {
                let json = Some(format.to_json(&data));
                Ok(Answer { bytes: data.size(), ..self.failure(message, json, &end.log_lines, id) })
            }
            Err(Error::System { code, message }) => Err(HttpError::of_system(code, &message)),
        }
    }

    fn failure(
        &self,
        detail: String,
        data: Option<Tree>,
        log_lines: &[LogLine],
        id: &RequestId,
    ) -> Answer {
        let detail = self.options.show_errors.then_some(detail);
        let error = CallError { request_id: id.0.clone(), detail, data: None };
        Answer {
            status: "error",
            value: None,
            error_message: Some(error.text()),
            error_data: data,
            log_lines: self.log_lines(log_lines),
            bytes: 0,
        }
    }

    fn log_lines(&self, lines: &[LogLine]) -> Vec<String> {
        let shown = lines.iter().filter(|_| self.options.show_errors);
        shown.map(LogLine::to_text).collect()
    }
}

#[cfg(test)]
mod tests;
