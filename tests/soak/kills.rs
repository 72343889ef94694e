//! Killed under load, over and over, with bursts of jobs due: what was acknowledged is there, every job
//! ran once, and clients went on meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tests::wire::soon;
use tokio::time::Instant;

use crate::{Server, Size, call, percentile};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_are_due_run_once_over_kills() {
    let size = Size::of_this_run();
    let (bursts, jobs) = size.pick((2, 100_u32), (20, 1_000));
    let mut server = Server::start(&[]);
    let started = Instant::now();
    let mut idle = latencies(&server, 20).await;
    loop {
        for burst in 0..bursts {
            let args = json!({ "burst": f64::from(burst), "jobs": f64::from(jobs) });
            server.ask("mutation", "jobs:burst", args).await;
        }
        let mut busy = latencies(&server, size.pick(5, 50)).await;
        let before = ticks(&server).await.len();
        server = server.kill();
        let wanted = (bursts * jobs) as usize;
        let since = Instant::now();
        let drained = async {
            while ticks(&server).await.len() < wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("all jobs run", drained).await;
        let ran = ticks(&server).await;
        let distinct: BTreeSet<&String> = ran.iter().collect();
        assert_eq!((ran.len(), distinct.len()), (wanted, wanted), "a job ran twice");
        println!(
            "kills: {before} of {wanted} jobs ran before, the rest {:?} after; a mutation took {:?} beside \
             them and {:?} alone (99 of 100)",
            since.elapsed(),
            percentile(&mut busy, 99),
            percentile(&mut idle, 99)
        );
        // Another one: all rows are read by one query, which has a limit.
        if !size.goes_on(started) {
            break;
        }
        server = Server::start(&[]);
    }
}

async fn latencies(server: &Server, calls: u32) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..calls {
        let since = Instant::now();
        call(server.address(), "mutation", "counters:incr", json!({ "name": "client" })).await;
        times.push(since.elapsed());
    }
    times
}

async fn ticks(server: &Server) -> Vec<String> {
    let rows = server.ask("query", "tables:all", json!({ "table": "ticks" })).await;
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}
