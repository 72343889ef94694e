//! One sync socket: a loop around a [`Connection`], a reader and a writer.
//!
//!     bytes ─► Reader ─► Connection ─► Writer (a task) ─► bytes
//!                            ▲  └─► tokens, actions (tasks)
//!                            └────── their answers, live queries, time
//!
//! The loop never waits for the socket to take bytes: the writer does, and tells when a transition is
//! out. Pings of both kinds come from this same loop, so a socket whose loop is stuck falls silent, and
//! one whose loop is lost to a panic is closed.

pub(crate) mod convert;
mod frame;
mod reader;
#[cfg(test)]
mod tests;
pub mod upgrade;
mod writer;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use functions::{Caller, ClientCall, Parent};
use futures_util::FutureExt as _;
use protocol::limits::PING_FRAME_EVERY_MS;
use protocol::{
    Call, ClientVersion, Close, ErrorClass, Input, Options, SystemError, Token, Verified,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf};
use tokio::sync::{Notify, mpsc};

use crate::connection::{Connection, Event, Inbox, Out};
use crate::service::Service;
use crate::watching::{CLOSED_WITHOUT_CODE, CLOSED_WITHOUT_FRAME, OpenSocket};
pub use frame::{CONTEXTS_BYTES_MAX, Codecs};
use frame::{Decoder, Deflater, Encoder, Extension, Incoming};
use reader::{Event as Read, Reader};
use writer::{Writer, Written};

/// Messages that are taken before the others get a turn. All that is at hand is taken first, so that
/// what a client sends in one burst is one step; but no client sends forever.
const MESSAGES_AT_ONCE_MAX: usize = 1024;

struct Socket {
    service: Service,
    connection: Connection,
    writer: Writer,
    /// How the socket closes if not as the connection says: the rule that the peer broke, or its own
    /// code given back.
    last_word: Option<Close>,
    /// The peer says nothing more.
    ended: bool,
    open: OpenSocket,
}

/// Serves one socket until it is closed by either side.
async fn serve<S>(stream: S, extension: Option<Extension>, service: Service, client: ClientVersion)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let codecs = &service.codecs;
    let limits = service.options.socket;
    let inflater = extension.map(|_| Arc::clone(codecs));
    let decoder = Decoder::new(limits.frame_bytes_max, limits.message_bytes_max, inflater);
    let deflater = extension.map(|extension| Deflater::new(Arc::clone(codecs), extension));
    let mut reader = Reader::new(read, decoder);
    let woken = Arc::new(Notify::new());
    let wake = Arc::clone(&woken);
    let (written, mut drained) = mpsc::unbounded_channel();
    let entropy = *service.entropy().first_chunk().expect("a seed is 32 bytes");
    let show_errors = service.options.show_errors;
    let options = Options { client, entropy, show_errors, limits: limits.session };
    let waker: functions::Waker = Arc::new(move || wake.notify_one());
    let version = options.client.to_string();
    let connection = Connection::new(&service.runtime, options, waker);
    let open = service.watching.sockets.open(connection.number(), version, service.now());
    let (encoder, figures) = (Encoder::new(deflater), Arc::clone(open.figures()));
    let writer = Writer::start(write, encoder, service.clone(), written, figures);
    let mut socket = Socket { service, connection, writer, last_word: None, ended: false, open };
    let run = AssertUnwindSafe(socket.run(&mut reader, &mut drained, &woken));
    if run.catch_unwind().await.is_err() {
        tracing::error!("a connection panicked and is closed");
        let ending = SystemError::internal("").ending();
        socket.open.closed(ending.code.unwrap_or(CLOSED_WITHOUT_CODE));
        socket.writer.close(Close { code: ending.code, reason: ending.reason });
    }
    let Socket { connection, writer, ended, open: _open, .. } = socket;
    // Its live queries are no longer anybody's while the last frames are written.
    drop(connection);
    if writer.finish().await && !ended {
        reader.linger().await;
    }
}

