//! The accept loop: from a listener to HTTP connections, and what each connection may take.
//!
//!     accept ─► place free? ─► Guarded (time limits) ─► hyper ─► bad_head? ─► router
//!                   └── no: 503, a few at once
//!
//! No peer can keep a place for nothing: a head, an idle connection and a peer that reads nothing have
//! their time here, a body has it in `http::body`. Whoever stops this waits for all connections.

mod guarded;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;

use crate::errors::HttpError;
use guarded::{Activity, Guarded};

/// Most bytes of a request's head; above it 431. A path, with its query, ends at 64 KiB: 414.
pub const HEAD_BYTES_MAX: usize = 128 << 10;
/// Most bytes that are read ahead of a connection: a head, and what came with it.
const BUFFER_BYTES_MAX: usize = HEAD_BYTES_MAX + (16 << 10);
/// Most header lines of a request; above it 431. The default of the HTTP library.
pub const HEADERS_MAX: usize = 100;
/// Most connections that are being told, at once, that there is no place; more are cut.
pub const REFUSALS_MAX: usize = 64;
/// How long one that gets no place may take to ask.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the loop rests when the system gives no connection, say for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of one listener may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Most connections at once, sockets included; above it 503.
    pub connections_max: usize,
    /// From the first byte of a request to the end of its head; also from the connection to there.
    pub head_timeout: Duration,
    /// How long a connection may be without a request. Longer than that of common proxies, so that
    /// they close first.
    pub idle_timeout: Duration,
    /// How long a peer may read nothing of an answer.
    pub write_timeout: Duration,
    /// How long the peer may go on sending after the last answer, so that it can read that one.
    pub linger: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(60),
            linger: Duration::from_secs(1),
        }
    }
}

/// Serves `router` until `stopping` is true or its sender gone, then until every connection has ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    mut stopping: watch::Receiver<bool>,
) {
    let room = limits.connections_max.min(u32::MAX as usize);
    let places = Arc::new(Semaphore::new(room));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            accepted = accept(&listener) => accepted,
        };
        let connection = Connection { stream, peer, stopping: stopping.clone() };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            tokio::spawn(connection.serve(router.clone(), limits, place));
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            let limits = ConnectionLimits { head_timeout: REFUSAL_TIMEOUT, ..limits };
            tokio::spawn(connection.serve(Router::new().fallback(no_place), limits, place));
        }
    }
    drop(listener);
    // Each connection gives its place back when it has ended, a socket too.
    let all = places.acquire_many(u32::try_from(room).expect("cut to u32 above")).await;
    drop(all);
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn no_place() -> Response {
    let message = "too many connections are open";
    let error =
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "TooManyConcurrentRequests", message);
    and_close(error.into_response())
}

/// The next connection. A failure that is not the peer's may pass: it is logged and tried again.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut failed = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                without_delay(&stream);
                return (stream, peer);
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                if !failed {
                    tracing::error!(%error, "no connections can be accepted; trying again");
                }
                failed = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// An answer and the transition that shows it are two small writes; else the second one waits until
/// the peer has acknowledged the first, which it may put off for 40 ms.
fn without_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection goes on with delays");
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    stopping: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(self, router: Router, limits: ConnectionLimits, place: OwnedSemaphorePermit) {
        let Connection { stream, peer, mut stopping } = self;
        let activity = Arc::new(Activity::default());
        let io = TokioIo::new(Guarded::new(stream, limits, Arc::clone(&activity), place));
        let watched = Arc::clone(&activity);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            answer(router.clone(), request, Arc::clone(&activity))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // The library counts from the end of the request before.
            .header_read_timeout(limits.idle_timeout)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            // A peer that has said all it wants may still listen.
            .half_close(true)
            .serve_connection(io, service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stopping) => {
                watched.stop();
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "a connection failed");
        }
    }
}

async fn answer(
    router: Router,
    request: Request<Body>,
    activity: Arc<Activity>,
) -> Result<Response, Infallible> {
    let busy = Activity::begin(&activity);
    let response = match bad_head(request.version(), request.headers()) {
        None => router.oneshot(request).await?,
        Some(refusal) => and_close(refusal.into_response()),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        activity.upgrade();
    }
    Ok(response.map(|body| Body::new(Watched { body, _busy: busy })))
}

/// What no endpoint should have to doubt: for whom a request is.
fn bad_head(version: Version, headers: &HeaderMap) -> Option<HttpError> {
    let bad_host = |message| Some(HttpError::bad_request("BadHostHeader", message));
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return bad_host("more than one Host header");
    }
    match headers.get(header::HOST) {
        None if version == Version::HTTP_11 => return bad_host("no Host header"),
        Some(host) if !is_host(host) => return bad_host("the Host header is not a host"),
        Some(_) | None => {}
    }
    None
}

/// Empty, or `name[:port]` without a user. Source: RFC 9112 3.2.
fn is_host(host: &HeaderValue) -> bool {
    let Ok(text) = host.to_str() else { return false };
    text.is_empty() || text.parse::<Authority>().is_ok_and(|_| !text.contains('@'))
}

fn and_close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of an answer; while it is being sent the connection is busy.
struct Watched {
    body: Body,
    _busy: guarded::Busy,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
