//! A proxy restarts: all sockets are cut at once, and all come back at once with the same queries.

use std::time::Duration;

use serde_json::json;
use tests::wire::{Wire, add, soon};
use tokio::time::Instant;

use crate::{Server, Size};

/// Most runs of one shared query while everybody comes back.
const RUNS_MAX: f64 = 5.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stampede_does_not_multiply_work() {
    let size = Size::of_this_run();
    let sockets = size.pick(200, 2_000);
    let server = Server::start(&[]);
    for n in 0..10 {
        let args = json!({ "room": "a", "author": "x", "body": "hi", "n": f64::from(n) });
        server.ask("mutation", "messages:send", args).await;
    }
    let mut open = all_come(server.address(), sockets, 0).await;
    let before = server.process.resident_bytes();
    let started = Instant::now();
    let mut worst = Duration::ZERO;
    for round in 1.. {
        open.clear();
        let (lists, counts) = (server.executions("list").await, server.executions("count").await);
        let since = Instant::now();
        open = all_come(server.address(), sockets, round).await;
        worst = worst.max(since.elapsed());
        assert!(server.executions("list").await - lists <= RUNS_MAX, "the list ran too often");
        assert!(server.executions("count").await - counts <= RUNS_MAX, "the count ran too often");
        // One write, seen by everybody, once.
        let lists = server.executions("list").await;
        let args = json!({ "room": "a", "author": "x", "body": "hi", "n": 0.5 });
        server.ask("mutation", "messages:send", args).await;
        for wire in &mut open {
            let values = wire.values().await;
            let rows = values[0].1.as_array().unwrap().len();
            assert_eq!((values.len(), values[0].0, rows), (1, 0, 10 + round as usize));
        }
        assert_eq!(server.executions("list").await - lists, 1.0, "one run for everybody");
        if !size.goes_on(started) {
            break;
        }
    }
    open.clear();
    let after = server.process.resident_bytes();
    println!(
        "stampede: {sockets} sockets were back after {worst:?} at most; resident {} MiB before, {} after",
        before >> 20,
        after >> 20
    );
    assert!(after < before * 3 / 2, "memory grows with each stampede");
}

/// Opens all sockets at once, and waits until each has its three results.
async fn all_come(address: &str, sockets: u64, round: u32) -> Vec<Wire> {
    let tasks: Vec<_> = (0..sockets)
        .map(|number| {
            let address = address.to_owned();
            tokio::spawn(async move {
                let mut wire = Wire::open(&address).await.unwrap();
                wire.connect(number, round).await;
                let queries = [
                    add(0, "messages:list", json!({ "room": "a" })),
                    add(1, "counters:count", json!({ "name": "a" })),
                    add(2, "messages:after", json!({ "room": "a", "n": 100.0 })),
                ];
                wire.modify(queries.into()).await;
                assert_eq!(wire.values().await.len(), 3, "all in one step");
                wire
            })
        })
        .collect();
    let mut open = Vec::new();
    for task in tasks {
        open.push(soon("everybody is back", task).await.unwrap());
    }
    open
}
