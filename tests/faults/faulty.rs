//! Stores that fail before an operation or after it, or take their time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentidp::app::Stores;
use agentidp::domain::agent::{Agent, AgentFilter};
use agentidp::domain::audit::AuditEvent;
use agentidp::domain::client::RegisteredClient;
use agentidp::domain::credential::{Credential, CredentialStatus};
use agentidp::domain::id::{AgentId, CredentialId, OrganizationId};
use agentidp::domain::organization::{Organization, Slug};
use agentidp::domain::page::{Page, PageRequest};
use agentidp::domain::secret::{Fingerprint, SecretDigest};
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::time::Timestamp;
use agentidp::domain::token::{Claims, TokenStatus};
use agentidp::ports::agent_store::{AgentStore, InsertAgentError, UpdateAgentError};
use agentidp::ports::credential_store::{
    CredentialStore, CredentialUpdate, Freshness, InsertCredentialError, PresentedKind, UpdateCredentialError,
};
use agentidp::ports::organization_store::{
    InsertOrganizationError, OrganizationStore, UpdateOrganizationError,
};
use agentidp::ports::store_error::StoreError;
use agentidp::ports::token_store::{IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};
use agentidp::ports::write::Write;
use async_trait::async_trait;

use crate::pace::{Rng, wait};

/// How many of a hundred calls fail before they do anything, and how many after.
const FAILS: usize = 5;
/// Upper bound of the delay before and after each call, in milliseconds.
const LONGEST: usize = 40;

/// The stores behind one instance, with faults of their own.
pub struct Faulty {
    stores: Stores,
    rng: Mutex<Rng>,
}

/// The delays and failures chosen for one call.
struct Fate {
    before: Duration,
    after: Duration,
    fails_before: bool,
    fails_after: bool,
}

impl Faulty {
    /// Returns those stores with faults chosen by `rng`.
    pub fn of(stores: &Stores, rng: Rng) -> Stores {
        let faulty = Arc::new(Self { stores: stores.clone(), rng: Mutex::new(rng) });
        Stores {
            agents: faulty.clone(),
            organizations: faulty.clone(),
            credentials: faulty.clone(),
            tokens: faulty,
            ..stores.clone()
        }
    }

    fn fate(&self) -> Fate {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let mut time = || Duration::from_millis(rng.below(LONGEST) as u64);
        let (before, after) = (time(), time());
        let chance = rng.below(100);
        let fails_after = (FAILS..2 * FAILS).contains(&chance);
        Fate { before, after, fails_before: chance < FAILS, fails_after }
    }

    /// Delays the operation, and fails before it, loses its outcome or returns it.
    async fn around<T, E: From<StoreError>>(
        &self,
        is_change: bool,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let fate = self.fate();
        wait(fate.before).await;
        if fate.fails_before {
            return Err(StoreError::Unavailable { store: "faulty", source: "it failed before".into() }.into());
        }
        let outcome = work.await;
        wait(fate.after).await;
        match (fate.fails_after, is_change) {
            (false, _) => outcome,
            (true, true) => {
                Err(StoreError::InDoubt { store: "faulty", source: "its answer was lost".into() }.into())
            }
            (true, false) => {
                Err(StoreError::Unavailable { store: "faulty", source: "its answer was lost".into() }.into())
            }
        }
    }
}

#[async_trait]
impl TokenStore for Faulty {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        self.around(true, self.stores.tokens.issue(issue)).await
    }

    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        self.around(true, self.stores.tokens.spend(assertion)).await
    }

    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        self.around(false, self.stores.tokens.is_spent(assertion)).await
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        self.around(true, self.stores.tokens.revoke(revocation, event)).await
    }

    async fn statuses(
        &self,
        organization: OrganizationId,
        claims: &[Claims],
    ) -> Result<Vec<Option<TokenStatus>>, StoreError> {
        self.around(false, self.stores.tokens.statuses(organization, claims)).await
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        self.around(false, self.stores.tokens.status(claims)).await
    }
}

#[async_trait]
impl AgentStore for Faulty {
    async fn insert(
        &self,
        within: Tenancy,
        agent: &Agent,
        credential: Option<&Credential>,
        write: Write<'_>,
    ) -> Result<(), InsertAgentError> {
        self.around(true, self.stores.agents.insert(within, agent, credential, write)).await
    }

