//! The stores of one adapter, and the entities that the clauses store.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentidp::adapters::memory::{Memory, MemoryRateLimiter};
use agentidp::adapters::postgres::Postgres;
use agentidp::adapters::redis::{
    FallbackRateLimiter, FallbackTokenStore, Redis, RedisRateLimiter, RedisRevocationCache, RedisSettings,
    RedisUsageMirror,
};
use agentidp::adapters::sqlite::Sqlite;
use agentidp::app::Stores as Ports;
use agentidp::domain::agent::{Agent, AgentStatus, AgentType, DeploymentEnv, Email, Owner, Version};
use agentidp::domain::audit::{
    AuditAction, AuditEvent, Authority, Metadata, Origin, Outcome, Resource, Tally, TraceId,
};
use agentidp::domain::claim_rules::ClaimRules;
use agentidp::domain::credential::{Credential, CredentialKind, StoredSecret};
use agentidp::domain::federation::FederatedIdentity;
use agentidp::domain::id::{AgentId, CredentialId, EventId, IssuerId, OrganizationId, TokenId};
use agentidp::domain::issuer::{DEFAULT_ALGORITHMS, IssuerStatus, IssuerUrl, KeySource, TrustedIssuer};
use agentidp::domain::may_act::MayAct;
use agentidp::domain::organization::{Name, Organization, OrganizationStatus, Slug};
use agentidp::domain::plan::{Limit, LimitOverrides, Plan};
use agentidp::domain::proof::ProofRequirement;
use agentidp::domain::scope::Scopes;
use agentidp::domain::secret::{Fingerprint, SecretHash};
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::time::Timestamp;
use agentidp::domain::token::{Audience, Claims};
use agentidp::ports::audit_log::AuditQuery;
use agentidp::ports::credential_store::{CredentialUpdate, UpdateCredentialError};
use agentidp::ports::token_store::TokenIssue;
use agentidp::ports::write::Write;
use tempfile::TempDir;
use testing::{Database, ManualClock, NOON, OWNER, SERVES, redis_url};
use uuid::Uuid;

use crate::redis_cluster::redis_cluster_url;

/// Number of callers that race.
pub const RACERS: usize = 30;
/// How often a race is repeated, because a single run may pass by luck.
pub const ROUNDS: usize = 8;

/// Makes each clause a test on each adapter.
macro_rules! contract {
    ([$($adapter:ident),+ $(,)?] $clauses:tt) => { $(contract!(@on $adapter $clauses);)+ };
    (@on $adapter:ident [$($clause:ident),+ $(,)?]) => { mod $adapter {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $clause() { super::$clause($crate::fixtures::$adapter().await).await })+
    } };
}
pub(crate) use contract;

/// The stores of one adapter, empty, with the clock that they use.
#[derive(Clone)]
pub struct Stores {
    ports: Ports,
    /// Database of the stores, if they have one; dropped with them.
    database: Option<Arc<Database>>,
    /// Folder of the stores, if they are in a file.
    _folder: Option<Arc<TempDir>>,
    pub clock: Arc<ManualClock>,
}

impl Deref for Stores {
    type Target = Ports;

    fn deref(&self) -> &Self::Target {
        &self.ports
    }
}

/// Rate limiter and revocation cache in Redis, the rest in memory.
pub async fn redis() -> Stores {
    let stores = memory().await;
    let (limiter, revocation_cache) = in_redis(&stores.clock).await;
    let ports = Ports { limiter, revocation_cache: Some(revocation_cache), ..stores.ports };
    Stores { ports, ..stores }
}

/// The same as [`redis`], in a Redis Cluster.
/// In a cluster, a script must be sent to the node that holds its key.
pub async fn redis_cluster() -> Stores {
    let stores = memory().await;
    let (limiter, revocation_cache, _) = in_redis_at(&redis_cluster_url(), "", &stores.clock).await;
    let ports = Ports { limiter, revocation_cache: Some(revocation_cache), ..stores.ports };
    Stores { ports, ..stores }
}

