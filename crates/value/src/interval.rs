//! Half-open intervals of ordered bytes.

use crate::key;

/// The byte strings `k` with `start <= k` and `k < end`; `end: None` has no upper bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The first byte string inside.
    pub start: Vec<u8>,
    /// The first byte string behind, or none.
    pub end: Option<Vec<u8>>,
}

impl Interval {
    /// Every byte string.
    pub const fn all() -> Self {
        Interval { start: Vec::new(), end: None }
    }

    /// No byte string.
    pub const fn empty() -> Self {
        Interval { start: Vec::new(), end: Some(Vec::new()) }
    }

    /// Every byte string that begins with `prefix`; more than the keys that begin with the values
    /// of a key, see [`crate::key`].
    pub fn prefix(prefix: &[u8]) -> Self {
        Interval { start: prefix.to_vec(), end: key::increment(prefix) }
    }

    /// Exactly `key`.
    pub fn point(key: &[u8]) -> Self {
        let mut end = Vec::with_capacity(key.len() + 1);
        end.extend_from_slice(key);
        end.push(0);
        Interval { start: key.to_vec(), end: Some(end) }
    }

    /// Whether no byte string is inside.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether `key` is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    /// What is inside both; the bounds of an empty result mean nothing.
    pub fn intersect(&self, other: &Interval) -> Interval {
        let start = self.start.as_slice().max(other.start.as_slice()).to_vec();
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (Some(a), None) => Some(a.clone()),
            (None, b) => b.clone(),
        };
        Interval { start, end }
    }

    /// Whether some byte string is inside both.
    pub fn intersects(&self, other: &Interval) -> bool {
        let below = |start: &[u8], end: &Option<Vec<u8>>| {
            end.as_ref().is_none_or(|end| start < end.as_slice())
        };
        let start = self.start.as_slice().max(other.start.as_slice());
        below(start, &self.end) && below(start, &other.end)
    }

    /// Whether everything inside `other` is inside this one; true when `other` is empty.
    pub fn covers(&self, other: &Interval) -> bool {
        let end_covers = match (&self.end, &other.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(a), Some(b)) => b <= a,
        };
        other.is_empty() || (self.start <= other.start && end_covers)
    }
}

#[cfg(test)]
mod tests;
