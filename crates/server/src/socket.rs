//! One sync socket: a loop around the session's state machine, and a writer.
//!
//!     frames ──┐                      ┌─ Send ───► writer ──► socket
//!     answers ─┼─► Session::handle ───┼─ Mutation, Action, Verify ──► runtime ──► answers
//!     wakes ───┤        flush         └─ Subscribe, Refresh ──► LiveSession
//!     time ────┘
//!
//! The loop never waits for the socket to take bytes: the writer does, and tells when a transition is
//! out. Application pings come from this same loop, so a socket whose loop is dead falls silent.

pub(crate) mod convert;
pub mod upgrade;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use functions::{Caller, ClientCall, LiveSession, Parent, QuerySpec, RequestKey};
use futures_util::{FutureExt as _, StreamExt as _};
use futures_util::stream::SplitStream;
use protocol::{
    Call, ClientVersion, ErrorClass, Input, Options, Output, RequestId, Session, Subscription,
    SystemError, Verified,
};
use tokio::sync::{Notify, mpsc};
use value::Timestamp;

use crate::service::Service;
use writer::Written;

/// How long a refresh may wait for a timestamp that the server has not reached yet.
const AHEAD_MS_MAX: i64 = 5_000;

/// What reaches the loop from elsewhere.
enum Event {
    Verified(Verified<Caller>),
    Mutation { request: RequestId, end: functions::CallEnd, call_id: String },
    Action { request: RequestId, end: functions::CallEnd, call_id: String },
}

/// One socket.
struct Socket {
    service: Service,
    session: Session<Caller>,
    live: LiveSession,
    caller: Caller,
    events: mpsc::UnboundedSender<Event>,
    writer: writer::Writer,
    /// A refresh that the session waits for, and since when.
    refresh: Option<(Timestamp, i64)>,
    closed: bool,
}

/// Serves one socket until it is closed by either side.
pub async fn serve(socket: WebSocket, service: Service, client: ClientVersion) {
    let (sink, stream) = socket.split();
    let woken = Arc::new(Notify::new());
    let wake = Arc::clone(&woken);
    let (events, inbox) = mpsc::unbounded_channel();
    let (written, drained) = mpsc::unbounded_channel();
    let entropy = service.entropy();
    let options = Options {
        client,
        entropy: *entropy.first_chunk().expect("a seed is 32 bytes"),
        show_errors: service.options.show_errors,
    };
    let anonymous = Caller::default();
    let socket = Socket {
        session: Session::new(options, anonymous.clone(), service.now_ms()),
        live: LiveSession::new(&service.runtime, Arc::new(move || wake.notify_one())),
        caller: anonymous,
        events,
        writer: writer::Writer::start(sink, service.clone(), written),
        refresh: None,
        closed: false,
        service,
    };
    socket.run(stream, inbox, drained, woken).await;
}

impl Socket {
    async fn run(
        mut self,
        mut stream: SplitStream<WebSocket>,
        mut inbox: mpsc::UnboundedReceiver<Event>,
        mut drained: mpsc::UnboundedReceiver<Written>,
        woken: Arc<Notify>,
    ) {
        let mut stopping = self.service.stopping.clone();
        let mut ping = tokio::time::interval(Duration::from_millis(
            protocol::limits::PING_FRAME_EVERY_MS.unsigned_abs(),
        ));
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.closed {
            let deadline = self.until_deadline();
            tokio::select! {
                biased;
                Some(event) = inbox.recv() => self.event(event),
                Some(written) = drained.recv() => self.written(written),
                _ = stopping.wait_for(|stopping| *stopping) => self.input(Input::Shutdown),
                () = woken.notified() => self.woken(),
                message = stream.next() => self.message(message),
                _ = ping.tick() => self.writer.ping(),
                () = tokio::time::sleep(deadline) => self.input(Input::Tick),
            }
            // Everything that is at hand first; then, and not before, a transition may start.
            loop {
                if let Ok(event) = inbox.try_recv() {
                    self.event(event);
                } else if let Ok(written) = drained.try_recv() {
                    self.written(written);
                } else if let Some(message) = (!self.closed).then(|| stream.next().now_or_never()) {
                    match message {
                        Some(message) => self.message(message),
                        None => break,
                    }
                } else {
                    break;
                }
            }
            self.flush();
            self.poll(&mut inbox);
        }
        drop(self.live);
        self.writer.finish().await;
    }

    fn input(&mut self, input: Input<'_, Caller>) {
        let outputs = self.session.handle(self.service.now_ms(), input);
        self.carry_out(outputs);
    }

