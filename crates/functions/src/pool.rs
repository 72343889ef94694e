//! Threads: workers that run bodies, one that writes to disk and publishes, one that removes old versions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::runtime::Runtime;

/// How long the writer sleeps when nothing is committed, and between tries when the store is out of order.
const IDLE: Duration = Duration::from_millis(200);
/// How often old versions are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(1);
/// Rows that are looked at in one step.
const COLLECT_ROWS: usize = 2000;
/// Stack of a worker, in bytes: values nest, and so do calls.
const WORKER_STACK_BYTES: usize = 8 << 20;

/// The threads of one runtime.
pub struct Pool {
    runtime: Arc<Runtime>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    collector: Option<JoinHandle<()>>,
}

impl Pool {
    /// Starts `workers` threads, at least one, and the writer.
    ///
    /// Errors: the operating system gives no thread.
    pub fn start(runtime: &Arc<Runtime>, workers: usize) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..workers.max(1) {
            let runtime = Arc::clone(runtime);
            let builder = std::thread::Builder::new().name(format!("worker-{number}"));
            let run = move || {
                while let Some(work) = runtime.work.next() {
                    // A fault of ours ends the call it happened in; whoever waits for it is told by
                    // the callback that is dropped on the way.
                    if catch_unwind(AssertUnwindSafe(|| work(&runtime))).is_err() {
                        tracing::error!("a worker panicked; the call has ended");
                    }
                }
            };
            threads.push(builder.stack_size(WORKER_STACK_BYTES).spawn(run)?);
        }
        let writer = {
            let (runtime, stop) = (Arc::clone(runtime), Arc::clone(&stop));
            let builder = std::thread::Builder::new().name("writer".to_owned());
            builder.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    runtime.engine().wait_for_work(IDLE);
                    runtime.append();
                    if runtime.engine().is_in_doubt() {
                        std::thread::sleep(IDLE);
                    }
                }
            })?
        };
        let collector = {
            let (runtime, stop) = (Arc::clone(runtime), Arc::clone(&stop));
            let builder = std::thread::Builder::new().name("collector".to_owned());
            builder.spawn(move || collect(&runtime, &stop))?
        };
        Ok(Self {
            runtime: Arc::clone(runtime),
            stop,
            workers: threads,
            writer: Some(writer),
            collector: Some(collector),
        })
    }

    /// Lets running and waiting jobs end, writes what they committed, and stops.
    pub fn stop(mut self) {
        self.runtime.work.close();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so on its way down.
            drop(worker.join());
        }
        self.stop.store(true, Ordering::Release);
        for thread in self.writer.take().into_iter().chain(self.collector.take()) {
            thread.thread().unpark();
            drop(thread.join());
        }
        while self.runtime.append() {}
    }
}

/// Removes old versions, a little at a time, so that nobody waits for it.
fn collect(runtime: &Arc<Runtime>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match runtime.engine().collect(COLLECT_ROWS) {
            Ok(false) => std::thread::yield_now(),
            Ok(true) => std::thread::park_timeout(COLLECT_EVERY),
            Err(error) => {
                tracing::warn!(%error, "old versions could not be removed");
                std::thread::park_timeout(COLLECT_EVERY);
            }
        }
    }
}
