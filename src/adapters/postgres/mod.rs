//! PostgreSQL, the durable store and the only authority on what is active.
//!
//! Each port has one file, with its statements next to the methods that use them. A statement's first line names its
//! method. Reads and changes go through `Postgres`, which handles connections, deadlines and the classification of
//! errors. The operations that every request needs go through batchers, where one round trip serves all waiting
//! callers: `lookup` batches reads, `token_issue` and `token_revocation` commit tokens and revocations in
//! groups.

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
mod statement;
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
