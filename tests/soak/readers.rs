//! Readers that do not read, and one that reads very much: the writers beside them go on, and the server
//! holds little for them.

use serde_json::json;
use tests::wire::{Wire, add};
use tokio::time::Instant;

use crate::{Server, Size};

/// Most that all slow readers together may make the server hold.
const HELD_BYTES: u64 = 96 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_cost_little_and_end_at_the_newest_state() {
    let size = Size::of_this_run();
    let (readers, body) = (size.pick(10, 100), size.pick(50_000, 200_000));
    let server = Server::start(&["--cache-mib", "8"]);
    let started = Instant::now();
    let mut slow = Vec::new();
    for number in 0..readers {
        let mut wire = Wire::open(server.address()).await.unwrap();
        wire.connect(number, 0).await;
        wire.subscribe(0, "messages:firstBy", json!({ "room": "a", "author": "x" })).await;
        slow.push(wire);
    }
    let before = server.process.resident_bytes();
    let mut writes = 0_u32;
    loop {
        // Each write is a new first message, large, for everybody; nobody reads.
        let n = -f64::from(writes);
        let text = "x".repeat(body);
        let args = json!({ "room": "a", "author": "x", "body": text, "n": n });
        server.ask("mutation", "messages:send", args).await;
        server.ask("mutation", "messages:remove", json!({ "room": "a", "n": n + 0.5 })).await;
        writes += 1;
        if !size.goes_on(started) && writes >= 50 {
            break;
        }
    }
    let after = server.process.resident_bytes();
    println!(
        "slow readers: {readers} of them beside {writes} writes; resident {} MiB before, {} after",
        before >> 20,
        after >> 20
    );
    assert!(after < before + HELD_BYTES, "slow readers make the server hold {after} bytes");
    for wire in &mut slow {
        let mut updates = 0;
        loop {
            let values = wire.values().await;
            updates += 1;
            let newest = values[0].1[0]["n"].as_f64();
            if newest == Some(1.0 - f64::from(writes)) {
                break;
            }
        }
        assert!(updates <= writes + 1, "more updates than writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_with_thousands_of_queries_gets_only_what_changed() {
    let size = Size::of_this_run();
    let queries = size.pick(1_000, 10_000);
    let server = Server::start(&[]);
    let mut wire = Wire::open(server.address()).await.unwrap();
    wire.connect(0, 0).await;
    let name = |query: u32| json!({ "name": format!("q{query}") });
    let since = Instant::now();
    wire.modify((0..queries).map(|query| add(query, "counters:count", name(query))).collect())
        .await;
    assert_eq!(wire.values().await.len(), queries as usize);
    let shown = since.elapsed();
    let ran = server.executions("count").await;
    let since = Instant::now();
    for query in 0..100 {
        server.ask("mutation", "counters:incr", name(query * (queries / 100))).await;
        assert_eq!(wire.values().await, [(query * (queries / 100), json!(1.0))]);
    }
    println!("{queries} queries: shown after {shown:?}, 100 updates took {:?}", since.elapsed());
    assert_eq!(server.executions("count").await - ran, 100.0, "one run for each update");
}
