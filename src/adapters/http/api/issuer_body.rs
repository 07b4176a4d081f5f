//! Trusted issuers in responses.

use poem_openapi::Object;
use uuid::Uuid;

use super::issuer_fields::KeySourceType;
use crate::extract::wire::{EnumName, Instant, WireEnum};
use app::issuers::{KeysState, KeysStatus, ShownIssuer};
use domain::issuer::{IssuerStatus, KeySource, Subjects};
use domain::issuer_key::IssuerKey;
use domain::jwk::PublicKey;
use domain::names::name_of;
use domain::signature_algorithm::SignatureAlgorithm;

/// A trusted issuer
#[derive(Object)]
#[oai(rename = "Issuer", rename_all = "camelCase")]
pub struct IssuerBody {
    issuer_id: Uuid,
    organization_id: Uuid,
    name: String,
    /// The exact `iss` of its JWTs
    issuer: String,
    keys: IssuerKeysBody,
    audiences: Vec<String>,
    algorithms: Vec<String>,
    max_lifetime_seconds: u32,
    require_jti: bool,
    subject_optional: bool,
    subjects: Option<IssuerSubjectsBody>,
    /// Tool or team that manages the issuer
    #[oai(skip_serializing_if_is_none)]
    managed_by: Option<String>,
    status: EnumName<IssuerStatus>,
    keys_status: KeysStatusBody,
    created_at: Instant,
    updated_at: Instant,
}

/// Where the keys of a trusted issuer are found
#[derive(Object)]
#[oai(rename = "IssuerKeys", skip_serializing_if_is_none)]
struct IssuerKeysBody {
    #[oai(rename = "type")]
    kind: EnumName<KeySourceType>,
    /// URL of the JWK set or of the SPIFFE bundle
    uri: Option<String>,
    /// The keys themselves
    jwks: Option<PinnedKeysBody>,
}

/// Pinned keys of a trusted issuer
#[derive(Object)]
#[oai(rename = "PinnedKeys")]
struct PinnedKeysBody {
    keys: Vec<PinnedKey>,
}

/// A public key of a trusted issuer (RFC 7517)
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct PinnedKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl From<&IssuerKey> for PinnedKey {
    fn from(key: &IssuerKey) -> Self {
        let algorithm = key.algorithm.map(|one| name_of(&SignatureAlgorithm::ALL, &one).to_owned());
        let of = |kty: &str, crv: Option<&str>| Self {
            kty: kty.to_owned(),
            kid: key.id.clone(),
            alg: algorithm.clone(),
            crv: crv.map(str::to_owned),
            n: None,
            e: None,
            x: None,
            y: None,
        };
        match &key.key {
            PublicKey::Rsa { n, e } => Self { n: Some(n.clone()), e: Some(e.clone()), ..of("RSA", None) },
            PublicKey::P256 { x, y } => {
                Self { x: Some(x.clone()), y: Some(y.clone()), ..of("EC", Some("P-256")) }
            }
            PublicKey::P384 { x, y } => {
                Self { x: Some(x.clone()), y: Some(y.clone()), ..of("EC", Some("P-384")) }
            }
            PublicKey::Ed25519 { x } => Self { x: Some(x.clone()), ..of("OKP", Some("Ed25519")) },
        }
    }
}

/// People of a trusted issuer that agents may act for
#[derive(Object)]
#[oai(rename = "IssuerSubjects", rename_all = "camelCase")]
struct IssuerSubjectsBody {
    audiences: Vec<String>,
    may_act: Vec<String>,
    scopes: Vec<String>,
    max_age_seconds: u32,
    redelegation: bool,
}

/// How this instance last fetched the keys of a trusted issuer
#[derive(Object)]
#[oai(rename = "KeysStatus", rename_all = "camelCase", skip_serializing_if_is_none)]
struct KeysStatusBody {
    state: EnumName<KeysState>,
    checked_at: Option<Instant>,
    /// Why the last attempt failed
    error: Option<String>,
}

impl WireEnum for KeysState {
    const TYPE: &'static str = "KeysState";
    const NAMES: &'static [(&'static str, Self)] = &Self::ALL;
}

impl From<KeysStatus> for KeysStatusBody {
    fn from(status: KeysStatus) -> Self {
        Self {
            state: EnumName(status.state),
            checked_at: status.checked_at.map(Instant),
            error: status.error.map(str::to_owned),
        }
    }
}

impl From<&KeySource> for IssuerKeysBody {
    fn from(source: &KeySource) -> Self {
        let (kind, uri, jwks) = match source {
            KeySource::Discovery => (KeySourceType::Discovery, None, None),
            KeySource::JwksUri(url) => (KeySourceType::JwksUri, Some(url), None),
            KeySource::SpiffeBundle(url) => (KeySourceType::SpiffeBundle, Some(url), None),
            KeySource::Jwks(keys) => {
                let keys = keys.iter().map(Into::into).collect();
                (KeySourceType::Jwks, None, Some(PinnedKeysBody { keys }))
            }
        };
        Self { kind: EnumName(kind), uri: uri.map(|url| url.as_str().to_owned()), jwks }
    }
}

impl From<&Subjects> for IssuerSubjectsBody {
    fn from(subjects: &Subjects) -> Self {
        Self {
            audiences: subjects.audiences.clone(),
            may_act: subjects.may_act.names(),
            scopes: subjects.scopes.iter().map(str::to_owned).collect(),
            max_age_seconds: subjects.max_age_seconds,
            redelegation: subjects.redelegation,
        }
    }
}

impl From<&ShownIssuer> for IssuerBody {
    fn from(ShownIssuer { issuer, keys }: &ShownIssuer) -> Self {
        let names = issuer.algorithms.iter();
        Self {
            issuer_id: issuer.id.0,
            organization_id: issuer.organization.0,
            name: issuer.name.as_str().to_owned(),
            issuer: issuer.issuer.as_str().to_owned(),
            keys: (&issuer.keys).into(),
            audiences: issuer.audiences.clone(),
            algorithms: names.map(|one| name_of(&SignatureAlgorithm::ALL, one).to_owned()).collect(),
            max_lifetime_seconds: issuer.max_lifetime_seconds,
            require_jti: issuer.require_jti,
            subject_optional: issuer.subject_optional,
            subjects: issuer.subjects.as_ref().map(Into::into),
            managed_by: issuer.managed_by.as_ref().map(|name| name.as_str().to_owned()),
            status: EnumName(issuer.status),
            keys_status: (*keys).into(),
            created_at: Instant(issuer.created_at),
            updated_at: Instant(issuer.updated_at),
        }
    }
}
