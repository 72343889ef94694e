//! From HTTP to a socket, over TCP.

use axum::body::Body;
use axum::http::Request;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::*;
use crate::http::testing::json_body;
use crate::listen::{self, ConnectionLimits};

const HEADERS: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn refused(path: &str, change: (&str, Option<&str>), code: &str) {
    let world = World::new();
    let mut request = Request::get(path).header("host", "x");
    let kept = HEADERS.into_iter().filter(|(name, _)| *name != change.0);
    for (name, value) in kept.chain(change.1.map(|value| (change.0, value))) {
        request = request.header(name, value);
    }
    let router = crate::router(world.service.clone());
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 400, "{change:?}");
    if code == "InvalidWebSocketVersionHeader" {
        assert_eq!(response.headers()["sec-websocket-version"], "13");
    }
    assert_eq!(json_body(response).await["code"], code, "{change:?}");
    assert_eq!(world.open_sockets(), 0);
}

#[tokio::test]
async fn requests_that_become_no_socket() {
    for path in ["/api/sync", "/api/1.48.0/sync"] {
        refused(path, ("connection", None), "InvalidConnectionHeader").await;
        refused(path, ("connection", Some("close")), "InvalidConnectionHeader").await;
        refused(path, ("upgrade", None), "InvalidUpgradeHeader").await;
        refused(path, ("upgrade", Some("h2c")), "InvalidUpgradeHeader").await;
        for version in [None, Some("8"), Some("14"), Some("13, 8")] {
            let change = ("sec-websocket-version", version);
            refused(path, change, "InvalidWebSocketVersionHeader").await;
        }
        refused(path, ("sec-websocket-key", None), "WebSocketKeyHeaderMissing").await;
        // All is well, but there is no connection below that could change.
        refused(path, ("x", None), "ConnectionNotUpgradable").await;
    }
    refused("/api/one/sync", ("x", None), "InvalidClientVersion").await;
    refused("/api/0.1.0/sync", ("x", None), "ClientVersionUnsupported").await;
    refused("/api/sync", ("convex-client", Some("python-0.0.1")), "ClientVersionUnsupported").await;
}

/// A server behind a port.
async fn listen(world: &World) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, stopping) = (crate::router(world.service.clone()), world.stop.subscribe());
    tokio::spawn(listen::serve(listener, router, ConnectionLimits::default(), stopping));
    address
}

/// A socket, and the head of the answer.
async fn upgrade(address: std::net::SocketAddr, more: &str) -> (Client<TcpStream>, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String =
        HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET /api/1.48.0/sync HTTP/1.1\r\nHost: x\r\n{headers}{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (Client::new(stream), String::from_utf8(head).unwrap().to_ascii_lowercase())
}

#[tokio::test]
async fn what_is_agreed_on() {
    let world = World::new();
    let address = listen(&world).await;
    let extension = "sec-websocket-extensions: ";
    let (mut client, head) = upgrade(address, "").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(!head.contains(extension), "{head}");
    let (mut packed, head) = upgrade(address, &format!("{extension}{OFFER}\r\n")).await;
    let answer = format!("\r\n{extension}permessage-deflate; client_no_context_takeover\r\n");
    assert!(head.contains(&answer), "{head}");
    let bad = format!("{extension}permessage-deflate; x\r\n{extension}x-other\r\n");
    let (mut unpacked, head) = upgrade(address, &bad).await;
    assert!(!head.contains(extension), "{head}");
    for client in [&mut client, &mut packed, &mut unpacked] {
        client.raw(&frame(0x89, b"x")).await;
        while client.next().await != Got::Pong(b"x".to_vec()) {}
    }
}

#[tokio::test]
async fn the_last_message_arrives_although_the_client_still_sends() {
    let world = World::new();
    let address = listen(&world).await;
    let (mut client, _) = upgrade(address, "").await;
    let more =
        frame(0x81, format!(r#"{{"type":"Event","event":"{}"}}"#, "x".repeat(1 << 20)).as_bytes());
    client.raw(&[frame(0x81, b"no json"), more].concat()).await;
    let last = client.end().await;
    assert_eq!(last.len(), 2, "{last:?}");
    let Got::Text(message) = &last[0] else { panic!("{last:?}") };
    assert_eq!(message["type"], "FatalError");
    assert_eq!(last[1], Got::Close(None, String::new()));
}
