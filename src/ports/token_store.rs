//! Keeps what must be known of tokens. A token has no row of its own.

use async_trait::async_trait;

use super::store_error::StoreError;
use crate::domain::audit::NewAuditEvent;
use crate::domain::id::{AgentId, CredentialId, OrganizationId, TokenId};
use crate::domain::secret::Fingerprint;
use crate::domain::time::Timestamp;
use crate::domain::token::{Claims, TokenStatus};

/// Decides which tokens may be issued, and knows which are dead.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Lets a token be issued: stores its `token.issued`, counts it against the client's month, spends the
    /// assertion and notes the credential's use, all or nothing.
    ///
    /// It does so only if, at that very moment, the agent and its organization are active and of the given
    /// revision, the credential (and of it that very secret) is live, the month's quota has room and the assertion was never used.
    /// The quota is exact however many callers race. A refusal stores nothing.
    ///
    /// The answer is how many tokens the client has had in that month, with this one.
    async fn issue(&self, issue: TokenIssue) -> Result<u64, IssueError>;

    /// Spends an assertion without a token: `false` where it was used before. Of many callers one gets `true`.
    async fn spend(&self, agent: AgentId, assertion: &SpentAssertion) -> Result<bool, StoreError>;

    /// Revokes a token until it has been expired for a while, with its event. Again: no effect, no event.
    async fn revoke(&self, revocation: &Revocation, event: &NewAuditEvent) -> Result<(), StoreError>;

    /// What is so now about the token with these claims and its agent; `None` where the agent is unknown or
    /// the token is known to be dead.
    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError>;
}

/// A token that is to be issued.
#[derive(Clone, Debug)]
pub struct TokenIssue {
    pub agent: AgentId,
    pub credential: CredentialId,
    /// The secret that the client proved itself with, where it was one: a rotation keeps the credential's id.
    pub secret: Option<Fingerprint>,
    /// The sum of the revisions of agent and organization by which its scope and its audience were decided. Both only rise,
    /// with each change and each kill, so an equal sum means that nothing was changed since.
    pub revision: u64,
    /// The assertion that the client proved itself with.
    pub assertion: Option<SpentAssertion>,
    /// `token.issued`. Its time decides the month and whether the credential is live.
    pub event: NewAuditEvent,
}

/// A client assertion that may be used once ever (RFC 7523 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpentAssertion {
    /// The SHA-256 of its `jti`, so that a long one takes no more room.
    pub digest: [u8; 32],
    /// Its `exp`: from then on it is refused by itself and may be forgotten.
    pub until: Timestamp,
}

/// A token that is to be dead from now on.
#[derive(Clone, Copy, Debug)]
pub struct Revocation {
    pub token: TokenId,
    pub organization: OrganizationId,
    /// Until when it must be remembered.
    pub until: Timestamp,
}

/// Why [`TokenStore::issue`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the client is no longer allowed to have a token")]
    NoLongerAllowed,
    #[error("the client has reached its quota of {0} tokens this month")]
    QuotaReached(u32),
    #[error("the assertion was used before")]
    AssertionSpent,
    #[error(transparent)]
    Store(#[from] StoreError),
}
