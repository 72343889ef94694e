//! Messages of clients as a client would write them.

use protocol::client::{AddQuery, Args, CallRequest, Connect, QuerySetModification};
use protocol::{ClientMessage, ImpersonatedUser, Token};
use serde_json::{Value as Json, json};

/// The frame of `message`. None: it holds arguments that could not be read.
pub(super) fn message(message: &ClientMessage) -> Option<Json> {
    Some(match message {
        ClientMessage::Connect(connect) => open(connect),
        ClientMessage::ModifyQuerySet(step) => {
            let modifications: Option<Vec<Json>> =
                step.modifications.iter().map(modification).collect();
            json!({"type": "ModifyQuerySet", "baseVersion": step.base, "newVersion": step.new,
                "modifications": modifications?})
        }
        ClientMessage::Mutation(request) => call("Mutation", request)?,
        ClientMessage::Action(request) => call("Action", request)?,
        ClientMessage::Authenticate { base, token } => authenticate(*base, token),
        ClientMessage::Event => json!({"type": "Event"}),
    })
}

fn open(connect: &Connect) -> Json {
    json!({"type": "Connect", "sessionId": connect.session.to_string(),
        "connectionCount": connect.connection_count,
        "lastCloseReason": connect.last_close_reason,
        "maxObservedTimestamp": connect.max_observed.map(|ts| ts.to_wire()),
        "clientTs": connect.client_ts_ms})
}

fn modification(modification: &QuerySetModification) -> Option<Json> {
    Some(match modification {
        QuerySetModification::Add(add) => {
            let AddQuery { query, path, args, journal, component, bytes: _ } = add;
            json!({"type": "Add", "queryId": query.0, "udfPath": path.to_string(),
                "args": arguments(args)?, "journal": journal,
                "componentPath": component.as_str()})
        }
        QuerySetModification::Remove(query) => json!({"type": "Remove", "queryId": query.0}),
    })
}

fn call(kind: &str, request: &CallRequest) -> Option<Json> {
    Some(json!({"type": kind, "requestId": request.request.0,
        "udfPath": request.path.to_string(), "args": arguments(&request.args)?,
        "componentPath": request.component.as_str()}))
}

fn arguments(args: &Args) -> Option<Vec<Json>> {
    Some(args.as_ref().ok()?.iter().map(value::json::to_json).collect())
}

fn authenticate(base: u32, token: &Token) -> Json {
    let (kind, value, impersonating) = match token {
        Token::None => ("None", None, None),
        Token::User(token) => ("User", Some(token), None),
        Token::Admin { key, acting_as } => ("Admin", Some(key), acting_as.as_ref()),
    };
    let claims = |user: &ImpersonatedUser| Json::Object(user.claims.clone());
    json!({"type": "Authenticate", "baseVersion": base, "tokenType": kind, "value": value,
        "impersonating": impersonating.map(claims)})
}
