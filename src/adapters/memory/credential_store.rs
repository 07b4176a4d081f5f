//! Credentials, in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::Memory;
use super::state::{State, page_of};
use domain::agent::Agent;
use domain::client::RegisteredClient;
use domain::credential::{Credential, CredentialKind, CredentialStatus, MAX_REVOKED, MAX_UNREVOKED};
use domain::id::{AgentId, CredentialId};
use domain::issuer::TrustedIssuer;
use domain::page::{Page, PageRequest};
use domain::secret::{Fingerprint, SecretDigest};
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use ports::credential_store::{
    CredentialStore, CredentialUpdate, Freshness, InsertCredentialError, PresentedKind, UpdateCredentialError,
};
use ports::store_error::StoreError;
use ports::write::Write;

#[async_trait]
impl CredentialStore for Memory {
    async fn check_capacity(
        &self,
        agent: AgentId,
        max_live: u32,
        now: Timestamp,
    ) -> Result<(), InsertCredentialError> {
        self.lock().check_capacity(agent, max_live, now)
    }

    async fn insert(
        &self,
        agent: &Agent,
        credential: &Credential,
        max_live: u32,
        write: Write<'_>,
    ) -> Result<(), InsertCredentialError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        if !state.is_still(agent) {
            return Err(InsertCredentialError::LostRace);
        }
        if let CredentialKind::Federated(identity) = &credential.kind {
            let issuer = state.issuers.get(&identity.issuer);
            let is_own = |issuer: &&Arc<TrustedIssuer>| issuer.organization == agent.organization;
            let issuer = issuer.filter(is_own).ok_or(InsertCredentialError::NoSuchIssuer)?;
            if !identity.fits(issuer.subject_optional) {
                return Err(InsertCredentialError::SubjectMissing);
            }
        }
        state.check_capacity(agent.id, max_live, write.at)?;
        if state.unrevoked_like(credential) >= MAX_UNREVOKED as usize {
            return Err(InsertCredentialError::TooManyUnrevoked);
        }
        state.credentials.entry(agent.id).or_default().push(Arc::new(credential.clone()));
        state.record_all(agent.organization, write.events);
        Ok(())
    }

    async fn find(&self, agent: AgentId, id: CredentialId) -> Result<Option<Arc<Credential>>, StoreError> {
        Ok(self.lock().credential(agent, id).map(|credential| credential.clone()))
    }

    async fn list(
        &self,
        agent: AgentId,
        status: Option<CredentialStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        let state = self.lock();
        let newest_first = state.credentials.get(&agent).into_iter().flatten().rev();
        let wanted = newest_first.filter(|one| status.is_none_or(|status| status == one.status()));
        Ok(page_of(wanted.cloned(), page))
    }

    async fn expiring(
        &self,
        within: Tenancy,
        after: Timestamp,
        until: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        let state = self.lock();
        let is_within = |one: &Credential| {
            state.agents.get(&one.agent).is_some_and(|agent| within.contains(agent.organization))
        };
        let wanted = state.credentials.values().flatten().filter(|one| one.expires_within(after, until));
        let mut wanted: Vec<_> = wanted.filter(|one| is_within(one)).cloned().collect();
        wanted.sort_by_key(|one| (one.expires_at, one.id));
        Ok(page_of(wanted.into_iter(), page))
    }

    async fn update(
        &self,
        agent: &Agent,
        change: &CredentialUpdate<'_>,
        write: Write<'_>,
    ) -> Result<(), UpdateCredentialError> {
        let now = write.at;
        let state = &mut *self.lock();
        state.allow(write)?;
        if !state.is_still(agent) {
            return Err(UpdateCredentialError::LostRaceForAgent);
        }
        let comes_alive = !change.before.is_live(now) && change.after.is_live(now);
        if comes_alive && state.live_credentials(agent.id, now) >= change.max_live {
            return Err(UpdateCredentialError::LimitReached(change.max_live));
        }
        let ends = change.before.works_longer_than(change.after, now);
        let was_administrator = ends.is_some_and(|end| state.is_administrator(agent, end));
        let Some(stored) = state.credential(agent.id, change.before.id) else {
            return Err(UpdateCredentialError::LostRace);
        };
        if stored.revision != change.before.revision {
            return Err(UpdateCredentialError::LostRace);
        }
        let last_used_at = stored.last_used_at;
        let before = std::mem::replace(stored, Arc::new(Credential { last_used_at, ..change.after.clone() }));
        if was_administrator && ends.is_some_and(|end| !state.has_administrator(end)) {
            if let Some(stored) = state.credential(agent.id, change.before.id) {
                *stored = before;
            }
            return Err(UpdateCredentialError::LastAdministrator);
        }
        state.forget_revoked(agent.id);
        if let Some(agent_after) = change.agent_after {
            state.put_agent(Arc::new(agent_after.clone()));
            state.announce(agent.generation, agent_after);
        }
        state.record_all(agent.organization, write.events);
        Ok(())
    }

    async fn find_client(
        &self,
        agent: AgentId,
        kind: PresentedKind,
        _: Freshness,
    ) -> Result<Option<RegisteredClient>, StoreError> {
        let state = self.lock();
        let Some(agent) = state.agents.get(&agent).cloned() else { return Ok(None) };
        let Some(organization) = state.organizations.get(&agent.organization).cloned() else {
            return Ok(None);
        };
        let issuer = match &kind {
            PresentedKind::Federated(issuer) => {
                let is_asked = |one: &&Arc<TrustedIssuer>| {
                    one.organization == organization.id && one.issuer.as_str() == &**issuer
                };
                state.issuers.values().find(is_asked).cloned()
            }
            _ => None,
        };
        let fits = |credential: &&Arc<Credential>| match (&credential.kind, &kind) {
            (CredentialKind::Secret { current, previous }, PresentedKind::Secret(fingerprint)) => {
                current.fingerprint == *fingerprint
                    || previous.as_ref().is_some_and(|one| one.secret.fingerprint == *fingerprint)
            }
            (CredentialKind::Key(_), PresentedKind::Key) => credential.revoked_at.is_none(),
            (CredentialKind::Federated(identity), PresentedKind::Federated(_)) => {
                credential.revoked_at.is_none()
                    && issuer.as_ref().is_some_and(|issuer| issuer.id == identity.issuer)
            }
            _ => false,
        };
        let candidates =
            state.credentials.get(&agent.id).into_iter().flatten().filter(fits).cloned().collect();
        Ok(Some(RegisteredClient { agent, organization, candidates, issuer, is_current: true }))
    }

    async fn set_digest(
        &self,
        agent: AgentId,
        id: CredentialId,
        fingerprint: Fingerprint,
        digest: SecretDigest,
    ) -> Result<(), StoreError> {
        if let Some(stored) = self.lock().credential(agent, id).filter(|stored| stored.revoked_at.is_none())
            && let CredentialKind::Secret { current, .. } = &mut Arc::make_mut(stored).kind
            && current.fingerprint == fingerprint
        {
            current.digest = Some(digest);
        }
        Ok(())
    }

    async fn touch(&self, agent: AgentId, id: CredentialId, minute: Timestamp) -> Result<(), StoreError> {
        self.lock().touch(agent, id, minute);
        Ok(())
    }
}

