//! Credentials: the means by which an agent authenticates.

use super::federation::FederatedIdentity;
use super::id::{AgentId, CredentialId};
use super::jwk::PublicKey;
use super::secret::{Fingerprint, SecretDigest, SecretHash};
use super::time::Timestamp;

/// The most live credentials (neither revoked nor expired) of an agent.
pub const MAX_LIVE_CREDENTIALS: u32 = 10;
/// The most secrets, the most public keys, and the most federated credentials of an agent that are not revoked.
///
/// Expired ones count. Their number is limited because client authentication searches them.
pub const MAX_UNREVOKED: u32 = 100;
/// How many revoked credentials of an agent are kept, the newest. The audit log has the others.
pub const MAX_REVOKED: u32 = 1_000;
/// The longest grace period of a rotated secret, in seconds: one week.
pub const MAX_GRACE_SECONDS: u32 = 604_800;

/// A means by which an agent authenticates. An agent may have several, so that rotation needs no downtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// ID of the credential, which a rotation keeps.
    pub id: CredentialId,
    /// The agent that the credential belongs to.
    pub agent: AgentId,
    /// The secret, the public key, or the identity at a trusted issuer.
    pub kind: CredentialKind,
    /// Instant of creation.
    pub created_at: Timestamp,
    /// Instant from which the credential is expired; `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// Instant of revocation; `None` if it is not revoked.
    pub revoked_at: Option<Timestamp>,
    /// Last use, to the minute; `None` if it was never used.
    pub last_used_at: Option<Timestamp>,
    /// Raised by every change except that of `last_used_at`, so that a store can refuse a lost race.
    pub revision: u64,
}

impl Credential {
    /// Returns whether the credential is live: neither revoked nor expired at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Returns whether the credential is not revoked and expires after the first instant and not after the second.
    pub fn expires_within(&self, after: Timestamp, until: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_some_and(|end| after < end && end <= until)
    }

    /// Returns whether the credential is active or revoked. Expiry does not change that.
    pub const fn status(&self) -> CredentialStatus {
        if self.revoked_at.is_some() { CredentialStatus::Revoked } else { CredentialStatus::Active }
    }

    /// Returns what a secret with this fingerprint must match at `now`.
    ///
    /// `None` if the credential has no such secret, if the secret's grace period is over, or if the
    /// credential is not live.
    pub fn secret_for(&self, fingerprint: Fingerprint, now: Timestamp) -> Option<&StoredSecret> {
        let CredentialKind::Secret { current, previous } = &self.kind else { return None };
        if !self.is_live(now) {
            return None;
        }
        let previous = previous.as_ref().filter(|previous| now < previous.until);
        [Some(current), previous.map(|previous| &previous.secret)]
            .into_iter()
            .flatten()
            .find(|secret| secret.fingerprint == fingerprint)
    }

    /// Returns the secret that a rotation would replace.
    ///
    /// Returns [`RotationError`] if the credential is revoked or has no secret.
    pub fn rotatable(&self) -> Result<&StoredSecret, RotationError> {
        match &self.kind {
            _ if self.revoked_at.is_some() => Err(RotationError::Revoked),
            CredentialKind::Key(_) => Err(RotationError::PublicKey),
            CredentialKind::Federated(_) => Err(RotationError::Federated),
            CredentialKind::Secret { current, .. } => Ok(current),
        }
    }

    /// Returns the credential with a new secret, under the same ID.
    ///
    /// The old secret stops working at once, or works until `grace_until`. Returns [`RotationError`] if the
    /// credential is revoked or has no secret.
    pub fn rotated(
        &self,
        secret: StoredSecret,
        expires_at: Option<Timestamp>,
        grace_until: Option<Timestamp>,
    ) -> Result<Self, RotationError> {
        let current = self.rotatable()?;
        // The old secret never works longer than before: a grace period extends no expiry and reactivates
        // nothing.
        let ends = |until: Timestamp| self.expires_at.map_or(until, |end| end.min(until));
        let previous =
            grace_until.map(|until| PreviousSecret { secret: current.without_digest(), until: ends(until) });
        Ok(Self {
            kind: CredentialKind::Secret { current: secret, previous },
            expires_at,
            revision: self.revision + 1,
            ..self.clone()
        })
    }

    /// Returns the first instant from `now` on at which `self` works and `after` does not.
    ///
    /// `None` if no such instant exists.
    pub fn works_longer_than(&self, after: &Self, now: Timestamp) -> Option<Timestamp> {
        let end = if after.is_live(now) { after.expires_at? } else { now };
        self.is_live(end).then_some(end)
    }

    /// Returns the credential as revoked.
    ///
    /// Returns [`AlreadyRevokedError`] if it is revoked already.
    pub fn revoked(&self, at: Timestamp) -> Result<Self, AlreadyRevokedError> {
        if self.revoked_at.is_some() {
            return Err(AlreadyRevokedError);
        }
        let kind = match &self.kind {
            CredentialKind::Secret { current, previous } => {
                CredentialKind::Secret { current: current.without_digest(), previous: previous.clone() }
            }
            other => other.clone(),
        };
        Ok(Self { kind, revoked_at: Some(at), revision: self.revision + 1, ..self.clone() })
    }
}

/// Secret, public key, or identity at a trusted issuer, of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A client secret, and the previous one during its grace period.
    Secret {
        /// The secret that authenticates.
        current: StoredSecret,
        /// The secret before a rotation, valid during its grace period; `None` if there is no such period.
        previous: Option<PreviousSecret>,
    },
    /// A public key, for `private_key_jwt`.
    Key(PublicKey),
    /// An identity at a trusted issuer, whose JWTs authenticate the agent.
    Federated(FederatedIdentity),
}

