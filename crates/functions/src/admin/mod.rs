//! What an operator asks of a running server: tables and documents, crons, scheduled functions, live
//! queries with what they depend on.
//!
//!     Runtime ── read: a worker, a snapshot ──► plain views ──► server, as JSON
//!            └── write: one transaction, checked by the schema like any other
//!
//! Everything is asked for in pages with named limits, so a table of a million rows costs as much as one of
//! a hundred. Views are owned data: whoever shows them needs no transaction and knows no key bytes.

mod crons;
mod documents;
mod live;
mod page;
mod scheduled;
mod tables;

use std::sync::Arc;

use engine::{Catalog, Head, Source, Transaction};
use tokio::sync::oneshot;
use value::Timestamp;

pub use crons::{CRONS_LISTED_MAX, CronRun, CronView};
pub use documents::{
    DOCUMENT_WRITES_MAX, DocumentPage, DocumentQuery, DocumentWrite, PAGE_BYTES_MAX,
    PAGE_DOCUMENTS_MAX, PAGE_ROWS_READ_MAX, Written,
};
pub use live::{
    Bound, BoundValues, CauseView, IntervalKind, KEY_BYTES_SHOWN_MAX, Names, ReadInterval,
};
pub use scheduled::{Canceled, JobList, JobPage, JobQuery, JobView};
pub use tables::{IndexView, TableView};

use crate::door::Origin;
use crate::error::{Error, Result};
use crate::jobs::Step;
use crate::runtime::{CallEnd, Runtime, channel};

impl Runtime {
    /// Runs `read` on a worker, at the newest durable snapshot or at `at`.
    ///
    /// Errors: too many calls wait; `OutOfRetention`; those of `read`.
    pub(crate) async fn read<R: Send + 'static>(
        self: &Arc<Self>,
        at: Option<Timestamp>,
        read: impl FnOnce(&Runtime, &mut Transaction) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        if self.work.is_full() {
            return Err(Error::system("TooManyConcurrentRequests", "too many calls wait"));
        }
        let (sender, result) = oneshot::channel();
        self.spawn(Box::new(move |runtime| {
            let began = match at {
                Some(at) => runtime.engine().begin_at(at).map_err(Error::from),
                None => Ok(runtime.engine().begin(Head::Durable)),
            };
            // Whoever asked may have gone; then nobody is to be told.
            drop(sender.send(began.and_then(|mut tx| read(runtime, &mut tx))));
        }));
        let lost = || Error::system("InternalServerError", "the call was lost");
        result.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Commits `step` as the administrator's; done when it is durable.
    async fn write(self: &Arc<Self>, request: Option<Arc<str>>, step: Step) -> Result<Timestamp> {
        let step: Step = Arc::new(move |tx| {
            let name = Arc::from("(admin)");
            let via = Origin::Admin.as_str();
            tx.set_source(Source { name, via, request: request.clone() });
            step(tx)
        });
        let (done, end) = channel();
        self.step(step, done);
        let end: CallEnd = end.await.unwrap_or_else(|_| self.lost());
        end.result.map(|_| end.ts)
    }

    /// Bytes that the store takes on disk. Waits for the store: not for threads that must not.
    pub fn store_bytes(&self) -> Result<u64> {
        let bytes = self.engine().store_bytes();
        bytes.map_err(|error| Error::system("InternalServerError", error.to_string()))
    }

    /// Tables and documents of users, as of the newest durable snapshot.
    pub fn totals(&self) -> Totals {
        let tx = self.engine().begin(Head::Durable);
        let catalog = self.engine().catalog();
        let mut totals = Totals { ts: tx.snapshot_ts(), ..Totals::default() };
        for table in catalog.tables().filter(|table| !table.system) {
            totals.tables += 1;
            totals.documents += tx.count_unseen(table).unwrap_or_default();
        }
        totals
    }

    /// Names of what is there now, for those who show read sets.
    pub fn names(&self) -> Names {
        Names::new(&self.engine().catalog())
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// As of when.
    pub ts: Timestamp,
    /// Tables of users.
    pub tables: usize,
    /// Their documents.
    pub documents: u64,
}

fn unknown_table(name: &str) -> Error {
    Error::coded("TableNotFound", format!("there is no table {name:?}"))
}

/// The user table of this name in a catalog.
fn user_table(catalog: &Catalog, name: &str) -> Result<Arc<engine::TableDef>> {
    let parsed = value::TableName::new(name)
        .map_err(|error| Error::coded("InvalidTableName", error.to_string()))?;
    let found = catalog.table(&parsed).filter(|table| !table.system);
    found.cloned().ok_or_else(|| unknown_table(name))
}
