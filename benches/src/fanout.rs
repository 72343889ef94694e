//! One commit into a room with many sockets that show one shared query: time to the last of them.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use tokio::sync::{Barrier, mpsc};

use crate::client::Client;
use crate::host::Host;
use crate::stats::{Stopwatch, summarize};

/// Runs the workload and prints its figures.
pub(crate) async fn run(sockets: usize, commits: usize) -> Result<()> {
    let host = Host::start().await?;
    let ready = Arc::new(Barrier::new(sockets + 1));
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    for number in 0..sockets {
        let (address, ready, seen) = (host.address.clone(), Arc::clone(&ready), seen.clone());
        tokio::spawn(async move {
            let mut client = Client::connect(&address, number).await?;
            client.subscribe("bench:list", json!({ "room": "r" })).await?;
            ready.wait().await;
            for commit in 1..=commits {
                let tag = format!("\"value\":{commit}.0");
                client.until(|text| text.contains(&tag)).await?;
                let _ = seen.send(());
            }
            anyhow::Ok(())
        });
    }
    ready.wait().await;
    let mut writer = Client::connect(&host.address, sockets).await?;
    let cpu = host.cpu_ms()?;
    let mut last = Vec::new();
    for commit in 1..=commits {
        let watch = Stopwatch::start();
        let args = json!({ "room": "r", "owner": "w", "value": commit as f64 });
        writer.mutate("bench:put", args).await?;
        for _ in 0..sockets {
            arrivals.recv().await;
        }
        last.push(watch.ms());
    }
    let cpu = host.cpu_ms()? - cpu;
    let deliveries = (sockets * commits) as f64;
    println!("fanout: {sockets} sockets, {commits} commits");
    println!("  ms from commit to the last socket: {}", summarize(last));
    println!("  server CPU ms per 1000 deliveries: {:.2}", cpu / deliveries * 1000.0);
    Ok(())
}
