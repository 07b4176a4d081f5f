//! Contract tests of the ports, run on every adapter.
//!
//! A clause is a function over [`Stores`](fixtures::Stores); `contract!` makes it a test on each adapter. A
//! clause that is missing from its list is unused code, which is denied.

mod agent_store;
mod audit_log;
mod authority;
mod background;
mod credential_store;
mod delegation;
mod dependencies;
mod fixtures;
mod forgeries;
mod held_rows;
mod introspection;
mod inventory_store;
mod issuer_scopes;
mod issuer_store;
mod known_secrets;
mod late_changes;
mod lost_connections;
mod organization_store;
mod outbox;
mod rate_limiter;
mod redis_cluster;
mod redis_keys;
mod retention;
mod revocation_cache;
mod schema;
mod token_store;
mod usage_store;
