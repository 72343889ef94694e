//! Versions of what one index key holds, newest last.

use std::sync::Arc;

use value::Timestamp;

use crate::document::Document;

/// A document at one version, or none where the key is gone.
pub(crate) type Version = (Timestamp, Option<Arc<Document>>);

/// The versions of one key, ascending. Most keys have exactly one.
#[derive(Debug)]
pub(crate) struct Chain {
    newest: Version,
    older: Vec<Version>,
}

impl Chain {
    pub(crate) fn new(version: Version) -> Self {
        Self { newest: version, older: Vec::new() }
    }

    /// Adds a version. One that is there already is ignored: a commit and the installation of a
    /// range may both bring it.
    pub(crate) fn push(&mut self, version: Version) {
        if version.0 > self.newest.0 {
            let previous = std::mem::replace(&mut self.newest, version);
            self.older.push(previous);
        }
    }

    /// What the key holds at `ts`; `None` also where it did not exist yet.
    pub(crate) fn at(&self, ts: Timestamp) -> Option<(Timestamp, &Arc<Document>)> {
        if self.newest.0 <= ts {
            return self.newest.1.as_ref().map(|document| (self.newest.0, document));
        }
        let found = self.older.iter().rev().find(|version| version.0 <= ts)?;
        found.1.as_ref().map(|document| (found.0, document))
    }

    /// Drops versions that no snapshot at or after `horizon` can see. True: nothing is left.
    pub(crate) fn trim(&mut self, horizon: Timestamp) -> bool {
        if self.newest.0 <= horizon {
            self.older = Vec::new();
            return self.newest.1.is_none();
        }
        let visible = self.older.iter().rposition(|version| version.0 <= horizon);
        if let Some(first) = visible {
            self.older.drain(..first);
        }
        false
    }

    /// Takes back versions above `durable`. False: nothing is left.
    pub(crate) fn take_back(&mut self, durable: Timestamp) -> bool {
        while self.newest.0 > durable {
            match self.older.pop() {
                Some(version) => self.newest = version,
                None => return false,
            }
        }
        true
    }
}
