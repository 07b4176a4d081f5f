//! Rows that decide about a token or a client, from the file or from those that are kept in memory.

use std::sync::Arc;

use rusqlite::params;

use super::database::Database;
use super::row_cache::{Credentials, PersonKey, RowCache, RowKey};
use super::rows::agents::agent;
use super::rows::column::number;
use super::rows::credentials::credential;
use super::rows::issuers::issuer;
use super::rows::organizations::organization;
use domain::agent::Agent;
use domain::audit::Authority;
use domain::client::RegisteredClient;
use domain::credential::{Credential, CredentialKind};
use domain::delegation::digest_of;
use domain::id::{AgentId, IssuerId, OrganizationId, TokenId};
use domain::issuer::{IssuerGeneration, TrustedIssuer};
use domain::organization::Organization;
use domain::token::{Claims, PersonStatus, TokenStatus};
use ports::credential_store::PresentedKind;
use ports::store_error::StoreError;

/// Where such rows are found. `Ok(None)` says that there is no such row.
pub trait Facts {
    /// Error of a row that is not found here, though the file may have it.
    type Error;

    /// Returns the agent with this ID.
    fn agent(&self, id: AgentId) -> Result<Option<Arc<Agent>>, Self::Error>;

    /// Returns the unrevoked credentials of an agent, the oldest first.
    fn credentials(&self, agent: AgentId) -> Result<Credentials, Self::Error>;

    /// Returns the organization with this ID.
    fn organization(&self, id: OrganizationId) -> Result<Option<Arc<Organization>>, Self::Error>;

    /// Returns the trusted issuer with this ID.
    fn issuer(&self, id: IssuerId) -> Result<Option<Arc<TrustedIssuer>>, Self::Error>;

    /// Returns the generation of a person: 0 for a person whose tokens were never revoked.
    fn person_generation(&self, person: PersonKey) -> Result<u64, Self::Error>;

    /// Returns whether this one token was revoked.
    fn is_revoked(&self, token: TokenId) -> Result<bool, Self::Error>;

