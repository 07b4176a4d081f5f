//! Credentials as rows.

use std::sync::Arc;

use rusqlite::{Row, named_params, params};
use serde_json::{Map, Value};

use super::column::{bytes, column, instant, number, optional_id, optional_instant, parsed_if_any, signed};
use crate::database::Database;
use crate::failure::inconsistent;
use crate::row_cache::RowKey;
use domain::claim_rules::ClaimRules;
use domain::credential::{Credential, CredentialKind, PreviousSecret, StoredSecret};
use domain::federation::FederatedIdentity;
use domain::id::{AgentId, CredentialId, IssuerId};
use domain::secret::{Fingerprint, SecretDigest, SecretHash};
use domain::time::Timestamp;
use ports::store_error::StoreError;
use stored_json::jwk::{jwk, public_key};

/// Reads a credential from all columns of its table.
pub fn credential(row: &Row<'_>) -> Result<Arc<Credential>, StoreError> {
    let key =
        parsed_if_any(row, "public_key", |text| public_key(&serde_json::from_str::<Value>(text).ok()?))?;
    let kind = match key {
        Some(key) => CredentialKind::Key(key),
        None if let Some(issuer) = optional_id(row, "issuer_id")? => {
            CredentialKind::Federated(FederatedIdentity {
                issuer: IssuerId(issuer),
                subject: column(row, "subject")?,
                claims: ClaimRules::of_stored(
                    parsed_if_any(row, "claims", |text| serde_json::from_str::<Map<_, _>>(text).ok())?
                        .unwrap_or_default(),
                ),
            })
        }
        None => secret(row)?,
    };
    Ok(Arc::new(Credential {
        id: CredentialId(column(row, "credential_id")?),
        agent: AgentId(column(row, "agent_id")?),
        kind,
        created_at: instant(row, "created_at")?,
        expires_at: optional_instant(row, "expires_at")?,
        revoked_at: optional_instant(row, "revoked_at")?,
        last_used_at: optional_instant(row, "last_used_at")?,
        revision: number(row, "revision")?,
    }))
}

fn secret(row: &Row<'_>) -> Result<CredentialKind, StoreError> {
    let fingerprint = bytes(row, "fingerprint")?.ok_or_else(|| inconsistent("no fingerprint"))?;
    let previous = match bytes(row, "previous_fingerprint")? {
        None => None,
        Some(fingerprint) => Some(PreviousSecret {
            secret: StoredSecret {
                fingerprint: Fingerprint(fingerprint),
                hash: SecretHash(column(row, "previous_hash")?),
                digest: None,
            },
            until: instant(row, "previous_until")?,
        }),
    };
    let current = StoredSecret {
        fingerprint: Fingerprint(fingerprint),
        hash: SecretHash(column(row, "secret_hash")?),
        digest: bytes(row, "secret_digest")?.map(SecretDigest),
    };
    Ok(CredentialKind::Secret { current, previous })
}

impl Database {
    /// Returns the credential with this ID of this agent; `None` if it is unknown.
    pub fn credential(
        &self,
        agent: AgentId,
        id: CredentialId,
    ) -> Result<Option<Arc<Credential>>, StoreError> {
        let sql = "SELECT * FROM credentials WHERE credential_id = ?1 AND agent_id = ?2";
        self.first(sql, params![id.0, agent.0], credential)
    }

    /// Records that the credential was used in this minute.
    pub fn touch(&self, agent: AgentId, id: CredentialId, minute: Timestamp) -> Result<(), StoreError> {
        const TOUCH: &str = "\
UPDATE credentials SET last_used_at = ?3
WHERE credential_id = ?1 AND agent_id = ?2 AND (last_used_at IS NULL OR last_used_at < ?3)";
        if self.execute(TOUCH, params![id.0, agent.0, minute.as_millis()])? > 0 {
            self.cached_rows().mark_changed(RowKey::Credentials(agent));
        }
        Ok(())
    }

    /// Stores a credential in place of the one with its ID, if there is one. The last use stays.
    pub fn put_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        const PUT: &str = "\
INSERT INTO credentials (credential_id, agent_id, public_key, issuer_id, subject, claims, fingerprint, secret_hash,
    secret_digest, previous_fingerprint, previous_hash, previous_until, created_at, expires_at, revoked_at, last_used_at,
    revision)
VALUES (:credential_id, :agent_id, :public_key, :issuer_id, :subject, :claims, :fingerprint, :secret_hash,
    :secret_digest, :previous_fingerprint, :previous_hash, :previous_until, :created_at, :expires_at, :revoked_at,
    :last_used_at, :revision)
ON CONFLICT (credential_id) DO UPDATE SET fingerprint = :fingerprint, secret_hash = :secret_hash,
    secret_digest = :secret_digest, previous_fingerprint = :previous_fingerprint, previous_hash = :previous_hash,
    previous_until = :previous_until, expires_at = :expires_at, revoked_at = :revoked_at, revision = :revision";
        let (current, previous) = match &credential.kind {
            CredentialKind::Secret { current, previous } => (Some(current), previous.as_ref()),
            _ => (None, None),
        };
        let identity = match &credential.kind {
            CredentialKind::Federated(identity) => Some(identity),
            _ => None,
        };
        let key = match &credential.kind {
            CredentialKind::Key(key) => Some(jwk(key).to_string()),
            _ => None,
        };
        let millis = |at: Timestamp| at.as_millis();
        let parameters = named_params! {
            ":credential_id": credential.id.0,
            ":agent_id": credential.agent.0,
            ":public_key": key,
            ":issuer_id": identity.map(|identity| identity.issuer.0),
            ":subject": identity.and_then(|identity| identity.subject.as_deref()),
            ":claims": identity.map(|identity| Value::Object(identity.claims.as_map().clone()).to_string()),
            ":fingerprint": current.map(|secret| secret.fingerprint.0),
            ":secret_hash": current.map(|secret| secret.hash.0.as_str()),
            ":secret_digest": current.and_then(|secret| secret.digest.as_ref()).map(|digest| digest.0),
            ":previous_fingerprint": previous.map(|previous| previous.secret.fingerprint.0),
            ":previous_hash": previous.map(|previous| previous.secret.hash.0.as_str()),
            ":previous_until": previous.map(|previous| previous.until.as_millis()),
            ":created_at": credential.created_at.as_millis(),
            ":expires_at": credential.expires_at.map(millis),
            ":revoked_at": credential.revoked_at.map(millis),
            ":last_used_at": credential.last_used_at.map(millis),
            ":revision": signed(credential.revision),
        };
        self.cached_rows().mark_changed(RowKey::Credentials(credential.agent));
        self.execute(PUT, parameters).map(drop)
    }
}
