//! The real clock and real randomness: the only place that asks the operating system for them.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use engine::{Clock, Env, Random};
use value::Timestamp;

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the border where time enters")]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        seed
    }
}

/// Time and randomness of the real world.
pub(crate) fn real() -> Env {
    Env { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
}
