//! Credentials in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;

use super::database::Database;
use super::facts::Facts as _;
use super::filter::Filter;
use super::row_cache::RowKey;
use super::rows::column::signed;
use super::rows::credentials::credential;
use super::store::Sqlite;
use domain::agent::Agent;
use domain::client::RegisteredClient;
use domain::credential::{Credential, CredentialKind, CredentialStatus, MAX_REVOKED, MAX_UNREVOKED};
use domain::id::{AgentId, CredentialId};
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
impl CredentialStore for Sqlite {
    async fn check_capacity(
        &self,
        agent: AgentId,
        max_live: u32,
        now: Timestamp,
    ) -> Result<(), InsertCredentialError> {
        let live = self
            .look_up("credential_store.check_capacity", move |database| database.live_credentials(agent, now))
            .await?;
        if live < max_live.into() { Ok(()) } else { Err(InsertCredentialError::LimitReached(max_live)) }
    }

    async fn insert(
        &self,
        agent: &Agent,
        credential: &Credential,
        max_live: u32,
        write: Write<'_>,
    ) -> Result<(), InsertCredentialError> {
        let (agent, credential) = (agent.clone(), credential.clone());
        self.write("credential_store.insert", write, move |database, write| {
            if !database.is_still(&agent)? {
                return Err(InsertCredentialError::LostRace);
            }
            if let CredentialKind::Federated(identity) = &credential.kind {
                let issuer = database.issuer(identity.issuer)?;
                let issuer = issuer.filter(|issuer| issuer.organization == agent.organization);
                let issuer = issuer.ok_or(InsertCredentialError::NoSuchIssuer)?;
                if !identity.fits(issuer.subject_optional) {
                    return Err(InsertCredentialError::SubjectMissing);
                }
            }
            if database.live_credentials(agent.id, write.at)? >= u64::from(max_live) {
                return Err(InsertCredentialError::LimitReached(max_live));
            }
            if database.unrevoked_like(&credential)? >= MAX_UNREVOKED as usize {
                return Err(InsertCredentialError::TooManyUnrevoked);
            }
            database.put_credential(&credential)?;
            Ok(database.record_all(agent.organization, write.events)?)
        })
        .await
    }

    async fn find(&self, agent: AgentId, id: CredentialId) -> Result<Option<Arc<Credential>>, StoreError> {
        self.look_up("credential_store.find", move |database| database.credential(agent, id)).await
    }

    async fn list(
        &self,
        agent: AgentId,
        status: Option<CredentialStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        let mut wanted = Filter::default();
        wanted.add_id("agent_id = ?", agent.0);
        match status {
            None => {}
            Some(CredentialStatus::Active) => wanted.add_fixed("revoked_at IS NULL"),
            Some(CredentialStatus::Revoked) => wanted.add_fixed("revoked_at IS NOT NULL"),
        }
        self.list_within("credential_store.list", Tenancy::All, move |database| {
            let total = database.count("SELECT count(*) FROM credentials", &wanted)?;
            let items = database.page("credentials", "credential_id", &wanted, page, credential)?;
            Ok(Page { items, total })
        })
        .await
    }

    async fn expiring(
        &self,
        within: Tenancy,
        after: Timestamp,
        until: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        let mut wanted = Filter::default();
        wanted.add_fixed("revoked_at IS NULL");
        wanted.add("expires_at > ?", after.as_millis());
        wanted.add("expires_at <= ?", until.as_millis());
        if let Some(organization) = within.organization() {
            wanted.add_id(
                "agent_id IN (SELECT agent_id FROM agents WHERE organization_id = ?)",
                organization.0,
            );
        }
        self.list_within("credential_store.expiring", within, move |database| {
            let total = database.count("SELECT count(*) FROM credentials", &wanted)?;
            let items =
                database.page_by("credentials", "expires_at, credential_id", &wanted, page, credential)?;
            Ok(Page { items, total })
        })
        .await
    }

    async fn update(
        &self,
        agent: &Agent,
        change: &CredentialUpdate<'_>,
        write: Write<'_>,
    ) -> Result<(), UpdateCredentialError> {
        let (agent, before, after) = (agent.clone(), change.before.clone(), change.after.clone());
        let (max_live, agent_after) = (change.max_live, change.agent_after.cloned());
        self.write("credential_store.update", write, move |database, write| {
            let now = write.at;
            if !database.is_still(&agent)? {
                return Err(UpdateCredentialError::LostRaceForAgent);
            }
            let comes_alive = !before.is_live(now) && after.is_live(now);
            if comes_alive && database.live_credentials(agent.id, now)? >= u64::from(max_live) {
                return Err(UpdateCredentialError::LimitReached(max_live));
            }
            let stored = database.credential(agent.id, before.id)?;
            if stored.is_none_or(|stored| stored.revision != before.revision) {
                return Err(UpdateCredentialError::LostRace);
            }
            let ends = before.works_longer_than(&after, now);
            let was_administrator = match ends {
                Some(end) => database.has_administrator(Some(agent.id), end)?,
                None => false,
            };
            database.put_credential(&after)?;
            if let Some(end) = ends
                && was_administrator
                && !database.has_administrator(None, end)?
            {
                return Err(UpdateCredentialError::LastAdministrator);
            }
            database.forget_revoked(agent.id)?;
            if let Some(agent_after) = &agent_after {
                database.replace_agent(agent.generation, agent_after)?;
            }
            Ok(database.record_all(agent.organization, write.events)?)
        })
        .await
    }

