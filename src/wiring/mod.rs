//! The one place that names concrete adapters: from the settings to the running service, and its end.

mod command;
mod house;
mod service;
mod stores;

pub use command::{bootstrap, migrate_tables, openapi};
pub use service::Service;
pub use stores::StartError;
