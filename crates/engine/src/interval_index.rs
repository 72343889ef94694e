//! Who has read this key: all subscriptions of one server, by the intervals they wait on.
//!
//! ```text
//! read set ── interval ─┬─ [k, k·00)  a key            ─► hash map, by the key
//!                       ├─ [p, p·ff)  values, a prefix ─► hash map, by the prefix
//!                       ├─ everything                  ─► a list
//!                       └─ any other                   ─► interval tree
//! ```
//!
//! A written key is looked up by its own bytes and by its prefixes that end between two values: as
//! many probes as the index has fields, no matter how many subscriptions live. Then the tree.
//! Subscriptions that wait on the same interval share its place.
//!
//! May use value (intervals), store (`IndexId`) and the read set. Knows nothing of queries, time or
//! threads. Invariant: the index holds exactly the intervals of the read sets it remembers.

mod boundaries;
mod subscribers;
mod tree;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use store::IndexId;
use value::Interval;

use crate::read_set::ReadSet;
use boundaries::value_boundaries;
use subscribers::Subscribers;
use tree::IntervalTree;

/// Read sets by subscriber, and the way back from a written key to them.
#[derive(Debug)]
pub struct IntervalIndex<S> {
    read_sets: HashMap<S, Arc<ReadSet>>,
    indexes: HashMap<IndexId, Waiting<S>>,
}

impl<S: Copy + Ord + Hash + Debug> IntervalIndex<S> {
    /// An index without subscribers.
    pub fn new() -> Self {
        Self { read_sets: HashMap::new(), indexes: HashMap::new() }
    }

    /// Lets `subscriber` wait on `reads`, in place of what it waited on before.
    ///
    /// Only intervals that differ from the former ones are moved: a run that read the same again
    /// costs a comparison.
    pub fn insert(&mut self, subscriber: S, reads: Arc<ReadSet>) {
        let former = self.read_sets.insert(subscriber, Arc::clone(&reads)).unwrap_or_default();
        if !Arc::ptr_eq(&former, &reads) {
            self.replace(subscriber, &former, &reads);
        }
    }

    /// Ends the subscription and returns what it waited on; `None` if there was none.
    pub fn remove(&mut self, subscriber: S) -> Option<Arc<ReadSet>> {
        let former = self.read_sets.remove(&subscriber)?;
        self.replace(subscriber, &former, &ReadSet::new());
        Some(former)
    }

    /// What `subscriber` waits on.
    pub fn get(&self, subscriber: S) -> Option<&Arc<ReadSet>> {
        self.read_sets.get(&subscriber)
    }

    /// Calls `found` with every subscriber that has read `key` of `index`.
    ///
    /// Each is reported once: the intervals of a read set do not overlap, so one of them at most
    /// holds the key. The order is the same for the same history of calls.
    /// A written key must be one of the index: values one after another, or any bytes.
    pub fn stab(&self, index: IndexId, key: &[u8], found: &mut impl FnMut(S)) {
        self.stab_counting(index, key, found);
    }

    /// [`Self::stab`], and the work it took: probes of hash maps and nodes of the tree visited.
    #[doc(hidden)]
    pub fn stab_counting(&self, index: IndexId, key: &[u8], found: &mut impl FnMut(S)) -> StabCost {
        match self.indexes.get(&index) {
            Some(waiting) => waiting.stab(key, found),
            None => StabCost::default(),
        }
    }

    /// Number of subscribers.
    pub fn len(&self) -> usize {
        self.read_sets.len()
    }

    /// Is nobody subscribed?
    pub fn is_empty(&self) -> bool {
        self.read_sets.is_empty()
    }

    /// Moves `subscriber` from the intervals of `former` to those of `reads`.
    fn replace(&mut self, subscriber: S, former: &ReadSet, reads: &ReadSet) {
        // Both ascend by index and start, so one walk over both finds what only one of them has.
        let (mut gone, mut new) = (former.intervals().peekable(), reads.intervals().peekable());
        loop {
            let order = match (gone.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((index, old)), Some((other, now))) => {
                    let old = (index, &old.start, &old.end);
                    old.cmp(&(other, &now.start, &now.end))
                }
            };
            if order.is_eq() {
                gone.next();
                new.next();
            } else if order.is_lt()
                && let Some((index, interval)) = gone.next()
            {
                self.remove_interval(subscriber, index, interval);
            } else if let Some((index, interval)) = new.next() {
                let waiting = self.indexes.entry(index).or_insert_with(Waiting::new);
                waiting.insert(subscriber, interval);
            }
        }
    }

    fn remove_interval(&mut self, subscriber: S, index: IndexId, interval: &Interval) {
        let waiting = self.indexes.get_mut(&index).expect("a remembered interval has its place");
        waiting.remove(subscriber, interval);
        if waiting.is_empty() {
            self.indexes.remove(&index);
        }
    }
}

