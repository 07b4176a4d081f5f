//! The public keys of trusted issuers, wherever they are found.

use std::sync::Arc;

use async_trait::async_trait;

use domain::id::OrganizationId;
use domain::issuer::{IssuerUrl, KeySource};
use domain::issuer_key::IssuerKey;
use domain::time::Timestamp;

/// Finds the public keys of trusted issuers.
///
/// Keys are fetched only from addresses that are allowed, and are cached by URL. However many callers ask, at most one
/// attempt in 30 seconds is made to fetch the keys of a URL. An attempt takes at most 3 seconds.
#[async_trait]
pub trait IssuerKeys: Send + Sync {
    /// Checks that keys may be fetched from this URL at all, as far as can be said without looking up its host.
    ///
    /// Returns what forbids it.
    fn check_url(&self, url: &str) -> Result<(), &'static str>;

    /// Returns the keys of an issuer that this organization trusts.
    ///
    /// An organization has a share of what fetching takes, so that it cannot keep others from it.
    ///
    /// If none of the cached keys has the ID `wanted`, they are fetched again, unless that was tried less than 30 seconds
    /// ago. Returns [`KeysUnavailable`] if the keys were never fetched, or not for a day, and cannot be fetched now.
    async fn keys(
        &self,
        organization: OrganizationId,
        issuer: &IssuerUrl,
        source: &KeySource,
        wanted: Option<&str>,
    ) -> Result<Arc<[IssuerKey]>, KeysUnavailable>;

    /// Returns how the last attempt of this instance to fetch the keys went. Fetches nothing.
    fn status(&self, issuer: &IssuerUrl, source: &KeySource) -> KeysStatus;

    /// Returns how many sources this instance could not fetch keys from the last time it tried. Until it can, the last keys
    /// are used, if there are any.
    fn stale(&self) -> usize;
}

/// How an attempt to fetch keys went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysStatus {
    /// Whether the keys could be fetched.
    pub state: KeysState,
    /// Instant of the last attempt; `None` if there was none.
    pub checked_at: Option<Timestamp>,
    /// Why the last attempt failed: one of a fixed set of sentences, with nothing that the other server sent.
    pub error: Option<&'static str>,
}

/// Whether keys could be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysState {
    /// The last attempt succeeded, or none is needed.
    Ok,
    /// The last attempt failed.
    Failing,
    /// There was no attempt.
    Unknown,
}

impl KeysState {
    /// Every state with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("ok", Self::Ok), ("failing", Self::Failing), ("unknown", Self::Unknown)];
}

/// The keys of an issuer are not known now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the issuer cannot be fetched now")]
pub struct KeysUnavailable {
    /// Seconds until the next attempt is allowed.
    pub retry_after: u32,
}
