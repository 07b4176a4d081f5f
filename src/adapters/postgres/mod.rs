//! PostgreSQL, the durable store: it alone says that something is alive.
//!
//! One file a port, each with its statements beside the methods that use them; a statement's first line names
//! its method. Reads and changes go through [`Postgres`], which knows connections, deadlines and what a failure
//! means. What every request needs goes through a lane of its own, where one round trip serves all that wait:
//! [`lookup`] gathers reads, [`issuer`] and [`revoker`] commit tokens and revocations in groups.

mod agent_store;
mod audit_log;
mod change;
mod codec;
mod connect;
mod credential_store;
mod events;
mod failure;
mod issuer;
mod lane;
mod lookup;
mod migrations;
mod organization_store;
mod outbox;
mod partitions;
mod patient;
mod revoker;
mod settings;
mod store;
mod tls;
mod token_store;
mod usage_store;
mod wanted;

pub use connect::{is_final, reach};
pub use migrations::{MigrationError, Powers, SchemaVersion, migrate, powers, schema_version};
pub use settings::{PgSettings, SettingsError};
pub use store::Postgres;
