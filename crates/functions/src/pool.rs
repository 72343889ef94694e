//! Threads: workers that run bodies, and one that writes to disk and publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::runtime::Runtime;

/// How long the writer sleeps when nothing is committed, and between tries when the store is out of order.
const IDLE: Duration = Duration::from_millis(200);
/// Stack of a worker, in bytes: values nest, and so do calls.
const WORKER_STACK_BYTES: usize = 8 << 20;

/// The threads of one runtime.
pub struct Pool {
    runtime: Arc<Runtime>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
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
                    work(&runtime);
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
                }
            })?
        };
        Ok(Self { runtime: Arc::clone(runtime), stop, workers: threads, writer: Some(writer) })
    }

    /// Lets running and waiting jobs end, writes what they committed, and stops.
    pub fn stop(mut self) {
        self.runtime.work.close();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so on its way down.
            drop(worker.join());
        }
        self.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
        while self.runtime.append() {}
    }
}
