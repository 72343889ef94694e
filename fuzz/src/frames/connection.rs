//! A connection with a small server behind it, which keeps its own account of what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::session::Results;
use protocol::{
    ActionOutcome, CallError, ClientVersion, ErrorClass, Input, Modification, MutationOutcome,
    Options, Outgoing, Output, QueryId, QueryResult, RequestId, Session, SystemError, Transition,
    Verified, Version, limits,
};
use value::Timestamp;

/// What one input may make the session say, besides results and what the client itself sent.
const SAID_BYTES_MAX: usize = 16 << 10;
/// The identity of the client after a good token; zero is nobody.
type Identity = u32;

pub(super) struct Connection {
    session: Session<Identity>,
    server: Server,
    now_ms: i64,
}

/// What the server has been asked for, and what the client may believe.
#[derive(Default)]
struct Server {
    head: u64,
    version: Option<Version>,
    subscribed: BTreeSet<QueryId>,
    refresh: Option<Timestamp>,
    verifying: bool,
    identities: Identity,
    mutation: Option<(RequestId, Option<u64>)>,
    actions: Vec<RequestId>,
    /// Names of requests and how often each was asked for, less the answers.
    open: BTreeMap<RequestId, u32>,
    transitions_unread: u32,
    shown: BTreeSet<QueryId>,
    closed: bool,
    /// Bytes of messages, and how many there may be by now.
    said: usize,
    may_say: usize,
}

impl Connection {
    pub(super) fn new() -> Connection {
        let client = ClientVersion::resolve(None, Some("1.48.0")).expect("a version of npm");
        let options = Options {
            client,
            entropy: [3; 16],
            show_errors: true,
            limits: protocol::SessionLimits::default(),
        };
        let now_ms = 1_700_000_000_000;
        let session = Session::new(options, 0, now_ms);
        Connection { session, server: Server { head: 100, ..Server::default() }, now_ms }
    }

    /// One text frame; a leading blank says that more are at hand.
    pub(super) fn frame(&mut self, text: &str) {
        self.input(Input::Frame(text), text.len());
        if !text.starts_with(' ') {
            self.flush();
        }
    }

    /// Something at the server. Letters that do not fit at this moment do nothing.
    pub(super) fn event(&mut self, event: char) {
        let Some(input) = self.server.event(event) else { return self.pass(event) };
        self.input(input, 0);
        self.flush();
    }

    /// Time passes.
    fn pass(&mut self, event: char) {
        let ms = match event {
            't' => 1_000,
            'T' => 16_000,
            'H' => 3_600_000,
            _ => return,
        };
        self.now_ms += ms;
        self.input(Input::Tick, 0);
        self.flush();
    }

    /// The server answers all it was asked, the writer writes: then nothing is left open.
    pub(super) fn finish(mut self) {
        for _ in 0..4_000 {
            let next = ['v', 'm', 'a', 'r', 'd'].into_iter().find_map(|it| self.server.event(it));
            let Some(input) = next else { break };
            self.input(input, 0);
            self.flush();
        }
        if self.server.closed {
            return;
        }
        assert!(self.server.open.is_empty(), "requests without an answer");
        assert_eq!(self.server.refresh, None);
        self.event('P');
        assert!(self.server.closed && self.session.is_closed());
    }

    fn input(&mut self, input: Input<'_, Identity>, bytes: usize) {
        let was_closed = self.server.closed;
        let outputs = self.session.handle(self.now_ms, input);
        assert!(!was_closed || outputs.is_empty(), "a closed session speaks");
        // Quoted text may grow by its escapes.
        self.server.may_say += SAID_BYTES_MAX + 6 * bytes;
        for output in outputs {
            assert!(
                !matches!(
                    output,
                    Output::Subscribe(_) | Output::Unsubscribe(_) | Output::Refresh { .. }
                ),
                "only a flush subscribes"
            );
            self.server.take(output);
        }
        assert!(self.server.said <= self.server.may_say, "{} bytes", self.server.said);
        self.check();
    }

