//! Seeded simulation of engine, functions and protocol together.
//!
//!     SEED ──► workload: clients, mutations, cuts, sign-ins, order of work, faults, crashes, time
//!                  │ every message that a client reads
//!                  ▼
//!              properties: at once, against a judge on the disk; at the end, against the model
//!
//! A failure prints `SEED=…`; that seed alone repeats it, with a trace of its steps. Seeds that once
//! failed are in [`FAILED_ONCE`] and always run.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod faults;
mod model;
mod properties;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use workload::Sim;

/// How many seeds run by default.
const SEEDS: u64 = 800;
/// Seeds that found a fault once.
const FAILED_ONCE: &[u64] = &[4, 142];
/// Threads; each runs its own seeds.
const THREADS: u64 = 2;

#[test]
fn every_schedule_keeps_the_invariants() {
    if let Ok(seed) = std::env::var("SEED") {
        return Sim::new(seed.parse().expect("SEED is a number"), true).run();
    }
    let count = std::env::var("SEEDS").map_or(SEEDS, |count| count.parse().expect("a number"));
    let seeds: Vec<u64> = FAILED_ONCE.iter().copied().chain(0..count).collect();
    let next = AtomicU64::new(0);
    let failed = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| run_until_one_fails(&seeds, &next))).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("caught below")).min()
    });
    if let Some(seed) = failed {
        panic!("SEED={seed}: run it alone with `make sim SEED={seed}`");
    }
}

fn run_until_one_fails(seeds: &[u64], next: &AtomicU64) -> Option<u64> {
    loop {
        let place = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("few seeds");
        let seed = *seeds.get(place)?;
        if catch_unwind(AssertUnwindSafe(|| Sim::new(seed, false).run())).is_err() {
            next.store(u64::MAX / 2, Ordering::Relaxed);
            return Some(seed);
        }
    }
}
