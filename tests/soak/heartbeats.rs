//! Small writes to the same rows for ever: memory and disk stay what they are, whatever the number of
//! versions.

use serde_json::json;
use tests::wire::Wire;
use tokio::time::Instant;

use crate::{Server, Size};

/// History that is kept, in seconds: many windows fit into a long run.
const RETENTION_S: &str = "5";
/// Budget of the cache, in MiB.
const CACHE_MIB: &str = "8";
const SESSIONS: u64 = 200;
/// Records of requests that a session keeps: until all have so many, the disk grows.
const RECORDS: u32 = 1000;
/// Above what a window of writes needs, on top of what was there when all sessions had their records.
const GROWTH_BYTES: u64 = 24 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_leave_memory_and_disk_as_they_are() {
    let size = Size::of_this_run();
    let (beats, records) = size.pick((3, 3), (100, RECORDS + 100));
    let mut server = Server::start(&["--retention-seconds", RETENTION_S, "--cache-mib", CACHE_MIB]);
    let (mut settled, started) = (None, Instant::now());
    let (mut round, mut now) = (0, (0, 0));
    while round < 3 || size.goes_on(started) || settled.is_none() {
        let sockets: Vec<_> = (0..SESSIONS)
            .map(|number| tokio::spawn(beat(server.address().to_owned(), number, round, beats)))
            .collect();
        for socket in sockets {
            socket.await.unwrap();
        }
        round += 1;
        now = (server.process.resident_bytes(), server.disk_bytes());
        if round * beats >= records {
            let (memory, disk) = *settled.get_or_insert(now);
            assert!(now.0 < memory + GROWTH_BYTES, "memory grew from {memory} to {}", now.0);
            assert!(now.1 < disk + GROWTH_BYTES, "the disk grew from {disk} to {}", now.1);
        }
    }
    let each = u64::from(round * beats);
    let (memory, disk) = settled.unwrap();
    println!(
        "heartbeats: {} of {SESSIONS} sessions; resident {} MiB then {}, disk {} MiB then {}",
        each * SESSIONS,
        memory >> 20,
        now.0 >> 20,
        disk >> 20,
        now.1 >> 20
    );
    let since = Instant::now();
    server = server.kill();
    let up = since.elapsed();
    println!("heartbeats: up again after {up:?}, {} MiB", server.process.resident_bytes() >> 20);
    for number in [0, SESSIONS - 1] {
        let name = json!({ "name": format!("s{number}") });
        let count = server.ask("query", "counters:count", name).await.as_f64().unwrap();
        assert_eq!(count as u64, each, "every heartbeat counted once");
    }
}

/// A client comes back in its session and writes some more.
async fn beat(address: String, number: u64, round: u32, beats: u32) {
    let mut wire = Wire::open(&address).await.unwrap();
    wire.connect(number, round).await;
    for request in round * beats..(round + 1) * beats {
        let answer = wire.mutate(request, "counters:incr", json!({ "name": format!("s{number}") }));
        assert_eq!(answer.await["success"], true, "no conflict, no failure");
    }
}
