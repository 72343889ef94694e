//! One connection as a state machine without IO.
//!
//!     frames ──► decode ──► queries ──────► due? ──► flush ──► Refresh ──► Refreshed ─► Transition
//!                  │                          ▲
//!                  ├──► mutations, one by one ┤ answer
//!                  ├──► actions, side by side ┘
//!                  └──► Authenticate: later frames wait for `Verified`
//!
//! The socket task feeds `Input`s one at a time and carries out the `Output`s in order. What it
//! must guarantee:
//!
//! 1. It calls `flush` after every input, but not while more received frames are at hand: all
//!    messages already received are handled before a transition is started.
//! 2. `Subscribe`, `Unsubscribe` and `Refresh` come only out of `flush`, and never while a
//!    refresh is running. So a refresh always covers exactly the queries subscribed before it.
//! 3. Every `Refresh { at_least }` is answered by one `Refreshed` with `ts >= at_least`, or by
//!    `Failed`. Its `results` hold, as of `ts`, the result of each query that was subscribed
//!    since the refresh before, and of each whose result may differ from the last one delivered
//!    (all of them is fine: equal digests are not sent again). A query left out is unchanged, or
//!    not available for now; `Changed` announces it when it is.
//! 4. Before `Refreshed { ts }` it has fed `MutationDone`, or `MutationCommitted` as an early
//!    notice, for each mutation of this session that committed at or before `ts`. The session
//!    holds the transition back until that mutation has been answered.
//! 5. Every `Mutation`, `Action` and `Verify` is answered once. `Outgoing`s are written in the
//!    order of their `Send`s, `Drained` is fed after each transition that was written.
//! 6. `Tick` comes at least at `deadline_ms`. `now_ms` is Unix time and does not step back.
//! 7. After `Close` the task writes what was sent before it, closes, and drops the session with
//!    its subscriptions and queued work; actions that run may finish. Later inputs do nothing.

mod io;
mod pace;
mod queries;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sha2::{Digest as _, Sha256};
use value::{ComponentPath, Timestamp, Value};

use crate::client::{ClientMessage, Connect};
use crate::error::{ErrorClass, LastMessage, SystemError, cut};
use crate::ids::{QueryId, RequestId, SessionId, Version};
use crate::limits::{
    ANSWER_BYTES_WAITING_MAX, ERROR_TEXT_BYTES_MAX, MESSAGES_WAITING_MAX, PEER_SILENT_MS_MAX,
    PING_AFTER_MS, REPLAY_WAIT_MS,
};
use crate::outgoing::Outgoing;
use crate::result::CallError;
pub use io::{
    ActionOutcome, Call, Close, Input, MutationOutcome, Options, Output, Results, Subscription,
    Verified,
};
use pace::Pace;
use queries::{Query, Refresh};
use requests::{QueuedMutation, RunningMutation};

/// One connection.
pub struct Session<I> {
    options: Options,
    closed: bool,
    connect: Option<Connected>,
    identity: Identity<I>,
    /// Frames that came after an `Authenticate`; `Some` while it is being verified.
    waiting: Option<VecDeque<String>>,
    /// What the client has announced; `current.ts` has no counterpart.
    received_query_set: u32,
    received_identity: u32,
    /// Where the last transition ended.
    current: Version,

    queries: BTreeMap<QueryId, Query>,
    /// Added, and not yet part of any refresh.
    fresh: BTreeSet<QueryId>,
    /// Removed, and not yet told to the client.
    removed: BTreeSet<QueryId>,
    /// Subscribed at the server, and gone since.
    unsubscribe: BTreeSet<QueryId>,
    refresh: Option<Refresh>,
    /// Whether a first refresh was ever started.
    begun: bool,
    /// When the first refresh was first due.
    due_since_ms: Option<i64>,

    mutations: VecDeque<QueuedMutation<I>>,
    mutation: Option<RunningMutation>,
    /// Actions that run, and the bytes they hold.
    actions: BTreeMap<RequestId, usize>,
    /// Requests of both kinds that are not answered yet.
    unanswered: BTreeSet<RequestId>,

    /// An answer was sent, and no transition after it.
    answer_unfollowed: bool,
    /// The greatest commit among the answers.
    answered_ts: Timestamp,
    /// The newest commit known to have made a result stale.
    changed: Timestamp,

