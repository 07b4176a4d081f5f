//! Classification of SQLite errors.

use rusqlite::{Error, ErrorCode};

use ports::store_error::{Cause, StoreError};

/// Name of the store in errors.
pub const STORE: &str = "SQLite";

/// Error of a file that cannot be used now. Nothing was changed.
pub fn unavailable(source: impl Into<Cause>) -> StoreError {
    StoreError::Unavailable { store: STORE, source: source.into() }
}

/// Error of a change that may or may not be stored.
pub fn in_doubt(source: impl Into<Cause>) -> StoreError {
    StoreError::InDoubt { store: STORE, source: source.into() }
}

/// Error of data, or of an answer, that should never occur.
pub fn inconsistent(what: impl Into<String>) -> StoreError {
    StoreError::Inconsistent { store: STORE, what: what.into() }
}

/// Classifies the error of a statement that changed nothing or is rolled back.
///
/// Full disks, failing devices, missing memory and locks of other programs are transient. All other errors are caused by
/// the statement or by the content of the file.
pub fn failed(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => unavailable(error),
        _ => inconsistent(error.to_string()),
    }
}
