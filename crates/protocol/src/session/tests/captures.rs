//! Every capture of a real client, replayed: each of its messages through a session that a small
//! server drives, which verifies, answers and refreshes at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::client::QuerySetModification;
use crate::session::{Close, Input, Options, Output, Session, Verified};
use crate::{
    ActionOutcome, CallError, ClientMessage, ClientVersion, Modification, MutationOutcome,
    Outgoing, QueryId, QueryResult, Token, Transition, Version,
};
use value::Timestamp;

/// When the tokens of this server end.
const TOKENS_END_MS: i64 = 1_000_000;

#[test]
fn every_capture_is_served() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), 34);
    let mut auth_errors = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Json> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let connections: BTreeSet<u64> =
            lines.iter().filter_map(|line| line["conn"].as_u64()).collect();
        for connection in connections {
            let lines: Vec<&Json> = lines.iter().filter(|it| it["conn"] == connection).collect();
            let name = format!("{} #{connection}", path.file_name().unwrap().display());
            auth_errors += replay(&name, &lines);
        }
    }
    assert_eq!(auth_errors, 5);
}

/// One connection. Returns how many of its `AuthError`s were reproduced.
fn replay(name: &str, lines: &[&Json]) -> usize {
    let upgrade = lines.iter().find(|line| line.get("upgrade").is_some()).unwrap();
    let header = upgrade["headers"]["convex-client"].as_str();
    let url = upgrade["upgrade"].as_str().unwrap().strip_prefix("GET /api/").unwrap();
    let in_path = url.strip_suffix("/sync");
    let client = ClientVersion::resolve(header, in_path).unwrap();
    assert_eq!(client.takes_chunks(), name.starts_with("npm"), "{name}");
    let mut server = Server::new(name, client, lines);

    for (place, line) in lines.iter().enumerate() {
        if line["dir"] != "c->s" || line.get("msg").is_none() {
            continue;
        }
        // One application names its functions `q:1`, `q:2`, …, which no server would accept.
        let text = line["msg"].to_string().replace("\"q:", "\"q:q");
        let decoded = ClientMessage::decode(&text).unwrap();
        let answer = lines[place + 1..].iter().find(|line| line["dir"] == "s->c");
        let auth_error = answer.map(|it| &it["msg"]).filter(|msg| msg["type"] == "AuthError");
        server.rejection = None;
        if let Some(error) = auth_error {
            if error["authUpdateAttempted"] == true {
                server.rejection = Some(error["error"].as_str().unwrap().to_owned());
            } else if server.identity_version > 0 {
                server.now_ms = TOKENS_END_MS;
            }
        }
        server.frame(&text, &decoded);
        if server.closed.is_some() {
            let expected = auth_error.unwrap_or_else(|| panic!("{name} was closed"));
            let last: Json = serde_json::from_str(server.messages.last().unwrap()).unwrap();
            assert_eq!(&last, expected, "{name}");
            assert_eq!(server.closed, Some(Close { code: None, reason: String::new() }), "{name}");
            return 1;
        }
    }
    server.check_end();
    0
}

/// Answers everything at once, as the capture did.
struct Server<'a> {
    name: &'a str,
    session: Session<&'static str>,
    now_ms: i64,
    rejection: Option<String>,
    /// `MutationResponse` and `ActionResponse` of the capture, by request.
    answers: BTreeMap<u64, Json>,
    ts: u64,
    version: Version,
    query_set: u32,
    identity_version: u32,
    /// The queries of the client, and which of them have a result.
    queries: BTreeMap<QueryId, bool>,
    subscribed: BTreeSet<QueryId>,
    requests: BTreeSet<u64>,
    answered: Vec<u64>,
    messages: Vec<String>,
    closed: Option<Close>,
    /// The client was here before.
    again: bool,
}