    async fn find_client(
        &self,
        agent: AgentId,
        kind: PresentedKind,
        _: Freshness,
    ) -> Result<Option<RegisteredClient>, StoreError> {
        if let Ok(Some(client)) = self.rows().client(agent, &kind)
            && (!client.candidates.is_empty() || matches!(kind, PresentedKind::None))
        {
            return Ok(Some(client));
        }
        self.look_up("credential_store.find_client", move |database| {
            let Some(mut client) = database.client(agent, &kind)? else { return Ok(None) };
            match &kind {
                PresentedKind::Secret(fingerprint) if client.candidates.is_empty() => {
                    client.candidates =
                        database.all(OF_SECRET, params![agent.0, fingerprint.0], credential)?;
                }
                PresentedKind::Federated(iss) => {
                    client.issuer = database.issuer_of(client.organization.id, iss)?;
                    if let Some(issuer) = &client.issuer {
                        client.candidates = database.all(IDENTITIES, [agent.0, issuer.id.0], credential)?;
                    }
                }
                _ => {}
            }
            Ok(Some(client))
        })
        .await
    }

    async fn set_digest(
        &self,
        agent: AgentId,
        id: CredentialId,
        fingerprint: Fingerprint,
        digest: SecretDigest,
    ) -> Result<(), StoreError> {
        const SET_DIGEST: &str = "\
UPDATE credentials SET secret_digest = ?4
WHERE credential_id = ?2 AND agent_id = ?1 AND fingerprint = ?3 AND revoked_at IS NULL";
        self.change("credential_store.set_digest", move |database| {
            database.cached_rows().mark_changed(RowKey::Credentials(agent));
            database.execute(SET_DIGEST, params![agent.0, id.0, fingerprint.0, digest.0]).map(drop)
        })
        .await
    }

    async fn touch(&self, agent: AgentId, id: CredentialId, minute: Timestamp) -> Result<(), StoreError> {
        self.change("credential_store.touch", move |database| database.touch(agent, id, minute)).await
    }
}

const OF_SECRET: &str = "\
SELECT * FROM credentials WHERE agent_id = ?1 AND (fingerprint = ?2 OR previous_fingerprint = ?2)
ORDER BY created_at, credential_id";
const IDENTITIES: &str = "\
SELECT * FROM credentials WHERE agent_id = ?1 AND issuer_id = ?2 AND revoked_at IS NULL
ORDER BY created_at, credential_id";

impl Database {
    fn live_credentials(&self, agent: AgentId, now: Timestamp) -> Result<u64, StoreError> {
        const COUNT_LIVE: &str = "\
SELECT count(*) FROM credentials
WHERE agent_id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)";
        self.value::<i64>(COUNT_LIVE, params![agent.0, now.as_millis()]).map(i64::unsigned_abs)
    }

    /// Counts the agent's unrevoked credentials of the same kind as this one.
    fn unrevoked_like(&self, new: &Credential) -> Result<usize, StoreError> {
        let sql = "SELECT * FROM credentials WHERE agent_id = ?1 AND revoked_at IS NULL";
        let known = self.all(sql, [new.agent.0], credential)?;
        Ok(known.iter().filter(|known| known.kind.is_like(&new.kind)).count())
    }

    /// Revokes all credentials of an agent.
    pub fn revoke_credentials(&self, agent: AgentId, now: Timestamp) -> Result<(), StoreError> {
        const REVOKE: &str = "\
UPDATE credentials SET revoked_at = ?2, secret_digest = NULL, revision = revision + 1
WHERE agent_id = ?1 AND revoked_at IS NULL";
        self.cached_rows().mark_changed(RowKey::Credentials(agent));
        self.execute(REVOKE, params![agent.0, now.as_millis()]).map(drop)
    }

    /// Removes the oldest revoked credentials of an agent, beyond [`MAX_REVOKED`].
    fn forget_revoked(&self, agent: AgentId) -> Result<(), StoreError> {
        const FORGET: &str = "\
DELETE FROM credentials WHERE credential_id IN (
    SELECT credential_id FROM credentials WHERE agent_id = ?1 AND revoked_at IS NOT NULL
    ORDER BY revoked_at DESC, credential_id DESC LIMIT -1 OFFSET ?2)";
        self.execute(FORGET, params![agent.0, signed(MAX_REVOKED.into())]).map(drop)
    }
}
