//! Limits of one transaction, and what it has used of them.
//!
//! Source: spec/data-model.md, limits of one transaction.

use crate::error::TxError;

/// How much one transaction may do. Reads of system tables are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Documents read, also those that a filter drops.
    pub documents_read: usize,
    /// Bytes of documents read.
    pub bytes_read: usize,
    /// Distinct intervals in the read set.
    pub database_queries: usize,
    /// Calls that write a document.
    pub documents_written: usize,
    /// Bytes of documents written.
    pub bytes_written: usize,
    /// Functions scheduled.
    pub functions_scheduled: usize,
    /// Bytes of arguments of scheduled functions.
    pub scheduled_function_args_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            documents_read: 32_000,
            bytes_read: 16 << 20,
            database_queries: 4096,
            documents_written: 16_000,
            bytes_written: 16 << 20,
            functions_scheduled: 1000,
            scheduled_function_args_bytes: 16 << 20,
        }
    }
}

/// What a transaction has used so far, in the units of [`Limits`].
pub type Usage = Limits;

/// The usage of a transaction that has done nothing.
pub(crate) const UNUSED: Usage = Limits {
    documents_read: 0,
    bytes_read: 0,
    database_queries: 0,
    documents_written: 0,
    bytes_written: 0,
    functions_scheduled: 0,
    scheduled_function_args_bytes: 0,
};

/// Counts one document of `bytes` as read.
pub(crate) fn count_read(usage: &mut Usage, limits: &Limits, bytes: usize) -> Result<(), TxError> {
    usage.documents_read += 1;
    usage.bytes_read += bytes;
    if usage.documents_read > limits.documents_read {
        return Err(too_many(
            "TooManyDocumentsRead",
            "documents read",
            &limits.documents_read.to_string(),
        ));
    }
    if usage.bytes_read > limits.bytes_read {
        return Err(too_many(
            "TooManyBytesRead",
            "bytes read",
            &format!("{} bytes", limits.bytes_read),
        ));
    }
    Ok(())
}

/// Counts one more distinct interval.
pub(crate) fn count_interval(usage: &mut Usage, limits: &Limits) -> Result<(), TxError> {
    usage.database_queries += 1;
    if usage.database_queries > limits.database_queries {
        return Err(too_many("TooManyReads", "reads", &limits.database_queries.to_string()));
    }
    Ok(())
}

/// Counts one write of a document of `bytes`.
pub(crate) fn count_write(usage: &mut Usage, limits: &Limits, bytes: usize) -> Result<(), TxError> {
    usage.documents_written += 1;
    usage.bytes_written += bytes;
    if usage.documents_written > limits.documents_written {
        return Err(too_many(
            "TooManyWrites",
            "documents written",
            &limits.documents_written.to_string(),
        ));
    }
    if usage.bytes_written > limits.bytes_written {
        return Err(too_many(
            "TooManyBytesWritten",
            "bytes written",
            &format!("{} bytes", limits.bytes_written),
        ));
    }
    Ok(())
}

fn too_many(code: &'static str, what: &str, limit: &str) -> TxError {
    TxError::developer(
        code,
        format!("Too many {what} in a single function execution (limit: {limit})"),
    )
}
