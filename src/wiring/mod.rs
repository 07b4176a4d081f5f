//! The only place that selects concrete adapters: turns settings into a running service, and shuts it down.

mod backend;
mod background;
mod clock_source;
mod command;
mod copy;
mod key_ages;
mod log_format;
mod metrics;
mod open_stores;
mod postgres;
mod redis;
mod service;
mod sqlite;
mod start_error;
mod store_wait;
mod telemetry;

pub use backend::StoreKind;
pub use command::{backup, bootstrap, migrate_tables};
pub use copy::{CopyError, copy};
pub use service::Service;
pub use start_error::StartError;
pub use telemetry::{Telemetry, log_to_stderr};