    /// Returns whether each issuer is there, active and of this generation.
    fn issuers_hold(&self, issuers: &[IssuerGeneration]) -> Result<bool, Self::Error> {
        for rests_on in issuers {
            let issuer = self.issuer(rests_on.issuer)?;
            if !issuer.is_some_and(|issuer| issuer.is_active() && issuer.generation == rests_on.generation) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether the authority for a write still holds.
    fn holds(&self, authority: &Authority) -> Result<bool, Self::Error> {
        let Some(agent) = self.agent(authority.agent)? else { return Ok(false) };
        let Some(organization) = self.organization(agent.organization)? else { return Ok(false) };
        let is_revoked = match authority.token {
            Some(token) => self.is_revoked(token)?,
            None => false,
        };
        Ok(authority.holds(&agent, &organization, is_revoked, self.issuers_hold(&authority.issuers)?))
    }

    /// Returns the status of a token; `None` if its agent is unknown.
    fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, Self::Error> {
        let Some(agent) = self.agent(claims.agent)? else { return Ok(None) };
        let Some(organization) = self.organization(agent.organization)? else { return Ok(None) };
        let mut is_revoked = self.is_revoked(claims.id)?;
        for parent in claims.parents() {
            is_revoked = is_revoked || self.is_revoked(*parent)?;
        }
        let others = claims.other_agents().filter_map(|id| self.agent(id).transpose());
        let other_agents = others.collect::<Result<_, _>>()?;
        let person = match claims.person() {
            Some(person) => match self.issuer(person.issuer)? {
                Some(issuer) => {
                    let generation = self.person_generation((person.issuer, digest_of(&person.sub)))?;
                    Some(PersonStatus { issuer, generation })
                }
                None => None,
            },
            None => None,
        };
        let issuers_hold = self.issuers_hold(&claims.issuers)?;
        Ok(Some(TokenStatus { agent, organization, is_revoked, issuers_hold, other_agents, person }))
    }

    /// Returns the client with its unrevoked secrets or keys that may match; `None` if it is unknown.
    fn client(&self, agent: AgentId, kind: &PresentedKind) -> Result<Option<RegisteredClient>, Self::Error> {
        let Some(agent) = self.agent(agent)? else { return Ok(None) };
        let Some(organization) = self.organization(agent.organization)? else { return Ok(None) };
        let may_match = |credential: &Arc<Credential>| match (kind, &credential.kind) {
            (PresentedKind::Secret(fingerprint), CredentialKind::Secret { current, previous }) => {
                let previous = previous.as_ref().map(|previous| previous.secret.fingerprint);
                current.fingerprint == *fingerprint || previous == Some(*fingerprint)
            }
            (PresentedKind::Key, CredentialKind::Key(_)) => true,
            _ => false,
        };
        let candidates = match kind {
            PresentedKind::Secret(_) | PresentedKind::Key => {
                self.credentials(agent.id)?.iter().filter(|one| may_match(one)).cloned().collect()
            }
            PresentedKind::Federated(_) | PresentedKind::None => Vec::new(),
        };
        Ok(Some(RegisteredClient { agent, organization, candidates, issuer: None, is_current: true }))
    }
}

impl Facts for Database {
    type Error = StoreError;

    fn agent(&self, id: AgentId) -> Result<Option<Arc<Agent>>, StoreError> {
        const AGENT: &str = "SELECT * FROM agents WHERE agent_id = ?1";
        let rows = self.cached_rows();
        rows.get(RowKey::Agent(id), id, |rows| &rows.agents, || self.first(AGENT, [id.0], agent))
    }

    fn credentials(&self, agent: AgentId) -> Result<Credentials, StoreError> {
        const CREDENTIALS: &str = "\
SELECT * FROM credentials WHERE agent_id = ?1 AND revoked_at IS NULL ORDER BY created_at, credential_id";
        let read = || Ok(Some(self.all(CREDENTIALS, [agent.0], credential)?.into()));
        let rows = self.cached_rows();
        let found = rows.get(RowKey::Credentials(agent), agent, |rows| &rows.credentials, read)?;
        Ok(found.unwrap_or_default())
    }

    fn organization(&self, id: OrganizationId) -> Result<Option<Arc<Organization>>, StoreError> {
        const ORGANIZATION: &str = "SELECT * FROM organizations WHERE organization_id = ?1";
        let read = || self.first(ORGANIZATION, [id.0], organization);
        self.cached_rows().get(RowKey::Organization(id), id, |rows| &rows.organizations, read)
    }

    fn issuer(&self, id: IssuerId) -> Result<Option<Arc<TrustedIssuer>>, StoreError> {
        const ISSUER: &str = "SELECT * FROM trusted_issuers WHERE issuer_id = ?1";
        let rows = self.cached_rows();
        rows.get(RowKey::Issuer(id), id, |rows| &rows.issuers, || self.first(ISSUER, [id.0], issuer))
    }

    fn person_generation(&self, person: PersonKey) -> Result<u64, StoreError> {
        const GENERATION: &str = "\
SELECT COALESCE((SELECT generation FROM person_generations WHERE issuer_id = ?1 AND digest = ?2), 0) AS generation";
        let (issuer, digest) = person;
        let read = || self.first(GENERATION, params![issuer.0, digest], |row| number(row, "generation"));
        let found = self.cached_rows().get(RowKey::Person(person), person, |rows| &rows.people, read)?;
        Ok(found.unwrap_or_default())
    }

    fn is_revoked(&self, token: TokenId) -> Result<bool, StoreError> {
        const IS_REVOKED: &str = "SELECT EXISTS (SELECT 1 FROM token_revocations WHERE token_id = ?1)";
        let read = || self.value(IS_REVOKED, [token.0]).map(Some);
        let found =
            self.cached_rows().get(RowKey::Revocation(token), token, |rows| &rows.revocations, read)?;
        Ok(found.unwrap_or_default())
    }
}

/// Error of a row that is not kept in memory, and has to be read from the file.
pub struct NotKept;

impl Facts for RowCache {
    type Error = NotKept;

    fn agent(&self, id: AgentId) -> Result<Option<Arc<Agent>>, NotKept> {
        self.agents.get(&id).map(Some).ok_or(NotKept)
    }

    fn credentials(&self, agent: AgentId) -> Result<Credentials, NotKept> {
        self.credentials.get(&agent).ok_or(NotKept)
    }

    fn organization(&self, id: OrganizationId) -> Result<Option<Arc<Organization>>, NotKept> {
        self.organizations.get(&id).map(Some).ok_or(NotKept)
    }

    fn issuer(&self, id: IssuerId) -> Result<Option<Arc<TrustedIssuer>>, NotKept> {
        self.issuers.get(&id).map(Some).ok_or(NotKept)
    }

    fn person_generation(&self, person: PersonKey) -> Result<u64, NotKept> {
        self.people.get(&person).ok_or(NotKept)
    }

    fn is_revoked(&self, token: TokenId) -> Result<bool, NotKept> {
        self.revocations.get(&token).ok_or(NotKept)
    }
}
