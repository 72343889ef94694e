//! Golden scripts: what goes into a session, and indented below it what comes out.
//!
//!     # a comment
//!     client npm-1.48.0                    the client, before anything else (default: unknown)
//!     > {"type":"Connect",…}               a frame; frames in a row are one burst
//!     verified alice until 5000            rejected TEXT · unavailable CLASS CODE
//!     committed 0 at 30
//!     done 0 = "id1" at 30                 done 0 failed TEXT · done 0 data JSON · done 0 system …
//!     action 4 = {"ok":true}               the same for actions, without `at`
//!     changed 30
//!     refreshed 30 {"0":["a"],"1":{"$failed":"boom"},"2":{"$journal":"J","value":[]}}
//!     drained · tick · alive · binary · shutdown · closed · failed CLASS CODE
//!     now 15000                            sets the clock
//!
//! After every input, and after a burst, the session is flushed. To write the outputs of a new
//! script, run the test with UPDATE_SCRIPTS=1 and read the difference.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use crate::session::{Input, Options, Output, Session, Verified};
use crate::{
    ActionOutcome, CallError, ClientVersion, ErrorClass, MutationOutcome, Outgoing, QueryId,
    QueryResult, RequestId, SystemError, Token, Transition, Version,
};
use value::Timestamp;

#[test]
fn scripts_give_the_outputs_written_in_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "scripts are missing");
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        let actual = run(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, actual).unwrap();
        } else {
            assert_eq!(script, actual, "{}", path.display());
        }
    }
}

/// The script with the outputs that the session gives now.
fn run(script: &str) -> String {
    let mut stage = Stage { session: None, client: ClientVersion::UNKNOWN, now_ms: 0 };
    let mut text = String::new();
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with("    ")).collect();
    for (place, line) in lines.iter().enumerate() {
        writeln!(text, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let in_burst = line.starts_with("> ")
            && lines.get(place + 1).is_some_and(|next| next.starts_with("> "));
        for output in stage.input(line, !in_burst) {
            for row in render(&output).lines() {
                writeln!(text, "    {row}").unwrap();
            }
        }
    }
    text
}

struct Stage {
    session: Option<Session<String>>,
    client: ClientVersion,
    now_ms: i64,
}

impl Stage {
    fn input(&mut self, line: &str, flush: bool) -> Vec<Output<String>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "client" => {
                self.client = ClientVersion::resolve(Some(rest), None).unwrap();
                return Vec::new();
            }
            "now" => {
                self.now_ms = rest.parse().unwrap();
                return Vec::new();
            }
            _ => {}
        }
        let session = self.session.get_or_insert_with(|| {
            let client = self.client.clone();
            let options = Options {
                client,
                entropy: [7; 16],
                show_errors: true,
                limits: crate::SessionLimits::default(),
            };
            Session::new(options, String::from("anonymous"), 0)
        });
        let mut out = session.handle(self.now_ms, read_input(word, rest));
        if flush {
            out.extend(session.flush(self.now_ms));
        }
        out
    }
}

fn read_input<'a>(word: &str, rest: &'a str) -> Input<'a, String> {
    match word {
        ">" => Input::Frame(rest),
        "binary" => Input::BinaryFrame,
        "alive" => Input::Alive,
        "drained" => Input::Drained,
        "tick" => Input::Tick,
        "shutdown" => Input::Shutdown,
        "closed" => Input::PeerClosed,
        "failed" => Input::Failed(system_error(rest)),
        "rejected" => Input::Verified(Verified::Rejected { message: rest.to_owned() }),
        "unavailable" => Input::Verified(Verified::Unavailable(system_error(rest))),
        "verified" => {
            let (identity, end) = match rest.split_once(" until ") {
                Some((identity, end)) => (identity, Some(end.parse().unwrap())),
                None => (rest, None),
            };
            Input::Verified(Verified::Accepted { identity: identity.into(), expires_at_ms: end })
        }
        "committed" => {
            let (request, at) = rest.split_once(" at ").unwrap();
            Input::MutationCommitted { request: request_id(request), ts: ts(at) }
        }
        "changed" => Input::Changed { ts: ts(rest) },
        "refreshed" => {
            let (at, results) = rest.split_once(' ').unwrap_or((rest, "{}"));
            Input::Refreshed { ts: ts(at), results: read_results(results) }
        }
        "done" => read_mutation_done(rest),
        "action" => read_action_done(rest),
        other => panic!("unknown input {other:?}"),
    }
}

fn read_mutation_done(rest: &str) -> Input<'static, String> {
    let (request, kind, text) = read_outcome(rest);
    let log_lines = vec![String::from("[LOG] 'ran'")];
    let outcome = match kind {
        "=" => {
            let (value, at) = text.rsplit_once(" at ").unwrap();
            MutationOutcome::Success { value: value.to_owned(), ts: ts(at), log_lines }
        }
        "system" => MutationOutcome::System(system_error(text)),
        kind => MutationOutcome::Failure { error: call_error(kind, text), log_lines },
    };
    Input::MutationDone { request, outcome }
}

fn read_action_done(rest: &str) -> Input<'static, String> {
    let (request, kind, text) = read_outcome(rest);
    let outcome = match kind {
        "=" => ActionOutcome::Success { value: text.to_owned(), log_lines: vec![] },
        "system" => ActionOutcome::System(system_error(text)),
        kind => ActionOutcome::Failure { error: call_error(kind, text), log_lines: vec![] },
    };
    Input::ActionDone { request, outcome }
}

fn read_outcome(rest: &str) -> (RequestId, &str, &str) {
    let mut words = rest.splitn(3, ' ');
    (request_id(words.next().unwrap()), words.next().unwrap(), words.next().unwrap())
}

