//! Numbers that steer a run: drawn from a seed, or given by proptest, which can then shrink them.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub(super) enum Dice {
    Seeded { rng: Box<ChaCha8Rng>, rolls: usize },
    Given(VecDeque<u32>),
}

impl Dice {
    pub(super) fn seeded(seed: u64, rolls: usize) -> Self {
        Self::Seeded { rng: Box::new(ChaCha8Rng::seed_from_u64(seed)), rolls }
    }

    /// Whether the run goes on.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Self::Seeded { rolls, .. } => *rolls > 0,
            Self::Given(numbers) => !numbers.is_empty(),
        }
    }

    /// A number below `sides`; 0 when no more are given.
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        let number = match self {
            Self::Seeded { rng, rolls } => {
                *rolls = rolls.saturating_sub(1);
                rng.next_u32()
            }
            Self::Given(numbers) => numbers.pop_front().unwrap_or(0),
        };
        number as usize % sides.max(1)
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 1 % times
    }
}
