//! One sync connection without IO: the session's state machine, its live queries, its calls.
//!
//!     frame, time ──► Connection ──► out: frames to write, tokens to verify, actions to run, close
//!                        ▲  │
//!          inbox: answers┘  └► runtime: mutations, live queries
//!
//! The socket task, and a simulation without sockets, drive it in the same way: feed what is at hand,
//! then call [`Connection::turn`], then carry out what came out.

use std::collections::VecDeque;
use std::sync::Arc;

use functions::{
    CallEnd, Caller, ClientCall, LiveSession, Parent, QuerySpec, RequestKey, Runtime, Waker,
};
use parking_lot::Mutex;
use protocol::{
    Call, Close, ErrorClass, Input, Options, Outgoing, Output, RequestId, Session, Subscription,
    SystemError, Token, Verified,
};
use value::Timestamp;

use crate::socket::convert;

/// How long a refresh may wait for a timestamp that the server has not reached yet, in milliseconds.
pub const AHEAD_MS_MAX: i64 = 5_000;

/// How long a transition may be under way, in milliseconds. A client that hears only pings believes that
/// what it shows is up to date; one that is sent away comes back, and meanwhile knows that it waits.
pub const REFRESH_MS_MAX: i64 = 9_000;

/// What is to be done outside.
pub enum Out {
    /// Write this message.
    Send(Outgoing),
    /// Verify this, then give [`Event::Verified`].
    Verify(Token),
    /// Run this, then give [`Event::Action`].
    Action(Call<Caller>),
    /// Write the close frame after everything before it; nothing comes after.
    Close(Close),
}

/// What reaches a connection from elsewhere in the process.
pub enum Event {
    /// Answers [`Out::Verify`].
    Verified(Verified<Caller>),
    /// A mutation has ended.
    Mutation {
        /// Which.
        request: RequestId,
        /// How.
        end: CallEnd,
        /// Its id in logs and error texts.
        call_id: String,
    },
    /// Answers [`Out::Action`].
    Action {
        /// Which.
        request: RequestId,
        /// How.
        end: CallEnd,
        /// Its id in logs and error texts.
        call_id: String,
    },
    /// Work for this connection was lost: it ends, and its client comes back.
    Failed(SystemError),
}

/// Where events wait, in order, until the connection takes them.
#[derive(Clone)]
pub struct Inbox {
    events: Arc<Mutex<VecDeque<Event>>>,
    waker: Waker,
}

impl Inbox {
    /// Adds an event and wakes the connection.
    pub fn push(&self, event: Event) {
        self.events.lock().push_back(event);
        (self.waker)();
    }

    fn take(&self) -> Option<Event> {
        self.events.lock().pop_front()
    }
}

/// One connection.
pub struct Connection {
    runtime: Arc<Runtime>,
    session: Session<Caller>,
    live: LiveSession,
    caller: Caller,
    client_session: Option<protocol::SessionId>,
    inbox: Inbox,
    show_errors: bool,
    /// A refresh that the session waits for, and since when.
    refresh: Option<(Timestamp, i64)>,
    /// A live query changed, or a refresh may be ready.
    woken: Arc<std::sync::atomic::AtomicBool>,
    out: Vec<Out>,
}

impl Connection {
    /// A connection that was just opened. `waker` is called when [`Connection::turn`] may do more.
    pub fn new(runtime: &Arc<Runtime>, options: Options, waker: Waker) -> Self {
        let woken = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (noted, wake) = (Arc::clone(&woken), Arc::clone(&waker));
        let live = LiveSession::new(
            runtime,
            Arc::new(move || {
                noted.store(true, std::sync::atomic::Ordering::Release);
                wake();
            }),
        );
        let now_ms = to_ms(runtime.now());
        Self {
            show_errors: options.show_errors,
            session: Session::new(options, Caller::default(), now_ms),
            runtime: Arc::clone(runtime),
            live,
            caller: Caller::default(),
            client_session: None,
            inbox: Inbox { events: Arc::default(), waker },
            refresh: None,
            woken,
            out: Vec::new(),
        }
    }

    /// Its number among the live sessions of this process.
    pub fn number(&self) -> u64 {
        self.live.number()
    }

    /// The client's session, once it has said which.
    pub fn client_session(&self) -> Option<protocol::SessionId> {
        self.client_session
    }

    /// Where events for this connection are put.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Whether the close frame has come out.
    pub fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// When [`Input::Tick`] is due, in Unix milliseconds.
    pub fn deadline_ms(&self) -> i64 {
        let deadline = self.session.deadline_ms();
        match self.refresh {
            Some((at_least, since)) => deadline.min(since + self.patience_ms(at_least) + 1),
            None => deadline,
        }
    }

    /// What is to be done outside, in order.
    pub fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Takes what came from the peer, from the writer, or from the clock.
    pub fn input(&mut self, input: Input<'_, Caller>) {
        let outputs = self.session.handle(to_ms(self.runtime.now()), input);
        self.carry_out(outputs);
    }