impl CredentialKind {
    /// Returns whether both are of the same kind.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The stored form of a client secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// Fingerprint by which the credential is found.
    pub fingerprint: Fingerprint,
    /// Hash with which the secret is compared.
    pub hash: SecretHash,
    /// Keyed digest of the secret, once it is known. A rotation or a revocation removes it.
    pub digest: Option<SecretDigest>,
}

impl StoredSecret {
    fn without_digest(&self) -> Self {
        Self { digest: None, ..self.clone() }
    }
}

/// A secret that was rotated and works until the end of its grace period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The secret that was replaced.
    pub secret: StoredSecret,
    /// Instant from which the secret no longer works.
    pub until: Timestamp,
}

/// Revocation status of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialStatus {
    /// Not revoked; it may be expired.
    Active,
    /// Revoked.
    Revoked,
}

impl CredentialStatus {
    /// Every status with its name.
    pub const ALL: [(&'static str, Self); 2] = [("active", Self::Active), ("revoked", Self::Revoked)];
}

/// The credential is revoked and cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential is already revoked")]
pub struct AlreadyRevokedError;

/// Error of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The credential is revoked.
    #[error("the credential is already revoked")]
    Revoked,
    /// The credential is a public key.
    #[error("a public key cannot be rotated: add another and revoke this one")]
    PublicKey,
    /// The credential is federated.
    #[error("a federated credential has no secret to rotate: add another and revoke this one")]
    Federated,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn secret(byte: u8) -> StoredSecret {
        StoredSecret {
            fingerprint: Fingerprint([byte; 8]),
            hash: SecretHash(format!("hash {byte}")),
            digest: Some(SecretDigest([byte; 32])),
        }
    }

    fn credential() -> Credential {
        Credential {
            id: CredentialId(Uuid::nil()),
            agent: AgentId(Uuid::nil()),
            kind: CredentialKind::Secret { current: secret(1), previous: None },
            created_at: Timestamp::from_millis(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            revision: 0,
        }
    }

    #[test]
    fn a_rotated_secret_lives_exactly_as_long_as_its_grace() {
        let now = Timestamp::from_millis(5_000);
        let at_once = credential().rotated(secret(2), None, None).expect("a live secret");
        assert_eq!(at_once.secret_for(Fingerprint([1; 8]), now), None);
        let later = credential().rotated(secret(2), None, Some(now)).expect("a live secret");
        assert!(later.secret_for(Fingerprint([1; 8]), Timestamp::from_millis(4_999)).is_some());
        assert!(later.secret_for(Fingerprint([1; 8]), now).is_none());
        assert!(later.secret_for(Fingerprint([2; 8]), now).is_some());
    }

    #[test]
    fn every_change_raises_the_revision() {
        let before = Credential { revision: 5, ..credential() };
        let rotated = before.rotated(secret(2), None, None).expect("a live secret");
        let revoked = rotated.revoked(Timestamp::from_millis(1)).expect("not yet");
        assert_eq!((rotated.revision, revoked.revision), (6, 7));
    }

    #[test]
    fn a_second_rotation_forgets_the_first_secret_for_good() {
        let now = Timestamp::from_millis(5_000);
        let until = Some(now.plus_seconds(60));
        let twice = credential()
            .rotated(secret(2), None, until)
            .and_then(|once| once.rotated(secret(3), None, until))
            .expect("a live secret");
        assert!(twice.secret_for(Fingerprint([1; 8]), now).is_none());
        assert!(twice.secret_for(Fingerprint([2; 8]), now).is_some());
    }

    #[test]
    fn a_grace_does_not_outlive_the_end_that_the_old_secret_had() {
        let end = Timestamp::from_millis(1_000);
        let expired = Credential { expires_at: Some(end), ..credential() };
        let rotated =
            expired.rotated(secret(2), None, Some(Timestamp::from_millis(9_000))).expect("not revoked");
        assert!(rotated.secret_for(Fingerprint([1; 8]), Timestamp::from_millis(999)).is_some());
        assert!(rotated.secret_for(Fingerprint([1; 8]), end).is_none());
        assert!(rotated.secret_for(Fingerprint([2; 8]), end).is_some());
    }

    #[test]
    fn expiry_and_revocation_end_every_secret_of_a_credential() {
        let end = Timestamp::from_millis(1_000);
        let expiring = Credential { expires_at: Some(end), ..credential() };
        assert!(expiring.secret_for(Fingerprint([1; 8]), Timestamp::from_millis(999)).is_some());
        assert!(expiring.secret_for(Fingerprint([1; 8]), end).is_none());
        let revoked = credential().revoked(end).expect("a live secret");
        assert!(revoked.secret_for(Fingerprint([1; 8]), Timestamp::from_millis(0)).is_none());
        assert_eq!(revoked.revoked(end), Err(AlreadyRevokedError));
    }

    #[test]
    fn a_rotation_and_a_revocation_remove_the_digest_of_the_secret_that_ends() {
        let grace = Some(Timestamp::from_millis(9_000));
        let rotated = credential().rotated(secret(2), None, grace).expect("a live secret");
        let revoked = rotated.revoked(Timestamp::from_millis(1)).expect("not yet");
        let digests = |credential: Credential| match credential.kind {
            CredentialKind::Secret { current, previous } => {
                (current.digest, previous.expect("in its grace").secret.digest)
            }
            _ => unreachable!("it is a secret"),
        };
        assert_eq!(digests(rotated), (Some(SecretDigest([2; 32])), None));
        assert_eq!(digests(revoked), (None, None));
    }

    #[test]
    fn what_is_revoked_is_not_rotated() {
        let revoked = credential().revoked(Timestamp::from_millis(1)).expect("a live secret");
        assert_eq!(revoked.rotated(secret(2), None, None), Err(RotationError::Revoked));
    }
}
