//! Keys of trusted issuers: fetched over HTTPS, and cached in this process.
//!
//! An organization chooses the URLs, and answers come from servers that need not be honest. A request therefore goes only
//! to an address that is allowed, follows no redirect, uses no proxy and no cookie, and ends after 3 seconds or 256 KB.

#![warn(missing_docs)]

mod address;
mod cache;
mod fetch;
mod issuer_keys;
mod lifetime;
mod private_network;
mod resolver;
#[cfg(test)]
mod scenarios;
mod settings;
mod source;
mod target;

pub use issuer_keys::FetchedIssuerKeys;
pub use private_network::{PrivateNetwork, PrivateNetworkError};
pub use settings::{IssuerKeySettings, IssuerKeysError};
