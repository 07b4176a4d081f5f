//! Issuance, revocation and status of tokens. Tokens themselves are not stored.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::audit::AuditEvent;
use domain::id::{AgentId, CredentialId, IssuerId, OrganizationId, TokenId};
use domain::issuer::TrustedIssuer;
use domain::secret::Fingerprint;
use domain::time::Timestamp;
use domain::token::{Claims, TokenStatus};

/// Decides which tokens may be issued, and knows which are revoked.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Approves the issuance of a token.
    ///
    /// In one step, all or nothing, the store records the event, counts the token against the client's quota of the month,
    /// marks the assertions as used and records the use of the credential.
    ///
    /// The store does so only if, at that very moment, the agent and its organization are active and last changed as
    /// given, so is every agent and every trusted issuer that the token depends on, the person that the token acts for is of
    /// the given generation, no ancestor is revoked, the credential is live and still has that very secret, the month's
    /// quota has room, and no assertion was ever used. A *live* credential is neither revoked nor expired. The quota is exact
    /// however many callers race. A refusal stores nothing.
    ///
    /// The person and the ancestors may be revoked while the token is stored: it is then inactive from the beginning.
    ///
    /// Returns [`NoLongerAllowed`](IssueError::NoLongerAllowed) if an agent, its organization, an issuer, the person, an
    /// ancestor or the credential does not meet these conditions, [`QuotaReached`](IssueError::QuotaReached) if the month's
    /// quota is exhausted, and [`AssertionSpent`](IssueError::AssertionSpent) if an assertion was used before.
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError>;

    /// Marks an assertion as used without issuing a token; `false` if it was used before.
    ///
    /// Of several callers, one gets `true`. Returns a [`StoreError`] if the store failed.
    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError>;

    /// Returns whether an assertion was used before. Nothing is spent.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError>;

    /// Revokes a token until it has been expired for a while, and stores the event.
    ///
    /// Revoking the token again has no effect and stores no event. Returns a [`StoreError`] if the store
    /// failed.
    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError>;

    /// Returns the current status of the token with these claims and of its agent.
    ///
    /// `None` if the agent is unknown or the token is known to be revoked. Returns a [`StoreError`] if the
    /// store cannot answer.
    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError>;

    /// Same as [`status`](Self::status) of many tokens of one organization, in their order.
    ///
    /// However many an organization asks for at once, others are not delayed by that.
    async fn statuses(
        &self,
        organization: OrganizationId,
        claims: &[Claims],
    ) -> Result<Vec<Option<TokenStatus>>, StoreError>;
}

/// A token to be issued.
#[derive(Clone, Debug)]
pub struct TokenIssue {
    /// The agent that is the client.
    pub agent: AgentId,
    /// The credential with which the client authenticated.
    pub credential: CredentialId,
    /// Fingerprint of the secret with which the client authenticated, if it used one.
    ///
    /// It is needed because a rotation keeps the credential's ID.
    pub secret: Option<Fingerprint>,
    /// Sum of the revisions of agent and organization by which scope and audience were decided.
    ///
    /// Both revisions only rise, with each change and each revocation of all tokens, so an equal sum means
    /// that nothing has changed since, unless a backup was restored.
    pub revision: u64,
    /// The later of the instants at which agent and organization were last changed.
    ///
    /// A change after a restored backup has a revision that was there before, but not its instant.
    pub changed_at: Timestamp,
    /// Other agents by which scope and audience were decided, any number of them, of any organization.
    pub depends_on: Vec<Dependency>,
    /// The trusted issuers that the token rests on, all of the client's organization.
    pub issuers: Vec<IssuerDependency>,
    /// The ancestors of the token.
    pub ancestors: Vec<TokenId>,
    /// The person that the token acts for.
    pub person: Option<PersonDependency>,
    /// The assertions that are used up, all different, at most one of them signed by the client.
    pub assertions: Vec<SpentAssertion>,
    /// The `token.issued` or `token.exchanged` event. Its time decides the month, and whether the credential is live.
    pub event: AuditEvent,
}

/// An agent that a token depends on, in addition to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The agent.
    pub agent: AgentId,
    /// Sum of the revisions of the agent and its organization by which the token was decided.
    pub revision: u64,
    /// The later of the instants at which the two were last changed.
    pub changed_at: Timestamp,
}

/// A trusted issuer that a token rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerDependency {
    /// The trusted issuer.
    pub issuer: IssuerId,
    /// Its generation.
    pub generation: u64,
    /// Its revision and the instant of its last change, if the token was decided by more than its generation.
    pub decided_by: Option<(u64, Timestamp)>,
}

impl IssuerDependency {
    /// Returns the dependency of a token that was decided by this issuer.
    pub fn of(issuer: &TrustedIssuer) -> Self {
        Self {
            issuer: issuer.id,
            generation: issuer.generation,
            decided_by: Some((issuer.revision, issuer.updated_at)),
        }
    }
}

/// A person that a token acts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersonDependency {
    /// The trusted issuer of the person.
    pub issuer: IssuerId,
    /// The SHA-256 of the person's `sub`.
    pub digest: [u8; 32],
    /// The person's own generation.
    pub generation: u64,
}

/// An assertion, which may be used only once (RFC 7523 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpentAssertion {
    /// Whose `jti` it has: each signer chooses its own.
    pub signer: Signer,
    /// The SHA-256 of its `jti`, so that a long `jti` takes no more space.
    pub digest: [u8; 32],
    /// Its `exp`: from then on the assertion is refused as expired, and may be forgotten.
    pub until: Timestamp,
}

impl SpentAssertion {
    /// Returns whether both are the same assertion.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.signer, self.digest) == (other.signer, other.digest)
    }
}

/// The signer of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signer {
    /// The client itself.
    Client(AgentId),
    /// A trusted issuer.
    Issuer(IssuerId),
    /// The key of a proof of possession. The digest is that of the key and the `jti`.
    Key,
}

/// A token to be revoked.
#[derive(Clone, Copy, Debug)]
pub struct Revocation {
    /// The token's `jti`.
    pub token: TokenId,
    /// The organization of the token's agent.
    pub organization: OrganizationId,
    /// Instant until which the revocation must be remembered.
    pub until: Timestamp,
}

/// Error of [`TokenStore::issue`].
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The agent, its organization, the credential, or another party or an ancestor of the token no longer meets the
    /// conditions.
    #[error("the client is no longer allowed to have a token")]
    NoLongerAllowed,
    /// The client was issued as many tokens in this month as this quota allows.
    #[error("the client has reached its quota of {0} tokens this month")]
    QuotaReached(u32),
    /// An assertion was used before.
    #[error("an assertion was used before")]
    AssertionSpent,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
