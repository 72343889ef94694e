//! What a transaction has read: merged intervals of keys, per index.
//!
//! A read set answers two questions: does this written key fall into it (a conflict, a stale
//! query), and is it the same as the one before (nothing to move in the interval index).
//!
//! May use value and `IndexId` of store. Knows nothing of tables, documents or time.
//! Invariant: the intervals of a set are not empty, ascend, and neither overlap nor touch, so that
//! equal sets of keys are equal values.

use std::borrow::Borrow;

use store::IndexId;
use value::Interval;

/// A set of keys of one index: half-open intervals, merged where they overlap or touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet {
    intervals: Vec<Interval>,
}

impl IntervalSet {
    /// The set without keys.
    pub fn new() -> IntervalSet {
        IntervalSet::default()
    }

    /// Adds the keys of `interval`. An empty interval adds nothing.
    ///
    /// Cheap (no move of other intervals, no copy of the start) where it extends or repeats an
    /// interval that is there, as a scan does with every row it passes.
    pub fn add(&mut self, interval: impl Borrow<Interval>) {
        let interval = interval.borrow();
        self.add_range(&interval.start, interval.end.as_deref());
    }

    /// Adds the keys from `start` to before `end` (`None`: to the last key there is).
    pub fn add_range(&mut self, start: &[u8], end: Option<&[u8]>) {
        if end.is_some_and(|end| end <= start) {
            return;
        }
        // All intervals in `first..last` overlap or touch the new one.
        let first = match self.intervals.last() {
            Some(tail) if tail.start.as_slice() <= start => {
                self.intervals.len() - usize::from(reaches(tail, start))
            }
            _ => self.intervals.partition_point(|it| !reaches(it, start)),
        };
        let last = first
            + self.intervals[first..]
                .partition_point(|it| end.is_none_or(|end| it.start.as_slice() <= end));
        if first == last {
            let added = Interval { start: start.to_vec(), end: end.map(<[u8]>::to_vec) };
            self.intervals.insert(first, added);
            return;
        }
        let furthest = self.intervals[last - 1].end.take();
        let merged = &mut self.intervals[first];
        if start < merged.start.as_slice() {
            replace_bytes(&mut merged.start, start);
        }
        merged.end = match (furthest, end) {
            (None, _) | (_, None) => None,
            (Some(mut old), Some(new)) => {
                if old.as_slice() < new {
                    replace_bytes(&mut old, new);
                }
                Some(old)
            }
        };
        self.intervals.drain(first + 1..last);
    }

    /// Adds the keys of `other`.
    pub fn merge(&mut self, other: &IntervalSet) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        for interval in &other.intervals {
            self.add(interval);
        }
    }

    /// Is `key` in the set?
    pub fn contains(&self, key: &[u8]) -> bool {
        let after = self.intervals.partition_point(|it| it.start.as_slice() <= key);
        after > 0 && self.intervals[after - 1].contains(key)
    }

    /// Is some key of `interval` in the set?
    pub fn intersects(&self, interval: &Interval) -> bool {
        if interval.is_empty() {
            return false;
        }
        let candidate = self.intervals.partition_point(|it| !ends_after(it, &interval.start));
        self.intervals.get(candidate).is_some_and(|it| ends_after(interval, &it.start))
    }

    /// Is some key in both sets? Linear in the number of intervals of both.
    pub fn intersects_set(&self, other: &IntervalSet) -> bool {
        let (mut ours, mut theirs) = (self.intervals.as_slice(), other.intervals.as_slice());
        while let ([our, our_rest @ ..], [their, their_rest @ ..]) = (ours, theirs) {
            if !ends_after(our, &their.start) {
                ours = our_rest;
            } else if !ends_after(their, &our.start) {
                theirs = their_rest;
            } else {
                return true;
            }
        }
        false
    }

    /// Is every key of `interval` in the set? An empty interval is.
    pub fn covers(&self, interval: &Interval) -> bool {
        if interval.is_empty() {
            return true;
        }
        // Merged intervals do not touch, so one of them must cover it alone.
        let after = self.intervals.partition_point(|it| it.start <= interval.start);
        after > 0 && self.intervals[after - 1].covers(interval)
    }

    /// The intervals, ascending.
    pub fn iter(&self) -> std::slice::Iter<'_, Interval> {
        self.intervals.iter()
    }

    /// Number of intervals after merging.
    pub fn len(&self) -> usize {
        self.intervals.len()
    }

    /// Is no key in the set?
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }
}

