//! What every request and every socket is served from.

use std::sync::Arc;

use functions::Runtime;
use tokio::sync::watch;
use value::Timestamp;

use crate::auth::Authenticator;
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
#[derive(Clone, Copy, Debug)]
pub struct ServiceOptions {
    /// Texts of errors and log lines reach clients. Off in production.
    pub show_errors: bool,
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
