//! Credentials in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::pool::statement::Parameter;
use super::rows::codec::{
    self, CREDENTIAL, KindColumns, SqlTimestamp, column, empty_page, number, page_of, signed,
};
use super::store::Postgres;
use super::transaction::Transaction;
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

/// Locks the agent's row while its credentials change, so that [`COUNT`] still holds at the end.
const LOCK_AGENT: &str = "\
-- credential_store.lock_agent
SELECT revision FROM agents WHERE agent_id = $1 FOR NO KEY UPDATE";

const COUNT: &str = "\
-- credential_store.count_unrevoked
SELECT count(public_key) AS keys, count(secret_hash) AS secrets, count(issuer_id) AS identities, count(*) FILTER (WHERE expires_at IS NULL OR expires_at > $2) AS live
FROM credentials WHERE agent_id = $1 AND revoked_at IS NULL";

const INSERT: &str = "\
-- credential_store.insert
INSERT INTO credentials (credential_id, agent_id, public_key, created_at, fingerprint, secret_hash, secret_digest,
    previous_fingerprint, previous_hash, previous_until, expires_at, revoked_at, revision, issuer_id, subject, claims)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

const ISSUER_OF_AGENT: &str = "\
-- credential_store.issuer_of_agent
SELECT subject_optional FROM trusted_issuers WHERE issuer_id = $1 AND organization_id = $2";

const UPDATE: &str = "\
-- credential_store.update
UPDATE credentials SET fingerprint = $4, secret_hash = $5, secret_digest = $6, previous_fingerprint = $7,
    previous_hash = $8, previous_until = $9, expires_at = $10, revoked_at = $11, revision = $12
WHERE credential_id = $1 AND agent_id = $2 AND revision = $3";

const FORGET_REVOKED: &str = "\
-- credential_store.forget_revoked
WITH old AS (
    SELECT credential_id FROM credentials WHERE agent_id = $1 AND revoked_at IS NOT NULL
    ORDER BY revoked_at DESC, credential_id DESC OFFSET $2 LIMIT 100
), uses AS (
    DELETE FROM credential_uses WHERE credential_id IN (SELECT credential_id FROM old)
)
DELETE FROM credentials WHERE credential_id IN (SELECT credential_id FROM old)";

const SET_DIGEST: &str = "\
-- credential_store.set_digest
UPDATE credentials SET secret_digest = $4
WHERE credential_id = $2 AND agent_id = $1 AND fingerprint = $3 AND revoked_at IS NULL";

const TOUCH: &str = "\
-- credential_store.touch
INSERT INTO credential_uses AS u (credential_id, last_used_at)
SELECT credential_id, $3 FROM credentials WHERE agent_id = $1 AND credential_id = $2
ON CONFLICT ON CONSTRAINT credential_uses_pkey
    DO UPDATE SET last_used_at = EXCLUDED.last_used_at WHERE u.last_used_at < EXCLUDED.last_used_at";

#[async_trait]
impl CredentialStore for Postgres {
    async fn check_capacity(
        &self,
        agent: AgentId,
        max_live: u32,
        now: Timestamp,
    ) -> Result<(), InsertCredentialError> {
        refuse_without_room(&self.read(COUNT, &[&agent.0, &SqlTimestamp(now)]).await?[0], max_live)
    }

