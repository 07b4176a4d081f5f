//! Parameters, timeout and errors of a statement.

use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::failure::failed;
use ports::error_chain::error_chain;
use ports::store_error::StoreError;

/// Time limit of one statement.
///
/// Slightly longer than `statement_timeout`, so that the server reports the timeout first.
pub const STATEMENT: Duration = Duration::from_millis(2_500);

/// A parameter of a statement.
pub type Parameter<'a> = &'a (dyn ToSql + Sync);

/// Reason that a statement has no result.
#[derive(Debug)]
pub enum QueryError {
    /// The server rejected the statement, which has changed nothing.
    Rejected(Error),
    /// The connection was lost, or no answer arrived in time.
    ConnectionLost(StoreError),
    /// Nothing was executed: there was no connection, or the server was read-only.
    NotSent(StoreError),
}

impl QueryError {
    /// Returns the error and its causes as text.
    pub fn into_source(self) -> String {
        error_chain(&StoreError::from(self))
    }
}

impl From<QueryError> for StoreError {
    fn from(failure: QueryError) -> Self {
        match failure {
            QueryError::Rejected(error) => failed(error),
            QueryError::ConnectionLost(error) | QueryError::NotSent(error) => error,
        }
    }
}
