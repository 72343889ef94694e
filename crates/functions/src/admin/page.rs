//! Pages of an index: where one ends the next begins, at the same snapshot.
//!
//! A cursor is the snapshot and the last key, sealed together with what was asked: one of another
//! question, or of another deployment, is refused.

use engine::{IndexDef, Order, Transaction};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use value::{Interval, Timestamp};

use crate::error::{Error, Result};
use crate::instance::{InstanceSecret, Purpose};

/// What a page may cost.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) items: usize,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Where a page begins: a snapshot, and the key after which it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) ts: Timestamp,
    pub(super) after: Vec<u8>,
}

/// What was found, and the last key that was looked at unless nothing lies behind it.
pub(super) struct Found<T> {
    pub(super) items: Vec<T>,
    pub(super) rows: usize,
    pub(super) next: Option<Vec<u8>>,
}

/// Reads rows of an index in order; `take` gives what a row is worth, or nothing.
pub(super) fn read<T>(
    tx: &mut Transaction,
    index: &Arc<IndexDef>,
    interval: Interval,
    order: Order,
    limits: Limits,
    mut take: impl FnMut(&engine::Row) -> Result<Option<T>>,
) -> Result<Found<T>> {
    let mut scan = tx.scan(index, interval, order);
    let mut found = Found { items: Vec::new(), rows: 0, next: None };
    let mut bytes = 0;
    while let Some(row) = tx.next(&mut scan)? {
        found.rows += 1;
        bytes += row.document.size();
        found.items.extend(take(&row)?);
        let full = found.items.len() >= limits.items;
        if full || found.rows >= limits.rows || bytes >= limits.bytes {
            found.next = Some(row.key.to_vec());
            break;
        }
    }
    Ok(found)
}

/// What is left of an interval behind a key, in an order.
pub(super) fn rest(interval: Interval, order: Order, after: Option<&[u8]>) -> Interval {
    match (after, order) {
        (None, _) => interval,
        (Some(key), Order::Asc) => {
            let part = Interval { start: [key, &[0]].concat(), end: None };
            interval.intersect(&part)
        }
        (Some(key), Order::Desc) => {
            let part = Interval { start: Vec::new(), end: Some(key.to_vec()) };
            interval.intersect(&part)
        }
    }
}

/// Seals positions of one question.
pub(super) struct Sealer<'a> {
    secret: &'a InstanceSecret,
    question: [u8; 32],
}

impl<'a> Sealer<'a> {
    /// `question`: what must be equal when the cursor comes back.
    pub(super) fn new(secret: &'a InstanceSecret, question: &str) -> Self {
        Self { secret, question: Sha256::digest(question.as_bytes()).into() }
    }

    pub(super) fn seal(&self, position: &Position) -> String {
        let mut bytes = self.question.to_vec();
        bytes.extend_from_slice(&position.ts.0.to_be_bytes());
        bytes.extend_from_slice(&position.after);
        self.secret.seal_deterministic(Purpose::Cursor, &bytes)
    }

    pub(super) fn open(&self, cursor: &str) -> Result<Position> {
        let bytes = self.secret.open_deterministic(Purpose::Cursor, cursor);
        let position = bytes.and_then(|bytes| {
            let rest = bytes.strip_prefix(self.question.as_slice())?;
            let (ts, after) = rest.split_first_chunk()?;
            Some(Position { ts: Timestamp(u64::from_be_bytes(*ts)), after: after.to_vec() })
        });
        let text = "the cursor belongs to another question, or to another deployment";
        position.ok_or_else(|| Error::coded("InvalidCursor", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_bound_to_their_question() {
        let secret = InstanceSecret::new([3; 32]);
        let sealer = Sealer::new(&secret, "a");
        let position = Position { ts: Timestamp(7), after: vec![1, 2] };
        let cursor = sealer.seal(&position);
        assert_eq!(sealer.open(&cursor).unwrap(), position);
        let other = InstanceSecret::new([4; 32]);
        for (secret, question, cursor) in [
            (&secret, "b", cursor.as_str()),
            (&other, "a", &cursor),
            (&secret, "a", "00"),
            (&secret, "a", ""),
        ] {
            let error = Sealer::new(secret, question).open(cursor).unwrap_err();
            assert_eq!(error.code(), Some("InvalidCursor"));
        }
    }
}