    /// How often changes alone start a refresh.
    pace: Pace,
    /// A refresh waits for this time, and for nothing else.
    paced_until_ms: Option<i64>,
    transitions_waiting: u32,
    answers: UnreadAnswers,
    held_bytes: usize,
    call_ids: u64,
    /// The time of the input that is being handled.
    now_ms: i64,
    last_sent_ms: i64,
    last_received_ms: i64,
}

struct Connected {
    session: SessionId,
    again: bool,
    clock_skew_ms: Option<i64>,
    max_observed: Timestamp,
}

struct Identity<I> {
    handle: I,
    expires_at_ms: Option<i64>,
    /// The subscriptions still belong to the identity before.
    changed: bool,
}

/// Bytes of answers that may sit in the writer, split by the last transition handed out.
#[derive(Default)]
struct UnreadAnswers {
    before: usize,
    after: usize,
}

impl<I: Clone> Session<I> {
    /// A connection that was just opened, under the identity of someone who said nothing yet.
    pub fn new(options: Options, anonymous: I, now_ms: i64) -> Session<I> {
        Session {
            options,
            closed: false,
            connect: None,
            identity: Identity { handle: anonymous, expires_at_ms: None, changed: false },
            waiting: None,
            received_query_set: 0,
            received_identity: 0,
            current: Version::START,
            queries: BTreeMap::new(),
            fresh: BTreeSet::new(),
            removed: BTreeSet::new(),
            unsubscribe: BTreeSet::new(),
            refresh: None,
            begun: false,
            due_since_ms: None,
            mutations: VecDeque::new(),
            mutation: None,
            actions: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            answer_unfollowed: false,
            answered_ts: Timestamp(0),
            changed: Timestamp(0),
            pace: Pace::new(),
            paced_until_ms: None,
            transitions_waiting: 0,
            answers: UnreadAnswers::default(),
            held_bytes: 0,
            call_ids: 0,
            now_ms,
            last_sent_ms: now_ms,
            last_received_ms: now_ms,
        }
    }

    /// Takes one input. The outputs are to be carried out in order.
    pub fn handle(&mut self, now_ms: i64, input: Input<'_, I>) -> Vec<Output<I>> {
        let mut out = Vec::new();
        if self.closed {
            return out;
        }
        self.now_ms = now_ms;
        if let Err(error) = self.step(now_ms, input, &mut out) {
            self.close(&error, &mut out);
        }
        self.note_sent(now_ms, &out);
        out
    }

    /// Starts a refresh if one is due and nothing stands in its way. See rule 1.
    pub fn flush(&mut self, now_ms: i64) -> Vec<Output<I>> {
        let mut out = Vec::new();
        if self.closed || !self.may_refresh(now_ms) {
            return out;
        }
        match self.check_expiry(now_ms) {
            Ok(()) => self.start_refresh(now_ms, &mut out),
            // The token that replaces it is being verified.
            Err(_) if self.waiting.is_some() => {}
            Err(error) => self.close(&error, &mut out),
        }
        self.note_sent(now_ms, &out);
        out
    }

    /// When the next `Tick` is needed at the latest, in Unix milliseconds.
    pub fn deadline_ms(&self) -> i64 {
        let silent = self.last_received_ms.saturating_add(PEER_SILENT_MS_MAX);
        let mut deadline = silent;
        if self.transitions_waiting == 0 {
            deadline = deadline.min(self.last_sent_ms.saturating_add(PING_AFTER_MS));
        }
        if let Some(running) = &self.mutation {
            deadline =
                deadline.min(running.since_ms.saturating_add(self.options.limits.mutation_ms_max));
        }
        if let (false, Some(since)) = (self.begun, self.due_since_ms) {
            deadline = deadline.min(since.saturating_add(REPLAY_WAIT_MS));
        }
        if let Some(until) = self.paced_until_ms {
            deadline = deadline.min(until);
        }
        deadline
    }

    /// The client's session, once it has said `Connect`.
    pub fn session_id(&self) -> Option<SessionId> {
        self.connect.as_ref().map(|connected| connected.session)
    }

    /// The identity of the next request.
    pub fn identity(&self) -> &I {
        &self.identity.handle
    }

    /// Where the last transition ended.
    pub fn version(&self) -> Version {
        self.current
    }

