//! Locations of keys, and the keys that are read from them.

use std::sync::Arc;

use domain::issuer::{IssuerUrl, KeySource, KeysUrl};
use domain::issuer_key::{IssuerKey, KeyUse};
use serde_json::Value;
use shares::Place;

use super::fetch::{FetchError, Fetcher};

/// A URL from which keys are fetched. Several issuers may have the same, so keys are cached by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    /// URL of an OpenID configuration.
    Configuration(Arc<str>),
    /// URL of a JWK set, which may be a SPIFFE bundle.
    Set(Arc<str>),
}

impl Location {
    /// Returns where the keys of an issuer are fetched, or the keys if the issuer is pinned to them.
    pub(crate) fn of<'a>(issuer: &IssuerUrl, source: &'a KeySource) -> Result<Self, &'a Arc<[IssuerKey]>> {
        match source {
            KeySource::Discovery => Ok(Self::Configuration(issuer.configuration().into())),
            KeySource::JwksUri(url) | KeySource::SpiffeBundle(url) => Ok(Self::Set(url.as_str().into())),
            KeySource::Jwks(keys) => Err(keys),
        }
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Configuration(url) | Self::Set(url) => url,
        }
    }

    /// Fetches the keys: one request, or two if a configuration says where they are.
    pub(crate) async fn fetch(
        &self,
        fetcher: &Fetcher,
        place: &Arc<Place>,
    ) -> Result<FetchedKeys, FetchError> {
        let document = fetcher.document(self.url(), place).await?;
        match self {
            Self::Set(_) => FetchedKeys::of(&document.json, None, document.lifetime_seconds),
            Self::Configuration(url) => {
                let (issuer, keys) = Self::configuration(&document.json, url)?;
                let set = fetcher.document(keys.as_str(), place).await?;
                let lifetime_seconds = document.lifetime_seconds.min(set.lifetime_seconds);
                FetchedKeys::of(&set.json, Some(issuer), lifetime_seconds)
            }
        }
    }

    /// Returns `issuer` and `jwks_uri` of a configuration (OpenID Connect Discovery 1.0 section 4.3).
    ///
    /// The configurations of `https://a` and `https://a/` have one URL. The issuer is only held to that here, and
    /// compared byte for byte when keys are used, so that an issuer in the wrong spelling cannot lock out the other.
    fn configuration(json: &Value, url: &str) -> Result<(Arc<str>, KeysUrl), FetchError> {
        let member = |name| json.get(name).and_then(Value::as_str).ok_or(FetchError::NoConfiguration);
        let issuer = member("issuer")?;
        if !IssuerUrl::parse(issuer).is_ok_and(|issuer| issuer.configuration() == url) {
            return Err(FetchError::OtherIssuer);
        }
        let keys = KeysUrl::parse(member("jwks_uri")?).map_err(FetchError::Url)?;
        Ok((issuer.into(), keys))
    }
}

/// Keys of one location.
#[derive(Clone, Debug)]
pub(crate) struct FetchedKeys {
    /// `issuer` of the OpenID configuration; `None` without one.
    issuer: Option<Arc<str>>,
    for_signatures: Arc<[IssuerKey]>,
    for_jwt_svids: Arc<[IssuerKey]>,
    pub(crate) lifetime_seconds: u32,
}

impl FetchedKeys {
    pub(crate) fn of(
        set: &Value,
        issuer: Option<Arc<str>>,
        lifetime_seconds: u32,
    ) -> Result<Self, FetchError> {
        let usable =
            |usage| IssuerKey::of_set(set, usage).map(Arc::<[IssuerKey]>::from).ok_or(FetchError::NoSet);
        Ok(Self {
            issuer,
            for_signatures: usable(KeyUse::Signature)?,
            for_jwt_svids: usable(KeyUse::JwtSvid)?,
            lifetime_seconds,
        })
    }

    /// Returns the keys that the issuer may use; `None` if the configuration states another issuer.
    pub(crate) fn for_issuer(&self, issuer: &IssuerUrl, source: &KeySource) -> Option<&Arc<[IssuerKey]>> {
        match source {
            KeySource::SpiffeBundle(_) => Some(&self.for_jwt_svids),
            KeySource::Discovery if self.issuer.as_deref() != Some(issuer.as_str()) => None,
            KeySource::Discovery | KeySource::JwksUri(_) | KeySource::Jwks(_) => Some(&self.for_signatures),
        }
    }

    /// Returns about how many bytes the keys take.
    pub(crate) fn bytes(&self) -> usize {
        let keys = || self.for_signatures.iter().chain(self.for_jwt_svids.iter());
        keys().map(|key| size_of::<IssuerKey>() + text_bytes(key)).sum()
    }
}

fn text_bytes(key: &IssuerKey) -> usize {
    use domain::jwk::PublicKey;
    let (a, b) = match &key.key {
        PublicKey::Rsa { n, e } => (n.len(), e.len()),
        PublicKey::P256 { x, y } | PublicKey::P384 { x, y } => (x.len(), y.len()),
        PublicKey::Ed25519 { x } => (x.len(), 0),
    };
    a + b + key.id.as_ref().map_or(0, String::len)
}
