//! Runs of the model: over each store, with budgets from nothing to plenty, with and without faults.

use std::sync::Arc;

use proptest::prelude::*;
use store::testing::MirroredStore;
use store::{Durability, MemoryStore, SqliteOptions, SqliteStore, Store};

use super::dice::Dice;
use super::faults::FaultyStore;
use super::model::{Run, Setting};
use super::world::World;
use crate::Options;

/// From "nothing stays" over "a few rows" to "all".
const BUDGETS: [usize; 4] = [0, 3_000, 20_000, 64 << 20];
/// A few dozen commits of the model.
const RETENTION_NS: u64 = 24_000_000;

fn options(cache_bytes: usize) -> Options {
    Options { cache_bytes, retention_ns: RETENTION_NS, ..Options::default() }
}

fn run(store: Arc<dyn Store>, cache_bytes: usize, setting: Setting, dice: Dice) -> Run {
    let mut run =
        Run::new(World::over(store, options(cache_bytes)), None, RETENTION_NS, setting, dice);
    run.go();
    run
}

fn run_with_faults(cache_bytes: usize, dice: Dice) -> Run {
    let faulty = Arc::new(FaultyStore::new());
    let world = World::over(Arc::clone(&faulty) as _, options(cache_bytes));
    let setting = Setting { faults: true, reopen: true };
    let mut run = Run::new(world, Some(faulty), RETENTION_NS, setting, dice);
    run.go();
    run
}

const PLAIN: Setting = Setting { faults: false, reopen: true };

#[test]
fn long_runs_over_the_reference() {
    for seed in 0..2 {
        for budget in BUDGETS {
            println!("SEED={seed} BUDGET={budget}");
            let dice = Dice::seeded(seed, 24_000);
            let run = run(Arc::new(MemoryStore::new()), budget, PLAIN, dice);
            // Else the run says nothing.
            assert!(run.accepted > 60 && run.refused > 10 && run.rows > 500);
        }
    }
}

#[test]
fn long_runs_with_appends_that_fail() {
    for seed in 100..104 {
        for budget in BUDGETS {
            println!("SEED={seed} BUDGET={budget}");
            run_with_faults(budget, Dice::seeded(seed, 24_000));
        }
    }
}

#[test]
fn long_runs_over_sqlite_and_the_reference_side_by_side() {
    for (seed, budget) in (200..204).zip(BUDGETS) {
        println!("SEED={seed} BUDGET={budget}");
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { durability: Durability::Relaxed, ..SqliteOptions::default() };
        let sqlite = SqliteStore::open(folder.path(), &options).unwrap();
        let both = MirroredStore::new(vec![Box::new(MemoryStore::new()), Box::new(sqlite)]);
        run(Arc::new(both), budget, PLAIN, Dice::seeded(seed, 20_000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_run_agrees_with_the_model(
        numbers in prop::collection::vec(0..1_000_000_u32, 0..4_000),
        budget in prop::sample::select(&BUDGETS[..]),
    ) {
        let dice = Dice::Given(numbers.into());
        run(Arc::new(MemoryStore::new()), budget, PLAIN, dice);
    }

    #[test]
    fn any_run_with_faults_agrees_with_the_model(
        numbers in prop::collection::vec(0..1_000_000_u32, 0..4_000),
        budget in prop::sample::select(&BUDGETS[..]),
    ) {
        run_with_faults(budget, Dice::Given(numbers.into()));
    }
}
