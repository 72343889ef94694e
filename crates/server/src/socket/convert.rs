//! Between the words of the protocol and those of functions: outcomes, errors, credentials.

use std::sync::Arc;

use functions::{CallEnd, Caller, Error, LiveOutcome, LiveResult, LogLine, Runtime};
use protocol::{
    ActionOutcome, CallError, ErrorClass, MutationOutcome, QueryId, QueryResult, SystemError,
    Token, Verified,
};
use value::json;

use crate::auth::{self, Credential};
use crate::errors::{INTERNAL_CODE, class_of};

/// The result of a live query, encoded once for all sessions that show it.
pub(crate) fn live(
    query: u32,
    result: &Arc<LiveResult>,
    runtime: &Runtime,
    show_errors: bool,
) -> (QueryId, Arc<QueryResult>) {
    let encoded = result.shared(|result| {
        let lines = texts(&result.log_lines, show_errors);
        let journal = result.journal.as_deref();
        match &result.outcome {
            LiveOutcome::Value(json) => QueryResult::success(json, &lines, journal),
            LiveOutcome::Failed(error) => {
                let id = hex(&runtime.random()[..8]);
                QueryResult::failure(&call_error(error, &id, show_errors), &lines, journal)
            }
        }
    });
    (QueryId(query), encoded)
}

/// What a mutation's end is to the session.
pub(crate) fn mutation(end: CallEnd, call_id: &str, show_errors: bool) -> MutationOutcome {
    let log_lines = texts(&end.log_lines, show_errors);
    match end.result {
        Ok(value) => {
            MutationOutcome::Success { value: json::to_string(&value), ts: end.ts, log_lines }
        }
        Err(error) if error.is_deterministic() => {
            MutationOutcome::Failure { error: call_error(&error, call_id, show_errors), log_lines }
        }
        Err(error) => MutationOutcome::System(system(&error)),
    }
}

/// What an action's end is to the session.
pub(crate) fn action(end: CallEnd, call_id: &str, show_errors: bool) -> ActionOutcome {
    let log_lines = texts(&end.log_lines, show_errors);
    match end.result {
        Ok(value) => ActionOutcome::Success { value: json::to_string(&value), log_lines },
        Err(error) if error.is_deterministic() => {
            ActionOutcome::Failure { error: call_error(&error, call_id, show_errors), log_lines }
        }
        Err(error) => ActionOutcome::System(system(&error)),
    }
}

/// An error that is not the function's: it ends the connection, and the client comes back.
pub(crate) fn system(error: &Error) -> SystemError {
    let code = error.code().unwrap_or(INTERNAL_CODE);
    let class = class_of(code);
    if class == ErrorClass::Internal {
        tracing::error!(%error, code, "a call failed inside the server");
    }
    SystemError::new(class, code, error.message().to_owned())
}

/// Credentials as they came.
pub(crate) fn credential(token: Token) -> Credential {
    match token {
        Token::None => Credential::None,
        Token::User(token) => Credential::User(token),
        Token::Admin { key, acting_as } => Credential::Admin {
            key,
            acting_as: acting_as.map(|user| {
                let mut claims = user.claims;
                claims.insert("tokenIdentifier".to_owned(), user.token_identifier.into());
                claims
            }),
        },
    }
}

/// A verified caller, with the end of its time.
pub(crate) fn accepted(caller: &auth::Principal) -> Verified<Caller> {
    let expires_at_ms = match caller {
        auth::Principal::User(user) => i64::try_from(user.valid_until.0 / 1_000_000).ok(),
        auth::Principal::Anonymous | auth::Principal::Admin { .. } => None,
    };
    Verified::Accepted { identity: for_functions(caller), expires_at_ms }
}

fn call_error(error: &Error, request_id: &str, show_errors: bool) -> CallError {
    CallError {
        request_id: request_id.to_owned(),
        detail: show_errors.then(|| error.message().to_owned()),
        data: error.data().map(|data| Arc::from(json::to_string(data))),
    }
}

fn texts(lines: &[LogLine], show: bool) -> Vec<String> {
    let lines = lines.iter().filter(|_| show);
    lines.map(LogLine::to_text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A caller as functions know it.
pub(crate) fn for_functions(caller: &auth::Principal) -> Caller {
    let admin = match caller {
        auth::Principal::Admin { .. } => true,
        auth::Principal::Anonymous | auth::Principal::User(_) => false,
    };
    Caller { identity: caller.identity().cloned(), admin, read_only: caller.is_read_only() }
}
