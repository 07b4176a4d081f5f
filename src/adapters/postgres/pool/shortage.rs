//! Room for connections on the server.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use ports::store_error::StoreError;

/// How long a shortage is reported after the server last refused a connection for want of room.
const REPORTED_FOR: Duration = Duration::from_secs(10);

/// When the server last refused a connection because it has no room for more.
#[derive(Default)]
pub struct Shortage(Mutex<Option<Instant>>);

impl Shortage {
    /// Notes that the server has just refused a connection. The log says so once, until it ends.
    pub fn note(&self, error: &tokio_postgres::Error) {
        metrics::counter!("agentidp_connections_refused_total", "store" => "postgresql").increment(1);
        if !self.is_reported() {
            tracing::warn!(
                %error,
                "PostgreSQL has no room for another connection, so requests wait for one; raise its max_connections, or lower DB_POOL_MAX"
            );
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns whether the server has refused a connection shortly before.
    pub fn is_reported(&self) -> bool {
        let refused_at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused_at.is_some_and(|at| at.elapsed() < REPORTED_FOR)
    }
}

/// Whether the server has no room for another connection of this role, database or at all.
pub fn is_refused_for_room(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

/// Whether the store is unavailable because the server has no room for another connection.
pub fn is_shortage(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    source.downcast_ref().is_some_and(is_refused_for_room)
}
