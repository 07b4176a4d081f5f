//! Errors of startup and shutdown.

use super::copy::CopyError;
use crate::adapters::postgres::MigrationError;
use crate::adapters::sqlite::{BackupError, KeyFileError, OpenError};
use crate::adapters::system::TooLittle;
use crate::app::bootstrap::BootstrapError;
use crate::config::ConfigError;
use crate::ports::store_error::StoreError;

/// Error that prevented the service from starting or from shutting down in order.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file that keeps the data cannot be served.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The data was not copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// No backup of the file was made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The signing key next to the file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The operating system returned an error.
    #[error(transparent)]
    Io(std::io::Error),
    /// The operating system grants the process less than a service takes.
    #[error(transparent)]
    TooLittle(#[from] TooLittle),
    /// A second signal interrupted the shutdown.
    #[error("interrupted by a second signal")]
    CutShort,
    /// The organization `default` or an administrator could not be created.
    #[error("no administrator was created")]
    Bootstrap(#[from] BootstrapError),
    /// A store could not be opened.
    #[error(transparent)]
    Store(StoreError),
    /// The serving role could not apply the migrations.
    #[error(
        "PostgreSQL: the role of DATABASE_URL cannot migrate the tables; \
         set MIGRATION_DATABASE_URL to a URL with the role that owns them"
    )]
    NotMigrated(#[source] MigrationError),
    /// A migration failed, or the schema version could not be read.
    #[error("PostgreSQL")]
    Migration(#[from] MigrationError),
}
