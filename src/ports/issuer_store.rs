//! Storage of trusted issuers.

use std::sync::Arc;

use async_trait::async_trait;

use super::store_error::StoreError;
use super::write::{CallerRevoked, Write};
use domain::credential::Credential;
use domain::id::{IssuerId, OrganizationId};
use domain::issuer::{IssuerStatus, TrustedIssuer};
use domain::page::{Page, PageRequest};
use domain::scope::ManagementScopes;
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use domain::token::PersonStatus;

/// Stores trusted issuers.
///
/// In addition to the common promises of [`ports`](super), an organization trusts an `iss` only once, its number of issuers
/// holds however many callers race, no issuer that a live credential needs is deleted, and the last administrator is
/// never removed. A *live* credential is neither revoked nor expired. A federated credential lets its agent administer
/// only while its issuer is active.
#[async_trait]
pub trait IssuerStore: Send + Sync {
    /// Stores a new trusted issuer with its event.
    ///
    /// Returns [`NoSuchOrganization`](InsertIssuerError::NoSuchOrganization) if the organization is unknown or outside
    /// `within`, [`Taken`](InsertIssuerError::Taken) if it trusts that `iss` already, and
    /// [`LimitReached`](InsertIssuerError::LimitReached) if it has
    /// [`MAX_ISSUERS`](domain::issuer::MAX_ISSUERS) issuers.
    async fn insert(
        &self,
        within: Tenancy,
        issuer: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), InsertIssuerError>;

    /// Returns the trusted issuer with this ID; `None` if it is unknown or outside `within`.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn find(&self, within: Tenancy, id: IssuerId) -> Result<Option<Arc<TrustedIssuer>>, StoreError>;

    /// Returns the trusted issuer of an organization that has this `iss`, with the generation of the person whose `sub` has
    /// this SHA-256: 0 for a person whose tokens were never revoked.
    ///
    /// `None` if the organization does not trust that `iss`. Returns a [`StoreError`] if the store cannot answer.
    async fn find_for_person(
        &self,
        organization: OrganizationId,
        iss: &str,
        digest: &[u8; 32],
    ) -> Result<Option<PersonStatus>, StoreError>;

    /// Returns a page of trusted issuers, newest first, of the given status or of any.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn list(
        &self,
        within: Tenancy,
        status: Option<IssuerStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<TrustedIssuer>>, StoreError>;

    /// Replaces `before` with `after`, and stores the events of the change.
    ///
    /// Returns [`LostRace`](ChangeIssuerError::LostRace) if the stored revision is not that of `before`. If more than the
    /// name differs, returns [`MissingScopes`](ChangeIssuerError::MissingScopes) with the management scopes that an agent
    /// with a live credential of the issuer has and the caller lacks. Returns
    /// [`LastAdministrator`](ChangeIssuerError::LastAdministrator) if the change would leave no active agent with
    /// `admin:orgs` and a live credential in any active organization.
    async fn update(
        &self,
        before: &TrustedIssuer,
        after: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError>;

    /// Deletes a trusted issuer, and stores the event. Every token that rests on it becomes inactive.
    ///
    /// Returns [`LostRace`](ChangeIssuerError::LostRace) if the stored revision is not the given one, and
    /// [`InUse`](ChangeIssuerError::InUse) if a live credential needs the issuer.
    async fn delete(&self, issuer: &TrustedIssuer, write: Write<'_>) -> Result<(), ChangeIssuerError>;

    /// Raises the generation of the person with this `sub`, and stores the event. Every token that acts for the
    /// person becomes inactive.
    ///
    /// The person need not have been seen before. Returns [`LostRace`](ChangeIssuerError::LostRace) if the issuer was
    /// deleted.
    async fn revoke_person(
        &self,
        issuer: &TrustedIssuer,
        sub: &str,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError>;

    /// Returns whether any live credential is of the trusted issuer.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn is_in_use(&self, id: IssuerId, now: Timestamp) -> Result<bool, StoreError>;

    /// Returns the live credentials of a trusted issuer that this subject may match: those with it, and those without any.
    ///
    /// At most [`MAX_MATCHES`], the newest. Returns a [`StoreError`] if the store cannot answer.
    async fn credentials_of(
        &self,
        issuer: &TrustedIssuer,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Credential>>, StoreError>;
}

/// The most credentials that [`IssuerStore::credentials_of`] returns.
pub const MAX_MATCHES: usize = 1_000;

/// Error of [`IssuerStore::insert`].
#[derive(Debug, thiserror::Error)]
pub enum InsertIssuerError {
    /// The organization is unknown, or outside the caller's tenancy.
    #[error("no such organization")]
    NoSuchOrganization,
    /// The organization trusts this `iss` already.
    #[error("the organization trusts this issuer already")]
    Taken,
    /// The organization has as many issuers as it may.
    #[error("the organization already has {0} trusted issuers")]
    LimitReached(u32),
    /// The caller no longer has the authority of the [`Write`].
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Error of [`IssuerStore::update`], [`IssuerStore::delete`] and [`IssuerStore::revoke_person`].
#[derive(Debug, thiserror::Error)]
pub enum ChangeIssuerError {
    /// The stored issuer is of another revision than the given one.
    #[error("the issuer was changed concurrently")]
    LostRace,
    /// A live credential needs the issuer.
    #[error("the issuer is in use")]
    InUse,
    /// An agent that the issuer authenticates has these management scopes, and the caller has not.
    #[error("the caller lacks management scopes of an agent of the issuer")]
    MissingScopes(ManagementScopes),
    /// No active agent with `admin:orgs` and a live credential would be left.
    #[error("this would leave no administrator")]
    LastAdministrator,
    /// The caller no longer has the authority of the [`Write`].
    #[error(transparent)]
    CallerRevoked(#[from] CallerRevoked),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
