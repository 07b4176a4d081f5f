//! Opens connections.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::failure::{Lapse, failed, unavailable};
use super::settings::{CONNECT_TIMEOUT, PgSettings};
use crate::ports::store_error::StoreError;

/// How often a server that is away is tried again.
const TRY_EVERY: Duration = Duration::from_millis(250);

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

/// Waits until the server lets this role in, for so long. What waiting does not mend is told at once: a password
/// or a role that is wrong, a database that is not there.
pub async fn wait_for(settings: &PgSettings, patience: Duration) -> Result<(), StoreError> {
    let connector = Connector(settings.clone());
    let ends = Instant::now() + patience;
    let mut pause = interval(TRY_EVERY);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        let error: StoreError = match timeout(CONNECT_TIMEOUT, connector.open()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => {
                let code = error.code().map_or("", |code| code.code());
                if code.starts_with("28") || code.starts_with("3D") || Instant::now() >= ends {
                    return Err(failed(error));
                }
                failed(error)
            }
            Err(_) if Instant::now() >= ends => return Err(unavailable(Lapse(CONNECT_TIMEOUT))),
            Err(_) => unavailable(Lapse(CONNECT_TIMEOUT)),
        };
        tracing::info!(error = &error as &dyn Error, "waits for PostgreSQL");
    }
}