    async fn insert(
        &self,
        agent: &Agent,
        credential: &Credential,
        max_live: u32,
        write: Write<'_>,
    ) -> Result<(), InsertCredentialError> {
        let mut change = self.begin_exclusive(agent.organization, false, write).await??;
        if !change.lock_agent(agent).await? {
            return Err(InsertCredentialError::LostRace);
        }
        if let CredentialKind::Federated(identity) = &credential.kind {
            let parameters: [Parameter<'_>; 2] = [&identity.issuer.0, &agent.organization.0];
            let rows = change.query(ISSUER_OF_AGENT, &parameters).await?;
            let row = rows.first().ok_or(InsertCredentialError::NoSuchIssuer)?;
            if !identity.fits(column(row, "subject_optional")?) {
                return Err(InsertCredentialError::SubjectMissing);
            }
        }
        let rows = change.query(COUNT, &[&agent.id.0, &SqlTimestamp(write.at)]).await?;
        refuse_without_room(&rows[0], max_live)?;
        let kind = match &credential.kind {
            CredentialKind::Secret { .. } => "secrets",
            CredentialKind::Key(_) => "keys",
            CredentialKind::Federated(_) => "identities",
        };
        if number(&rows[0], kind)? >= MAX_UNREVOKED.into() {
            return Err(InsertCredentialError::TooManyUnrevoked);
        }
        change.insert_credential(credential).await?;
        change.record(agent.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    async fn find(&self, agent: AgentId, id: CredentialId) -> Result<Option<Arc<Credential>>, StoreError> {
        let sql = format!(
            "-- credential_store.find\nSELECT {CREDENTIAL} FROM credentials \
             LEFT JOIN credential_uses USING (credential_id) WHERE credential_id = $1 AND agent_id = $2"
        );
        let rows = self.read(&sql, &[&id.0, &agent.0]).await?;
        Ok(rows.first().map(codec::credential).transpose()?.map(Arc::new))
    }

    async fn list(
        &self,
        agent: AgentId,
        status: Option<CredentialStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        let condition = match status {
            None => "agent_id = $1",
            Some(CredentialStatus::Active) => "agent_id = $1 AND revoked_at IS NULL",
            Some(CredentialStatus::Revoked) => "agent_id = $1 AND revoked_at IS NOT NULL",
        };
        let count = format!("SELECT count(*) FROM credentials WHERE {condition}");
        let sql = format!(
            "-- credential_store.list\nSELECT {CREDENTIAL}, ({count}) AS total \
             FROM credentials LEFT JOIN credential_uses USING (credential_id) \
             WHERE {condition} ORDER BY created_at DESC, credential_id DESC LIMIT $2 OFFSET $3"
        );
        let rows = self.read(&sql, &[&agent.0, &i64::from(page.limit), &signed(page.offset())]).await?;
        if rows.is_empty() {
            let sql = format!("-- credential_store.count\nSELECT ({count}) AS total");
            return empty_page(&self.read(&sql, &[&agent.0]).await?);
        }
        page_of(&rows, codec::credential)
    }

    async fn expiring(
        &self,
        within: Tenancy,
        after: Timestamp,
        until: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Arc<Credential>>, StoreError> {
        let (after, until) = (SqlTimestamp(after), SqlTimestamp(until));
        let organization = within.organization().map(|id| id.0);
        let mut wanted = "revoked_at IS NULL AND expires_at > $1 AND expires_at <= $2".to_owned();
        let mut parameters: Vec<Parameter<'_>> = vec![&after, &until];
        if let Some(organization) = &organization {
            wanted += " AND agent_id IN (SELECT agent_id FROM agents WHERE organization_id = $3)";
            parameters.push(organization);
        }
        let (limit, offset) = (i64::from(page.limit), signed(page.offset()));
        let bounded: Vec<_> = parameters.iter().copied().chain([&limit as Parameter<'_>, &offset]).collect();
        let count = format!("SELECT count(*) FROM credentials WHERE {wanted}");
        let sql = format!(
            "-- credential_store.expiring\nSELECT {CREDENTIAL}, ({count}) AS total \
             FROM credentials LEFT JOIN credential_uses USING (credential_id) \
             WHERE {wanted} ORDER BY expires_at, credential_id LIMIT ${} OFFSET ${}",
            bounded.len() - 1,
            bounded.len()
        );
        let _place = self.place(within.organization(), false).await?;
        let rows = self.read(&sql, &bounded).await?;
        if rows.is_empty() {
            let sql = format!("-- credential_store.count_expiring\nSELECT ({count}) AS total");
            return empty_page(&self.read(&sql, &parameters).await?);
        }
        page_of(&rows, codec::credential)
    }

    async fn update(
        &self,
        agent: &Agent,
        update: &CredentialUpdate<'_>,
        write: Write<'_>,
    ) -> Result<(), UpdateCredentialError> {
        let (before, after) = (update.before, update.after);
        let now = write.at;
        let is_revocation = after.revoked_at.is_some() || update.agent_after.is_some();
        let mut change = self.begin_exclusive(agent.organization, is_revocation, write).await??;
        let ends = before.works_longer_than(after, now).filter(|_| agent.could_administer());
        if ends.is_some() {
            change.lock_administrators().await?;
        }
        if !change.lock_agent(agent).await? {
            return Err(UpdateCredentialError::LostRaceForAgent);
        }
        let comes_alive = !before.is_live(now) && after.is_live(now);
        if comes_alive && change.live_credentials(agent.id, now).await? >= update.max_live.into() {
            return Err(UpdateCredentialError::LimitReached(update.max_live));
        }
        let mut last_until = ends;
        if let Some(end) = ends
            && !change.has_administrator(Some(agent.id), end).await?
        {
            last_until = None;
        }
        let kind = KindColumns::of(&after.kind);
        let parameters: [Parameter<'_>; 12] = [
            &before.id.0,
            &agent.id.0,
            &signed(before.revision),
            &kind.fingerprint,
            &kind.secret_hash,
            &kind.secret_digest,
            &kind.previous_fingerprint,
            &kind.previous_hash,
            &kind.previous_until,
            &after.expires_at.map(SqlTimestamp),
            &after.revoked_at.map(SqlTimestamp),
            &signed(after.revision),
        ];
        if change.execute(UPDATE, &parameters).await? == 0 {
            return Err(UpdateCredentialError::LostRace);
        }
        if let Some(end) = last_until
            && !change.has_administrator(None, end).await?
        {
            return Err(UpdateCredentialError::LastAdministrator);
        }
        if after.revoked_at.is_some() {
            change.execute(FORGET_REVOKED, &[&agent.id.0, &i64::from(MAX_REVOKED)]).await?;
        }
        if let Some(agent_after) = update.agent_after
            && !change.update_agent(agent, agent_after).await?
        {
            return Err(UpdateCredentialError::LostRaceForAgent);
        }
        change.record(agent.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    async fn find_client(
        &self,
        agent: AgentId,
        kind: PresentedKind,
        freshness: Freshness,
    ) -> Result<Option<RegisteredClient>, StoreError> {
        self.lookup.client(agent, kind, freshness).await
    }

    async fn set_digest(
        &self,
        agent: AgentId,
        id: CredentialId,
        fingerprint: Fingerprint,
        digest: SecretDigest,
    ) -> Result<(), StoreError> {
        self.run(SET_DIGEST, &[&agent.0, &id.0, &&fingerprint.0[..], &&digest.0[..]]).await.map(drop)
    }

    async fn touch(&self, agent: AgentId, id: CredentialId, minute: Timestamp) -> Result<(), StoreError> {
        self.run(TOUCH, &[&agent.0, &id.0, &SqlTimestamp(minute)]).await.map(drop)
    }
}

/// Returns [`InsertCredentialError::LimitReached`] if `max_live` credentials are live already.
fn refuse_without_room(counts: &Row, max_live: u32) -> Result<(), InsertCredentialError> {
    if number(counts, "live")? < max_live.into() {
        Ok(())
    } else {
        Err(InsertCredentialError::LimitReached(max_live))
    }
}

impl Transaction<'_> {
    /// Locks the agent's row until the transaction ends.
    ///
    /// Returns `false` if the stored agent is no longer the one that the caller read.
    async fn lock_agent(&mut self, agent: &Agent) -> Result<bool, StoreError> {
        let rows = self.query(LOCK_AGENT, &[&agent.id.0]).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        Ok(number(row, "revision")? == agent.revision)
    }

    async fn live_credentials(&mut self, agent: AgentId, now: Timestamp) -> Result<u64, StoreError> {
        let rows = self.query(COUNT, &[&agent.0, &SqlTimestamp(now)]).await?;
        number(&rows[0], "live")
    }

    /// Stores a new credential.
    pub async fn insert_credential(&mut self, credential: &Credential) -> Result<(), StoreError> {
        let kind = KindColumns::of(&credential.kind);
        let parameters: [Parameter<'_>; 16] = [
            &credential.id.0,
            &credential.agent.0,
            &kind.public_key,
            &SqlTimestamp(credential.created_at),
            &kind.fingerprint,
            &kind.secret_hash,
            &kind.secret_digest,
            &kind.previous_fingerprint,
            &kind.previous_hash,
            &kind.previous_until,
            &credential.expires_at.map(SqlTimestamp),
            &credential.revoked_at.map(SqlTimestamp),
            &signed(credential.revision),
            &kind.issuer,
            &kind.subject,
            &kind.claims,
        ];
        self.execute(INSERT, &parameters).await.map(drop)
    }
}