impl<S: Copy + Ord + Hash + Debug> Default for IntervalIndex<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// What one stab touched. It does not grow with the number of subscribers that are not hit, but by
/// the logarithm of how many distinct ranges the tree of this index holds.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StabCost {
    /// Look-ups in hash maps.
    pub probes: usize,
    /// Nodes of the interval tree.
    pub nodes: usize,
}

/// The subscribers of one index.
#[derive(Debug)]
struct Waiting<S> {
    everything: Subscribers<S>,
    keys: HashMap<Box<[u8]>, Subscribers<S>>,
    prefixes: HashMap<Box<[u8]>, Subscribers<S>>,
    ranges: IntervalTree<S>,
}

/// Where an interval has its place.
enum Shape<'a> {
    Everything,
    Key(&'a [u8]),
    Prefix(&'a [u8]),
    Range,
}

impl<S: Copy + Ord> Waiting<S> {
    fn new() -> Self {
        Self {
            everything: Subscribers::new(),
            keys: HashMap::new(),
            prefixes: HashMap::new(),
            ranges: IntervalTree::new(),
        }
    }

    fn insert(&mut self, subscriber: S, interval: &Interval) {
        let place = match shape(interval) {
            Shape::Everything => &mut self.everything,
            Shape::Key(key) => place_of(&mut self.keys, key),
            Shape::Prefix(prefix) => place_of(&mut self.prefixes, prefix),
            Shape::Range => self.ranges.place_of(interval),
        };
        place.insert(subscriber);
    }

    fn remove(&mut self, subscriber: S, interval: &Interval) {
        match shape(interval) {
            Shape::Everything => {
                self.everything.remove(subscriber);
            }
            Shape::Key(key) => remove_from(&mut self.keys, key, subscriber),
            Shape::Prefix(prefix) => remove_from(&mut self.prefixes, prefix, subscriber),
            Shape::Range => self.ranges.remove(subscriber, interval),
        }
    }

    fn is_empty(&self) -> bool {
        self.everything.is_empty()
            && self.keys.is_empty()
            && self.prefixes.is_empty()
            && self.ranges.is_empty()
    }

    fn stab(&self, key: &[u8], found: &mut impl FnMut(S)) -> StabCost {
        let mut probes = 0;
        self.everything.for_each(found);
        if !self.keys.is_empty() {
            probes += 1;
            if let Some(subscribers) = self.keys.get(key) {
                subscribers.for_each(found);
            }
        }
        if !self.prefixes.is_empty() {
            for length in value_boundaries(key) {
                probes += 1;
                if let Some(subscribers) = self.prefixes.get(&key[..length]) {
                    subscribers.for_each(found);
                }
            }
        }
        StabCost { probes, nodes: self.ranges.stab(key, found) }
    }
}

/// An interval and its shape belong together: the same interval always has the same place.
fn shape(interval: &Interval) -> Shape<'_> {
    let start = interval.start.as_slice();
    match interval.end.as_deref() {
        None if start.is_empty() => Shape::Everything,
        Some([key @ .., 0x00]) if key == start => Shape::Key(start),
        // Only prefixes that end between two values are found again in a key.
        Some([prefix @ .., 0xff])
            if prefix == start && value_boundaries(start).last() == Some(start.len()) =>
        {
            Shape::Prefix(start)
        }
        None | Some(_) => Shape::Range,
    }
}

fn place_of<'a, S: Copy + Ord>(
    places: &'a mut HashMap<Box<[u8]>, Subscribers<S>>,
    bytes: &[u8],
) -> &'a mut Subscribers<S> {
    if !places.contains_key(bytes) {
        places.insert(bytes.into(), Subscribers::new());
    }
    places.get_mut(bytes).expect("it was inserted above")
}

fn remove_from<S: Copy + Ord>(
    places: &mut HashMap<Box<[u8]>, Subscribers<S>>,
    bytes: &[u8],
    subscriber: S,
) {
    if let Some(place) = places.get_mut(bytes)
        && place.remove(subscriber)
    {
        places.remove(bytes);
    }
}

#[cfg(test)]
mod tests;
