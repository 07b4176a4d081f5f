//! Cryptography, entirely by libraries that this module combines.
//!
//! `aws-lc-rs` signs, hashes and seals; `jwt-simple` parses and verifies JWTs; `rsa` parses and validates RSA keys;
//! `bcrypt` hashes secrets.

#![warn(missing_docs)]

mod assertion_verifier;
mod cursor_seal;
mod decoys;
mod hasher_metrics;
mod keys;
mod proof_verifier;
mod secret_hasher;
mod strict_json;
mod token_signer;
mod verifying_key;

pub use assertion_verifier::JwtAssertionVerifier;
pub use cursor_seal::HmacCursorSeal;
pub use keys::{KeyError, KeySet, KeySetError, generate_pem};
pub use proof_verifier::JwtProofVerifier;
pub use secret_hasher::BcryptHasher;
pub use token_signer::JwtSigner;
