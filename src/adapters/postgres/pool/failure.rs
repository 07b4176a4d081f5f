//! Classification of PostgreSQL errors.

use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

use ports::error_chain::error_chain;
use ports::store_error::{Cause, StoreError};

/// Name of the store in errors.
pub const STORE: &str = "PostgreSQL";

/// Error of a store that is unavailable or overloaded. Nothing was changed.
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
/// An error caused by the statement itself (data, constraints, names, privileges) is a bug. All other errors
/// (connections, resources, timeouts, deadlocks, a standby that accepts no writes) are transient.
pub fn failed(error: Error) -> StoreError {
    let Some(state) = error.as_db_error() else { return unavailable(error) };
    match state.code().code().get(..2) {
        Some("0A" | "21" | "22" | "23" | "42" | "XX") => {
            inconsistent(format!("{} ({})", state.message(), state.code().code()))
        }
        _ => unavailable(error),
    }
}

/// Whether the server has answered that the statement failed.
///
/// An error that ends the connection does not count, because the statement may have taken effect before it.
pub fn is_server_error(error: &Error) -> bool {
    error.as_db_error().is_some_and(|state| {
        let code = state.code().code();
        let ends_the_connection = matches!(state.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
            || code.starts_with("57P");
        !ends_the_connection && !code.starts_with("08")
    })
}

/// Whether the server accepts no writes: it has become a standby, or was set to read-only.
///
/// The statement has changed nothing, and the connection is of no further use.
pub fn is_read_only(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Whether one row caused the failure: a constraint or data error (class 22, 23) or a lock timeout.
pub fn is_row_error(error: &Error) -> bool {
    let Some(code) = error.code() else { return false };
    *code == SqlState::LOCK_NOT_AVAILABLE || code.code().starts_with("22") || code.code().starts_with("23")
}

/// Whether one request of several may be the cause of an error by which nothing was stored: its data, or a lock that it
/// waits for.
pub fn may_be_of_one(error: &StoreError) -> bool {
    match error {
        StoreError::Inconsistent { .. } => true,
        StoreError::Unavailable { source, .. } => source.downcast_ref().is_some_and(|error: &Error| {
            is_row_error(error) || error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
        }),
        StoreError::InDoubt { .. } => false,
    }
}

/// Copies an error for each caller of a batch (`StoreError` is not `Clone`).
pub fn copy_for_waiter(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { source, .. } => unavailable(error_chain(&**source)),
        StoreError::InDoubt { source, .. } => in_doubt(error_chain(&**source)),
        StoreError::Inconsistent { what, .. } => inconsistent(what.clone()),
    }
}

/// No answer arrived in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub struct Timeout(pub Duration);
