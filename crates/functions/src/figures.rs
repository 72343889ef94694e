//! What is counted of each function: plain atomics in the registry, so that a run waits for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{DURATION_BOUNDS_NS, Histogram, HistogramView};
use value::FunctionPath;

use crate::door::Origin;
use crate::error::{Error, Result};
use crate::registry::FunctionKind;

/// What one function did. Bodies are counted, not calls: each attempt of a mutation, each run of a live
/// query; what a function calls inside its own transaction belongs to it.
#[derive(Debug)]
pub struct FunctionFigures {
    /// The path, as calls name it.
    pub(crate) name: Arc<str>,
    succeeded: AtomicU64,
    failed: AtomicU64,
    broken: AtomicU64,
    abandoned: AtomicU64,
    live_runs: AtomicU64,
    live_reruns: AtomicU64,
    conflict_reruns: AtomicU64,
    elapsed_ns: Histogram,
}

/// The figures of one function at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFiguresView {
    /// Runs that gave a value.
    pub succeeded: u64,
    /// Runs that ended with an error of the function's, thrown ones included.
    pub failed: u64,
    /// Runs that ended with an error of the system's.
    pub broken: u64,
    /// Runs that were given up, since they asked for an identity that was not theirs to know.
    pub abandoned: u64,
    /// Runs for those who show the result; part of the above.
    pub live_runs: u64,
    /// Of those: because a commit made it stale.
    pub live_reruns: u64,
    /// Attempts that lost a conflict and ran again.
    pub conflict_reruns: u64,
    /// How long bodies ran, in nanoseconds.
    pub elapsed_ns: HistogramView,
}

impl FunctionFigures {
    pub(crate) fn new(path: &FunctionPath) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            name: Arc::from(path.to_string()),
            succeeded: zero(),
            failed: zero(),
            broken: zero(),
            abandoned: zero(),
            live_runs: zero(),
            live_reruns: zero(),
            conflict_reruns: zero(),
            elapsed_ns: Histogram::new(DURATION_BOUNDS_NS),
        }
    }

    /// Counts a run that has ended.
    pub(crate) fn ran<T>(
        &self,
        origin: Origin,
        result: &Result<T>,
        withheld: bool,
        took: Duration,
    ) {
        let outcome = match result {
            _ if withheld => &self.abandoned,
            Ok(_) => &self.succeeded,
            Err(Error::Developer { .. } | Error::Application { .. }) => &self.failed,
            Err(Error::System { .. }) => &self.broken,
        };
        add(outcome);
        if origin == Origin::Live {
            add(&self.live_runs);
        }
        self.elapsed_ns.observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts that a commit made a live query run again.
    pub(crate) fn reran_live(&self) {
        add(&self.live_reruns);
    }

    /// Counts an attempt that lost a conflict.
    pub(crate) fn lost_conflict(&self) {
        add(&self.conflict_reruns);
    }

    /// What was counted so far.
    pub fn view(&self) -> FunctionFiguresView {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        FunctionFiguresView {
            succeeded: read(&self.succeeded),
            failed: read(&self.failed),
            broken: read(&self.broken),
            abandoned: read(&self.abandoned),
            live_runs: read(&self.live_runs),
            live_reruns: read(&self.live_reruns),
            conflict_reruns: read(&self.conflict_reruns),
            elapsed_ns: self.elapsed_ns.view(),
        }
    }
}

impl FunctionFiguresView {
    /// The figures of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            broken: self.broken + other.broken,
            abandoned: self.abandoned + other.abandoned,
            live_runs: self.live_runs + other.live_runs,
            live_reruns: self.live_reruns + other.live_reruns,
            conflict_reruns: self.conflict_reruns + other.conflict_reruns,
            elapsed_ns: self.elapsed_ns.plus(&other.elapsed_ns),
        }
    }

    /// All runs.
    pub fn executions(&self) -> u64 {
        self.succeeded + self.failed + self.broken + self.abandoned
    }
}

/// A function with its figures.
#[derive(Clone, Debug)]
pub struct FunctionCounts {
    /// The path, as calls name it.
    pub name: Arc<str>,
    /// What it is.
    pub kind: FunctionKind,
    /// The figures.
    pub figures: FunctionFiguresView,
}

fn add(figure: &AtomicU64) {
    figure.fetch_add(1, Ordering::Relaxed);
}
