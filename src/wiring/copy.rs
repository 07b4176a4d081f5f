//! The command `copy`: moves all data of a file to PostgreSQL.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use stored_json::tables::{TABLES, Table};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::{JoinError, JoinHandle};

use super::sqlite::path_of;
use super::start_error::StartError;
use crate::adapters::postgres::{Import, ImportError, PgSettings, migrate};
use crate::adapters::sqlite::Export;
use crate::config::ConfigError;
use crate::ports::store_error::StoreError;

/// Number of rows in a statement.
const PART: usize = 1_000;
/// Number of parts that wait to be inserted.
const AHEAD: usize = 4;

/// Error of [`copy`] after which the target is empty, or in doubt if the store says so.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The target has data.
    #[error("PostgreSQL: {0}")]
    Target(#[from] ImportError),
    /// Rows of the target differ from those of the file.
    #[error("{different} of {all} rows of {table} differ from those of the file; nothing was copied")]
    Differs {
        /// Table with the rows.
        table: &'static str,
        /// Number of rows that differ, are missing, or are too many.
        different: u64,
        /// Number of rows in the file.
        all: u64,
    },
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies everything in a file that no instance serves to an empty database, and compares each row.
///
/// Returns the number of rows. If anything fails, nothing is copied.
pub async fn copy(from: &str, to: &SecretString) -> Result<u64, StartError> {
    let Some(path) = from.strip_prefix("sqlite:").map(path_of).filter(|path| !path.is_empty()) else {
        return Err(ConfigError::new("--from must be sqlite: and the path of a file").into());
    };
    if !to.expose_secret().starts_with("postgres") {
        return Err(
            ConfigError::new("--to must be a URL that begins with postgres:// or postgresql://").into()
        );
    }
    let settings = PgSettings::parse(to).map_err(|error| ConfigError::new(format!("--to {error}")))?;
    let source = Source::open(path.into()).await?;
    Import::check_empty(&settings).await.map_err(CopyError::from)?;
    migrate(&settings, None).await?;
    let mut import = Import::begin(&settings).await.map_err(CopyError::from)?;
    for table in TABLES.iter().filter(|table| !table.is_derived()) {
        let (mut parts, reading) = source.read(table);
        while let Some(rows) = parts.recv().await {
            import.insert(table, &rows).await.map_err(CopyError::from)?;
        }
        finished(reading).await?;
    }
    let mut copied = 0;
    for table in &TABLES {
        let (mut all, mut equal) = (0, 0);
        let (mut parts, reading) = source.read(table);
        while let Some(rows) = parts.recv().await {
            all += rows.len() as u64;
            equal += import.count_equal(table, &rows).await.map_err(CopyError::from)?;
        }
        finished(reading).await?;
        let stored = import.count(table).await.map_err(CopyError::from)?;
        if (equal, stored) != (all, all) {
            let different = (all - equal).max(stored.abs_diff(all));
            return Err(CopyError::Differs { table: table.name, different, all }.into());
        }
        tracing::info!(table = table.name, rows = all, "copied and compared");
        copied += all;
    }
    import.commit().await.map_err(CopyError::from)?;
    Ok(copied)
}

/// The file, read by threads that may block.
struct Source(Arc<Mutex<Export>>);

type Reading = JoinHandle<Result<(), StoreError>>;

impl Source {
    async fn open(path: PathBuf) -> Result<Self, StartError> {
        let opened = tokio::task::spawn_blocking(move || Export::open(&path)).await;
        let export = opened.map_err(ended)??;
        Ok(Self(Arc::new(Mutex::new(export))))
    }

    fn read(&self, table: &'static Table) -> (Receiver<Vec<Value>>, Reading) {
        let export = self.0.clone();
        let (sender, receiver) = channel(AHEAD);
        let reading = tokio::task::spawn_blocking(move || {
            let export = export.lock().unwrap_or_else(PoisonError::into_inner);
            export.read(table, PART, |rows| match sender.blocking_send(rows) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        (receiver, reading)
    }
}

async fn finished(reading: Reading) -> Result<(), StartError> {
    Ok(reading.await.map_err(ended)?.map_err(CopyError::from)?)
}

fn ended(error: JoinError) -> StartError {
    StartError::Io(std::io::Error::other(error))
}