async fn in_redis(clock: &Arc<ManualClock>) -> (Arc<RedisRateLimiter>, Arc<RedisRevocationCache>) {
    let (limiter, cache, _) = in_redis_at(&redis_url(), "", clock).await;
    (limiter, cache)
}

pub async fn in_redis_at(
    url: &str,
    key_prefix: &str,
    clock: &Arc<ManualClock>,
) -> (Arc<RedisRateLimiter>, Arc<RedisRevocationCache>, Arc<RedisUsageMirror>) {
    let settings = RedisSettings::parse(&url.into()).expect("a URL").with_key_prefix(key_prefix);
    let redis = Redis::connect(&settings).await.expect("the private server");
    let limiter = RedisRateLimiter::new(redis.clone(), Some(clock.clone()));
    let cache = RedisRevocationCache::new(redis.clone(), clock.clone());
    (Arc::new(limiter), Arc::new(cache), Arc::new(RedisUsageMirror::new(redis, clock.clone())))
}

/// Stores in memory and Redis, joined by the fallback decorators.
pub async fn fallback() -> Stores {
    beside_redis(memory().await).await
}

/// Stores in PostgreSQL and Redis, joined by the fallback decorators.
pub async fn fallback_postgres() -> Stores {
    beside_redis(postgres().await).await
}

async fn beside_redis(stores: Stores) -> Stores {
    let (limiter, revocation_cache) = in_redis(&stores.clock).await;
    let ports = Ports {
        tokens: Arc::new(FallbackTokenStore::new(stores.ports.tokens, revocation_cache.clone())),
        limiter: Arc::new(FallbackRateLimiter::new(limiter, stores.ports.limiter)),
        revocation_cache: Some(revocation_cache),
        ..stores.ports
    };
    Stores { ports, ..stores }
}

pub async fn postgres() -> Stores {
    let database = Arc::new(Database::migrated().await);
    let postgres = Arc::new(Postgres::new(&database.settings(SERVES), 8).expect("a pool"));
    let stores = memory().await;
    let ports = Ports::of(&postgres, stores.ports.limiter);
    Stores { ports, database: Some(database), ..stores }
}

pub async fn sqlite() -> Stores {
    let folder = TempDir::new().expect("a folder");
    let sqlite = Arc::new(Sqlite::open(&folder.path().join("agentidp.db")).expect("a new file"));
    let stores = memory().await;
    let ports = Ports::of(&sqlite, stores.ports.limiter);
    Stores { ports, _folder: Some(Arc::new(folder)), ..stores }
}

pub async fn memory() -> Stores {
    let clock = Arc::new(ManualClock::default());
    let limiter = Arc::new(MemoryRateLimiter::new(clock.clone()));
    let ports = Ports::of(&Arc::new(Memory::default()), limiter);
    Stores { ports, database: None, _folder: None, clock }
}

/// Returns an ID that was never returned before.
pub fn id() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(next))
}

pub fn organization() -> Organization {
    let id = OrganizationId(id());
    Organization {
        id,
        name: Name::parse("Example").expect("valid"),
        slug: Slug::parse(&format!("o{}", &id.0.simple().to_string()[16..])).expect("valid"),
        plan: Plan::Enterprise,
        status: OrganizationStatus::Active,
        resources: Vec::new(),
        overrides: LimitOverrides::default(),
        created_at: NOON,
        updated_at: NOON,
        generation: 0,
        revision: 0,
    }
}

pub fn agent(organization: OrganizationId) -> Agent {
    let id = AgentId(id());
    Agent {
        id,
        organization,
        email: Email::parse(&format!("{id}@example.com")).expect("valid"),
        agent_type: AgentType::Custom,
        version: Version::parse("1.0.0").expect("valid"),
        capabilities: Scopes::capabilities(&["files:read"]).expect("valid"),
        owner: Owner::parse("team").expect("valid"),
        default_resource: None,
        may_act: MayAct::NONE,
        redelegation: false,
        dpop: ProofRequirement::Optional,
        deployment_env: DeploymentEnv::Development,
        managed_by: None,
        status: AgentStatus::Active,
        created_at: NOON,
        updated_at: NOON,
        generation: 0,
        revision: 0,
    }
}

