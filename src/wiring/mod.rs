//! The only place that selects concrete adapters: turns settings into a running service, and shuts it down.

mod background;
mod command;
mod service;
mod stores;

pub use command::{bootstrap, migrate_tables};
pub use service::Service;
pub use stores::StartError;
