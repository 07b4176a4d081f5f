//! Errors of the use cases of credentials.

use crate::caller::Forbidden;
use domain::agent::Decommissioned;
use domain::credential::{AlreadyRevokedError, MAX_UNREVOKED, RotationError};
use ports::credential_store::{InsertCredentialError, UpdateCredentialError};
use ports::secret_hasher::HasherError;
use ports::store_error::StoreError;
use ports::write::CallerRevoked;

/// Error returned by the use cases of credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The caller lacks a required scope.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No agent has this ID within the caller's tenancy.
    #[error("no such agent")]
    NoSuchAgent,
    /// No credential of the agent has this ID.
    #[error("no such credential")]
    NoSuchCredential,
    /// The agent is decommissioned and cannot change.
    #[error(transparent)]
    Decommissioned(#[from] Decommissioned),
    /// The agent is suspended.
    #[error("the agent is suspended; reactivate it first")]
    NotActive,
    /// The agent has reached its limit of active, unexpired credentials.
    #[error("the agent already has {0} credentials that are active and not expired")]
    LimitReached(u32),
    /// The agent has reached its limit of unrevoked credentials of this type.
    #[error(
        "the agent already has {MAX_UNREVOKED} credentials of this type that are not revoked; revoke those that have expired"
    )]
    TooManyUnrevoked,
    /// The agent's organization does not trust the issuer.
    #[error("the agent's organization has no such trusted issuer")]
    NoSuchIssuer,
    /// The issuer requires a subject, or claims where the subject is optional.
    #[error("the trusted issuer demands a subject")]
    SubjectMissing,
    /// The public key is weak or invalid.
    #[error("the key cannot be registered: {0}")]
    UnfitKey(&'static str),
    /// The new secret would already have expired.
    #[error("the credential has expired; set a new expiresAt")]
    Expired,
    /// The end of a period lies too far ahead.
    #[error("the period is longer than 366 days")]
    PeriodTooLong,
    /// The credential has no secret, so that it cannot be rotated.
    #[error(transparent)]
    NotASecret(RotationError),
    /// The credential is already revoked.
    #[error(transparent)]
    AlreadyRevoked(#[from] AlreadyRevokedError),
    /// The agent was changed concurrently.
    #[error("the agent was changed concurrently; try again")]
    AgentChanged,
    /// The credential was changed concurrently.
    #[error("the credential was changed concurrently; read it and try again")]
    Conflict,
    /// The change would leave no administrator.
    #[error("this would leave no active agent with admin:orgs and an active credential")]
    LastAdministrator,
    /// The secret could not be hashed.
    #[error(transparent)]
    Hasher(#[from] HasherError),
    /// The caller's authority was revoked while the change was in progress.
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RotationError> for CredentialsError {
    fn from(refusal: RotationError) -> Self {
        match refusal {
            RotationError::Revoked => Self::AlreadyRevoked(AlreadyRevokedError),
            RotationError::PublicKey | RotationError::Federated => Self::NotASecret(refusal),
        }
    }
}

impl From<InsertCredentialError> for CredentialsError {
    fn from(error: InsertCredentialError) -> Self {
        match error {
            InsertCredentialError::LostRace => Self::AgentChanged,
            InsertCredentialError::NoSuchIssuer => Self::NoSuchIssuer,
            InsertCredentialError::SubjectMissing => Self::SubjectMissing,
            InsertCredentialError::LimitReached(limit) => Self::LimitReached(limit),
            InsertCredentialError::TooManyUnrevoked => Self::TooManyUnrevoked,
            InsertCredentialError::CallerRevoked(error) => Self::CallerRevoked(error),
            InsertCredentialError::Store(failure) => Self::Store(failure),
        }
    }
}

impl From<UpdateCredentialError> for CredentialsError {
    fn from(error: UpdateCredentialError) -> Self {
        match error {
            UpdateCredentialError::LostRaceForAgent => Self::AgentChanged,
            UpdateCredentialError::LostRace => Self::Conflict,
            UpdateCredentialError::LimitReached(limit) => Self::LimitReached(limit),
            UpdateCredentialError::LastAdministrator => Self::LastAdministrator,
            UpdateCredentialError::CallerRevoked(error) => Self::CallerRevoked(error),
            UpdateCredentialError::Store(failure) => Self::Store(failure),
        }
    }
}
