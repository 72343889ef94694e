//! Scans: rows of one index in order, the snapshot merged with what the transaction wrote itself.
//!
//! Only what was handed out is a dependency: a scan that stops early depends on the keys it passed,
//! not on what lies behind. A scan that ran dry depends on its whole interval, also when empty.

use std::collections::VecDeque;
use std::sync::Arc;

use store::Order;
use value::{Interval, Timestamp};

use crate::cache::Found;
use crate::catalog::IndexDef;
use crate::document::Document;
use crate::error::TxError;
use crate::transaction::Transaction;

/// Rows fetched at once. Source: spec/data-model.md, prefetch.
pub const PREFETCH: usize = 100;
/// Most rows fetched at once.
pub const FETCH_MAX: usize = 1024;

/// One row of a scan.
#[derive(Clone, Debug)]
pub struct Row {
    /// The key in the index.
    pub key: Arc<[u8]>,
    /// The document.
    pub document: Arc<Document>,
}

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    index: Arc<IndexDef>,
    order: Order,
    whole: Interval,
    /// What was not handed out yet.
    rest: Interval,
    fetched: VecDeque<Found>,
    /// What was not fetched yet.
    unfetched: Interval,
    prefetch: usize,
    done: bool,
}

impl Scan {
    pub(crate) fn new(index: Arc<IndexDef>, interval: Interval, order: Order) -> Self {
        Self {
            index,
            order,
            rest: interval.clone(),
            unfetched: interval.clone(),
            whole: interval,
            fetched: VecDeque::new(),
            prefetch: PREFETCH,
            done: false,
        }
    }

    /// Fetches `rows` at a time; less than [`FETCH_MAX`].
    #[must_use]
    pub fn prefetching(mut self, rows: usize) -> Self {
        self.prefetch = rows.clamp(1, FETCH_MAX);
        self
    }

    /// The index that is scanned.
    pub fn index(&self) -> &Arc<IndexDef> {
        &self.index
    }

    /// Bytes are counted by the transaction; this says whether the scan ran dry.
    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl Transaction {
    /// Documents of `index` with a key in `interval`, in `order`.
    ///
    /// Keys are ordered bytes (`value::key`); of `by_id` the 16 bytes of the internal id.
    pub fn scan(&mut self, index: &Arc<IndexDef>, interval: Interval, order: Order) -> Scan {
        Scan::new(Arc::clone(index), interval, order)
    }

    /// The next row of a scan; `None` when it ran dry.
    ///
    /// Errors: `TooManyDocumentsRead`, `TooManyBytesRead`, `TooManyReads`; the store's.
    pub fn next(&mut self, scan: &mut Scan) -> Result<Option<Row>, TxError> {
        if scan.done {
            return Ok(None);
        }
        loop {
            self.fill(scan)?;
            let staged = self.staged_next(scan);
            let base = scan.fetched.front().map(|(key, _, _)| Arc::clone(key));
            let own_first = match (&staged, &base) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some((own, _)), Some(base)) => match scan.order {
                    Order::Asc => own <= base,
                    Order::Desc => own >= base,
                },
            };
            if own_first {
                let (key, document) = staged.expect("own_first says there is one");
                if base.as_ref() == Some(&key) {
                    scan.fetched.pop_front();
                }
                self.pass(scan, &key)?;
                if let Some(document) = document {
                    return self.hand_out(scan, key, document).map(Some);
                }
            } else if let Some((key, _, document)) = scan.fetched.pop_front() {
                self.pass(scan, &key)?;
                return self.hand_out(scan, key, document).map(Some);
            } else {
                scan.done = true;
                scan.rest = Interval::empty();
                self.depend(&scan.index, &scan.whole.start, scan.whole.end.as_deref())?;
                return Ok(None);
            }
        }
    }

    /// Makes sure that the next row of the snapshot, if there is one, is fetched.
    fn fill(&mut self, scan: &mut Scan) -> Result<(), TxError> {
        while scan.fetched.is_empty() && !scan.unfetched.is_empty() {
            let (rows, rest) =
                self.snapshot.rows(&scan.index, &scan.unfetched, scan.order, scan.prefetch)?;
            scan.fetched.extend(rows);
            scan.unfetched = rest;
        }
        Ok(())
    }

    /// The next key of this index that the transaction itself wrote.
    #[expect(clippy::type_complexity, reason = "a key, and what is staged there")]
    fn staged_next(&self, scan: &Scan) -> Option<(Arc<[u8]>, Option<Arc<Document>>)> {
        if scan.rest.is_empty() {
            return None;
        }
        let staged = self.staged_keys(scan.index.id)?;
        let lower = std::ops::Bound::Included(scan.rest.start.as_slice());
        let upper = scan.rest.end.as_deref();
        let upper = upper.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut inside = staged.range::<[u8], _>((lower, upper));
        let next = match scan.order {
            Order::Asc => inside.next(),
            Order::Desc => inside.next_back(),
        };
        next.map(|(key, document)| (Arc::clone(key), document.clone()))
    }

    /// Moves past `key` and depends on everything up to it.
    fn pass(&mut self, scan: &mut Scan, key: &[u8]) -> Result<(), TxError> {
        match scan.order {
            Order::Asc => {
                scan.rest.start.clear();
                scan.rest.start.extend_from_slice(key);
                scan.rest.start.push(0);
                self.depend(&scan.index, &scan.whole.start, Some(&scan.rest.start))
            }
            Order::Desc => {
                let end = scan.rest.end.get_or_insert_default();
                end.clear();
                end.extend_from_slice(key);
                self.depend(&scan.index, key, scan.whole.end.as_deref())
            }
        }
    }

    fn hand_out(
        &mut self,
        scan: &Scan,
        key: Arc<[u8]>,
        document: Arc<Document>,
    ) -> Result<Row, TxError> {
        self.count_read(&scan.index, document.size())?;
        Ok(Row { key, document })
    }
}

/// The version that a snapshot sees, for those who need it.
pub(crate) type Versioned = (Timestamp, Arc<Document>);
