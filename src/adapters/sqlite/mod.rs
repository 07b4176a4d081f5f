//! SQLite, the durable store of a single instance: one file instead of two servers.
//!
//! Each port has one file, with its statements next to the methods that use them, and `rows` maps rows to values of the
//! domain. All changes are made by one thread, in groups (`writer`), while others read (`readers`). Since changes are
//! made one after the other, a change decides by what it reads, and no row needs a lock. `schema` opens the file and has
//! the migrations.

#![warn(missing_docs)]

mod agent_store;
mod audit_log;
mod authority;
mod backup;
mod credential_store;
mod database;
mod export;
mod facts;
mod failure;
mod file_lock;
mod filter;
mod inventory_store;
mod issuer_store;
mod key_file;
mod organization_store;
mod outbox;
mod queue;
mod readers;
mod retention;
mod row_cache;
mod rows;
mod schema;
mod store;
mod token_store;
mod usage_store;
mod writer;

pub use backup::{BackupError, backup};
pub use export::Export;
pub use key_file::{KeyFileError, key_path, signing_key};
pub use schema::{OpenError, check};
pub use store::Sqlite;
