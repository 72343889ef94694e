//! Who looks at what, what it depends on, and which commit made it run.

use ::functions::admin::{Bound, BoundValues, IntervalKind, Names, ReadInterval};
use ::functions::{Cause, LiveEntryView, LiveRun, LiveSessionView, UserIdentity};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value as Tree, json};

use super::{invalid, ms, not_found, page_size, ts};
use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::http::request::QueryArgs;
use crate::service::Service;

/// Intervals shown of each live query in a list.
const INTERVALS_LISTED_MAX: usize = 20;
/// Intervals shown of one live query.
const INTERVALS_MAX: usize = 1000;
/// Bytes shown of arguments.
const ARGS_BYTES_SHOWN_MAX: usize = 4096;

type Answered = Result<Json<Tree>, HttpError>;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/api/concave/v1/sessions", get(sessions))
        .route("/api/concave/v1/live", get(list))
        .route("/api/concave/v1/live/{number}", get(one))
}

#[derive(Deserialize)]
struct PageForm {
    after: Option<u64>,
    limit: Option<usize>,
    function: Option<String>,
}

async fn sessions(
    State(service): State<Service>,
    principal: Principal,
    QueryArgs(form): QueryArgs<PageForm>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let limit = page_size(form.limit)?;
    let views = service.runtime.live().sessions(form.after.unwrap_or(0), limit);
    let next = (views.len() == limit).then(|| views.last().map(|view| view.number)).flatten();
    let sessions: Vec<Tree> = views.iter().map(|view| session_json(&service, view)).collect();
    Ok(Json(json!({ "sessions": sessions, "isDone": next.is_none(), "after": next })))
}

fn session_json(service: &Service, view: &LiveSessionView) -> Tree {
    let queries = view.queries.iter();
    let queries =
        queries.take(INTERVALS_MAX).map(|(query, live)| json!({"query": query, "live": live}));
    let mut shown = json!({
        "number": view.number,
        "identity": identity_json(view.identity.as_deref()),
        "admin": view.admin,
        "subscriptions": view.queries.len(),
        "queries": queries.collect::<Vec<_>>(),
        "shownTs": ts(view.last),
    });
    let Some(socket) = service.watching.sockets.get(view.number) else { return shown };
    let traffic = socket.traffic();
    shown["socket"] = json!({
        "session": socket.session().map(|session| session.to_string()),
        "client": socket.client,
        "openedMs": ms(socket.opened),
        "ageMs": service.now().0.saturating_sub(socket.opened.0) / 1_000_000,
        "lastMessageMs": ms(socket.last_heard()),
        "unsentBytes": socket.unsent_bytes(),
        "receivedBytes": traffic.received_bytes,
        "sentBytes": traffic.sent_bytes,
        "receivedMessages": traffic.received_messages,
        "sentMessages": traffic.sent_messages,
    });
    shown
}

/// Who it is, without what else the token said.
fn identity_json(identity: Option<&UserIdentity>) -> Tree {
    identity.map_or(Tree::Null, |user| json!({"issuer": user.issuer, "subject": user.subject}))
}

async fn list(
    State(service): State<Service>,
    principal: Principal,
    QueryArgs(form): QueryArgs<PageForm>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let (after, limit) = (form.after.unwrap_or(0), page_size(form.limit)?);
    let views = service.runtime.live().page(after, limit, form.function.as_deref());
    let next = (views.len() == limit).then(|| views.last().map(|view| view.number)).flatten();
    let names = service.runtime.names();
    let live = views.iter().map(|view| entry_json(&names, view, INTERVALS_LISTED_MAX));
    let live: Vec<Tree> = live.collect();
    Ok(Json(json!({ "live": live, "isDone": next.is_none(), "after": next })))
}

async fn one(
    State(service): State<Service>,
    principal: Principal,
    number: Result<Path<u64>, PathRejection>,
) -> Answered {
    principal.require(Operation::ViewData)?;
    let Path(number) = number.map_err(|error| invalid(error.body_text()))?;
    let view = service.runtime.live().entry(number);
    let view = view.ok_or_else(|| not_found(format!("there is no live query {number}")))?;
    Ok(Json(entry_json(&service.runtime.names(), &view, INTERVALS_MAX)))
}

fn entry_json(names: &Names, view: &LiveEntryView, intervals_max: usize) -> Tree {
    let reads = view.reads.as_ref().map(|reads| names.intervals(reads, intervals_max));
    let (intervals, count) = reads.unwrap_or_default();
    let args = &view.args[..view.args.floor_char_boundary(ARGS_BYTES_SHOWN_MAX)];
    let history = view.history.iter().rev();
    json!({
        "number": view.number,
        "function": &*view.path,
        "args": args,
        "argsCut": args.len() < view.args.len(),
        "shared": view.shared,
        "identity": identity_json(view.identity.as_deref()),
        "admin": view.admin,
        "subscribers": view.sessions,
        "executions": view.runs,
        "running": view.running,
        "validFromTs": view.valid.map(|(from, _)| ts(from)),
        "validToTs": view.valid.and_then(|(_, to)| to).map(ts),
        "readSet": intervals.iter().map(interval_json).collect::<Vec<_>>(),
        "readSetIntervals": count,
        "runs": history.map(|run| live_run_json(names, run)).collect::<Vec<_>>(),
        "staleBy": view.stale_by.as_ref().map(|cause| cause_json(names, cause)),
    })
}

fn live_run_json(names: &Names, run: &LiveRun) -> Tree {
    json!({
        "ts": ts(run.ts),
        "beganMs": ms(run.began),
        "durationMs": run.elapsed.as_secs_f64() * 1e3,
        "changed": run.changed,
        "failed": run.failed,
        "cause": run.cause.as_ref().map(|cause| cause_json(names, cause)),
    })
}

fn cause_json(names: &Names, cause: &Cause) -> Tree {
    let cause = names.cause(cause);
    json!({
        "ts": ts(cause.ts),
        "timeMs": ms(cause.ts),
        "function": cause.function,
        "origin": cause.origin,
        "request": cause.request,
        "table": cause.table,
        "index": cause.index,
        "change": cause.change,
        "document": cause.document.map(|id| id.to_string()),
        "key": bound_json(&cause.key),
        "more": cause.more,
    })
}

fn interval_json(interval: &ReadInterval) -> Tree {
    let kind = match interval.kind {
        IntervalKind::All => "all",
        IntervalKind::Prefix => "prefix",
        IntervalKind::Key => "key",
        IntervalKind::Range => "range",
    };
    json!({
        "table": interval.table,
        "index": interval.index,
        "fields": interval.fields,
        "kind": kind,
        "from": bound_json(&interval.from),
        "to": interval.to.as_ref().map(bound_json),
        "text": interval.text,
    })
}

/// `values`: one for each leading field, `{"$undefined": null}` where it is missing.
fn bound_json(bound: &Bound) -> Tree {
    match &bound.values {
        BoundValues::Values(values) => {
            let undefined = || json!({ "$undefined": null });
            let values =
                values.iter().map(|v| v.as_ref().map_or_else(undefined, value::json::to_json));
            json!({ "values": values.collect::<Vec<_>>(), "after": bound.after })
        }
        BoundValues::Bytes(hex) => json!({ "bytes": hex, "after": bound.after }),
    }
}
