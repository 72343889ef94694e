//! Small writes to the same rows for ever: memory and disk stay what they are, whatever the number of
//! versions.

use serde_json::json;
use tests::wire::Wire;
use tokio::time::Instant;

use crate::{Server, Size};

/// History that is kept, in seconds: many windows fit into a long run.
const RETENTION_S: &str = "5";
const SESSIONS: u64 = 200;
/// Above what a window of writes needs, on top of what was there after the first ones.
const GROWTH_BYTES: u64 = 24 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_leave_memory_and_disk_as_they_are() {
    let size = Size::of_this_run();
    let mut server = Server::start(&["--retention-seconds", RETENTION_S]);
    let beats = size.pick(3, 40);
    let mut settled = None;
    let started = Instant::now();
    let mut total = 0;
    for round in 0.. {
        let sockets: Vec<_> = (0..SESSIONS)
            .map(|number| tokio::spawn(beat(server.address().to_owned(), number, round, beats)))
            .collect();
        for socket in sockets {
            socket.await.unwrap();
        }
        total += SESSIONS * u64::from(beats);
        let now = (server.process.resident_bytes(), server.disk_bytes());
        let (memory, disk) = *settled.get_or_insert(now);
        assert!(now.0 < memory + GROWTH_BYTES, "memory grew from {memory} to {}", now.0);
        assert!(now.1 < disk + GROWTH_BYTES, "the disk grew from {disk} to {}", now.1);
        if !size.goes_on(started) && round >= 2 {
            println!("heartbeats: {total}; resident {} MiB, disk {} MiB", now.0 >> 20, now.1 >> 20);
            break;
        }
    }
    let since = Instant::now();
    server = server.kill();
    println!("heartbeats: up again after {:?}", since.elapsed());
    for number in [0, SESSIONS - 1] {
        let name = json!({ "name": format!("s{number}") });
        let count = server.ask("query", "counters:count", name).await.as_f64().unwrap();
        assert_eq!(count as u64 * SESSIONS, total, "every heartbeat counted once");
    }
}

async fn beat(address: String, number: u64, round: u32, beats: u32) {
    let mut wire = Wire::open(&address).await.unwrap();
    wire.connect(number + 1_000_000 * u64::from(round), 0).await;
    for request in 0..beats {
        let answer = wire.mutate(request, "counters:incr", json!({ "name": format!("s{number}") }));
        assert_eq!(answer.await["success"], true, "no conflict, no failure");
    }
}
