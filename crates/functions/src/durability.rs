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
    waiting: BTreeMap<(Timestamp, u64), Waiter>,
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
        state.waiting.insert((committed.ts, number), waiter);
    }

    /// The durable head moved: calls everybody up to it, in the order of timestamps.
    pub(crate) fn settle(&self, durable: Timestamp) {
        let ready = {
            let mut state = self.0.lock();
            state.durable = state.durable.max(durable);
            let later = state.waiting.split_off(&(durable.succ(), 0));
            std::mem::replace(&mut state.waiting, later)
        };
        for waiter in ready.into_values() {
            waiter(Fate::Durable);
        }
    }

    /// Everything above `durable` was taken back, and `epoch` begins.
    pub(crate) fn take_back(&self, durable: Timestamp, epoch: u64) {
        let fallen = {
            let mut state = self.0.lock();
            state.epochs.insert(epoch, durable);
            while state.epochs.len() > EPOCHS_REMEMBERED {
                state.epochs.pop_first();
            }
            state.waiting.split_off(&(durable.succ(), 0))
        };
        for waiter in fallen.into_values() {
            waiter(Fate::TakenBack);
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
}
