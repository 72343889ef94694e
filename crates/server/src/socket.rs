//! One sync socket: a loop around a [`Connection`], and a writer.
//!
//! The loop never waits for the socket to take bytes: the writer does, and tells when a transition is
//! out. Application pings come from this same loop, so a socket whose loop is dead falls silent.

pub(crate) mod convert;
pub mod upgrade;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use functions::{Caller, ClientCall, Parent};
use futures_util::FutureExt as _;
use futures_util::stream::SplitStream;
use protocol::limits::PING_FRAME_EVERY_MS;
use protocol::{Call, ClientVersion, ErrorClass, Input, Options, SystemError, Token, Verified};
use tokio::sync::{Notify, mpsc};
use tokio_stream::StreamExt as _;

use crate::connection::{Connection, Event, Out};
use crate::service::Service;
use crate::watching::{CLOSED_WITHOUT_CODE, CLOSED_WITHOUT_FRAME, OpenSocket};
use writer::{Writer, Written};

struct Socket {
    service: Service,
    connection: Connection,
    writer: Writer,
    open: OpenSocket,
}

/// Serves one socket until it is closed by either side.
pub async fn serve(socket: WebSocket, service: Service, client: ClientVersion) {
    let (sink, stream) = futures_util::StreamExt::split(socket);
    let woken = Arc::new(Notify::new());
    let wake = Arc::clone(&woken);
    let (written, drained) = mpsc::unbounded_channel();
    let entropy = *service.entropy().first_chunk().expect("a seed is 32 bytes");
    let options = Options { client, entropy, show_errors: service.options.show_errors };
    let waker: functions::Waker = Arc::new(move || wake.notify_one());
    let version = options.client.to_string();
    let connection = Connection::new(&service.runtime, options, waker);
    let open = service.watching.sockets.open(connection.number(), version, service.now());
    let writer = Writer::start(sink, service.clone(), written, Arc::clone(open.figures()));
    let socket = Socket { connection, writer, open, service };
    socket.run(stream, drained, woken).await;
}

impl Socket {
    async fn run(
        mut self,
        mut stream: SplitStream<WebSocket>,
        mut drained: mpsc::UnboundedReceiver<Written>,
        woken: Arc<Notify>,
    ) {
        let mut stopping = self.service.stopping.clone();
        let mut ping =
            tokio::time::interval(Duration::from_millis(PING_FRAME_EVERY_MS.unsigned_abs()));
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.connection.is_closed() {
            let deadline = self.until_deadline();
            tokio::select! {
                biased;
                Some(written) = drained.recv() => self.written(&written),
                _ = stopping.wait_for(|stopping| *stopping) => self.connection.input(Input::Shutdown),
                () = woken.notified() => {}
                message = stream.next() => self.message(message),
                _ = ping.tick() => self.writer.ping(),
                () = tokio::time::sleep(deadline) => self.connection.input(Input::Tick),
            }
            // Everything that is at hand first; then, and not before, a transition may start.
            while let Ok(written) = drained.try_recv() {
                self.written(&written);
            }
            while !self.connection.is_closed() {
                match stream.next().now_or_never() {
                    Some(message) => self.message(message),
                    None => break,
                }
            }
            self.connection.turn();
            if let Some(session) = self.connection.client_session() {
                self.open.figures().names_session(session);
            }
            self.carry_out();
        }
        // Its live queries are no longer anybody's while the last frames are written.
        drop(self.connection);
        self.writer.finish().await;
    }

    fn written(&mut self, written: &Written) {
        match written {
            Written::Transition => self.connection.input(Input::Drained),
            Written::Broken => self.connection.input(Input::PeerClosed),
        }
    }

    fn message(&mut self, message: Option<Result<Message, axum::Error>>) {
        let now = self.service.now();
        match &message {
            Some(Ok(Message::Text(text))) => self.open.figures().received(text.len(), now),
            Some(Ok(Message::Binary(bytes))) => self.open.figures().received(bytes.len(), now),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.open.figures().heard(now),
            Some(Ok(Message::Close(frame))) => {
                self.open.closed(frame.as_ref().map_or(CLOSED_WITHOUT_CODE, |frame| frame.code));
            }
            Some(Err(_)) | None => self.open.closed(CLOSED_WITHOUT_FRAME),
        }
        match message {
            Some(Ok(Message::Text(text))) => self.connection.input(Input::Frame(&text)),
            Some(Ok(Message::Binary(_))) => self.connection.input(Input::BinaryFrame),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.connection.input(Input::Alive),
            Some(Ok(Message::Close(_))) | None => self.connection.input(Input::PeerClosed),
            Some(Err(error)) => {
                tracing::debug!(%error, "a socket failed");
                let failed = SystemError::internal(error.to_string());
                self.connection.input(Input::Failed(failed));
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        let left = self.connection.deadline_ms().saturating_sub(self.service.now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or(0).max(1))
    }

    fn carry_out(&mut self) {
        for out in self.connection.take_out() {
            match out {
                Out::Send(outgoing) => self.writer.send(outgoing),
                Out::Verify(token) => self.verify(token),
                Out::Action(call) => self.action(call),
                Out::Close(close) => {
                    self.open.closed(close.code.unwrap_or(CLOSED_WITHOUT_CODE));
                    self.writer.close(close);
                }
            }
        }
    }

    fn verify(&self, token: Token) {
        let (service, inbox) = (self.service.clone(), self.connection.inbox());
        tokio::spawn(async move {
            let credential = convert::credential(token);
            let now = service.now();
            let verified = match service.authenticator.authenticate(&credential, now).await {
                Ok(principal) => convert::accepted(&principal),
                Err(error) if error.is_unavailable() => {
                    let (code, text) = (error.code(), error.to_string());
                    Verified::Unavailable(SystemError::new(ErrorClass::Overloaded, code, text))
                }
                Err(error) => Verified::Rejected { message: error.to_string() },
            };
            inbox.push(Event::Verified(verified));
        });
    }

    fn action(&self, call: Call<Caller>) {
        let (inbox, runtime) = (self.connection.inbox(), Arc::clone(&self.service.runtime));
        tokio::spawn(async move {
            let (request, call_id) = (call.request, call.call_id);
            let client =
                ClientCall { path: call.path.to_string(), args: call.args, caller: call.identity };
            let end = runtime.action_async(client, Parent::of_request(&call_id)).await;
            inbox.push(Event::Action { request, end, call_id });
        });
    }
}
