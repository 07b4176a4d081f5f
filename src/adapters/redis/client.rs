//! The connection to Redis, with limits on everything it does.

use std::sync::{Arc, LazyLock};

use fred::clients::{Client, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike as _;
use fred::types::Builder;
use fred::types::config::{Options, ReconnectPolicy};
use instruments::Durations;
use secrecy::SecretString;
use tokio::time::timeout;

use super::settings::{COMMAND, CONNECT, RedisSettings, RedisSettingsError};
use ports::store_error::{Cause, StoreError};

/// Durations of commands by name, from sending them to the answer.
pub(super) static COMMANDS: LazyLock<Durations> =
    LazyLock::new(|| Durations::new("agentidp_redis_command_duration_seconds", "command"));

/// Delay before a lost connection is retried, in milliseconds.
const REST_MILLIS: u32 = 250;
/// Maximum number of commands that wait for a connection.
const MAX_WAITING: usize = 10_000;

/// A connection to Redis that reconnects automatically.
pub struct Redis {
    client: Client,
    /// The same connection, for commands that fail instead of waiting. They are not retried, so nothing counts
    /// twice.
    pub(super) commands: WithOptions<Client>,
    settings: RedisSettings,
}

impl Redis {
    /// Opens the connection, which is opened again whenever it is lost.
    pub async fn connect(settings: &RedisSettings) -> Result<Arc<Self>, ConnectError> {
        let client = client(settings, true).map_err(|error| ConnectError { error, is_permanent: true })?;
        let error = match timeout(4 * CONNECT, client.init()).await {
            Ok(Ok(_)) => return Ok(Self::on(client, settings)),
            Ok(Err(error)) => error,
            Err(_) => Error::new(ErrorKind::Timeout, "no answer within the timeout"),
        };
        // A failed client must not keep running next to the one that replaces it.
        let _ = timeout(CONNECT, client.quit()).await;
        let is_permanent = matches!(error.kind(), ErrorKind::Auth | ErrorKind::Config);
        Err(ConnectError { error, is_permanent })
    }

    /// Creates a connection that opens as soon as Redis responds.
    ///
    /// Until then every command fails immediately.
    pub fn connect_in_background(settings: &RedisSettings) -> Result<Arc<Self>, StoreError> {
        let client = client(settings, false).map_err(unavailable)?;
        drop(client.connect());
        Ok(Self::on(client, settings))
    }

    fn on(client: Client, settings: &RedisSettings) -> Arc<Self> {
        let options =
            Options { max_attempts: Some(1), fail_fast: true, timeout: Some(COMMAND), ..Options::default() };
        let commands = client.with_options(&options);
        Arc::new(Self { client, commands, settings: settings.clone() })
    }

    /// Returns the full name of a key.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.settings.key_prefix)
    }

    /// Opens new connections with the password of this URL. Returns whether it is another one.
    ///
    /// Returns [`RedisSettingsError`] if the URL is malformed, or differs in more than the password.
    pub fn reload(&self, url: &SecretString) -> Result<bool, RedisSettingsError> {
        self.settings.replace_password(&RedisSettings::parse(url)?)
    }

    /// Closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "the connection to Redis did not close cleanly");
        }
    }
}

/// Builds a client that is not connected yet.
///
/// If `fails_fast`, the client gives up after its first failed connection; otherwise it keeps trying.
fn client(settings: &RedisSettings, fails_fast: bool) -> Result<Client, Error> {
    let mut config = settings.config.clone();
    config.fail_fast = fails_fast;
    Builder::from_config(config)
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
}

/// Error of a connection that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ConnectError {
    error: Error,
    /// Whether a retry is pointless, because a password or a setting is wrong.
    pub is_permanent: bool,
}

impl From<ConnectError> for StoreError {
    fn from(error: ConnectError) -> Self {
        unavailable(error.error)
    }
}

/// Creates the error for Redis being unavailable or overloaded.
pub(super) fn unavailable(source: impl Into<Cause>) -> StoreError {
    StoreError::Unavailable { store: "Redis", source: source.into() }
}
