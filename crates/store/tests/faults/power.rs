//! The power goes at random moments; what was acknowledged must be there, and nothing half.

use std::path::Path;

use store::{AppendError, Durability, SqliteStore, Store};
use value::Timestamp;

use crate::disk::{Disk, Random};
use crate::vfs::Layer;
use crate::work::{State, group, integrity, observe, open};

/// Seeds of one run, and times that the power goes for each of them.
const SEEDS: u64 = 60;
const CUTS: u64 = 5;

#[derive(Debug, PartialEq)]
enum Outcome {
    Kept,
    /// Acknowledged commits are gone, though what is left is a state that once was.
    Lost,
    /// No state that ever was, or nothing that can be read.
    Broken(String),
}

/// The states after each group that may be on disk.
struct History {
    states: Vec<State>,
    /// The newest state that was acknowledged.
    acknowledged: usize,
    /// No later timestamp is at or below this one.
    promised: Timestamp,
    last: u64,
}

fn cuts(seed: u64, durability: Durability, ignore_syncs: bool) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(seed);
    disk.ignore_syncs = ignore_syncs;
    let layer = Layer::new(disk);
    let mut random = Random(!seed);
    let mut history =
        History { states: vec![State::new()], acknowledged: 0, promised: Timestamp(0), last: 0 };
    for _ in 0..CUTS {
        let most = 1 << (4 + random.below(7));
        layer.disk().cut_power_after(random.below(most));
        // The cut may come while it opens.
        if let Ok(store) = open(folder.path(), &layer, durability) {
            work(&store, &mut random, &mut history);
        }
        layer.disk().power_cycle();
        match examine(folder.path(), &layer, durability, &mut history) {
            Ok(true) => {}
            Ok(false) => return Outcome::Lost,
            Err(text) => return Outcome::Broken(text),
        }
    }
    Outcome::Kept
}

/// Appends and the rest, until something fails.
fn work(store: &SqliteStore, random: &mut Random, history: &mut History) {
    for _ in 0..200 {
        match random.below(12) {
            0 => {
                let up_to = Timestamp(history.last + random.below(5));
                if store.reserve(up_to).is_err() {
                    return;
                }
                history.promised = history.promised.max(up_to);
            }
            1 => {
                let horizon = Timestamp(history.last.saturating_sub(random.below(9)));
                if store.collect(horizon, 20).is_err() {
                    return;
                }
            }
            _ => {
                let newest = history.states.len() - 1;
                let (commits, state) = group(random, &history.states[newest], history.last);
                let outcome = store.append(&commits);
                match outcome {
                    Ok(()) => {
                        history.states.push(state);
                        history.acknowledged = newest + 1;
                        history.last = commits[commits.len() - 1].ts.0;
                    }
                    Err(AppendError::Unknown(_)) => return history.states.push(state),
                    Err(AppendError::NotWritten(_)) => return,
                }
            }
        }
    }
}

/// Opens after the cut. True: all that was acknowledged is there.
fn examine(
    folder: &Path,
    layer: &Layer,
    durability: Durability,
    history: &mut History,
) -> Result<bool, String> {
    let store = open(folder, layer, durability).map_err(|error| error.to_string())?;
    let state = observe(&store)?;
    let head = store.head().map_err(|error| error.to_string())?;
    drop(store);
    integrity(folder, layer)?;
    let Some(found) = history.states.iter().rposition(|known| *known == state) else {
        return Err("this state never was".into());
    };
    if found < history.acknowledged || head < history.promised.max(Timestamp(history.last)) {
        return Ok(false);
    }
    history.states.truncate(found + 1);
    history.acknowledged = found;
    history.last = head.0;
    Ok(true)
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    for seed in 0..SEEDS {
        assert_eq!(cuts(seed, Durability::Full, false), Outcome::Kept, "SEED={seed}");
    }
}

/// Also shows that the test above can fail.
#[test]
fn relaxed_loses_whole_commits_only() {
    let outcomes: Vec<Outcome> =
        (0..SEEDS).map(|seed| cuts(seed, Durability::Relaxed, false)).collect();
    assert!(outcomes.contains(&Outcome::Lost), "{outcomes:?}");
    let broken = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Broken(_)));
    assert_eq!(broken, None, "{outcomes:?}");
}

/// Shows that it is the syncs that hold the data.
#[test]
fn a_drive_that_lies_about_syncs_is_found_out() {
    let bad = (0..SEEDS).find(|seed| cuts(*seed, Durability::Full, true) != Outcome::Kept);
    assert!(bad.is_some());
}
