//! What every request and every socket is served from.

use std::sync::Arc;

use functions::Runtime;
use protocol::SessionLimits;
use protocol::limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use tokio::sync::watch;
use value::Timestamp;

use crate::auth::Authenticator;
use crate::http::HttpLimits;
use crate::socket::Codecs;
use crate::watching::Watching;

/// The server's parts, shared by all connections.
#[derive(Clone)]
pub struct Service {
    /// Runs functions.
    pub runtime: Arc<Runtime>,
    /// Tells who calls.
    pub authenticator: Arc<Authenticator>,
    /// What an operator may set.
    pub options: ServiceOptions,
    /// What is counted of sockets and requests, and who may look.
    pub watching: Arc<Watching>,
    /// True once the server stops: sockets close, requests under way end.
    pub stopping: watch::Receiver<bool>,
    /// Compression, shared by all sockets.
    pub codecs: Arc<Codecs>,
}

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Texts of errors and log lines reach clients. Off in production.
    pub show_errors: bool,
    /// What requests may take.
    pub http: HttpLimits,
    /// What one socket may take.
    pub socket: SocketLimits,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        let (http, socket) = (HttpLimits::default(), SocketLimits::default());
        Self { show_errors: true, http, socket }
    }
}

/// What one socket may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// Bytes of one incoming frame.
    pub frame_bytes_max: usize,
    /// Bytes of one incoming message of several frames.
    pub message_bytes_max: usize,
    /// What its session may take.
    pub session: SessionLimits,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            message_bytes_max: MESSAGE_BYTES_MAX,
            session: SessionLimits::default(),
        }
    }
}

impl Service {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.runtime.now()
    }

    /// The time now, in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        crate::connection::to_ms(self.now())
    }

    /// The time now, in Unix nanoseconds.
    pub fn now_ns(&self) -> i64 {
        i64::try_from(self.now().0).unwrap_or(i64::MAX)
    }

    /// Fresh random bytes.
    pub fn entropy(&self) -> [u8; 32] {
        self.runtime.random()
    }
}
