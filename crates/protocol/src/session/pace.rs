//! How often changes alone start a transition.
//!
//! A client cannot use hundreds of transitions in a second, and whoever watches what everybody writes
//! would get as many. So a connection has [`BURST_FREE`] transitions in stock, gets one back per
//! interval, and waits when there is none: a lone update is never late, and a burst comes in steps, each
//! at the newest timestamp. What a client waits for (its queries, its answers) is neither held back nor
//! counted.

use crate::limits::BURST_FREE;

/// When the stock is full again, in Unix milliseconds.
pub(super) struct Pace {
    full_at_ms: i64,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { full_at_ms: i64::MIN }
    }

    /// From when on a transition is in stock.
    pub(super) fn next_ms(&self, interval_ms: i64) -> i64 {
        self.full_at_ms.saturating_sub(interval_ms.saturating_mul(BURST_FREE - 1))
    }

    /// Takes one out of the stock.
    pub(super) fn start(&mut self, now_ms: i64, interval_ms: i64) {
        self.full_at_ms = self.full_at_ms.max(now_ms).saturating_add(interval_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_MS: i64 = 100;

    /// The times at which transitions start when there is always something to show.
    fn greedy(pace: &mut Pace, from_ms: i64, until_ms: i64) -> Vec<i64> {
        let mut started = Vec::new();
        for now_ms in from_ms..until_ms {
            if now_ms >= pace.next_ms(INTERVAL_MS) {
                pace.start(now_ms, INTERVAL_MS);
                started.push(now_ms);
            }
        }
        started
    }

    #[test]
    fn a_burst_comes_in_steps_of_an_interval() {
        let mut pace = Pace::new();
        assert_eq!(greedy(&mut pace, 1000, 1400), [1000, 1001, 1002, 1100, 1200, 1300]);
        // After a rest the stock is full again, and not fuller.
        assert_eq!(greedy(&mut pace, 9000, 9200), [9000, 9001, 9002, 9100]);
    }

    #[test]
    fn updates_no_denser_than_the_interval_are_never_late() {
        let mut pace = Pace::new();
        for now_ms in (0..10_000).step_by(INTERVAL_MS as usize) {
            assert!(pace.next_ms(INTERVAL_MS) <= now_ms);
            pace.start(now_ms, INTERVAL_MS);
        }
    }

    #[test]
    fn without_an_interval_nothing_waits() {
        let mut pace = Pace::new();
        for _ in 0..10 {
            pace.start(7, 0);
        }
        assert!(pace.next_ms(0) <= 7);
    }
}
