//! PostgreSQL, the durable store: it alone says that something is alive.
//!
//! One file a port, each with its statements beside the methods that use them; a statement's first line names
//! its method. Reads and changes go through [`Postgres`], which knows connections, deadlines and what a failure
//! means. What every request needs goes through a batcher of its own, where one round trip serves all that wait:
//! [`lookup`] gathers reads, [`issuer`] and [`revoker`] commit tokens and revocations in groups.

mod agent_store;
mod audit_log;
mod batcher;
mod codec;
mod connect;
mod credential_store;
mod events;
mod failure;
mod lock_waiters;
mod lookup;
mod migrations;
mod organization_store;
mod outbox;
mod partitions;
mod settings;
mod store;
mod tls;
mod token_issue;
mod token_revocation;
mod token_store;
mod transaction;
mod usage_store;
mod where_clause;

pub use connect::{check_connection, is_permanent};
pub use migrations::{MigrationError, RolePrivileges, SchemaVersion, migrate, privileges, schema_version};
pub use settings::{PgSettings, SettingsError};
pub use store::Postgres;
