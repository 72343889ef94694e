//! Cost of a commit as live queries that it does not touch grow: in one process, memory store, no threads.

use std::sync::Arc;

use anyhow::Result;
use functions::{Caller, ClientCall, LiveSession, Parent, QuerySpec, Runtime};
use store::MemoryStore;
use value::{Timestamp, Value, object};

use crate::host;
use crate::stats::{Stopwatch, summarize};

/// Runs the workload and prints its figures.
pub(crate) fn run(live: &[usize], commits: usize) -> Result<()> {
    println!("untouched: {commits} commits, memory store, one thread");
    for &live in live {
        let runtime = host::runtime(Arc::new(MemoryStore::default()))?;
        let mut session = LiveSession::new(&runtime, Arc::new(|| {}));
        for query in 0..live {
            let args = vec![Value::from(object! { "room" => format!("room {query}") })];
            let number = u32::try_from(query)?;
            session.subscribe(
                number,
                QuerySpec { path: Arc::from("bench:list"), args, journal: None },
            );
        }
        session.poll(Timestamp::MIN)?;
        settle(&runtime);
        let mut each = Vec::new();
        for commit in 0..commits {
            let watch = Stopwatch::start();
            let args = object! { "room" => "elsewhere", "owner" => "w", "value" => commit as f64 };
            let call = ClientCall {
                path: "bench:put".to_owned(),
                args: vec![Value::from(args)],
                caller: Caller::default(),
            };
            runtime.mutation(call, None, Parent::default(), Box::new(|_| {}));
            settle(&runtime);
            each.push(watch.ms() * 1000.0);
        }
        println!("  {live:>8} live queries: us per commit {}", summarize(each));
    }
    Ok(())
}

fn settle(runtime: &Arc<Runtime>) {
    while runtime.run_work(0) || runtime.append() {}
}
