//! Who waits for which timestamp to be on disk.
//!
//! Answers of mutations wait here: nothing that is not durable leaves the process. A commit whose epoch
//! ended before it was durable was taken back; whoever waits for it is told to run again.

use std::collections::BTreeMap;

use engine::Committed;
use parking_lot::Mutex;
use value::Timestamp;

/// How many ends of epochs are remembered. One comes with each failed append.
const EPOCHS_REMEMBERED: usize = 64;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is on disk.
    Durable,
    /// It was taken back.
    TakenBack,
}

pub(crate) type Waiter = Box<dyn FnOnce(Fate) + Send>;

#[derive(Default)]
struct State {
    durable: Timestamp,
    /// The durable head at which each epoch began.
    epochs: BTreeMap<u64, Timestamp>,
    waiting: BTreeMap<(Timestamp, u64), (Committed, Waiter)>,
    next: u64,
}

impl State {
    fn fate(&self, committed: &Committed) -> Option<Fate> {
        let next_epoch = self.epochs.range(committed.epoch + 1..).next();
        if let Some((_, head)) = next_epoch
            && committed.ts > *head
        {
            return Some(Fate::TakenBack);
        }
        (committed.ts <= self.durable).then_some(Fate::Durable)
    }
}

/// All who wait.
#[derive(Default)]
pub(crate) struct Durability(Mutex<State>);

impl Durability {
    pub(crate) fn new(durable: Timestamp) -> Self {
        Self(Mutex::new(State { durable, ..State::default() }))
    }

    /// Calls `waiter` once the fate of `committed` is known, at once if it is.
    pub(crate) fn wait(&self, committed: Committed, waiter: Waiter) {
        let mut state = self.0.lock();
        if let Some(fate) = state.fate(&committed) {
            drop(state);
            return waiter(fate);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert((committed.ts, number), (committed, waiter));
    }

    /// The durable head moved: calls everybody whose fate that decides, in the order of timestamps.
    pub(crate) fn settle(&self, durable: Timestamp) {
        self.decide(|state| state.durable = state.durable.max(durable), durable);
    }

    /// Everything above `durable` of the epochs before `epoch` was taken back. What was accepted in
    /// `epoch` already goes on waiting.
    pub(crate) fn take_back(&self, durable: Timestamp, epoch: u64) {
        let note = |state: &mut State| {
            state.epochs.insert(epoch, durable);
            while state.epochs.len() > EPOCHS_REMEMBERED {
                state.epochs.pop_first();
            }
        };
        self.decide(note, Timestamp(u64::MAX));
    }

    /// Takes note of news, then tells those up to `through` whose fate is known by it.
    fn decide(&self, note: impl FnOnce(&mut State), through: Timestamp) {
        let told = {
            let mut state = self.0.lock();
            note(&mut state);
            let later = state.waiting.split_off(&(through.succ(), 0));
            let candidates = std::mem::replace(&mut state.waiting, later);
            let mut told = Vec::new();
            for (at, (committed, waiter)) in candidates {
                match state.fate(&committed) {
                    Some(fate) => told.push((fate, waiter)),
                    None => drop(state.waiting.insert(at, (committed, waiter))),
                }
            }
            told
        };
        for (fate, waiter) in told {
            waiter(fate);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn waiters_hear_in_order_and_fallen_ones_are_told() {
        let durability = Durability::new(Timestamp(10));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let wait = |ts: u64, epoch: u64| {
            let heard = Arc::clone(&heard);
            let committed = Committed { ts: Timestamp(ts), wrote: true, epoch };
            durability.wait(committed, Box::new(move |fate| heard.lock().push((ts, fate))));
        };
        wait(10, 0);
        wait(13, 0);
        wait(12, 0);
        wait(14, 0);
        durability.settle(Timestamp(13));
        durability.take_back(Timestamp(13), 1);
        wait(14, 0);
        wait(15, 1);
        durability.settle(Timestamp(15));
        wait(14, 0);
        let expected = [
            (10, Fate::Durable),
            (12, Fate::Durable),
            (13, Fate::Durable),
            (14, Fate::TakenBack),
            (14, Fate::TakenBack),
            (15, Fate::Durable),
            (14, Fate::TakenBack),
        ];
        assert_eq!(*heard.lock(), expected);
        assert_eq!(durability.len(), 0);
    }

    #[test]
    fn what_the_next_epoch_accepted_does_not_fall_with_the_one_before() {
        let durability = Durability::new(Timestamp(10));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let wait = |ts: u64, epoch: u64| {
            let heard = Arc::clone(&heard);
            let committed = Committed { ts: Timestamp(ts), wrote: true, epoch };
            durability.wait(committed, Box::new(move |fate| heard.lock().push((ts, fate))));
        };
        wait(11, 0);
        // Accepted after the engine took back, before this page heard of it.
        wait(12, 1);
        durability.take_back(Timestamp(10), 1);
        assert_eq!(*heard.lock(), [(11, Fate::TakenBack)]);
        // The head passes a commit of an ended epoch that nobody has told yet.
        durability.settle(Timestamp(12));
        assert_eq!(heard.lock().as_slice(), [(11, Fate::TakenBack), (12, Fate::Durable)]);
    }
}
