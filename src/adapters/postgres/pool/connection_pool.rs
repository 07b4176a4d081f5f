//! Pooled connections. A request that needs one waits for it within its deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime, Timeouts,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::connect::Connector;
use super::failure::unavailable;
use super::settings::CONNECT_TIMEOUT;
use super::shortage::is_refused_for_room;
use ports::store_error::StoreError;

/// Interval at which the first request that waits looks for a connection that another one has returned.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time between two attempts to open a connection on a server that had no room.
const ATTEMPT_EVERY: Duration = Duration::from_millis(250);

/// A pool of connections.
pub struct ConnectionPool {
    pool: Pool,
    /// Held by the request that looks for a connection on a server without room. The others wait in their order.
    ///
    /// It has the time of the last attempt to open one.
    turn: tokio::sync::Mutex<Option<Instant>>,
    /// Number of requests that wait for their turn or have it.
    waiting: AtomicUsize,
}

impl ConnectionPool {
    /// Creates a pool of this many connections, without opening any.
    pub fn new(connector: &Connector, size: usize) -> Result<Self, StoreError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(connector.0.config.clone(), connector.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: None, create: Some(CONNECT_TIMEOUT), recycle: Some(CONNECT_TIMEOUT) })
            .pre_recycle(Hook::sync_fn(|client: &mut ClientWrapper, _| discard_closed(client)))
            .build()
            .map_err(unavailable)?;
        Ok(Self { pool, turn: tokio::sync::Mutex::default(), waiting: AtomicUsize::new(0) })
    }

    /// Returns a connection as soon as one is free, or room for another one.
    ///
    /// Returns [`StoreError::Unavailable`] if `ends` passes first, or if the server refuses for another reason.
    pub async fn get(&self, ends: Instant) -> Result<Object, StoreError> {
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Some(connection) = self.open_or_free(ends).await?
        {
            return Ok(connection);
        }
        let _waiting = Waiting::of(&self.waiting);
        let mut attempted_at = timeout_at(ends, self.turn.lock()).await.map_err(|_| none_free())?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timeout_at(ends, look.tick()).await.map_err(|_| none_free())?;
            let is_time = attempted_at.is_none_or(|at| at.elapsed() >= ATTEMPT_EVERY);
            if is_time || self.pool.status().available > 0 {
                if is_time {
                    *attempted_at = Some(Instant::now());
                }
                if let Some(connection) = self.open_or_free(ends).await? {
                    return Ok(connection);
                }
            }
        }
    }

    /// Returns a connection; `None` if the server has no room for another one.
    async fn open_or_free(&self, ends: Instant) -> Result<Option<Object>, StoreError> {
        match timeout_at(ends, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(Some(connection)),
            Ok(Err(PoolError::Backend(error))) if is_refused_for_room(&error) => Ok(None),
            Ok(Err(PoolError::Backend(error))) => Err(unavailable(error)),
            Ok(Err(other)) => Err(unavailable(other)),
            Err(_) => Err(none_free()),
        }
    }

    /// Returns how many connections requests use, and how many are open and free.
    pub fn in_use_and_idle(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size.saturating_sub(status.available), status.available)
    }

    /// Closes all connections that no request uses, because they lead to a server that is of no use any more.
    pub fn forget(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Closes the pool.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// A request that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Discards a connection whose session the server has ended, before the pool would warn of it.
fn discard_closed(client: &ClientWrapper) -> Result<(), HookError> {
    if client.is_closed() {
        tracing::debug!("a pooled connection was closed by the server");
        return Err(HookError::message("it is closed"));
    }
    Ok(())
}

fn none_free() -> StoreError {
    unavailable("no connection became free in time")
}