pub fn administrator(organization: OrganizationId) -> Agent {
    let capabilities = Scopes::capabilities(&["admin:orgs"]).expect("valid");
    Agent { capabilities, ..agent(organization) }
}

pub fn credential(agent: AgentId) -> Credential {
    let id = CredentialId(id());
    let mut fingerprint = [0; 8];
    fingerprint.copy_from_slice(&id.0.as_bytes()[8..]);
    let current = StoredSecret {
        fingerprint: Fingerprint(fingerprint),
        hash: SecretHash(format!("$2b$04$hash of {id}")),
        digest: None,
    };
    Credential {
        id,
        agent,
        kind: CredentialKind::Secret { current, previous: None },
        created_at: NOON,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        revision: 0,
    }
}

/// Returns a request to issue a token for that credential.
/// The request has the present revision of the agent.
pub fn issue(agent: &Agent, credential: &Credential) -> TokenIssue {
    TokenIssue {
        agent: agent.id,
        credential: credential.id,
        secret: secret_of(credential),
        revision: agent.revision,
        changed_at: agent.updated_at,
        depends_on: Vec::new(),
        issuers: Vec::new(),
        ancestors: Vec::new(),
        person: None,
        assertions: Vec::new(),
        event: event(AuditAction::TokenIssued, TokenId(id())),
    }
}

/// Returns an issuer with a URL of its own.
pub fn issuer(organization: OrganizationId) -> TrustedIssuer {
    let id = IssuerId(id());
    TrustedIssuer {
        id,
        organization,
        name: Name::parse("CI").expect("valid"),
        issuer: IssuerUrl::parse(&format!("https://{id}.example.com")).expect("valid"),
        keys: KeySource::Discovery,
        audiences: vec!["https://id.example.com".to_owned()],
        algorithms: DEFAULT_ALGORITHMS.to_vec(),
        max_lifetime_seconds: 3_600,
        require_jti: false,
        subject_optional: false,
        subjects: None,
        managed_by: None,
        status: IssuerStatus::Active,
        created_at: NOON,
        updated_at: NOON,
        generation: 0,
        subjects_generation: 0,
        revision: 0,
    }
}

/// Returns a federated credential of that agent, with a subject of its own.
pub fn federated(agent: &Agent, issuer: &TrustedIssuer) -> Credential {
    let credential = credential(agent.id);
    let identity = FederatedIdentity {
        issuer: issuer.id,
        subject: Some(format!("workload {}", credential.id)),
        claims: ClaimRules::default(),
    };
    Credential { kind: CredentialKind::Federated(identity), ..credential }
}

fn secret_of(credential: &Credential) -> Option<Fingerprint> {
    match &credential.kind {
        CredentialKind::Secret { current, .. } => Some(current.fingerprint),
        _ => None,
    }
}

/// Events that a write records.
pub trait Events {
    fn events(&self) -> &[AuditEvent];
}

impl Events for AuditEvent {
    fn events(&self) -> &[AuditEvent] {
        std::slice::from_ref(self)
    }
}

impl Events for Vec<AuditEvent> {
    fn events(&self) -> &[AuditEvent] {
        self
    }
}

impl<const N: usize> Events for [AuditEvent; N] {
    fn events(&self) -> &[AuditEvent] {
        self
    }
}

/// Returns a write without a caller, whose authority would have to hold.
pub fn unchecked(events: &impl Events) -> Write<'_> {
    let events = events.events();
    Write { authority: None, events, at: events.first().map_or(NOON, |event| event.at) }
}

/// Returns a write of a caller with this authority.
pub fn by<'a>(authority: &'a Authority, events: &'a impl Events) -> Write<'a> {
    Write { authority: Some(authority), ..unchecked(events) }
}