fn call_error(kind: &str, text: &str) -> CallError {
    let request_id = String::from("id");
    match kind {
        "failed" => CallError { request_id, detail: Some(text.to_owned()), data: None },
        "data" => CallError { request_id, detail: None, data: Some(Arc::from(text)) },
        other => panic!("unknown outcome {other:?}"),
    }
}

fn read_results(text: &str) -> Vec<(QueryId, Arc<QueryResult>)> {
    let results: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let read = |(id, result): (String, serde_json::Value)| {
        let log_lines = [String::from("[LOG] 'ran'")];
        let result = if let Some(text) = result.get("$failed") {
            QueryResult::failure(&call_error("failed", text.as_str().unwrap()), &log_lines, None)
        } else if let Some(journal) = result.get("$journal") {
            QueryResult::success(&result["value"].to_string(), &log_lines, journal.as_str())
        } else {
            QueryResult::success(&result.to_string(), &[], None)
        };
        (QueryId(id.parse().unwrap()), Arc::new(result))
    };
    results.into_iter().map(read).collect()
}

fn system_error(text: &str) -> SystemError {
    let (class, code) = text.split_once(' ').unwrap();
    let class = match class {
        "BadRequest" => ErrorClass::BadRequest,
        "Conflict" => ErrorClass::Conflict,
        "Unauthenticated" => ErrorClass::Unauthenticated,
        "AuthUpdateFailed" => ErrorClass::AuthUpdateFailed,
        "Forbidden" => ErrorClass::Forbidden,
        "PaginationLimit" => ErrorClass::PaginationLimit,
        "NotFound" => ErrorClass::NotFound,
        "ClientDisconnect" => ErrorClass::ClientDisconnect,
        "RateLimited" => ErrorClass::RateLimited,
        "Overloaded" => ErrorClass::Overloaded,
        "GoingAway" => ErrorClass::GoingAway,
        "Internal" => ErrorClass::Internal,
        other => panic!("unknown class {other:?}"),
    };
    SystemError::new(class, code.to_owned(), "the long text")
}

fn request_id(text: &str) -> RequestId {
    RequestId(text.parse().unwrap())
}

fn ts(text: &str) -> Timestamp {
    Timestamp(text.parse().unwrap())
}

fn render(output: &Output<String>) -> String {
    match output {
        Output::Send(Outgoing::Message(text)) => format!("<- {}", readable(text)),
        Output::Send(Outgoing::Transition(transition)) => render_transition(transition),
        Output::Connected(connect) => match connect.max_observed {
            Some(ts) => format!("connected {} has seen {ts}", connect.session),
            None => format!("connected {}", connect.session),
        },
        Output::Verify(Token::None) => String::from("verify None"),
        Output::Verify(Token::User(token)) => format!("verify User {token}"),
        Output::Verify(Token::Admin { key, acting_as: None }) => format!("verify Admin {key}"),
        Output::Verify(Token::Admin { key, acting_as: Some(user) }) => {
            format!("verify Admin {key} as {}", user.token_identifier)
        }
        Output::Mutation(call) => format!("run mutation {}", render_call(call)),
        Output::Action(call) => format!("run action {}", render_call(call)),
        Output::Subscribe(it) => {
            let journal = it.journal.as_ref().map(|journal| format!(" journal {journal}"));
            format!(
                "subscribe {} {} {} as {}{}",
                it.query,
                it.path,
                render_args(&it.args),
                it.identity,
                journal.unwrap_or_default()
            )
        }
        Output::Unsubscribe(query) => format!("unsubscribe {query}"),
        Output::Refresh { at_least } => format!("refresh at {at_least} or later"),
        Output::Close(close) => match close.code {
            Some(code) => format!("close {code} {}", close.reason),
            None => {
                assert_eq!(close.reason, "", "no reason without a code");
                String::from("close without code")
            }
        },
    }
}

fn render_call(call: &crate::Call<String>) -> String {
    let args = render_args(&call.args);
    format!("{} {} {args} as {} call {}", call.request, call.path, call.identity, call.call_id)
}

fn render_args(args: &[value::Value]) -> String {
    let args: Vec<String> = args.iter().map(value::json::to_string).collect();
    format!("[{}]", args.join(","))
}

/// Timestamps of responses as numbers.
fn readable(text: &str) -> String {
    let Some(at) = text.find("\"ts\":\"") else { return text.to_owned() };
    let (head, tail) = text.split_at(at + 5);
    let ts = Timestamp::from_wire(&tail[1..13]).unwrap();
    format!("{head}{ts}{}", &tail[14..])
}

fn render_transition(transition: &Transition) -> String {
    let frame: serde_json::Value = serde_json::from_str(&transition.encode(1)).unwrap();
    let Version { query_set, identity, ts } = transition.start;
    let mut text = format!("<- Transition ({query_set},{identity},{ts})");
    let Version { query_set, identity, ts } = transition.end;
    write!(text, " to ({query_set},{identity},{ts}) skew {}", frame["clientClockSkew"]).unwrap();
    for modification in frame["modifications"].as_array().unwrap() {
        let id = &modification["queryId"];
        match modification["type"].as_str().unwrap() {
            "QueryUpdated" => write!(text, "\n   {id} = {}", modification["value"]).unwrap(),
            "QueryFailed" => {
                write!(text, "\n   {id} failed {}", modification["errorMessage"]).unwrap()
            }
            "QueryRemoved" => write!(text, "\n   {id} removed").unwrap(),
            other => panic!("unknown modification {other:?}"),
        }
        if let Some(journal) = modification.get("journal").and_then(|journal| journal.as_str()) {
            write!(text, " journal {journal}").unwrap();
        }
    }
    text
}
