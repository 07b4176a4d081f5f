//! The maps that all in-memory stores share.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use domain::agent::{Agent, AgentStatus, Email};
use domain::audit::{AuditEvent, Position};
use domain::credential::{Credential, CredentialKind};
use domain::delegation::{Person, digest_of};
use domain::id::{AgentId, EventId, IssuerId, OrganizationId, TokenId};
use domain::issuer::TrustedIssuer;
use domain::organization::{Organization, Slug};
use domain::page::{Page, PageRequest};
use domain::plan::Limit;
use domain::time::{Month, Timestamp};
use domain::token::{PersonStatus, RevocationNotice};
use ports::outbox::{Message, Pending, Sequence};
use ports::store_error::StoreError;
use ports::store_health::StoreHealth;
use ports::token_store::{Dependency, PersonDependency, Signer};
use ports::write::{CallerRevoked, Write};

/// All stores of one service, in memory.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

impl Memory {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StoreHealth for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn is_essential(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct State {
    pub organizations: HashMap<OrganizationId, Arc<Organization>>,
    pub organizations_by_age: BTreeSet<(Timestamp, OrganizationId)>,
    pub slugs: HashMap<Slug, OrganizationId>,
    pub agents: HashMap<AgentId, Arc<Agent>>,
    pub agents_by_age: BTreeSet<(Timestamp, AgentId)>,
    pub emails: HashMap<(OrganizationId, Email), AgentId>,
    /// Organizations whose retention was shortened: the previous retention in days, and until when it still applies.
    pub retention_falls: HashMap<OrganizationId, (Limit, Timestamp)>,
    /// Number of agents that are not decommissioned.
    pub registered_agents: HashMap<OrganizationId, u32>,
    /// In order of creation.
    pub credentials: HashMap<AgentId, Vec<Arc<Credential>>>,
    pub issuers: HashMap<IssuerId, Arc<TrustedIssuer>>,
    pub events: BTreeMap<Position, Arc<AuditEvent>>,
    pub event_times: HashMap<EventId, Timestamp>,
    /// Generations of persons; 0 for any other.
    pub person_generations: HashMap<(IssuerId, [u8; 32]), u64>,
    /// Revoked tokens, and until when each is kept.
    pub revocations: HashMap<TokenId, Timestamp>,
    /// Spent assertions, and until when each is kept.
    pub assertions: HashMap<(Signer, [u8; 32]), Timestamp>,
    /// Number of tokens issued to an agent in a month.
    pub monthly: HashMap<(AgentId, Month), u32>,
    /// Tallies that are not settled yet.
    pub tallies: HashMap<String, OpenTally>,
    /// Messages that are not delivered yet, oldest first.
    pub outbox: VecDeque<Pending>,
    pub last_message: i64,
}

/// A tally, summed over all instances.
pub(super) struct OpenTally {
    pub minute: Timestamp,
    pub event: AuditEvent,
    pub samples: usize,
    pub count: u64,
}

impl State {
    /// Returns whether the agent and its organization are active and of the revision that a token depends on.
    pub fn is_at(&self, dependency: Dependency) -> bool {
        let agent = self.agents.get(&dependency.agent);
        let organization = agent.and_then(|agent| self.organizations.get(&agent.organization));
        agent.zip(organization).is_some_and(|(agent, organization)| {
            agent.is_active()
                && organization.is_active()
                && agent.revision + organization.revision == dependency.revision
                && agent.updated_at.max(organization.updated_at) == dependency.changed_at
        })
    }

    pub(super) fn is_revoked(&self, token: TokenId) -> bool {
        self.revocations.contains_key(&token)
    }

    /// Returns the state of a person; `None` if the trusted issuer is gone.
    pub(super) fn person(&self, person: &Person) -> Option<PersonStatus> {
        let issuer = self.issuers.get(&person.issuer)?.clone();
        let key = (person.issuer, digest_of(&person.sub));
        let generation = self.person_generations.get(&key).copied().unwrap_or_default();
        Some(PersonStatus { issuer, generation })
    }

    /// Returns the present generation of a person.
    pub(super) fn generation_of(&self, person: &PersonDependency) -> u64 {
        self.person_generations.get(&(person.issuer, person.digest)).copied().unwrap_or_default()
    }

    pub(super) fn record(&mut self, organization: Option<OrganizationId>, event: AuditEvent) {
        self.event_times.insert(event.id, event.at);
        self.events.insert(event.position(), Arc::new(AuditEvent { organization, ..event }));
    }

    /// Returns [`CallerRevoked`] if the authority for a write no longer holds.
    pub(super) fn allow(&self, write: Write<'_>) -> Result<(), CallerRevoked> {
        let Some(authority) = write.authority else { return Ok(()) };
        let is_revoked = authority.token.is_some_and(|token| self.revocations.contains_key(&token));
        let holds = self.agents.get(&authority.agent).is_some_and(|agent| {
            let organization = self.organizations.get(&agent.organization);
            organization.is_some_and(|organization| {
                authority.holds(agent, organization, is_revoked, self.issuers_hold(&authority.issuers))
            })
        });
        if holds { Ok(()) } else { Err(CallerRevoked) }
    }

    pub(super) fn record_all(&mut self, organization: OrganizationId, events: &[AuditEvent]) {
        for event in events {
            self.record(Some(organization), event.clone());
        }
    }

    pub(super) fn notify(&mut self, notice: RevocationNotice) {
        self.last_message += 1;
        let sequence = Sequence(self.last_message);
        self.outbox.push_back(Pending { sequence, message: Message::Revocation(notice) });
    }

    /// Adds a notice to the outbox if the agent's generation rose.
    pub(super) fn announce(&mut self, generation_before: u64, after: &Agent) {
        if after.generation > generation_before {
            self.notify(RevocationNotice::of_agent(after, after.updated_at));
        }
    }

    /// Returns whether the agent can administer now.
    ///
    /// This requires an active agent in an active organization, with `admin:orgs` and a live credential, of an active
    /// issuer if it is federated.
    pub(super) fn is_administrator(&self, agent: &Agent, now: Timestamp) -> bool {
        agent.could_administer()
            && self
                .organizations
                .get(&agent.organization)
                .is_some_and(|organization| organization.is_active())
            && self.credentials.get(&agent.id).into_iter().flatten().any(|credential| {
                credential.is_live(now)
                    && match &credential.kind {
                        CredentialKind::Federated(identity) => {
                            self.issuers.get(&identity.issuer).is_some_and(|issuer| issuer.is_active())
                        }
                        _ => true,
                    }
            })
    }

    /// Returns whether any agent can administer now.
    pub(super) fn has_administrator(&self, now: Timestamp) -> bool {
        self.agents.values().any(|agent| self.is_administrator(agent, now))
    }

    pub(super) fn live_credentials(&self, agent: AgentId, now: Timestamp) -> u32 {
        let credentials = self.credentials.get(&agent).map_or(&[][..], Vec::as_slice);
        credentials.iter().map(|credential| u32::from(credential.is_live(now))).sum()
    }

    /// Stores an agent under its ID, and returns the agent that was stored before.
    pub(super) fn put_agent(&mut self, agent: Arc<Agent>) -> Option<Arc<Agent>> {
        let is_registered = agent.status != AgentStatus::Decommissioned;
        let organization = agent.organization;
        let before = self.agents.insert(agent.id, agent);
        let was_registered =
            before.as_ref().is_some_and(|before| before.status != AgentStatus::Decommissioned);
        let count = self.registered_agents.entry(organization).or_default();
        match (was_registered, is_registered) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        }
        before
    }
}

/// Returns one page of a list in order, newest first.
pub(super) fn page_of<T>(newest_first: impl Iterator<Item = T>, page: PageRequest) -> Page<T> {
    let (offset, limit) = (page.offset(), u64::from(page.limit));
    let mut total = 0;
    let mut items = Vec::new();
    for item in newest_first {
        if (offset..offset + limit).contains(&total) {
            items.push(item);
        }
        total += 1;
    }
    Page { items, total }
}
