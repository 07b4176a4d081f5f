//! Opens connections to PostgreSQL.

use std::future::Future;
use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::failure::{Timeout, failed, unavailable};
use super::settings::{CONNECT_TIMEOUT, PgSettings};
use super::shortage::is_refused_for_room;
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
        let mut without_room = None;
        for host in hosts {
            match timeout(share, self.open_host(host)).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) if is_refused_for_room(&error) => without_room = Some(error),
                Ok(Err(error)) => last = OpenError::Refused(error),
                Err(_) => last = OpenError::TimedOut(Timeout(share)),
            }
        }
        // The host without room may be the writable one, and is worth waiting for.
        match without_room {
            Some(error) => {
                self.0.shortage.note(&error);
                Err(OpenError::Refused(error))
            }
            None => Err(last),
        }
    }

    /// Same as [`open`](Self::open), without the task.
    pub async fn open_in_time(&self) -> Result<Client, StoreError> {
        Ok(self.open().await?.0)
    }

    async fn open_host(&self, host: &Config) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let mut host = self.0.with_password(host);
        match self.open_as(&host).await {
            Err(error) if self.0.falls_back_to_tls && error.as_db_error().is_some() => {
                self.open_as(host.ssl_mode(SslMode::Require)).await
            }
            outcome => outcome,
        }
    }

    async fn open_as(&self, config: &Config) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let (client, task) = if config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = config.connect(NoTls).await?;
            (client, tokio::spawn(run(connection)))
        } else {
            let (client, connection) = config.connect(self.0.tls.connector()).await?;
            (client, tokio::spawn(run(connection)))
        };
        client.batch_execute(&self.0.begin_session()).await?;
        Ok((client, task))
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

/// Checks that the server accepts connections of this role, and that each has a session of its own.
pub async fn check_connection(settings: &PgSettings) -> Result<(), StoreError> {
    let connector = Connector(settings.clone());
    let (first, second) = (connector.open_in_time().await?, connector.open_in_time().await?);
    match timeout(CONNECT_TIMEOUT, has_own_session(&first, &second)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(unavailable(SharedSession)),
        // In its statement mode, PgBouncer refuses transactions as a violation of the protocol.
        Ok(Err(error)) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => {
            Err(unavailable(SharedSession))
        }
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(unavailable(Timeout(CONNECT_TIMEOUT))),
    }
}

/// Whether the first connection keeps its session while the second has a transaction.
async fn has_own_session(first: &Client, second: &Client) -> Result<bool, tokio_postgres::Error> {
    // A pooler in transaction mode may know no prepared statements.
    let session = async |client: &Client| {
        let rows = client.simple_query("SELECT pg_backend_pid()").await?;
        let pid = rows.iter().find_map(|row| match row {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok::<_, tokio_postgres::Error>(pid)
    };
    let own = session(first).await?;
    second.batch_execute("BEGIN").await?;
    let mut others = vec![session(second).await?];
    let mut owns = vec![session(first).await?];
    second.batch_execute("ROLLBACK").await?;
    // A pooler that uses its sessions in turn gives another one each time.
    owns.push(session(first).await?);
    others.push(session(second).await?);
    owns.push(session(first).await?);
    Ok(owns.iter().all(|session| *session == own) && others.iter().all(|session| *session != own))
}

/// Whether retrying cannot help: a wrong password or role, a missing database, an option that the server does not know
/// or that cannot be set in a session, a pooler of the wrong kind.
pub fn is_permanent(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return true };
    let state = source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    source.is::<SharedSession>()
        || source.is::<RefusedParameter>()
        || state.is_some_and(|state| {
            *state == SqlState::CANT_CHANGE_RUNTIME_PARAM
                || state.code().starts_with("28")
                || state.code().starts_with("3D")
        })
}

/// Connections share sessions, so that settings and locks of a session would be lost.
#[derive(Debug, thiserror::Error)]
#[error(
    "a pooler in transaction mode stands in between; use its session mode (PgBouncer: pool_mode = session), \
     or connect to the server itself"
)]
struct SharedSession;

/// A pooler refuses a startup parameter.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}; set options of the URL that are not of the form -c name=value for the role instead (ALTER ROLE … SET), \
     or let PgBouncer ignore them: ignore_startup_parameters = options"
)]
struct RefusedParameter(String);

/// Reason that no host could be connected to: the error of one without room for connections, or of the last host.
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
            OpenError::Refused(error) => match error.as_db_error() {
                Some(state) if state.message().starts_with("unsupported startup parameter") => {
                    unavailable(RefusedParameter(state.message().to_owned()))
                }
                _ => failed(error),
            },
            OpenError::TimedOut(lapse) => unavailable(lapse),
        }
    }
}