impl State {
    fn is_still(&self, agent: &Agent) -> bool {
        self.agents.get(&agent.id).is_some_and(|stored| stored.revision == agent.revision)
    }

    fn check_capacity(
        &self,
        agent: AgentId,
        max_live: u32,
        now: Timestamp,
    ) -> Result<(), InsertCredentialError> {
        if self.live_credentials(agent, now) < max_live {
            Ok(())
        } else {
            Err(InsertCredentialError::LimitReached(max_live))
        }
    }

    /// Counts the agent's unrevoked credentials of the same kind as this one.
    fn unrevoked_like(&self, new: &Credential) -> usize {
        let known = self.credentials.get(&new.agent).into_iter().flatten();
        known.filter(|known| known.revoked_at.is_none() && known.kind.is_like(&new.kind)).count()
    }

    /// Removes the oldest revoked credentials of an agent, beyond [`MAX_REVOKED`].
    fn forget_revoked(&mut self, agent: AgentId) {
        let Some(known) = self.credentials.get_mut(&agent) else { return };
        let mut ends: Vec<_> = known.iter().filter_map(|one| Some((one.revoked_at?, one.id))).collect();
        let Some(too_many) = ends.len().checked_sub(MAX_REVOKED as usize) else { return };
        ends.sort_unstable();
        ends.truncate(too_many);
        known.retain(|one| ends.iter().all(|(_, id)| *id != one.id));
    }

    pub(super) fn credential(&mut self, agent: AgentId, id: CredentialId) -> Option<&mut Arc<Credential>> {
        self.credentials.get_mut(&agent)?.iter_mut().find(|credential| credential.id == id)
    }

    pub(super) fn touch(&mut self, agent: AgentId, id: CredentialId, minute: Timestamp) {
        if let Some(credential) = self.credential(agent, id)
            && credential.last_used_at < Some(minute)
        {
            Arc::make_mut(credential).last_used_at = Some(minute);
        }
    }
}
