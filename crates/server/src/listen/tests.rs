//! Peers over real sockets. Only the limit that a test is about is short.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(50);
const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

fn patient() -> ConnectionLimits {
    ConnectionLimits {
        connections_max: 100,
        head_timeout: LONG,
        idle_timeout: LONG,
        write_timeout: LONG,
        linger: LONG,
    }
}

struct World {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    /// Lets the answer of `/waits` go.
    go: Arc<Notify>,
    /// Told when `/waits` has begun.
    begun: Arc<Notify>,
}

impl World {
    async fn new(limits: ConnectionLimits) -> World {
        let (go, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, tell) = (Arc::clone(&go), Arc::clone(&begun));
        let endless = || async {
            let bytes = Bytes::from(vec![0; 64 << 10]);
            Body::from_stream(tokio_stream::iter(std::iter::repeat(Ok::<_, Infallible>(bytes))))
        };
        let router = Router::new()
            .route("/hello", get(|| async { "hello" }))
            .route(
                "/waits",
                get(|| async move {
                    tell.notify_one();
                    wait.notified().await;
                    "waited"
                }),
            )
            .route("/endless", get(endless))
            .route("/refuses", post(|_: Request| async { StatusCode::FORBIDDEN }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, limits, stopping));
        World { address, stop, server, go, begun }
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the server closes.
    async fn ask(&self, text: &str) -> String {
        to_end(self.send(text).await).await
    }

    async fn is_well(&self) {
        let answer = self.ask("GET /hello HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("hello"), "{answer}");
    }
}

async fn to_end(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Reads until `end` has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

#[tokio::test]
async fn connections_send_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_client, (stream, _)) = tokio::join!(TcpStream::connect(address), accept(&listener));
    assert!(stream.nodelay().unwrap());
}

#[tokio::test]
async fn a_head_that_never_ends_is_told_so() {
    let world = World::new(ConnectionLimits { head_timeout: SHORT, ..patient() }).await;
    for half in ["G", "GET /hello HTTP/1.1\r\n", "GET /hello HTTP/1.1\r\nHost: x\r\nX: "] {
        let answer = world.ask(half).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{half:?}: {answer:?}");
    }
    // Who says nothing at all is told nothing.
    assert_eq!(world.ask("").await, "");
    world.is_well().await;
}

#[tokio::test]
async fn the_second_head_has_its_time_too() {
    let world = World::new(ConnectionLimits { head_timeout: SHORT, ..patient() }).await;
    let mut stream = world.send(HELLO).await;
    until(&mut stream, "hello").await;
    stream.write_all(b"GET /hel").await.unwrap();
    let answer = to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
}

#[tokio::test]
async fn a_request_that_is_handled_has_no_head_to_wait_for() {
    let world = World::new(ConnectionLimits { head_timeout: SHORT, ..patient() }).await;
    let mut stream = world.send("GET /waits HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.begun.notified().await;
    // Longer than a head may take: this one was given up meanwhile.
    assert_eq!(world.ask("").await, "");
    world.go.notify_one();
    until(&mut stream, "waited").await;
}

#[tokio::test]
async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let world = World::new(ConnectionLimits { head_timeout: SHORT, ..patient() }).await;
    let mut stream = world.send(HELLO).await;
    until(&mut stream, "hello").await;
    // One that came later was given up meanwhile.
    assert_eq!(world.ask("").await, "");
    stream.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(until(&mut stream, "hello").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let world = World::new(ConnectionLimits { idle_timeout: SHORT, ..patient() }).await;
    let answer = world.ask(HELLO).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn requests_may_come_before_answers() {
    let world = World::new(patient()).await;
    let last = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = world.ask(&format!("{HELLO}{HELLO}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
}

#[tokio::test]
async fn a_peer_that_has_said_all_gets_its_answer() {
    let world = World::new(patient()).await;
    let mut stream = world.send("GET /waits HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.begun.notified().await;
    stream.shutdown().await.unwrap();
    world.go.notify_one();
    let answer = to_end(stream).await;
    assert!(answer.ends_with("waited"), "{answer}");
    // One that breaks off in the middle gets no answer, and holds nobody up.
    for half in ["", "GET /he", "POST /refuses HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"] {
        let mut stream = world.send(half).await;
        stream.shutdown().await.unwrap();
        to_end(stream).await;
    }
    world.is_well().await;
}

#[tokio::test]
async fn too_many_connections_are_told() {
    let world = World::new(ConnectionLimits { connections_max: 1, ..patient() }).await;
    let mut first = world.send(HELLO).await;
    until(&mut first, "hello").await;
    let answer = world.ask(HELLO).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let body = r#"{"code":"TooManyConcurrentRequests","message":"too many connections are open"}"#;
    assert!(answer.ends_with(body), "{answer}");
    drop(first);
    while !world.ask("GET /hello HTTP/1.0\r\n\r\n").await.contains(" 200 ") {}
}

#[tokio::test]
async fn a_peer_that_reads_nothing_loses_its_place() {
    let limits = ConnectionLimits { connections_max: 1, write_timeout: SHORT, ..patient() };
    let world = World::new(limits).await;
    let _deaf = world.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    while !world.ask("GET /hello HTTP/1.0\r\n\r\n").await.contains(" 200 ") {}
}

#[tokio::test]
async fn a_refusal_is_read_by_who_is_still_sending() {
    let world = World::new(patient()).await;
    let length = 8 << 20;
    let head = format!("POST /refuses HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = world.send(&head).await;
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    let answer = to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_waits_for_answers() {
    let world = World::new(patient()).await;
    let mut idle = world.send(HELLO).await;
    until(&mut idle, "hello").await;
    let half = world.send("GET /hel").await;
    let asking = world.send("GET /waits HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.begun.notified().await;
    world.stop.send(true).unwrap();
    assert_eq!(to_end(idle).await, "");
    assert_eq!(to_end(half).await, "", "nobody waits for the rest");
    assert!(TcpStream::connect(world.address).await.is_err());
    assert!(!world.server.is_finished());
    world.go.notify_one();
    assert!(to_end(asking).await.ends_with("waited"));
    world.server.await.unwrap();
}

#[test]
fn hosts() {
    let check = |host: &str, expected: bool| {
        assert_eq!(is_host(&HeaderValue::from_str(host).unwrap()), expected, "{host:?}");
    };
    for host in ["", "localhost", "a.example:80", "127.0.0.1:3210", "[::1]:3210", "a_b"] {
        check(host, true);
    }
    for host in ["a b", "http://a", "a/b", "user@a", "a, b", "[::1", "a:b:c"] {
        check(host, false);
    }
}