    async fn find(&self, within: Tenancy, id: AgentId) -> Result<Option<Arc<Agent>>, StoreError> {
        self.around(false, self.stores.agents.find(within, id)).await
    }

    async fn find_all(&self, within: Tenancy, ids: &[AgentId]) -> Result<Vec<Arc<Agent>>, StoreError> {
        self.around(false, self.stores.agents.find_all(within, ids)).await
    }

    async fn list(
        &self,
        within: Tenancy,
        filter: &AgentFilter,
        page: PageRequest,
    ) -> Result<Page<Arc<Agent>>, StoreError> {
        self.around(false, self.stores.agents.list(within, filter, page)).await
    }

    async fn update(&self, before: &Agent, after: &Agent, write: Write<'_>) -> Result<(), UpdateAgentError> {
        self.around(true, self.stores.agents.update(before, after, write)).await
    }
}

#[async_trait]
impl OrganizationStore for Faulty {
    async fn insert(
        &self,
        organization: &Organization,
        write: Write<'_>,
    ) -> Result<(), InsertOrganizationError> {
        self.around(true, self.stores.organizations.insert(organization, write)).await
    }

    async fn find(
        &self,
        within: Tenancy,
        id: OrganizationId,
    ) -> Result<Option<Arc<Organization>>, StoreError> {
        self.around(false, self.stores.organizations.find(within, id)).await
    }

    async fn find_by_slug(&self, slug: &Slug) -> Result<Option<Arc<Organization>>, StoreError> {
        self.around(false, self.stores.organizations.find_by_slug(slug)).await
    }

    async fn list(&self, page: PageRequest) -> Result<Page<Arc<Organization>>, StoreError> {
        self.around(false, self.stores.organizations.list(page)).await
    }

    async fn update(
        &self,
        before: &Organization,
        after: &Organization,
        write: Write<'_>,
    ) -> Result<(), UpdateOrganizationError> {
        self.around(true, self.stores.organizations.update(before, after, write)).await
    }
}

#[async_trait]
impl CredentialStore for Faulty {
    async fn check_capacity(
        &self,
        agent: AgentId,
        max_live: u32,
        now: Timestamp,
    ) -> Result<(), InsertCredentialError> {
        self.around(false, self.stores.credentials.check_capacity(agent, max_live, now)).await
    }

    async fn insert(
        &self,
        agent: &Agent,
        credential: &Credential,
        max_live: u32,
        write: Write<'_>,
    ) -> Result<(), InsertCredentialError> {
        self.around(true, self.stores.credentials.insert(agent, credential, max_live, write)).await
    }

    async fn find(&self, agent: AgentId, id: CredentialId) -> Result<Option<Arc<Credential>>, StoreError> {
        self.around(false, self.stores.credentials.find(agent, id)).await
    }

    async fn list(
        &self,
        agent: AgentId,
        status: Option<CredentialStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        self.around(false, self.stores.credentials.list(agent, status, page)).await
    }

    async fn expiring(
        &self,
        within: Tenancy,
        after: Timestamp,
        until: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        self.around(false, self.stores.credentials.expiring(within, after, until, page)).await
    }

    async fn update(
        &self,
        agent: &Agent,
        change: &CredentialUpdate<'_>,
        write: Write<'_>,
    ) -> Result<(), UpdateCredentialError> {
        self.around(true, self.stores.credentials.update(agent, change, write)).await
    }

    async fn find_client(
        &self,
        agent: AgentId,
        kind: PresentedKind,
        freshness: Freshness,
    ) -> Result<Option<RegisteredClient>, StoreError> {
        self.around(false, self.stores.credentials.find_client(agent, kind, freshness)).await
    }

    async fn set_digest(
        &self,
        agent: AgentId,
        id: CredentialId,
        fingerprint: Fingerprint,
        digest: SecretDigest,
    ) -> Result<(), StoreError> {
        self.around(true, self.stores.credentials.set_digest(agent, id, fingerprint, digest)).await
    }

    async fn touch(&self, agent: AgentId, id: CredentialId, minute: Timestamp) -> Result<(), StoreError> {
        self.around(true, self.stores.credentials.touch(agent, id, minute)).await
    }
}