pub fn event(action: AuditAction, resource: impl Into<Resource>) -> AuditEvent {
    AuditEvent {
        organization: None,
        id: EventId(id()),
        actor: None,
        action,
        outcome: Outcome::Success,
        resource: Some(resource.into()),
        origin: Origin {
            address: Some([192, 0, 2, 1].into()),
            user_agent: Some("test".into()),
            trace: Some(TraceId(u128::MAX - 1)),
        },
        metadata: Metadata::default().with("key", "value"),
        at: NOON,
    }
}

/// Returns the claims of a token of that agent.
pub fn claims(agent: &Agent, token: TokenId) -> Claims {
    Claims {
        agent: agent.id,
        organization: agent.organization,
        audience: Audience::Issuer,
        scopes: agent.capabilities.clone(),
        id: token,
        issued_at: NOON.as_seconds(),
        expires_at: NOON.as_seconds() + 3600,
        generation: agent.generation,
        issuers: Vec::new(),
        key: None,
        delegation: None,
    }
}

/// Returns a tally for the minute of its first event.
pub fn tally(key: &str, samples: &[AuditEvent], count: u64) -> Tally {
    let event = AuditEvent { id: EventId(id()), ..samples[0].clone() };
    let minute = event.at.to_the_minute();
    Tally { key: key.to_owned(), minute, event, samples: samples.to_vec(), count }
}

pub fn at_most(limit: u32) -> Option<Limit> {
    Some(Limit::AtMost(limit))
}

impl Stores {
    /// Stores an organization with these limits.
    pub async fn organization(&self, overrides: LimitOverrides) -> Organization {
        let organization = Organization { overrides, ..organization() };
        let created = event(AuditAction::OrganizationCreated, organization.id);
        self.organizations.insert(&organization, unchecked(&created)).await.expect("stored");
        organization
    }

    /// Stores an agent in a new organization.
    pub async fn agent(&self) -> Agent {
        let organization = self.organization(LimitOverrides::default()).await;
        self.add(agent(organization.id)).await
    }

    /// Stores that agent.
    pub async fn add(&self, agent: Agent) -> Agent {
        let created = event(AuditAction::AgentCreated, agent.id);
        self.agents.insert(Tenancy::All, &agent, None, unchecked(&created)).await.expect("stored");
        agent
    }

    /// Stores a credential of that agent.
    pub async fn credential(&self, agent: &Agent) -> Credential {
        let credential = credential(agent.id);
        let generated = event(AuditAction::CredentialGenerated, credential.id);
        self.credentials.insert(agent, &credential, 10, unchecked(&generated)).await.expect("stored");
        credential
    }

    /// Stores that trusted issuer.
    pub async fn trust(&self, issuer: TrustedIssuer) -> TrustedIssuer {
        let created = event(AuditAction::IssuerCreated, issuer.id);
        self.issuers.insert(Tenancy::All, &issuer, unchecked(&created)).await.expect("stored");
        issuer
    }

    /// Stores a federated credential of that agent.
    pub async fn federated(&self, agent: &Agent, issuer: &TrustedIssuer) -> Credential {
        let credential = federated(agent, issuer);
        let generated = event(AuditAction::CredentialGenerated, credential.id);
        self.credentials.insert(agent, &credential, 10, unchecked(&generated)).await.expect("stored");
        credential
    }

    /// Revokes that credential.
    pub async fn revoke_credential(
        &self,
        agent: &Agent,
        credential: &Credential,
    ) -> Result<(), UpdateCredentialError> {
        let after = credential.revoked(NOON).expect("live");
        let change = CredentialUpdate { before: credential, after: &after, max_live: 10, agent_after: None };
        let revoked = event(AuditAction::CredentialRevoked, after.id);
        self.credentials.update(agent, &change, unchecked(&revoked)).await
    }

