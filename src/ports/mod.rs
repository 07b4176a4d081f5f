//! What the core needs of the world: small traits whose documentation is a promise.
//!
//! Every adapter of a port keeps all of its promises, and `tests/contract` holds those of stores and limiters on
//! each adapter. What must hold under a race (limits, uniqueness, status, the last administrator) is promised
//! here, because only a store can hold it. Five promises are common to all stores:
//!
//! * a change and its events are both stored, or neither is; an event's organization is that of the row
//!   that changed;
//! * a read that starts after a write's `Ok` sees that write, on every instance;
//! * nothing outside the given [`Tenancy`](crate::domain::tenancy::Tenancy) is seen or changed: it is not
//!   found. Methods without one take a row, or the id of one, that was found within the caller's reach;
//! * a call dropped half-way leaves all of its change or none of it;
//! * a change whose draft of an event says by what [`Authority`](crate::domain::audit::Authority) it is made is refused, as
//!   `NoLongerAllowed`, where that no longer holds when it is stored; a kill of the caller that is answered is seen.
//!   (A revocation of one token and what is tallied ask nothing of this.)
//!
//! What a store *refuses* is a named variant of the method's error; what it *could not do*, or not for this caller any more,
//! is a [`StoreError`](store_error::StoreError). An absent thing is `Ok(None)` on a read.

pub mod agent_store;
pub mod assertion_verifier;
pub mod audit_log;
pub mod clock;
pub mod credential_store;
pub mod cursor_seal;
pub mod ids;
pub mod organization_store;
pub mod outbox;
pub mod rate_limiter;
pub mod revocation_cache;
pub mod secret_hasher;
pub mod secrets;
pub mod store_error;
pub mod store_health;
pub mod stores;
pub mod token_signer;
pub mod token_store;
pub mod usage_store;
