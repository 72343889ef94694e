//! What the engine takes from outside: the time, and seeds for randomness.

use std::sync::Arc;

use parking_lot::Mutex;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use value::Timestamp;

/// The wall clock, in nanoseconds since the Unix epoch.
pub trait Clock: Send + Sync {
    /// The time now. May stand still or step back: order never depends on it alone.
    fn now(&self) -> Timestamp;
}

/// Seeds for what is random in a transaction.
pub trait Random: Send + Sync {
    /// A fresh seed; unpredictable in production, repeatable in a simulation.
    fn seed(&self) -> [u8; 32];
}

/// Time and randomness of one engine.
#[derive(Clone)]
pub struct Env {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of seeds.
    pub random: Arc<dyn Random>,
}

/// A clock that moves only when it is told to, for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the clock forward by `nanos`.
    pub fn advance_ns(&self, nanos: u64) {
        let mut now = self.0.lock();
        *now = Timestamp(now.0.saturating_add(nanos));
    }

    /// Moves the clock forward by `millis`.
    pub fn advance_ms(&self, millis: u64) {
        self.advance_ns(millis.saturating_mul(1_000_000));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// Seeds drawn from one seed, for tests and simulations.
pub struct SeededRandom(Mutex<ChaCha20Rng>);

impl SeededRandom {
    /// The sequence of seeds that `seed` gives.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.lock().fill_bytes(&mut seed);
        seed
    }
}