    /// Stores an agent with these capabilities, and returns it with its authority by a token with all of them.
    pub async fn caller(&self, capabilities: &[&str]) -> (Agent, Authority) {
        let organization = self.organization(LimitOverrides::default()).await;
        let capabilities = Scopes::capabilities(capabilities).expect("valid");
        let caller = self.add(Agent { capabilities, ..agent(organization.id) }).await;
        let authority = Authority {
            agent: caller.id,
            organization: organization.id,
            generation: 0,
            scopes: caller.capabilities.management(),
            token: Some(TokenId(id())),
            issuers: Vec::new(),
        };
        (caller, authority)
    }

    /// Stores `count` credentials of that agent, revoked at that instant.
    pub async fn revoked_credentials(&self, agent: &Agent, count: u32, at: Timestamp) {
        if let Some(database) = &self.database {
            let sql = "INSERT INTO credentials (credential_id, agent_id, created_at, fingerprint, secret_hash, revoked_at, revision)
                SELECT gen_random_uuid(), $1, now(), '12345678'::bytea, 'hash', to_timestamp($2::float8 / 1000), 1 FROM generate_series(1, $3::bigint)";
            let client = database.client(OWNER).await;
            client
                .execute(sql, &[&agent.id.0, &(at.as_millis() as f64), &i64::from(count)])
                .await
                .expect("stored");
            return;
        }
        for _ in 0..count {
            let credential = self.credential(agent).await;
            let after = credential.revoked(at).expect("not yet");
            let update =
                CredentialUpdate { before: &credential, after: &after, max_live: 10, agent_after: None };
            let revoked = event(AuditAction::CredentialRevoked, after.id);
            self.credentials.update(agent, &update, unchecked(&revoked)).await.expect("revoked");
        }
    }

    /// Stores an administrator with a credential, in a new organization.
    pub async fn administrator(&self) -> (Organization, Agent, Credential) {
        let organization = self.organization(LimitOverrides::default()).await;
        let agent = self.add(administrator(organization.id)).await;
        let credential = self.credential(&agent).await;
        (organization, agent, credential)
    }

    /// Appends events that belong to no change.
    pub async fn append(&self, events: &[AuditEvent]) {
        let tallies = events.iter().map(|event| tally(&id().to_string(), std::slice::from_ref(event), 0));
        self.audit.tally(&tallies.collect::<Vec<_>>()).await.expect("stored");
    }

    /// Returns the database. Panics if the stores have none.
    pub fn database(&self) -> &Database {
        self.database.as_deref().expect("stores in PostgreSQL")
    }

    /// Backdates every shortened retention by thirty days.
    /// Does nothing if the store does not track those by its own clock.
    pub async fn let_retention_falls_pass(&self) {
        if let Some(database) = &self.database {
            let pass =
                "UPDATE audit_retention_falls SET kept_until = kept_until - interval '30 days 1 second'";
            database.client(OWNER).await.batch_execute(pass).await.expect("passed");
        }
    }

    /// Returns how many transactions have stored the agents of these organizations.
    pub async fn transactions_of_agents(&self, organizations: &[OrganizationId]) -> i64 {
        let organizations: Vec<Uuid> = organizations.iter().map(|id| id.0).collect();
        let count = "SELECT count(DISTINCT xmin::text) FROM agents WHERE organization_id = ANY ($1)";
        let client = self.database().client(OWNER).await;
        client.query_one(count, &[&organizations]).await.expect("an answer").get(0)
    }

    /// Returns the number of events with that action.
    pub async fn count(&self, action: AuditAction) -> usize {
        let query = AuditQuery {
            within: Tenancy::All,
            filter: agentidp::domain::audit::AuditFilter { action: Some(action), ..Default::default() },
            after: None,
            limit: 100_000,
            now: NOON,
        };
        self.audit.list(&query).await.expect("an answer").len()
    }
}

/// Runs all callers concurrently, and collects their outcomes.
pub async fn race<F, T>(callers: impl IntoIterator<Item = F>) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    callers.into_iter().collect::<tokio::task::JoinSet<T>>().join_all().await
}
