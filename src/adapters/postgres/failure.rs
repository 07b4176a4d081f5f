//! What a failure of PostgreSQL means.

use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

use crate::ports::store_error::{Cause, StoreError, with_causes};

/// What the store is called.
pub(super) const STORE: &str = "PostgreSQL";

/// It is away or overloaded, and nothing was changed.
pub(super) fn unavailable(source: impl Into<Cause>) -> StoreError {
    StoreError::Unavailable { store: STORE, source: source.into() }
}

/// Nobody knows whether the change is there.
pub(super) fn in_doubt(source: impl Into<Cause>) -> StoreError {
    StoreError::InDoubt { store: STORE, source: source.into() }
}

/// It said what it never should.
pub(super) fn inconsistent(what: impl Into<String>) -> StoreError {
    StoreError::Inconsistent { store: STORE, what: what.into() }
}

/// Sorts an error of a statement that has changed nothing, or whose transaction is rolled back.
///
/// What comes of the statement itself (data, constraints, names, rights) is a bug; all else (connections,
/// resources, time-outs, deadlocks, a standby that takes no writes) passes.
pub(super) fn failed(error: Error) -> StoreError {
    let Some(state) = error.as_db_error() else { return unavailable(error) };
    match state.code().code().get(..2) {
        Some("0A" | "21" | "22" | "23" | "42" | "XX") => {
            inconsistent(format!("{} ({})", state.message(), state.code().code()))
        }
        _ => unavailable(error),
    }
}

/// Whether the server has answered that the statement failed. A connection that it ends may have done its work
/// before that.
pub(super) fn is_server_error(error: &Error) -> bool {
    error.as_db_error().is_some_and(|state| {
        let code = state.code().code();
        let ends_the_connection = matches!(state.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
            || code.starts_with("57P");
        !ends_the_connection && !code.starts_with("08")
    })
}

/// The server takes no writes: it has become a standby, or was set to read-only. The statement has changed nothing,
/// and this connection is of no more use.
pub(super) fn is_read_only(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Some row of the batch is not as the tables want it, or what it depends on is held by somebody.
pub(super) fn is_row_error(error: &Error) -> bool {
    let Some(code) = error.code() else { return false };
    *code == SqlState::LOCK_NOT_AVAILABLE || code.code().starts_with("22") || code.code().starts_with("23")
}

/// One error, told to many.
pub(super) fn copy_for_waiter(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { source, .. } => unavailable(with_causes(&**source)),
        StoreError::InDoubt { source, .. } => in_doubt(with_causes(&**source)),
        StoreError::Inconsistent { what, .. } => inconsistent(what.clone()),
    }
}

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(super) struct Timeout(pub Duration);
