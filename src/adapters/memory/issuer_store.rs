//! Trusted issuers, in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::Memory;
use super::state::{State, page_of};
use domain::credential::{Credential, CredentialKind};
use domain::delegation::digest_of;
use domain::generation::generation_after;
use domain::id::{IssuerId, OrganizationId, PersonId};
use domain::issuer::{IssuerGeneration, IssuerStatus, MAX_ISSUERS, TrustedIssuer};
use domain::page::{Page, PageRequest};
use domain::scope::ManagementScopes;
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use domain::token::{PersonStatus, RevocationNotice};
use ports::issuer_store::{ChangeIssuerError, InsertIssuerError, IssuerStore, MAX_MATCHES};
use ports::store_error::StoreError;
use ports::token_store::IssuerDependency;
use ports::write::Write;

#[async_trait]
impl IssuerStore for Memory {
    async fn insert(
        &self,
        within: Tenancy,
        issuer: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), InsertIssuerError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        if !within.contains(issuer.organization) || !state.organizations.contains_key(&issuer.organization) {
            return Err(InsertIssuerError::NoSuchOrganization);
        }
        let own = || state.issuers.values().filter(|one| one.organization == issuer.organization);
        if own().any(|one| one.issuer == issuer.issuer) {
            return Err(InsertIssuerError::Taken);
        }
        if own().count() >= MAX_ISSUERS as usize {
            return Err(InsertIssuerError::LimitReached(MAX_ISSUERS));
        }
        state.issuers.insert(issuer.id, Arc::new(issuer.clone()));
        state.record_all(issuer.organization, write.events);
        Ok(())
    }

    async fn find(&self, within: Tenancy, id: IssuerId) -> Result<Option<Arc<TrustedIssuer>>, StoreError> {
        let state = self.lock();
        Ok(state.issuers.get(&id).filter(|issuer| within.contains(issuer.organization)).cloned())
    }

    async fn find_for_person(
        &self,
        organization: OrganizationId,
        iss: &str,
        digest: &[u8; 32],
    ) -> Result<Option<PersonStatus>, StoreError> {
        let state = self.lock();
        let is_asked =
            |one: &&Arc<TrustedIssuer>| one.organization == organization && one.issuer.as_str() == iss;
        let issuer = state.issuers.values().find(is_asked).cloned();
        Ok(issuer.map(|issuer| PersonStatus {
            generation: state.person_generations.get(&(issuer.id, *digest)).copied().unwrap_or_default(),
            issuer,
        }))
    }

    async fn list(
        &self,
        within: Tenancy,
        status: Option<IssuerStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<TrustedIssuer>>, StoreError> {
        let state = self.lock();
        let mut wanted: Vec<_> = state
            .issuers
            .values()
            .filter(|issuer| {
                within.contains(issuer.organization) && status.is_none_or(|status| status == issuer.status)
            })
            .collect();
        wanted.sort_unstable_by_key(|issuer| std::cmp::Reverse((issuer.created_at, issuer.id)));
        Ok(page_of(wanted.into_iter().cloned(), page))
    }

    async fn update(
        &self,
        before: &TrustedIssuer,
        after: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError> {
        let now = write.at;
        let state = &mut *self.lock();
        state.allow(write)?;
        if !before.differs_in_name_only(after) {
            state.refuse_missing_scopes(before.id, write)?;
        }
        let stored = state.stored_issuer(before)?;
        let is_suspension = before.is_active() && !after.is_active();
        let had_administrator = is_suspension && state.has_administrator(now);
        state.issuers.insert(after.id, Arc::new(after.clone()));
        if had_administrator && !state.has_administrator(now) {
            state.issuers.insert(before.id, stored);
            return Err(ChangeIssuerError::LastAdministrator);
        }
        if after.generation > before.generation {
            state.notify(RevocationNotice::of_issuer(after, now));
        }
        if after.subjects_generation > before.subjects_generation {
            state.notify(RevocationNotice::of_everyone(after, now));
        }
        state.record_all(after.organization, write.events);
        Ok(())
    }

    async fn delete(&self, issuer: &TrustedIssuer, write: Write<'_>) -> Result<(), ChangeIssuerError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        if state.live_credentials_of(issuer.id, write.at).next().is_some() {
            return Err(ChangeIssuerError::InUse);
        }
        state.stored_issuer(issuer)?;
        state.issuers.remove(&issuer.id);
        let generation = generation_after(issuer.generation, write.at);
        state.notify(RevocationNotice::of_issuer(&TrustedIssuer { generation, ..issuer.clone() }, write.at));
        state.record_all(issuer.organization, write.events);
        Ok(())
    }

    async fn revoke_person(
        &self,
        issuer: &TrustedIssuer,
        sub: &str,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError> {
        let state = &mut *self.lock();
        state.allow(write)?;
        if !state.issuers.contains_key(&issuer.id) {
            return Err(ChangeIssuerError::LostRace);
        }
        let generation = state.person_generations.entry((issuer.id, digest_of(sub))).or_default();
        *generation = generation_after(*generation, write.at);
        let notice = RevocationNotice::of_person(PersonId::of(issuer.id, sub), *generation, write.at);
        state.notify(notice);
        state.record_all(issuer.organization, write.events);
        Ok(())
    }

    async fn is_in_use(&self, id: IssuerId, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.lock().live_credentials_of(id, now).next().is_some())
    }

    async fn credentials_of(
        &self,
        issuer: &TrustedIssuer,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Credential>>, StoreError> {
        let state = self.lock();
        let mut found: Vec<_> = state
            .live_credentials_of(issuer.id, now)
            .filter(|credential| match &credential.kind {
                CredentialKind::Federated(identity) => {
                    identity.subject.is_none() || identity.subject.as_deref() == subject
                }
                _ => false,
            })
            .cloned()
            .collect();
        found.sort_unstable_by_key(|credential| std::cmp::Reverse((credential.created_at, credential.id)));
        found.truncate(MAX_MATCHES);
        Ok(found)
    }
}

impl State {
    /// Returns the stored issuer if it is of the same revision.
    fn stored_issuer(&self, before: &TrustedIssuer) -> Result<Arc<TrustedIssuer>, ChangeIssuerError> {
        let stored = self.issuers.get(&before.id).filter(|stored| stored.revision == before.revision);
        stored.cloned().ok_or(ChangeIssuerError::LostRace)
    }

    fn live_credentials_of(
        &self,
        issuer: IssuerId,
        now: Timestamp,
    ) -> impl Iterator<Item = &Arc<Credential>> {
        self.credentials.values().flatten().filter(move |credential| {
            matches!(&credential.kind, CredentialKind::Federated(identity) if identity.issuer == issuer)
                && credential.is_live(now)
        })
    }

    /// Returns [`ChangeIssuerError::MissingScopes`] if an agent that the issuer authenticates may manage more than the
    /// caller.
    fn refuse_missing_scopes(&self, issuer: IssuerId, write: Write<'_>) -> Result<(), ChangeIssuerError> {
        let Some(authority) = write.authority else { return Ok(()) };
        let agents = self.live_credentials_of(issuer, write.at);
        let scopes = agents
            .filter_map(|credential| self.agents.get(&credential.agent))
            .fold(ManagementScopes::default(), |all, agent| all.union(agent.capabilities.management()));
        let missing = scopes.difference(authority.scopes);
        if missing.is_empty() { Ok(()) } else { Err(ChangeIssuerError::MissingScopes(missing)) }
    }

    /// Returns whether each issuer is there, active and of this generation.
    pub(super) fn issuers_hold(&self, issuers: &[IssuerGeneration]) -> bool {
        issuers.iter().all(|rests_on| {
            let issuer = self.issuers.get(&rests_on.issuer);
            issuer.is_some_and(|issuer| issuer.is_active() && issuer.generation == rests_on.generation)
        })
    }

    /// Returns whether the issuer is there, of the organization, active and last changed as a token depends on.
    pub(super) fn is_issuer_at(&self, organization: OrganizationId, dependency: IssuerDependency) -> bool {
        self.issuers.get(&dependency.issuer).is_some_and(|issuer| {
            issuer.is_active()
                && issuer.organization == organization
                && issuer.generation == dependency.generation
                && dependency.decided_by.is_none_or(|seen| seen == (issuer.revision, issuer.updated_at))
        })
    }
}
