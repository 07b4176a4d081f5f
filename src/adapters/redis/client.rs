//! The connection, with limits on all that it does.

use std::sync::Arc;

use async_trait::async_trait;
use fred::clients::{Client, WithOptions};
use fred::interfaces::ClientLike as _;
use fred::types::Builder;
use fred::types::config::{Options, ReconnectPolicy};
use tokio::time::timeout;

use super::settings::{COMMAND, CONNECT, RedisSettings};
use crate::ports::store_error::{Cause, StoreError};
use crate::ports::store_health::StoreHealth;

/// How long one waits before a lost connection is tried again.
const REST_MILLIS: u32 = 250;
/// How many commands may wait for a connection.
const MAX_WAITING: usize = 10_000;

/// A connection to Redis that comes back by itself.
pub struct Redis {
    client: Client,
    /// The same, for commands that fail rather than wait: no second attempt, so nothing counts twice.
    pub(super) commands: WithOptions<Client>,
}

impl Redis {
    /// Opens the connection. From then on it is opened again whenever it is lost.
    pub async fn connect(settings: &RedisSettings) -> Result<Arc<Self>, StoreError> {
        let client = Builder::from_config(settings.0.clone())
            .with_performance_config(|config| config.default_command_timeout = COMMAND)
            .with_connection_config(|config| {
                config.connection_timeout = CONNECT;
                config.internal_command_timeout = CONNECT;
                config.max_command_attempts = 1;
                config.max_command_buffer_len = MAX_WAITING;
                config.reconnect_on_auth_error = true;
                config.unresponsive.max_timeout = Some(4 * COMMAND);
                config.unresponsive.interval = COMMAND;
                config.tcp.nodelay = Some(true);
            })
            .set_policy(ReconnectPolicy::new_constant(0, REST_MILLIS))
            .build()
            .map_err(unavailable)?;
        match timeout(4 * CONNECT, client.init()).await {
            Ok(outcome) => drop(outcome.map_err(unavailable)?),
            Err(_) => return Err(unavailable("no answer came in time")),
        }
        let options =
            Options { max_attempts: Some(1), fail_fast: true, timeout: Some(COMMAND), ..Options::default() };
        let commands = client.with_options(&options);
        Ok(Arc::new(Self { client, commands }))
    }

    /// Closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "the connection to Redis did not end in order");
        }
    }
}

#[async_trait]
impl StoreHealth for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn is_essential(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.commands.ping::<()>(None).await.map_err(unavailable)
    }
}

/// It is away or overloaded.
pub(super) fn unavailable(source: impl Into<Cause>) -> StoreError {
    StoreError::Unavailable { store: "Redis", source: source.into() }
}