    /// Whether `Close` was put out.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn step(
        &mut self,
        now_ms: i64,
        input: Input<'_, I>,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        match input {
            Input::Frame(text) => {
                self.last_received_ms = now_ms;
                self.frame(now_ms, text, out)
            }
            Input::BinaryFrame => Err(SystemError::internal("binary message from the client")),
            Input::Alive => {
                self.last_received_ms = now_ms;
                Ok(())
            }
            Input::Verified(verified) => self.verified(now_ms, verified, out),
            Input::MutationCommitted { request, ts } => {
                self.mutation_committed(request, ts);
                Ok(())
            }
            Input::MutationDone { request, outcome } => self.mutation_done(request, outcome, out),
            Input::ActionDone { request, outcome } => self.action_done(request, outcome, out),
            Input::Changed { ts } => {
                self.changed = self.changed.max(ts);
                Ok(())
            }
            Input::Refreshed { ts, results } => self.refreshed(ts, results, out),
            Input::Drained => {
                self.transitions_waiting = self.transitions_waiting.saturating_sub(1);
                self.answers.before = 0;
                Ok(())
            }
            Input::Tick => self.tick(now_ms, out),
            Input::Failed(error) => Err(error),
            Input::Shutdown => {
                Err(SystemError::new(ErrorClass::GoingAway, "ServerShutdown", "the server stops"))
            }
            Input::PeerClosed => {
                self.end(None, String::new(), out);
                Ok(())
            }
        }
    }

    fn frame(
        &mut self,
        now_ms: i64,
        text: &str,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        let Some(waiting) = &mut self.waiting else { return self.message(now_ms, text, out) };
        if waiting.len() >= MESSAGES_WAITING_MAX {
            return Err(too_many_requests("too many messages wait for an Authenticate"));
        }
        waiting.push_back(text.to_owned());
        self.hold(text.len())
    }

    fn message(
        &mut self,
        now_ms: i64,
        text: &str,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        match ClientMessage::decode(text)? {
            ClientMessage::Connect(connect) => self.connect(now_ms, connect, out),
            ClientMessage::ModifyQuerySet(step) => self.modify_query_set(step),
            ClientMessage::Mutation(call) => {
                self.check_expiry(now_ms)?;
                self.mutation(call, out)
            }
            ClientMessage::Action(call) => {
                self.check_expiry(now_ms)?;
                self.action(call, out)
            }
            ClientMessage::Authenticate { base, token } => {
                let current = self.received_identity;
                if base != current {
                    let message = format!("Authenticate from version {base}, at {current}");
                    return Err(SystemError::internal(message));
                }
                self.waiting = Some(VecDeque::new());
                out.push(Output::Verify(token));
                Ok(())
            }
            ClientMessage::Event => Ok(()),
        }
    }

    fn connect(
        &mut self,
        now_ms: i64,
        connect: Connect,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        if self.connect.is_some() {
            return Err(SystemError::internal("second Connect on one connection"));
        }
        self.connect = Some(Connected {
            session: connect.session,
            again: connect.connection_count > 0,
            clock_skew_ms: connect.client_ts_ms.map(|client| client.saturating_sub(now_ms)),
            max_observed: connect.max_observed.unwrap_or(Timestamp(0)),
        });
        out.push(Output::Connected(connect));
        Ok(())
    }

    fn verified(
        &mut self,
        now_ms: i64,
        verified: Verified<I>,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        let Some(mut waiting) = self.waiting.take() else { return Ok(()) };
        match verified {
            Verified::Accepted { identity, expires_at_ms } => {
                self.received_identity = (self.received_identity.checked_add(1))
                    .ok_or_else(|| SystemError::internal("identity version overflow"))?;
                self.identity = Identity { handle: identity, expires_at_ms, changed: true };
            }
            Verified::Rejected { message } => {
                let class = ErrorClass::AuthUpdateFailed;
                return Err(SystemError::new(class, "AuthUpdateFailed", message));
            }
            Verified::Unavailable(error) => return Err(error),
        }
        while let Some(text) = waiting.pop_front() {
            self.held_bytes = self.held_bytes.saturating_sub(text.len());
            self.message(now_ms, &text, out)?;
            if self.waiting.is_some() {
                // Another Authenticate: what came after it goes on waiting.
                self.waiting = Some(waiting);
                break;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now_ms: i64, out: &mut Vec<Output<I>>) -> Result<(), SystemError> {
        if now_ms.saturating_sub(self.last_received_ms) >= PEER_SILENT_MS_MAX {
            let class = ErrorClass::ClientDisconnect;
            return Err(SystemError::new(class, "ClientDisconnected", "nothing received"));
        }
        if let Some(running) = &self.mutation
            && now_ms.saturating_sub(running.since_ms) >= self.options.limits.mutation_ms_max
        {
            return Err(SystemError::internal("a mutation takes too long"));
        }
        // Behind a transition that is being written, a ping would only queue up.
        let silent = now_ms.saturating_sub(self.last_sent_ms) >= PING_AFTER_MS;
        if silent && self.transitions_waiting == 0 {
            out.push(Output::Send(Outgoing::ping()));
        }
        Ok(())
    }

    fn check_expiry(&self, now_ms: i64) -> Result<(), SystemError> {
        match self.identity.expires_at_ms {
            Some(end) if now_ms >= end => Err(SystemError::new(
                ErrorClass::Unauthenticated,
                "TokenExpired",
                "Convex token identity expired",
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn close(&mut self, error: &SystemError, out: &mut Vec<Output<I>>) {
        let ending = error.ending();
        match ending.last {
            LastMessage::None => {}
            LastMessage::Fatal => out.push(Output::Send(Outgoing::fatal_error(&error.message))),
            LastMessage::Auth { attempted } => {
                let base = self.current.identity;
                let message = Outgoing::auth_error(&error.message, base, attempted);
                out.push(Output::Send(message));
            }
        }
        self.end(ending.code, ending.reason, out);
    }

    fn end(&mut self, code: Option<u16>, reason: String, out: &mut Vec<Output<I>>) {
        self.closed = true;
        self.waiting = None;
        self.queries.clear();
        self.mutations.clear();
        self.refresh = None;
        out.push(Output::Close(Close { code, reason }));
    }

    fn note_sent(&mut self, now_ms: i64, out: &[Output<I>]) {
        if out.iter().any(|output| matches!(output, Output::Send(_))) {
            self.last_sent_ms = now_ms;
        }
    }

    /// Sends the answer of a request. A transition is due after it.
    fn answer(
        &mut self,
        request: RequestId,
        answer: Outgoing,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        self.unanswered.remove(&request);
        self.answer_unfollowed = true;
        if let Outgoing::Message(text) = &answer {
            self.answers.after += text.len();
        }
        let unread = self.answers.before + self.answers.after;
        if self.transitions_waiting > 0 && unread > ANSWER_BYTES_WAITING_MAX {
            return Err(too_many_requests("the client does not read its answers"));
        }
        out.push(Output::Send(answer));
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), SystemError> {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if self.held_bytes > self.options.limits.held_bytes_max {
            return Err(too_many_requests("too many bytes of arguments and waiting messages"));
        }
        Ok(())
    }

    /// The id of a call in logs and error texts. Of a request in a session: always the same.
    fn call_id(&mut self, request: Option<RequestId>) -> String {
        let mut hash = Sha256::new();
        match (self.session_id(), request) {
            (Some(session), Some(request)) => hash.update(format!("{session}|{request}")),
            (_, _) => {
                self.call_ids += 1;
                hash.update(self.options.entropy);
                hash.update(self.call_ids.to_le_bytes());
            }
        }
        hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// An error that the session answers itself, before any function runs.
    fn call_error(&self, call_id: String, detail: &str) -> CallError {
        let detail = cut(detail, ERROR_TEXT_BYTES_MAX).to_owned();
        let detail = self.options.show_errors.then_some(detail);
        CallError { request_id: call_id, detail, data: None }
    }
}

/// Why a call can not run at all, or its arguments.
fn runnable(
    args: Result<Vec<Value>, String>,
    component: &ComponentPath,
) -> Result<Vec<Value>, String> {
    if !component.is_root() {
        return Err(format!("components are not supported: {component}"));
    }
    args.map_err(|error| format!("invalid arguments: {error}"))
}

fn too_many_requests(message: &str) -> SystemError {
    SystemError::new(ErrorClass::RateLimited, "TooManyConcurrentRequests", message)
}
