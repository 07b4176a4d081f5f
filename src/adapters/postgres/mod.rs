//! PostgreSQL, the durable store and the only authority on what is active.
//!
//! Each port has one file, with its statements next to the methods that use them. A statement's first line names its
//! method. Reads and changes go through `Postgres`, which handles connections, deadlines and the classification of
//! errors: `pool` has the connections, `transaction` the changes. The operations that every request needs go through
//! `batch`, where one round trip serves all waiting callers. `rows` maps rows to values of the domain, and `schema`
//! has the migrations.

#![warn(missing_docs)]

mod agent_store;
mod audit_log;
mod batch;
mod credential_store;
mod import;
mod inventory_store;
mod issuer_store;
mod organization_store;
mod outbox;
mod pool;
mod registration;
mod retention;
mod rows;
mod schema;
mod store;
mod token_store;
mod transaction;
mod usage_store;

pub use import::{Import, ImportError};
pub use pool::connect::{check_connection, is_permanent};
pub use pool::settings::{PgSettings, SettingsError};
pub use schema::migrations::{
    MigrationError, RolePrivileges, SchemaVersion, migrate, privileges, schema_version,
};
pub use store::Postgres;
