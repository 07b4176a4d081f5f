//! Ports: the small traits that the core needs from outside, documented as contracts.
//!
//! Every adapter of a port keeps all of its promises. `tests/contract` tests the promises of stores and rate
//! limiters on each adapter. Rules that must hold under a race (limits, uniqueness, status, the last
//! administrator) are promised here, because only a store can enforce them. Five promises are common to all
//! stores:
//!
//! * A change and its events are stored together or not at all. An event's organization is that of the row
//!   that changed.
//! * A read that starts after a write has returned `Ok` sees that write, on every instance.
//! * Nothing outside the given [`Tenancy`](::domain::tenancy::Tenancy) is seen or changed: it is
//!   reported as not found. Methods without one take a row, or the ID of a row, that was found within the
//!   caller's tenancy.
//! * A call that is dropped half-way makes all of its change or none of it.
//! * A [`Write`](write::Write) with an [`Authority`](::domain::audit::Authority) is refused as
//!   [`CallerRevoked`](write::CallerRevoked) if the authority no longer holds when it is stored. A revocation of all tokens
//!   of the caller, once acknowledged, is always seen. (Revoking a single token and tallying events do not
//!   check the authority.)
//!
//! Each *refusal* of a store is a named variant of the method's error. A failure of the store is a
//! [`StoreError`](store_error::StoreError). An absent entity is `Ok(None)` on a
//! read.

#![warn(missing_docs)]

pub mod agent_store;
pub mod assertion_verifier;
pub mod audit_log;
pub mod clock;
pub mod credential_store;
pub mod cursor_seal;
pub mod error_chain;
pub mod ids;
pub mod inventory_store;
pub mod issuer_keys;
pub mod issuer_store;
pub mod message_sink;
pub mod organization_store;
pub mod outbox;
pub mod proof_verifier;
pub mod rate_limiter;
pub mod retention;
pub mod revocation_cache;
pub mod secret_hasher;
pub mod secrets;
pub mod store_error;
pub mod store_health;
pub mod token_signer;
pub mod token_store;
pub mod usage_mirror;
pub mod usage_store;
pub mod write;
