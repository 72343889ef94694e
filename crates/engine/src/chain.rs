//! Versions of what one index key holds, newest last.

use std::sync::Arc;

use value::Timestamp;

use crate::document::Document;

/// A document at one version, or none where the key is gone.
pub(crate) type Version = (Timestamp, Option<Arc<Document>>);

/// What a version costs besides its document.
const VERSION_OVERHEAD_BYTES: usize = 24;
/// What the JSON text and the parsed fields of a document cost, per byte of its size.
const DOCUMENT_FACTOR: usize = 4;

fn version_bytes(version: &Version) -> usize {
    VERSION_OVERHEAD_BYTES + version.1.as_ref().map_or(0, |d| d.size() * DOCUMENT_FACTOR)
}

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

    /// What all versions cost, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        version_bytes(&self.newest) + self.older.iter().map(version_bytes).sum::<usize>()
    }

    /// How many versions there are.
    #[cfg(test)]
    pub(crate) fn versions(&self) -> usize {
        1 + self.older.len()
    }

    /// Adds a version; gives the bytes that it costs. One that is there already is ignored: a
    /// commit and the installation of a range may both bring it.
    pub(crate) fn push(&mut self, version: Version) -> usize {
        if version.0 <= self.newest.0 {
            return 0;
        }
        let bytes = version_bytes(&version);
        let previous = std::mem::replace(&mut self.newest, version);
        self.older.push(previous);
        bytes
    }

    /// What the key holds at `ts`; `None` also where it did not exist yet.
    pub(crate) fn at(&self, ts: Timestamp) -> Option<(Timestamp, &Arc<Document>)> {
        if self.newest.0 <= ts {
            return self.newest.1.as_ref().map(|document| (self.newest.0, document));
        }
        let newer = self.older.partition_point(|version| version.0 <= ts);
        let found = &self.older[newer.checked_sub(1)?];
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