impl<'a> IntoIterator for &'a IntervalSet {
    type Item = &'a Interval;
    type IntoIter = std::slice::Iter<'a, Interval>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The keys read, per index. Most have one to six intervals, hence a small sorted vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    indexes: Vec<(IndexId, IntervalSet)>,
}

impl ReadSet {
    /// The read set of someone who read nothing.
    pub fn new() -> ReadSet {
        ReadSet::default()
    }

    /// Adds the keys of `interval` in `index`; takes an `Interval` or a reference to one.
    pub fn add(&mut self, index: IndexId, interval: impl Borrow<Interval>) {
        let interval = interval.borrow();
        self.add_range(index, &interval.start, interval.end.as_deref());
    }

    /// Adds the keys of `index` from `start` to before `end` (`None`: to the last key there is).
    pub fn add_range(&mut self, index: IndexId, start: &[u8], end: Option<&[u8]>) {
        if end.is_some_and(|end| end <= start) {
            return;
        }
        self.entry(index).add_range(start, end);
    }

    /// Adds everything `other` holds.
    pub fn merge(&mut self, other: &ReadSet) {
        for (index, set) in &other.indexes {
            self.entry(*index).merge(set);
        }
    }

    /// Was `key` of `index` read?
    pub fn contains(&self, index: IndexId, key: &[u8]) -> bool {
        self.get(index).is_some_and(|set| set.contains(key))
    }

    /// Was all of `interval` in `index` read?
    pub fn covers(&self, index: IndexId, interval: &Interval) -> bool {
        interval.is_empty() || self.get(index).is_some_and(|set| set.covers(interval))
    }

    /// Is some key of some index in both sets? Linear in the number of intervals of both.
    pub fn intersects(&self, other: &ReadSet) -> bool {
        let (few, many) =
            if self.indexes.len() <= other.indexes.len() { (self, other) } else { (other, self) };
        few.indexes
            .iter()
            .any(|(index, set)| many.get(*index).is_some_and(|found| found.intersects_set(set)))
    }

    /// What was read of `index`; `None` if nothing was.
    pub fn get(&self, index: IndexId) -> Option<&IntervalSet> {
        let at = self.indexes.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(&self.indexes[at].1)
    }

    /// The indexes that were read, ascending, with what was read of them.
    pub fn iter(&self) -> impl Iterator<Item = (IndexId, &IntervalSet)> {
        self.indexes.iter().map(|(index, set)| (*index, set))
    }

    /// Every interval with its index, ascending by index, then by key.
    pub fn intervals(&self) -> impl Iterator<Item = (IndexId, &Interval)> {
        self.iter().flat_map(|(index, set)| set.iter().map(move |interval| (index, interval)))
    }

    /// Number of intervals over all indexes, after merging.
    pub fn interval_count(&self) -> usize {
        self.indexes.iter().map(|(_, set)| set.len()).sum()
    }

    /// Was nothing read?
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    fn entry(&mut self, index: IndexId) -> &mut IntervalSet {
        let at = match self.indexes.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => at,
            Err(at) => {
                self.indexes.insert(at, (index, IntervalSet::new()));
                at
            }
        };
        &mut self.indexes[at].1
    }
}

/// Does `interval` hold `key`, or end exactly there, or lie behind it?
fn reaches(interval: &Interval, key: &[u8]) -> bool {
    interval.end.as_deref().is_none_or(|end| end >= key)
}

/// Does `interval` end behind `key`, so that it can hold it or something after it?
fn ends_after(interval: &Interval, key: &[u8]) -> bool {
    interval.end.as_deref().is_none_or(|end| end > key)
}

/// Overwrites in place: the buffer of a growing interval is reused from row to row.
fn replace_bytes(target: &mut Vec<u8>, bytes: &[u8]) {
    target.clear();
    target.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
