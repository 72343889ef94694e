//! Silence, and what never ends. What is dead never looks alive.

use super::*;

/// Seconds since `start`, rounded.
fn seconds(start: tokio::time::Instant) -> u64 {
    (start.elapsed().as_millis() as u64 + 500) / 1000
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_ping() {
    let world = World::new();
    let start = tokio::time::Instant::now();
    let mut client = world.open(None);
    client.connect().await;
    let mut beats = Vec::new();
    while beats.len() < 9 {
        match client.next().await {
            Got::Ping => beats.push(("frame", seconds(start))),
            Got::Text(message) => {
                assert_eq!(message, json!({"type":"Ping"}));
                beats.push(("message", seconds(start)));
            }
            other => panic!("{other:?}"),
        }
    }
    beats.sort_by_key(|(_, at)| *at);
    let messages: Vec<u64> = beats.iter().filter(|it| it.0 == "message").map(|it| it.1).collect();
    let frames: Vec<u64> = beats.iter().filter(|it| it.0 == "frame").map(|it| it.1).collect();
    assert_eq!((messages, frames), (vec![15, 30], vec![0, 5, 10, 15, 20, 25, 30]));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_gone_after_two_minutes() {
    let world = World::new();
    let start = tokio::time::Instant::now();
    let mut client = world.open(None);
    client.connect().await;
    assert_eq!(client.end().await, [closed(1000, "ClientDisconnected")]);
    assert!((120..123).contains(&seconds(start)), "{}", seconds(start));
}

#[tokio::test(start_paused = true)]
async fn whatever_comes_is_a_sign_of_life() {
    let world = World::new();
    for sign in [frame(0x8a, b""), frame(0x89, b""), frame(0x81, br#"{"type":"Event"}"#)] {
        let mut client = world.open(None);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(119)).await;
            client.raw(&sign).await;
        }
        assert_eq!(world.open_sockets(), 1);
    }
    // Also the bytes of a message that takes long to come.
    let mut client = world.open(None);
    for byte in frame(0x81, br#"{"type":"Event"}"#) {
        tokio::time::sleep(Duration::from_secs(100)).await;
        client.raw(&[byte]).await;
    }
    client.raw(&frame(0x89, b"x")).await;
    while client.next().await != Got::Pong(b"x".to_vec()) {}
}

#[tokio::test(start_paused = true)]
async fn a_query_that_does_not_end_closes_the_socket() {
    let world = World::new();
    let start = tokio::time::Instant::now();
    let mut client = world.open(None);
    client.connect().await;
    client.add(&[(0, "notes:list", json!({}))]).await;
    // Nothing runs it.
    assert_eq!(client.end().await, [closed(1013, "SystemTimeoutError")]);
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    // And when it is run again later, after a result was shown.
    let mut client = world.open(None);
    client.connect().await;
    client.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    client.transition().await;
    client.add(&[(1, "notes:number", json!({"n":1}))]).await;
    assert_eq!(client.end().await, [closed(1013, "SystemTimeoutError")]);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fails_is_an_answer() {
    let world = World::new();
    let mut client = world.open(None);
    client.connect().await;
    client.add(&[(0, "notes:fail", json!({})), (1, "notes:none", json!({}))]).await;
    world.settle().await;
    let shown = client.transition().await;
    let kinds: Vec<&str> = shown.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["QueryFailed", "QueryFailed"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_closes_the_socket_and_no_other() {
    let world = World::new();
    let (mut client, mut other) = (world.open(Some(OFFER)), world.open(None));
    client.connect().await;
    world.settle().await;
    world.clock.broken.store(true, Ordering::Relaxed);
    client.add(&[(0, "notes:list", json!({}))]).await;
    while !matches!(client.next().await, Got::Close(Some(1011), reason) if reason == "InternalServerError")
    {
    }
    world.clock.broken.store(false, Ordering::Relaxed);
    other.connect().await;
    other.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    other.transition().await;
}

#[tokio::test(start_paused = true)]
async fn a_mutation_that_does_not_end_closes_the_socket() {
    let world = World::new();
    let start = tokio::time::Instant::now();
    let mut client = world.open(None);
    client.connect().await;
    client.mutate(0, "notes:add", json!({"text":"x"})).await;
    assert_eq!(client.end().await, [closed(1011, "InternalServerError")]);
    assert!((60..64).contains(&seconds(start)), "{}", seconds(start));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_ends_the_connection() {
    let world = World::new();
    let options = protocol::Options {
        client: ClientVersion::UNKNOWN,
        entropy: [0; 16],
        show_errors: false,
        limits: protocol::SessionLimits::default(),
    };
    let runtime = &world.service.runtime;
    let mut connection = crate::connection::Connection::new(runtime, options, Arc::new(|| {}));
    let kept = super::super::Promise::new(&connection);
    let none = protocol::SystemError::internal("");
    drop(super::super::Promise::new(&connection));
    connection.turn();
    let out = connection.take_out();
    let [crate::connection::Out::Close(close)] = &out[..] else { panic!("{}", out.len()) };
    assert_eq!((close.code, &*close.reason), (Some(1011), "InternalServerError"));
    kept.keep(crate::connection::Event::Failed(none));
}