    fn flush(&mut self) {
        let outputs = self.session.flush(self.service.now_ms());
        self.carry_out(outputs);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Verified(verified) => self.input(Input::Verified(verified)),
            Event::Mutation { request, end, call_id } => {
                let outcome = convert::mutation(end, &call_id, self.service.options.show_errors);
                self.input(Input::MutationDone { request, outcome });
            }
            Event::Action { request, end, call_id } => {
                let outcome = convert::action(end, &call_id, self.service.options.show_errors);
                self.input(Input::ActionDone { request, outcome });
            }
        }
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Transition => self.input(Input::Drained),
            Written::Broken => self.input(Input::PeerClosed),
        }
    }

    fn message(&mut self, message: Option<Result<Message, axum::Error>>) {
        match message {
            Some(Ok(Message::Text(text))) => self.input(Input::Frame(&text)),
            Some(Ok(Message::Binary(_))) => self.input(Input::BinaryFrame),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.input(Input::Alive),
            Some(Ok(Message::Close(_))) | None => self.input(Input::PeerClosed),
            Some(Err(error)) => {
                tracing::debug!(%error, "a socket failed");
                self.input(Input::Failed(SystemError::internal(error.to_string())));
            }
        }
    }

    /// A live query of this session changed, or the refresh it waits for may be ready.
    fn woken(&mut self) {
        if self.refresh.is_none() {
            let ts = self.service.runtime.live().head();
            self.input(Input::Changed { ts });
        }
    }

    /// Answers the refresh that the session waits for, if all its queries have a timestamp in common.
    fn poll(&mut self, inbox: &mut mpsc::UnboundedReceiver<Event>) {
        while let Some((at_least, since)) = self.refresh.filter(|_| !self.closed) {
            match self.live.poll(at_least) {
                Ok(Some(covered)) => {
                    self.refresh = None;
                    // Answers of commits up to this timestamp came before the timestamp did.
                    while let Ok(event) = inbox.try_recv() {
                        self.event(event);
                    }
                    let show_errors = self.service.options.show_errors;
                    let results = covered.results.iter().map(|(query, result)| {
                        convert::live(*query, result, &self.service, show_errors)
                    });
                    let results = results.collect();
                    self.input(Input::Refreshed { ts: covered.ts, results });
                    self.flush();
                }
                Ok(None) => {
                    let ahead = at_least > self.service.runtime.live().head();
                    if ahead && self.service.now_ms() - since > AHEAD_MS_MAX {
                        let text = "the client has seen a timestamp that this server has not";
                        self.input(Input::Failed(SystemError::internal(text)));
                    }
                    return;
                }
                Err(error) => self.input(Input::Failed(convert::system(&error))),
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        let mut deadline = self.session.deadline_ms();
        if let Some((_, since)) = self.refresh {
            deadline = deadline.min(since + AHEAD_MS_MAX + 1);
        }
        let left = deadline.saturating_sub(self.service.now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or(0).max(1))
    }

    fn carry_out(&mut self, outputs: Vec<Output<Caller>>) {
        for output in outputs {
            match output {
                Output::Send(outgoing) => self.writer.send(outgoing),
                Output::Connected(connect) => {
                    tracing::debug!(session = %connect.session, count = connect.connection_count, "connected");
                }
                Output::Verify(token) => self.verify(token),
                Output::Mutation(call) => self.mutation(call),
                Output::Action(call) => self.action(call),
                Output::Subscribe(subscription) => self.subscribe(&subscription),
                Output::Unsubscribe(query) => self.live.unsubscribe(query.0),
                Output::Refresh { at_least } => {
                    self.refresh = Some((at_least, self.service.now_ms()));
                }
                Output::Close(close) => {
                    self.writer.close(close);
                    self.closed = true;
                }
            }
        }
    }

    fn verify(&self, token: protocol::Token) {
        let (service, events) = (self.service.clone(), self.events.clone());
        tokio::spawn(async move {
            let credential = convert::credential(token);
            let now = service.now();
            let verified = match service.authenticator.authenticate(&credential, now).await {
                Ok(caller) => convert::accepted(&caller),
                Err(error) if error.is_unavailable() => Verified::Unavailable(SystemError::new(
                    ErrorClass::Overloaded,
                    error.code(),
                    error.to_string(),
                )),
                Err(error) => Verified::Rejected { message: error.to_string() },
            };
            // The socket may be gone.
            let _ = events.send(Event::Verified(verified));
        });
    }

    fn mutation(&self, call: Call<Caller>) {
        let events = self.events.clone();
        let request = call.request;
        let key = call.session.map(|session| RequestKey { session: session.0, request: request.0 });
        let call_id = call.call_id;
        let client =
            ClientCall { path: call.path.to_string(), args: call.args, caller: call.identity };
        let done = Box::new(move |end| {
            let _ = events.send(Event::Mutation { request, end, call_id });
        });
        self.service.runtime.mutation(client, key, Parent::default(), done);
    }

    fn action(&self, call: Call<Caller>) {
        let (events, runtime) = (self.events.clone(), Arc::clone(&self.service.runtime));
        tokio::spawn(async move {
            let request = call.request;
            let client =
                ClientCall { path: call.path.to_string(), args: call.args, caller: call.identity };
            let end = runtime.action_async(client, Parent::default()).await;
            let _ = events.send(Event::Action { request, end, call_id: call.call_id });
        });
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
