//! The one place that names concrete adapters: from the settings to the running service, and its end.

mod background;
mod command;
mod service;
mod stores;

pub use command::{bootstrap, migrate_tables, openapi};
pub use service::Service;
pub use stores::StartError;
