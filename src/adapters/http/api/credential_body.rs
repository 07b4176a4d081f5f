//! A credential, and a page of them, on the wire.

use std::sync::Arc;

use poem_openapi::Object;
use poem_openapi::types::Any;
use serde_json::Value;
use uuid::Uuid;

use crate::extract::wire::{EnumName, Instant, WireEnum};
use crate::oauth::jwk::Jwk;
use app::credentials::MadeCredential;
use domain::credential::{Credential, CredentialKind, CredentialStatus};
use domain::page::{Page, PageRequest};

/// Kind of a credential on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialType {
    ClientSecret,
    PublicKey,
    Federated,
}

impl WireEnum for CredentialType {
    const TYPE: &'static str = "CredentialType";
    const NAMES: &'static [(&'static str, Self)] = &[
        ("client_secret", Self::ClientSecret),
        ("public_key", Self::PublicKey),
        ("federated", Self::Federated),
    ];
}

/// A credential
#[derive(Object)]
#[oai(rename = "Credential", rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct CredentialBody {
    credential_id: Uuid,
    /// ID of the agent
    client_id: Uuid,
    #[oai(rename = "type")]
    kind: EnumName<CredentialType>,
    status: EnumName<CredentialStatus>,
    created_at: Instant,
    expires_at: Option<Instant>,
    revoked_at: Option<Instant>,
    /// Time of the last use, to the minute
    last_used_at: Option<Instant>,
    public_key: Option<Jwk>,
    /// ID of the trusted issuer
    issuer_id: Option<Uuid>,
    /// The exact `sub` of the issuer's JWTs
    subject: Option<String>,
    /// Claims that the issuer's JWTs must have
    claims: Option<Any<Value>>,
    /// Only in the response that created it
    client_secret: Option<String>,
}

impl CredentialBody {
    fn of(credential: &Credential, client_secret: Option<String>) -> Self {
        let (kind, public_key, identity) = match &credential.kind {
            CredentialKind::Secret { .. } => (CredentialType::ClientSecret, None, None),
            CredentialKind::Key(key) => (CredentialType::PublicKey, Some(Jwk::of(key, None)), None),
            CredentialKind::Federated(identity) => (CredentialType::Federated, None, Some(identity)),
        };
        let claims = identity.map(|identity| identity.claims.as_map()).filter(|claims| !claims.is_empty());
        Self {
            credential_id: credential.id.0,
            client_id: credential.agent.0,
            kind: EnumName(kind),
            status: EnumName(credential.status()),
            created_at: Instant(credential.created_at),
            expires_at: credential.expires_at.map(Instant),
            revoked_at: credential.revoked_at.map(Instant),
            last_used_at: credential.last_used_at.map(Instant),
            public_key,
            issuer_id: identity.map(|identity| identity.issuer.0),
            subject: identity.and_then(|identity| identity.subject.clone()),
            claims: claims.map(|claims| Any(Value::Object(claims.clone()))),
            client_secret,
        }
    }
}

impl From<MadeCredential> for CredentialBody {
    fn from(made: MadeCredential) -> Self {
        Self::of(&made.credential, made.secret.map(|secret| secret.expose().to_owned()))
    }
}

/// A page of credentials
#[derive(Object)]
pub struct CredentialPage {
    data: Vec<CredentialBody>,
    /// Number of credentials on all pages
    total: u64,
    page: u32,
    limit: u32,
}

impl CredentialPage {
    /// Returns the page with these credentials.
    pub fn of(listing: &Page<Arc<Credential>>, page: PageRequest) -> Self {
        Self {
            data: listing.items.iter().map(|credential| CredentialBody::of(credential, None)).collect(),
            total: listing.total,
            page: page.number,
            limit: page.limit,
        }
    }
}