impl<'a> Server<'a> {
    fn new(name: &'a str, client: ClientVersion, lines: &[&Json]) -> Server<'a> {
        let response = |line: &&Json| {
            let msg = &line["msg"];
            let kind = msg["type"].as_str()?;
            let is_response = line["dir"] == "s->c" && kind.ends_with("Response");
            is_response.then(|| (msg["requestId"].as_u64().unwrap(), msg.clone()))
        };
        let options = Options {
            client,
            entropy: [0; 16],
            show_errors: true,
            limits: crate::SessionLimits::default(),
        };
        Server {
            name,
            session: Session::new(options, "anonymous", 0),
            now_ms: 0,
            rejection: None,
            answers: lines.iter().filter_map(response).collect(),
            ts: 1_000,
            version: Version::START,
            query_set: 0,
            identity_version: 0,
            queries: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            requests: BTreeSet::new(),
            answered: Vec::new(),
            messages: Vec::new(),
            closed: None,
            again: false,
        }
    }

    fn frame(&mut self, text: &str, decoded: &ClientMessage) {
        match decoded {
            ClientMessage::ModifyQuerySet(step) => {
                self.query_set = step.new;
                for modification in &step.modifications {
                    match modification {
                        QuerySetModification::Add(add) => {
                            assert!(add.args.is_ok(), "{}", self.name);
                            self.queries.insert(add.query, false);
                        }
                        QuerySetModification::Remove(query) => {
                            self.queries.remove(query);
                        }
                    }
                }
            }
            ClientMessage::Mutation(call) | ClientMessage::Action(call) => {
                assert!(call.args.is_ok(), "{}", self.name);
                self.requests.insert(u64::from(call.request.0));
            }
            ClientMessage::Authenticate { .. } => self.identity_version += 1,
            ClientMessage::Connect(connect) => self.again = connect.connection_count > 0,
            ClientMessage::Event => {}
        }
        let mut outputs = self.session.handle(self.now_ms, Input::Frame(text));
        outputs.extend(self.session.flush(self.now_ms));
        while !outputs.is_empty() {
            let mut next = Vec::new();
            for output in outputs {
                if let Some(input) = self.carry_out(output) {
                    next.extend(self.session.handle(self.now_ms, input));
                    next.extend(self.session.flush(self.now_ms));
                }
            }
            outputs = next;
        }
        if self.closed.is_none() {
            let announced = (self.query_set, self.identity_version);
            // A client that comes back says what it shows before it is shown anything.
            let waits =
                self.requests.len() > self.answered.len() || self.again && self.query_set == 0;
            let shown = (self.version.query_set, self.version.identity);
            assert!(shown == announced || waits, "{}: {shown:?} {announced:?}", self.name);
        }
    }

    fn carry_out(&mut self, output: Output<&'static str>) -> Option<Input<'static, &'static str>> {
        match output {
            Output::Send(Outgoing::Message(text)) => {
                let message: Json = serde_json::from_str(&text).unwrap();
                if let Some(request) = message["requestId"].as_u64() {
                    self.answered.push(request);
                }
                self.messages.push(text);
                None
            }
            Output::Send(Outgoing::Transition(transition)) => {
                self.check_transition(transition);
                Some(Input::Drained)
            }
            Output::Verify(token) => Some(Input::Verified(match (self.rejection.take(), token) {
                (Some(message), _) => Verified::Rejected { message },
                (None, Token::None) => {
                    Verified::Accepted { identity: "anonymous", expires_at_ms: None }
                }
                (None, Token::User(_)) => {
                    Verified::Accepted { identity: "user", expires_at_ms: Some(TOKENS_END_MS) }
                }
                (None, Token::Admin { .. }) => {
                    Verified::Accepted { identity: "admin", expires_at_ms: None }
                }
            })),
            Output::Mutation(call) => {
                let answer = self.answers.get(&u64::from(call.request.0))?;
                self.ts += 1;
                let outcome = mutation_outcome(answer, Timestamp(self.ts));
                Some(Input::MutationDone { request: call.request, outcome })
            }
            Output::Action(call) => {
                let answer = self.answers.get(&u64::from(call.request.0))?;
                assert_eq!(answer["success"], true);
                let value = answer["result"].to_string();
                let outcome = ActionOutcome::Success { value, log_lines: vec![] };
                Some(Input::ActionDone { request: call.request, outcome })
            }
            Output::Subscribe(subscription) => {
                self.subscribed.insert(subscription.query);
                None
            }
            Output::Unsubscribe(query) => {
                assert!(self.subscribed.remove(&query));
                None
            }
            Output::Refresh { at_least } => {
                self.ts = (self.ts + 1).max(at_least.0);
                let result = Arc::new(QueryResult::success("\"x\"", &[], None));
                let results = self.subscribed.iter().map(|id| (*id, Arc::clone(&result)));
                Some(Input::Refreshed { ts: Timestamp(self.ts), results: results.collect() })
            }
            Output::Connected(_) => None,
            Output::Close(close) => {
                self.closed = Some(close);
                None
            }
        }
    }

    fn check_transition(&mut self, transition: Transition) {
        let Transition { start, end, .. } = transition;
        assert_eq!(start, self.version, "{}", self.name);
        assert!(end.ts >= start.ts, "{}", self.name);
        self.version = end;
        for modification in transition.modifications {
            if let Modification::Result(query, _) = modification {
                let had_result = self.queries.insert(query, true);
                assert_eq!(had_result, Some(false), "{}: equal results are not sent", self.name);
            }
        }
    }

    fn check_end(&mut self) {
        assert!(self.queries.values().all(|has_result| *has_result), "{}", self.name);
        let answers = self.answers.keys().copied();
        let expected: BTreeSet<u64> = answers.filter(|it| self.requests.contains(it)).collect();
        let answered: BTreeSet<u64> = self.answered.iter().copied().collect();
        assert_eq!(answered, expected, "{}", self.name);
        assert_eq!(self.answered.len(), answered.len(), "{}", self.name);
        let outputs = self.session.handle(self.now_ms, Input::PeerClosed);
        assert_eq!(outputs, [Output::Close(Close { code: None, reason: String::new() })]);
    }
}

fn mutation_outcome(answer: &Json, ts: Timestamp) -> MutationOutcome {
    if answer["success"] == true {
        let value = answer["result"].to_string();
        return MutationOutcome::Success { value, ts, log_lines: vec![] };
    }
    let error = CallError {
        request_id: String::from("x"),
        detail: answer["result"].as_str().map(str::to_owned),
        data: answer.get("errorData").map(|data| Arc::from(data.to_string())),
    };
    MutationOutcome::Failure { error, log_lines: vec![] }
}
