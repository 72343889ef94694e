//! Durable mutations per second, over sockets: cold documents, one hot document, plain inserts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::host::Host;
use crate::stats::Stopwatch;

#[derive(Clone, Copy)]
enum Shape {
    Insert,
    Cold,
    Hot,
}

impl Shape {
    fn call(self, connection: usize, n: u64) -> (&'static str, Json) {
        match self {
            Self::Insert => {
                let owner = format!("{connection}-{n}");
                ("bench:insert", json!({ "room": "i", "owner": owner, "value": 1.0 }))
            }
            Self::Cold => {
                let owner = format!("{connection}");
                ("bench:increment", json!({ "room": "c", "owner": owner }))
            }
            Self::Hot => ("bench:increment", json!({ "room": "h", "owner": "all" })),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Cold => "increment, a document each",
            Self::Hot => "increment, one document",
        }
    }
}

/// Runs the workload and prints its figures.
pub(crate) async fn run(connections: &[usize], pipeline: usize, seconds: f64) -> Result<()> {
    println!(
        "mutations: {pipeline} under way for each connection, durable before they are answered"
    );
    for shape in [Shape::Insert, Shape::Cold, Shape::Hot] {
        for &connections in connections {
            let rate = round(shape, connections, pipeline, seconds).await?;
            println!("  {:<28} {connections:>4} connections {rate:>9.0}/s", shape.name());
        }
    }
    Ok(())
}

async fn round(shape: Shape, connections: usize, pipeline: usize, seconds: f64) -> Result<f64> {
    let host = Host::start().await?;
    let done = Arc::new(AtomicU64::new(0));
    let watch = Stopwatch::start();
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let (address, done) = (host.address.clone(), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            let mut client = Client::connect(&address, connection).await?;
            let mut sent = 0;
            let mut under_way = 0;
            while watch.ms() < seconds * 1000.0 || under_way > 0 {
                while under_way < pipeline && watch.ms() < seconds * 1000.0 {
                    let (path, args) = shape.call(connection, sent);
                    client.mutate(path, args).await?;
                    sent += 1;
                    under_way += 1;
                }
                client.answered().await?;
                under_way -= 1;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / (watch.ms() / 1000.0))
}
