//! Opens connections to PostgreSQL.

use std::future::Future;
use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::failure::{Timeout, failed, unavailable};
use super::settings::{CONNECT_TIMEOUT, PgSettings};
use ports::store_error::StoreError;

/// Opens connections according to the settings.
#[derive(Clone)]
pub struct Connector(pub PgSettings);

impl Connector {
    /// Opens a connection to the first writable host, within [`CONNECT_TIMEOUT`].
    ///
    /// The returned task ends with the connection. Each host has an equal share of the time, because a host that
    /// hangs must not prevent the others from being tried.
    pub async fn open(&self) -> Result<(Client, JoinHandle<()>), OpenError> {
        let hosts = &self.0.hosts;
        let share = CONNECT_TIMEOUT / u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let mut last = OpenError::TimedOut(Timeout(CONNECT_TIMEOUT));
        for host in hosts {
            match timeout(share, self.open_host(host)).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) => last = OpenError::Refused(error),
                Err(_) => last = OpenError::TimedOut(Timeout(share)),
            }
        }
        Err(last)
    }

    /// Same as [`open`](Self::open), without the task.
    pub async fn open_in_time(&self) -> Result<Client, StoreError> {
        Ok(self.open().await?.0)
    }

    async fn open_host(&self, host: &Config) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        match self.open_as(host).await {
            Err(error) if self.0.falls_back_to_tls && error.as_db_error().is_some() => {
                self.open_as(host.clone().ssl_mode(SslMode::Require)).await
            }
            outcome => outcome,
        }
    }

    async fn open_as(&self, config: &Config) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        if config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = config.connect(NoTls).await?;
            return Ok((client, tokio::spawn(run(connection))));
        }
        let (client, connection) = config.connect(self.0.tls.connector()).await?;
        Ok((client, tokio::spawn(run(connection))))
    }
}

async fn run(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to PostgreSQL closed");
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>>
    {
        Box::pin(async {
            match self.open().await {
                Ok(opened) => Ok(opened),
                Err(OpenError::Refused(error)) => Err(error),
                // The pool has the same timeout and has just given up.
                Err(OpenError::TimedOut(_)) => std::future::pending().await,
            }
        })
    }
}

/// Checks that the server accepts a connection of this role.
pub async fn check_connection(settings: &PgSettings) -> Result<(), StoreError> {
    Connector(settings.clone()).open_in_time().await.map(drop)
}

/// Whether retrying cannot help: a wrong password or role, or a missing database.
pub fn is_permanent(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    let state = source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    state.is_some_and(|state| state.code().starts_with("28") || state.code().starts_with("3D"))
}

/// Reason that no host could be connected to: the error of the last host.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The last host refused the connection, or the connection failed.
    #[error(transparent)]
    Refused(tokio_postgres::Error),
    /// The last host did not answer in time.
    #[error(transparent)]
    TimedOut(Timeout),
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused(error) => failed(error),
            OpenError::TimedOut(lapse) => unavailable(lapse),
        }
    }
}
