//! WebSocket, HTTP, identity: everything that touches the network.
//!
//! `auth` knows who calls, `http` what is asked, `errors` how failures look. May use functions and
//! protocol: it runs functions through their one door and cannot open a transaction.

pub mod auth;
pub mod connection;
pub mod errors;
pub mod http;
pub mod service;
pub mod socket;

use std::sync::Arc;

use auth::dev_issuer::DevIssuer;
use axum::Router;
use axum::http::StatusCode;
use axum::serve::{ListenerExt as _, TapIo};
use tokio::net::{TcpListener, TcpStream};

/// Everything that clients reach on the first port.
pub fn router(service: service::Service) -> Router {
    socket::upgrade::routes(service.clone()).merge(http::router(service, None))
}

/// As [`router`], with an endpoint that gives tokens to anyone near: only for development.
pub fn dev_router(service: service::Service, issuer: Arc<DevIssuer>) -> Router {
    socket::upgrade::routes(service.clone()).merge(http::router(service, Some(issuer)))
}

/// The second port: HTTP actions. No application has any yet.
pub fn site_router() -> Router {
    let text = "This Convex deployment does not have HTTP actions enabled.";
    Router::new().fallback(move || async move { (StatusCode::NOT_FOUND, text) })
}

/// A listener whose connections send what is written at once. An answer and the transition that shows
/// it are two small writes; else the second one waits until the peer has acknowledged the first, which
/// it may put off for 40 ms.
pub fn at_once(listener: TcpListener) -> TapIo<TcpListener, fn(&mut TcpStream)> {
    listener.tap_io(without_delay)
}

fn without_delay(stream: &mut TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection goes on with delays");
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener as _;

    use super::*;

    #[tokio::test]
    async fn connections_send_at_once() {
        let mut listener = at_once(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let (_client, (stream, _)) = tokio::join!(TcpStream::connect(address), listener.accept());
        assert!(stream.nodelay().unwrap());
    }
}