impl Socket {
    async fn run<S: AsyncRead + AsyncWrite + Send>(
        &mut self,
        reader: &mut Reader<ReadHalf<S>>,
        drained: &mut mpsc::UnboundedReceiver<Written>,
        woken: &Notify,
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
                event = reader.next() => self.read(event),
                _ = ping.tick() => self.writer.ping(),
                () = tokio::time::sleep(deadline) => self.connection.input(Input::Tick),
            }
            // Everything that is at hand first; then, and not before, a transition may start.
            while let Ok(written) = drained.try_recv() {
                self.written(&written);
            }
            let mut taken = 0;
            while taken < MESSAGES_AT_ONCE_MAX && !self.connection.is_closed() {
                let Some(event) = reader.next().now_or_never() else { break };
                self.read(event);
                taken += 1;
            }
            self.connection.turn();
            if let Some(session) = self.connection.client_session() {
                self.open.figures().names_session(session);
            }
            self.carry_out();
            if taken == MESSAGES_AT_ONCE_MAX {
                tokio::task::yield_now().await;
            }
        }
    }

    fn written(&mut self, written: &Written) {
        match written {
            Written::Transition => self.connection.input(Input::Drained),
            Written::Broken => {
                self.ended = true;
                self.connection.input(Input::PeerClosed);
            }
        }
    }

    fn read(&mut self, event: Read) {
        self.count(&event);
        match event {
            Read::Incoming(Incoming::Text(text)) => self.connection.input(Input::Frame(&text)),
            Read::Incoming(Incoming::Binary(_)) => self.connection.input(Input::BinaryFrame),
            Read::Incoming(Incoming::Ping(payload)) => {
                self.writer.pong(payload);
                self.connection.input(Input::Alive);
            }
            Read::Incoming(Incoming::Pong) | Read::Bytes => self.connection.input(Input::Alive),
            Read::Incoming(Incoming::Close(code)) => {
                let echo = Close { code, reason: String::new() };
                self.ended = true;
                self.end(Some(echo));
            }
            Read::End => {
                self.ended = true;
                self.end(None);
            }
            Read::Violation(violation) => {
                tracing::debug!(%violation, "a client broke the rules of WebSocket");
                let reason = violation.reason.to_owned();
                self.end(Some(Close { code: Some(violation.code), reason }));
            }
        }
    }

    fn count(&self, event: &Read) {
        let (figures, now) = (self.open.figures(), self.service.now());
        match event {
            Read::Incoming(Incoming::Text(text)) => figures.received(text.len(), now),
            Read::Incoming(Incoming::Binary(bytes)) => figures.received(*bytes, now),
            Read::Incoming(Incoming::Ping(_) | Incoming::Pong) | Read::Bytes => figures.heard(now),
            Read::Incoming(Incoming::Close(code)) => {
                self.open.closed(code.unwrap_or(CLOSED_WITHOUT_CODE));
            }
            Read::End => self.open.closed(CLOSED_WITHOUT_FRAME),
            Read::Violation(_) => {}
        }
    }

    fn end(&mut self, last_word: Option<Close>) {
        self.last_word = self.last_word.take().or(last_word);
        self.connection.input(Input::PeerClosed);
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
                    let close = self.last_word.take().unwrap_or(close);
                    self.open.closed(close.code.unwrap_or(CLOSED_WITHOUT_CODE));
                    self.writer.close(close);
                }
            }
        }
    }

    fn verify(&self, token: Token) {
        let (service, promise) = (self.service.clone(), Promise::new(&self.connection));
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
            promise.keep(Event::Verified(verified));
        });
    }

    fn action(&self, call: Call<Caller>) {
        let promise = Promise::new(&self.connection);
        let runtime = Arc::clone(&self.service.runtime);
        tokio::spawn(async move {
            let (request, call_id) = (call.request, call.call_id);
            let client =
                ClientCall { path: call.path.to_string(), args: call.args, caller: call.identity };
            let end = runtime.action_async(client, Parent::of_request(&call_id)).await;
            promise.keep(Event::Action { request, end, call_id });
        });
    }
}

/// An answer that a task owes its connection. Lost with the task, it ends the connection: else that
/// would wait for it forever.
struct Promise {
    inbox: Option<Inbox>,
}

impl Promise {
    fn new(connection: &Connection) -> Promise {
        Promise { inbox: Some(connection.inbox()) }
    }

    fn keep(mut self, event: Event) {
        if let Some(inbox) = self.inbox.take() {
            inbox.push(event);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            inbox.push(Event::Failed(SystemError::internal("a task of the connection was lost")));
        }
    }
}
