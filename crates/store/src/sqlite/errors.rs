//! What SQLite says, in the store's words.

use rusqlite::{Error, ErrorCode};

use crate::{AppendError, StoreError};

/// The error of a read, or of the care of the store.
pub(super) fn store_error(error: Error) -> StoreError {
    let damaged = matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
    ) || matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    );
    if damaged { StoreError::Corrupt(error.to_string()) } else { StoreError::Io(error.to_string()) }
}

/// The error of a write that is no append: it may be tried again, whatever its outcome.
pub(super) fn write_error(error: AppendError) -> StoreError {
    match error {
        AppendError::NotWritten(message) | AppendError::Unknown(message) => StoreError::Io(message),
    }
}
