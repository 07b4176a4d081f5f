//! Opens connections.

use std::future::Future;
use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::failure::{Lapse, failed, unavailable};
use super::settings::{CONNECT_TIMEOUT, PgSettings};
use crate::ports::store_error::StoreError;

/// Opens connections as the settings say.
#[derive(Clone)]
pub(super) struct Connector(pub PgSettings);

impl Connector {
    /// A new connection. Its task ends with it.
    pub(super) async fn open(&self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let PgSettings { config, falls_back_to_tls, .. } = &self.0;
        match self.open_as(config).await {
            Err(error) if *falls_back_to_tls && error.as_db_error().is_some() => {
                self.open_as(config.clone().ssl_mode(SslMode::Require)).await
            }
            outcome => outcome,
        }
    }

    /// The same, for so long as a connection may take.
    pub(super) async fn open_in_time(&self) -> Result<Client, StoreError> {
        match timeout(CONNECT_TIMEOUT, self.open()).await {
            Ok(outcome) => outcome.map(|(client, _)| client).map_err(failed),
            Err(_) => Err(unavailable(Lapse(CONNECT_TIMEOUT))),
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
        tracing::debug!(%error, "a connection to PostgreSQL has ended");
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>>
    {
        Box::pin(self.open())
    }
}

/// Whether the server lets this role in.
pub async fn reach(settings: &PgSettings) -> Result<(), StoreError> {
    Connector(settings.clone()).open_in_time().await.map(drop)
}

/// Whether waiting does not mend it: a password or a role that is wrong, a database that is not there.
pub fn is_final(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    let state = source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    state.is_some_and(|state| state.code().starts_with("28") || state.code().starts_with("3D"))
}
