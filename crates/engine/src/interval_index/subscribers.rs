//! Who waits on one interval: mostly one, sometimes thousands.

use std::collections::BTreeSet;

/// A set of subscribers that costs no allocation while it has one.
#[derive(Debug)]
pub(super) enum Subscribers<S> {
    /// Nobody.
    None,
    /// One.
    One(S),
    /// Two or more. It does not go back to `One` when it shrinks.
    Many(BTreeSet<S>),
}

impl<S: Copy + Ord> Subscribers<S> {
    pub(super) fn new() -> Self {
        Self::None
    }

    pub(super) fn insert(&mut self, subscriber: S) {
        match self {
            Self::None => *self = Self::One(subscriber),
            Self::One(other) if *other == subscriber => {}
            Self::One(other) => *self = Self::Many(BTreeSet::from([*other, subscriber])),
            Self::Many(others) => {
                others.insert(subscriber);
            }
        }
    }

    /// Takes `subscriber` out. Is the set empty now?
    pub(super) fn remove(&mut self, subscriber: S) -> bool {
        match self {
            Self::One(other) if *other == subscriber => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(others) => {
                others.remove(&subscriber);
            }
        }
        self.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(others) => others.is_empty(),
        }
    }

    /// Calls `found` with each, ascending.
    pub(super) fn for_each(&self, found: &mut impl FnMut(S)) {
        match self {
            Self::None => {}
            Self::One(subscriber) => found(*subscriber),
            Self::Many(subscribers) => subscribers.iter().copied().for_each(found),
        }
    }
}
