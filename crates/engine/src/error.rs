//! Errors, by what the caller must do about them.

use value::{TableName, Timestamp};

/// Who is at fault when a step of a transaction fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxErrorKind {
    /// The function: bad names, bad values, limits. The call fails, nobody retries.
    Developer,
    /// The snapshot is older than the kept history. Begin again at a newer one.
    OutOfRetention,
    /// The store failed to answer. The same step may work later.
    Store,
}

/// A step of a transaction that could not be done. Nothing was staged by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TxError {
    /// The official short code, for example `TooManyDocumentsRead`.
    pub code: &'static str,
    /// What is wrong, naming the thing.
    pub message: String,
    /// Whose fault it is.
    pub kind: TxErrorKind,
}

impl TxError {
    /// An error of the function that is running.
    pub fn developer(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), kind: TxErrorKind::Developer }
    }
}

impl From<store::StoreError> for TxError {
    fn from(error: store::StoreError) -> Self {
        let kind = match &error {
            store::StoreError::TooOld { .. } => TxErrorKind::OutOfRetention,
            store::StoreError::Io(_) | store::StoreError::Corrupt(_) => TxErrorKind::Store,
        };
        let code = match kind {
            TxErrorKind::OutOfRetention => "OutOfRetention",
            TxErrorKind::Developer | TxErrorKind::Store => "InternalServerError",
        };
        Self { code, message: error.to_string(), kind }
    }
}

/// Why a transaction was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Someone wrote into an interval that was read. Run again on a new snapshot.
    #[error("a commit at {other} wrote what this transaction read in table {}", table_name(.table))]
    Conflict {
        /// The table of the first interval that was hit, where it still has a name.
        table: Option<TableName>,
        /// The commit that was in the way.
        other: Timestamp,
    },
    /// A writes into intervals that another call has reserved. Queue behind it and run again.
    #[error("another call has reserved what this transaction writes")]
    Reserved,
    /// What was read has been taken back by a failed append. Run again.
    #[error("what this transaction read was not written to disk")]
    Aborted,
    /// The store takes no writes now. Later it may.
    #[error("the store takes no writes now: {0}")]
    Unavailable(String),
}

fn table_name(table: &Option<TableName>) -> String {
    table.as_ref().map_or_else(|| "(deleted)".to_owned(), |name| format!("\"{name}\""))
}

/// Why an engine could not be opened, or a maintenance step not be done.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The store failed to write.
    #[error(transparent)]
    Append(#[from] store::AppendError),
    /// What is on disk contradicts itself.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// A step of a maintenance transaction failed.
    #[error(transparent)]
    Transaction(#[from] TxError),
    /// A maintenance transaction could not be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}