    /// Goes on after everything at hand was fed: takes events, then starts or finishes a transition.
    pub fn turn(&mut self) {
        self.take_events();
        let woken = self.woken.swap(false, std::sync::atomic::Ordering::AcqRel);
        if woken && self.refresh.is_none() {
            let ts = self.runtime.live().head();
            self.input(Input::Changed { ts });
        }
        self.flush();
        while let Some((at_least, since)) = self.refresh.filter(|_| !self.is_closed()) {
            match self.live.poll(at_least) {
                Ok(Some(covered)) => {
                    self.refresh = None;
                    // Answers of commits up to this timestamp came before the timestamp did.
                    self.take_events();
                    let results = covered.results.iter();
                    let results = results
                        .map(|(query, result)| {
                            convert::live(*query, result, &self.runtime, self.show_errors)
                        })
                        .collect();
                    self.input(Input::Refreshed { ts: covered.ts, results });
                    self.flush();
                }
                Ok(None) => return self.check_wait(at_least, since),
                Err(error) => self.input(Input::Failed(convert::system(&error))),
            }
        }
    }

    /// Nobody waits forever: not for a timestamp that this server does not have, and not for a query
    /// that does not end.
    fn check_wait(&mut self, at_least: Timestamp, since: i64) {
        if to_ms(self.runtime.now()) - since <= self.patience_ms(at_least) {
            return;
        }
        let error = if self.is_ahead(at_least) {
            SystemError::internal("the client has seen a timestamp that this server has not")
        } else {
            let text = "the queries of this client take too long";
            SystemError::new(ErrorClass::Overloaded, "SystemTimeoutError", text)
        };
        self.input(Input::Failed(error));
    }

    fn patience_ms(&self, at_least: Timestamp) -> i64 {
        if self.is_ahead(at_least) { AHEAD_MS_MAX } else { REFRESH_MS_MAX }
    }

    fn is_ahead(&self, at_least: Timestamp) -> bool {
        at_least > self.runtime.live().head()
    }

    fn take_events(&mut self) {
        while let Some(event) = self.inbox.take() {
            match event {
                Event::Verified(verified) => self.input(Input::Verified(verified)),
                Event::Mutation { request, end, call_id } => {
                    let outcome = convert::mutation(end, &call_id, self.show_errors);
                    self.input(Input::MutationDone { request, outcome });
                }
                Event::Action { request, end, call_id } => {
                    let outcome = convert::action(end, &call_id, self.show_errors);
                    self.input(Input::ActionDone { request, outcome });
                }
                Event::Failed(error) => self.input(Input::Failed(error)),
            }
        }
    }

    fn flush(&mut self) {
        let outputs = self.session.flush(to_ms(self.runtime.now()));
        self.carry_out(outputs);
    }

    fn carry_out(&mut self, outputs: Vec<Output<Caller>>) {
        for output in outputs {
            match output {
                Output::Send(outgoing) => self.out.push(Out::Send(outgoing)),
                Output::Connected(connect) => {
                    let (session, count) = (connect.session, connect.connection_count);
                    self.client_session = Some(session);
                    tracing::debug!(%session, count, "connected");
                }
                Output::Verify(token) => self.out.push(Out::Verify(token)),
                Output::Mutation(call) => self.mutation(call),
                Output::Action(call) => self.out.push(Out::Action(call)),
                Output::Subscribe(subscription) => self.subscribe(&subscription),
                Output::Unsubscribe(query) => self.live.unsubscribe(query.0),
                Output::Refresh { at_least } => {
                    self.refresh = Some((at_least, to_ms(self.runtime.now())));
                }
                Output::Close(close) => self.out.push(Out::Close(close)),
            }
        }
    }

    fn mutation(&self, call: Call<Caller>) {
        let inbox = self.inbox.clone();
        let request = call.request;
        let key = call.session.map(|session| RequestKey { session: session.0, request: request.0 });
        let call_id = call.call_id;
        let parent = Parent::of_request(&call_id);
        let client =
            ClientCall { path: call.path.to_string(), args: call.args, caller: call.identity };
        let mut answer = Answer { inbox, request, call_id, runtime: Arc::downgrade(&self.runtime) };
        let done = Box::new(move |end| answer.give(end));
        self.runtime.mutation(client, key, parent, done);
    }

    fn subscribe(&mut self, subscription: &Subscription<Caller>) {
        if subscription.identity != self.caller {
            self.caller = subscription.identity.clone();
            self.live.set_caller(self.caller.clone());
        }
        let spec = QuerySpec {
            path: Arc::from(subscription.path.to_string()),
            args: subscription.args.as_ref().clone(),
            journal: subscription.journal.clone(),
        };
        self.live.subscribe(subscription.query.0, spec);
    }
}

/// The promise of an answer to a mutation. Dropped without one, it says so: a session whose call was
/// lost is closed, and its client sends the mutation again.
struct Answer {
    inbox: Inbox,
    request: RequestId,
    call_id: String,
    runtime: std::sync::Weak<Runtime>,
}

impl Answer {
    fn give(&mut self, end: CallEnd) {
        let (request, call_id) = (self.request, std::mem::take(&mut self.call_id));
        self.inbox.push(Event::Mutation { request, end, call_id });
        self.runtime = std::sync::Weak::new();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            self.give(runtime.lost());
        }
    }
}

/// Unix milliseconds.
pub(crate) fn to_ms(ts: Timestamp) -> i64 {
    i64::try_from(ts.0 / 1_000_000).unwrap_or(i64::MAX)
}
