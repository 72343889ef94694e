//! The disk refuses: no space, or a sync that fails. Nothing is corrupt and work goes on.

use store::{AppendError, Commit, Durability, SqliteStore, Store};

use crate::disk::{Disk, Random};
use crate::vfs::Layer;
use crate::work::{State, group, integrity, observe, open};

struct Bench {
    folder: tempfile::TempDir,
    layer: Layer,
    store: SqliteStore,
    random: Random,
    state: State,
    last: u64,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let layer = Layer::new(Disk::new(seed));
        let store = open(folder.path(), &layer, Durability::Full).unwrap();
        Bench { folder, layer, store, random: Random(seed), state: State::new(), last: 0 }
    }

    fn group(&mut self) -> (Vec<Commit>, State) {
        group(&mut self.random, &self.state, self.last)
    }

    fn append(&mut self) -> Result<(), AppendError> {
        let (commits, state) = self.group();
        self.store.append(&commits)?;
        self.keep(&commits, state);
        Ok(())
    }

    fn keep(&mut self, commits: &[Commit], state: State) {
        (self.state, self.last) = (state, commits[commits.len() - 1].ts.0);
    }

    /// All that was kept, and nothing else, is there; also for SQLite's own check.
    fn check_and_close(self) {
        assert_eq!(observe(&self.store).unwrap(), self.state);
        drop(self.store);
        integrity(self.folder.path(), &self.layer).unwrap();
    }
}

#[test]
fn a_full_disk_refuses_appends_and_recovers_without_reopening() {
    for seed in 0..20 {
        let mut bench = Bench::new(seed);
        for _ in 0..20 {
            bench.append().unwrap();
        }
        for round in 1..4 {
            let room = bench.random.below(60_000) as usize;
            let capacity = bench.layer.disk().bytes() + room;
            bench.layer.disk().capacity = Some(capacity);
            let mut refused = 0;
            for _ in 0..200 {
                match bench.append() {
                    Ok(()) => {}
                    Err(AppendError::NotWritten(_)) => refused += 1,
                    Err(AppendError::Unknown(text)) => panic!("SEED={seed} {text}"),
                }
            }
            assert!(refused > 0, "SEED={seed} round {round}: the disk never was full");
            assert_eq!(observe(&bench.store).unwrap(), bench.state, "SEED={seed}");
            bench.layer.disk().capacity = None;
            for _ in 0..20 {
                bench.append().unwrap();
            }
        }
        bench.check_and_close();
    }
}

#[test]
fn what_a_full_disk_refused_is_not_there_after_a_power_cut() {
    for seed in 0..20 {
        let mut bench = Bench::new(seed);
        for _ in 0..10 {
            bench.append().unwrap();
        }
        let capacity = bench.layer.disk().bytes() + bench.random.below(20_000) as usize;
        bench.layer.disk().capacity = Some(capacity);
        while bench.append().is_ok() {}
        let Bench { folder, layer, store, state, .. } = bench;
        layer.disk().cut_power_after(0);
        drop(store);
        layer.disk().power_cycle();
        layer.disk().capacity = None;
        let store = open(folder.path(), &layer, Durability::Full).unwrap();
        assert_eq!(observe(&store).unwrap(), state, "SEED={seed}");
    }
}

#[test]
fn a_failed_sync_leaves_doubt_until_reopened() {
    for seed in 0..20 {
        let mut bench = Bench::new(seed);
        for _ in 0..5 {
            bench.append().unwrap();
        }
        bench.layer.disk().failing_syncs = 1;
        let (commits, state) = bench.group();
        let outcome = bench.store.append(&commits);
        assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
        // No further append before the doubt is resolved.
        let outcome = bench.append();
        assert!(matches!(outcome, Err(AppendError::NotWritten(_))), "{outcome:?}");
        bench.store.reopen().unwrap();
        if bench.store.head().unwrap() >= commits[0].ts {
            bench.keep(&commits, state);
        }
        for _ in 0..5 {
            bench.append().unwrap();
        }
        bench.check_and_close();
    }
}
