//! Shared by the tests and benchmarks: servers that end with the test, services in this process, and a client that
//! checks every answer against the OpenAPI document.

#![warn(missing_docs)]

mod builders;
mod databases;
mod filled_file;
mod manual_clock;
mod pinned_keys;
mod plain_core;
mod plain_service;
mod proof_key;
mod supervised_server;
mod test_client;
mod test_server;

pub use builders::{
    MANAGEMENT_SCOPES, UNKNOWN_ID, basic_auth, free_address, new_agent, public_jwk, replaced, trusted_issuer,
    unique,
};
pub use databases::{Database, OWNER, SERVES, redis_url};
pub use filled_file::fill_file;
pub use manual_clock::{ManualClock, NOON};
pub use pinned_keys::PinnedKeys;
pub use plain_core::{ISSUER, PlainHasher, plain_core, plain_ports, presented};
pub use plain_service::{PlainConnection, PlainService};
pub use proof_key::{ProofKey, proof_claims};
pub use supervised_server::{SupervisedServer, shell};
pub use test_client::{Answer, Client, TestClient, operations};
pub use test_server::{RSA_PEM, TestServer, Wiring, settings};
