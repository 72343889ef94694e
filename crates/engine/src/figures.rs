//! Counters and histograms for people who watch: plain atomics, so that nobody waits for them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of durations, in nanoseconds: 100 µs to 30 s.
pub const DURATION_BOUNDS_NS: &[u64] = &[
    100_000,
    300_000,
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
    30_000_000_000,
];
/// Upper bounds of how many commits share a durable write.
pub(crate) const GROUP_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000];

/// How often values fell below each of some bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds: the last one is what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramView {
    /// Upper bounds, ascending, inclusive; in the unit of the values.
    pub bounds: &'static [u64],
    /// How many values fell into each, and above all; not cumulative.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// A histogram without values. `bounds` ascend.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn view(&self) -> HistogramView {
        HistogramView {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl HistogramView {
    /// Both, where they have the same bounds.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let counts = self.counts.iter().zip(&other.counts).map(|(a, b)| a + b).collect();
        Self { bounds: self.bounds, counts, sum: self.sum + other.sum }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What the engine counts.
pub(crate) struct Figures {
    pub(crate) commits: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) groups: Histogram,
    pub(crate) append_ns: Histogram,
    pub(crate) taken_back: AtomicU64,
    pub(crate) reservations: AtomicU64,
    pub(crate) rows_loaded: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            commits: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            groups: Histogram::new(GROUP_BOUNDS),
            append_ns: Histogram::new(DURATION_BOUNDS_NS),
            taken_back: AtomicU64::new(0),
            reservations: AtomicU64::new(0),
            rows_loaded: AtomicU64::new(0),
            cache_hits: AtomicU64::new(0),
            cache_misses: AtomicU64::new(0),
        }
    }
}

/// Adds one.
pub(crate) fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_at_or_below_their_bound() {
        let histogram = Histogram::new(GROUP_BOUNDS);
        for value in [1, 1, 2, 3, 1000, 1001] {
            histogram.observe(value);
        }
        let view = histogram.view();
        assert_eq!(view.counts, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((view.sum, view.count()), (2008, 6));
    }
}