    fn flush(&mut self) {
        let refreshes = self.server.refresh.is_some();
        let outputs = self.session.flush(self.now_ms);
        assert!(!refreshes || outputs.is_empty(), "a flush while a refresh runs");
        for output in outputs {
            self.server.take(output);
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.session.is_closed(), self.server.closed);
        let _ = (self.session.deadline_ms(), self.session.session_id());
        if let Some(version) = self.server.version {
            assert_eq!(self.session.version(), version);
        }
    }
}

impl Server {
    /// The input that `event` stands for, if it can happen now.
    fn event(&mut self, event: char) -> Option<Input<'static, Identity>> {
        Some(match event {
            'v' | 'e' | 'x' | 'u' => Input::Verified(self.verdict(event)?),
            'm' | 'f' => {
                let (request, committed) = self.mutation.take()?;
                Input::MutationDone { request, outcome: self.mutation_outcome(event, committed) }
            }
            'c' => {
                let (request, committed) = self.mutation.as_mut()?;
                self.head += 1;
                let ts = *committed.get_or_insert(self.head);
                Input::MutationCommitted { request: *request, ts: Timestamp(ts) }
            }
            'a' | 'b' => {
                let request = self.actions.pop()?;
                Input::ActionDone { request, outcome: action_outcome(event) }
            }
            'r' | 'n' => return self.refreshed(event),
            's' => {
                self.head += 1;
                Input::Changed { ts: Timestamp(self.head) }
            }
            'd' => {
                self.transitions_unread = self.transitions_unread.checked_sub(1)?;
                Input::Drained
            }
            'l' => Input::Alive,
            'B' => Input::BinaryFrame,
            'F' => Input::Failed(SystemError::internal("a test")),
            'S' => Input::Shutdown,
            'P' => Input::PeerClosed,
            _ => return None,
        })
    }

    fn verdict(&mut self, event: char) -> Option<Verified<Identity>> {
        if !std::mem::take(&mut self.verifying) {
            return None;
        }
        self.identities += 1;
        let identity = self.identities;
        Some(match event {
            'v' => Verified::Accepted { identity, expires_at_ms: None },
            'e' => Verified::Accepted { identity, expires_at_ms: Some(1_700_000_002_000) },
            'x' => Verified::Rejected { message: "no".to_owned() },
            _ => {
                let class = ErrorClass::Overloaded;
                Verified::Unavailable(SystemError::new(class, "Unavailable", "later"))
            }
        })
    }

    fn mutation_outcome(&mut self, event: char, committed: Option<u64>) -> MutationOutcome {
        if event == 'f' && committed.is_none() {
            let log_lines = vec!["[LOG] \"x\"".to_owned()];
            return MutationOutcome::Failure { error: failure(), log_lines };
        }
        let ts = committed.unwrap_or_else(|| {
            self.head += 1;
            self.head
        });
        MutationOutcome::Success { value: "1.0".to_owned(), ts: Timestamp(ts), log_lines: vec![] }
    }

    /// A result for each subscribed query. A client may have seen a time that is not here yet.
    fn refreshed(&mut self, event: char) -> Option<Input<'static, Identity>> {
        let at_least = self.refresh.take()?;
        if at_least.0 > self.head + 1_000 {
            let class = ErrorClass::Overloaded;
            return Some(Input::Failed(SystemError::new(class, "Future", "a time to come")));
        }
        self.head = self.head.max(at_least.0) + u64::from(event == 'n');
        let ts = Timestamp(self.head);
        // A mutation that has committed by then is announced first; here it simply has not.
        let result = |query: &QueryId| {
            let result = match (query.0 + u32::from(event == 'n')) % 3 {
                0 => QueryResult::failure(&failure(), &[], None),
                1 => QueryResult::success(&format!("{ts}.0"), &[], Some("journal\n\"")),
                _ => QueryResult::success("null", &["[LOG] é".to_owned()], None),
            };
            (*query, Arc::new(result))
        };
        let results: Results = self.subscribed.iter().map(result).collect();
        Some(Input::Refreshed { ts, results })
    }

    fn take(&mut self, output: Output<Identity>) {
        assert!(!self.closed, "something follows a close");
        match output {
            Output::Send(message) => self.sent(message),
            Output::Connected(_) => {}
            Output::Verify(_) => {
                assert!(!std::mem::replace(&mut self.verifying, true), "two verifications");
            }
            Output::Mutation(call) => {
                assert!(self.mutation.replace((call.request, None)).is_none(), "two mutations");
                assert!(call.component.is_root() && call.identity <= self.identities);
                self.asked(call.request);
            }
            Output::Action(call) => {
                self.actions.push(call.request);
                self.asked(call.request);
            }
            Output::Subscribe(subscription) => {
                assert!(subscription.component.is_root());
                self.subscribed.insert(subscription.query);
            }
            Output::Unsubscribe(query) => {
                assert!(self.subscribed.remove(&query), "{query} was not subscribed");
            }
            Output::Refresh { at_least } => {
                assert_eq!(self.refresh.replace(at_least), None, "two refreshes");
            }
            Output::Close(close) => {
                assert!(close.reason.len() <= limits::CLOSE_REASON_BYTES_MAX);
                assert!(close.code.is_some() || close.reason.is_empty());
                self.closed = true;
            }
        }
    }

    fn asked(&mut self, request: RequestId) {
        assert_eq!(self.open.insert(request, 1), None, "request {request} runs twice");
    }

    fn sent(&mut self, message: Outgoing) {
        match message {
            Outgoing::Message(text) => {
                self.said += text.len();
                let message: serde_json::Value =
                    serde_json::from_str(&text).expect("a message is JSON");
                let kind = message["type"].as_str().expect("a message has a type");
                if matches!(kind, "MutationResponse" | "ActionResponse") {
                    let request = message["requestId"].as_u64().and_then(|id| id.try_into().ok());
                    // A call that could not run is answered without being asked for.
                    self.open.remove(&RequestId(request.expect("an answer names its request")));
                }
            }
            Outgoing::Transition(transition) => self.transition(transition),
        }
    }

    fn transition(&mut self, transition: Transition) {
        let start = self.version.unwrap_or(Version::START);
        let end = transition.end;
        assert_eq!(transition.start, start, "a transition starts where the last one ended");
        assert!(end.ts >= start.ts && end.query_set >= start.query_set);
        assert!(end.identity >= start.identity && end.identity <= self.identities);
        self.version = Some(end);
        self.transitions_unread += 1;
        assert!(self.transitions_unread <= limits::TRANSITIONS_WAITING_MAX);
        let queries: Vec<QueryId> = transition.modifications.iter().map(|it| it.query()).collect();
        assert!(queries.is_sorted_by(|left, right| left < right), "one change for each query");
        for modification in &transition.modifications {
            match modification {
                Modification::Result(query, _) => self.shown.insert(*query),
                Modification::Removed(query) => self.shown.remove(query),
            };
        }
        for frame in transition.into_frames(7) {
            let message: serde_json::Value =
                serde_json::from_str(&frame).expect("a transition is JSON");
            assert_eq!(message["type"], "Transition");
        }
    }
}

fn action_outcome(event: char) -> ActionOutcome {
    if event == 'a' {
        return ActionOutcome::Success { value: "null".to_owned(), log_lines: Vec::new() };
    }
    ActionOutcome::Failure { error: failure(), log_lines: Vec::new() }
}

fn failure() -> CallError {
    CallError {
        request_id: "0123456789abcdef".to_owned(),
        detail: Some("Uncaught Error: \"é\"\n    at handler".to_owned()),
        data: Some(Arc::from("{\"code\":1.0}")),
    }
}
