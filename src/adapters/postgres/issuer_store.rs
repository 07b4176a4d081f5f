//! Trusted issuers in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::Type;

use super::pool::statement::Parameter;
use super::rows::codec::{self, CREDENTIAL, SqlTimestamp, column, empty_page, number, page_of, signed};
use super::rows::issuers::{self, ChangingColumns, ISSUER};
use super::rows::where_clause::WhereClause;
use super::store::Postgres;
use super::transaction::Transaction;
use domain::credential::Credential;
use domain::delegation::digest_of;
use domain::generation::generation_after;
use domain::id::{IssuerId, OrganizationId, PersonId};
use domain::issuer::{IssuerStatus, MAX_ISSUERS, TrustedIssuer};
use domain::managed_by::ManagedBy;
use domain::names::name_of;
use domain::page::{Page, PageRequest};
use domain::scope::{ManagementScope, ManagementScopes, Scopes};
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use domain::token::{PersonStatus, RevocationNotice};
use ports::issuer_store::{ChangeIssuerError, InsertIssuerError, IssuerStore, MAX_MATCHES};
use ports::store_error::StoreError;
use ports::write::Write;

const EXISTING: &str = "\
-- issuer_store.existing
SELECT EXISTS (SELECT FROM organizations WHERE organization_id = $1) AS is_known,
    EXISTS (SELECT FROM trusted_issuers WHERE organization_id = $1 AND issuer = $2) AS is_taken,
    (SELECT count(*) FROM trusted_issuers WHERE organization_id = $1) AS issuers";

const INSERT: &str = "\
-- issuer_store.insert
INSERT INTO trusted_issuers (issuer_id, organization_id, issuer, created_at, name, keys, audiences, algorithms,
    max_lifetime_seconds, require_jti, subject_optional, subjects, status, updated_at, generation, subjects_generation,
    revision, managed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

const UPDATE: &str = "\
-- issuer_store.update
UPDATE trusted_issuers SET name = $3, keys = $4, audiences = $5, algorithms = $6, max_lifetime_seconds = $7,
    require_jti = $8, subject_optional = $9, subjects = $10, status = $11, updated_at = $12, generation = $13,
    subjects_generation = $14, revision = $15
WHERE issuer_id = $1 AND revision = $2";

const DELETE: &str = "\
-- issuer_store.delete
DELETE FROM trusted_issuers WHERE issuer_id = $1 AND revision = $2";

/// Those of the scopes that an agent with a live credential of the issuer has.
const HELD_SCOPES: &str = "\
-- issuer_store.held_scopes
SELECT scope FROM unnest($3::text[]) AS scope
WHERE EXISTS (SELECT FROM credentials c JOIN agents a USING (agent_id)
    WHERE c.issuer_id = $1 AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > $2)
        AND a.capabilities @> ARRAY[scope])";

const IS_IN_USE: &str = "\
-- issuer_store.is_in_use
SELECT EXISTS (SELECT FROM credentials
    WHERE issuer_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)) AS is_in_use";

/// The same generation as `generation_after` returns; none if the issuer is gone.
const REVOKE_PERSON: &str = "\
-- issuer_store.revoke_person
INSERT INTO person_generations AS g (issuer_id, digest, generation)
SELECT issuer_id, $2, $3 FROM trusted_issuers WHERE issuer_id = $1
ON CONFLICT ON CONSTRAINT person_generations_pkey
    DO UPDATE SET generation = GREATEST(g.generation + 1, EXCLUDED.generation)
RETURNING generation";

#[async_trait]
impl IssuerStore for Postgres {
    async fn insert(
        &self,
        within: Tenancy,
        issuer: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), InsertIssuerError> {
        if !within.contains(issuer.organization) {
            return Err(InsertIssuerError::NoSuchOrganization);
        }
        // Issuers of an organization are created by one transaction at a time, so that their number holds.
        let mut change = self.begin_exclusive(issuer.organization, false, write).await??;
        let rows = change.query(EXISTING, &[&issuer.organization.0, &issuer.issuer.as_str()]).await?;
        if !column::<bool>(&rows[0], "is_known")? {
            return Err(InsertIssuerError::NoSuchOrganization);
        }
        if column(&rows[0], "is_taken")? {
            return Err(InsertIssuerError::Taken);
        }
        if number(&rows[0], "issuers")? >= MAX_ISSUERS.into() {
            return Err(InsertIssuerError::LimitReached(MAX_ISSUERS));
        }
        let columns = ChangingColumns::of(issuer);
        let managed_by = issuer.managed_by.as_ref().map(ManagedBy::as_str);
        let parameters: [Parameter<'_>; 18] = [
            &issuer.id.0,
            &issuer.organization.0,
            &issuer.issuer.as_str(),
            &SqlTimestamp(issuer.created_at),
            &columns.name,
            &columns.keys,
            &columns.audiences,
            &columns.algorithms,
            &columns.max_lifetime_seconds,
            &issuer.require_jti,
            &issuer.subject_optional,
            &columns.subjects,
            &columns.status,
            &SqlTimestamp(issuer.updated_at),
            &signed(issuer.generation),
            &signed(issuer.subjects_generation),
            &signed(issuer.revision),
            &managed_by,
        ];
        change.execute(INSERT, &parameters).await?;
        change.record(issuer.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    async fn find(&self, within: Tenancy, id: IssuerId) -> Result<Option<Arc<TrustedIssuer>>, StoreError> {
        let sql = format!("-- issuer_store.find\nSELECT {ISSUER} FROM trusted_issuers WHERE issuer_id = $1");
        let rows = self.read(&sql, &[&id.0]).await?;
        let issuer = rows.first().map(issuers::issuer).transpose()?;
        Ok(issuer.filter(|issuer| within.contains(issuer.organization)).map(Arc::new))
    }

    async fn find_for_person(
        &self,
        OrganizationId(organization): OrganizationId,
        iss: &str,
        digest: &[u8; 32],
    ) -> Result<Option<PersonStatus>, StoreError> {
        let sql = format!(
            "-- issuer_store.find_for_person\nSELECT {ISSUER}, COALESCE((SELECT g.generation FROM person_generations g \
             WHERE g.issuer_id = trusted_issuers.issuer_id AND g.digest = $3), 0) AS person_generation \
             FROM trusted_issuers WHERE organization_id = $1 AND issuer = $2"
        );
        let rows = self.read(&sql, &[&organization, &iss, &&digest[..]]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let generation = number(row, "person_generation")?;
        Ok(Some(PersonStatus { issuer: Arc::new(issuers::issuer(row)?), generation }))
    }

    async fn list(
        &self,
        within: Tenancy,
        status: Option<IssuerStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<TrustedIssuer>>, StoreError> {
        let organization = within.organization().map(|id| id.0);
        let mut clause = WhereClause::default();
        if let Some(organization) = &organization {
            clause.add("organization_id", organization, Type::UUID);
        }
        if let Some(status) = status {
            clause.add_word("status", name_of(&IssuerStatus::ALL, &status));
        }
        let count = format!("SELECT count(*) FROM trusted_issuers {}", clause.condition);
        let sql = format!(
            "-- issuer_store.list\nSELECT {ISSUER}, ({count}) AS total FROM trusted_issuers {} \
             ORDER BY created_at DESC, issuer_id DESC LIMIT {} OFFSET {}",
            clause.condition,
            page.limit,
            signed(page.offset())
        );
        let _place = self.place(within.organization(), false).await?;
        let rows = self.read_planned(&sql, &clause.parameters).await?;
        if rows.is_empty() {
            let sql = format!("-- issuer_store.count\nSELECT ({count}) AS total");
            return empty_page(&self.read_planned(&sql, &clause.parameters).await?);
        }
        page_of(&rows, issuers::issuer)
    }

    async fn update(
        &self,
        before: &TrustedIssuer,
        after: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError> {
        let is_suspension = before.is_active() && !after.is_active();
        let mut change = self.begin_exclusive(after.organization, is_suspension, write).await??;
        if is_suspension {
            change.lock_administrators().await?;
        }
        if !before.differs_in_name_only(after) {
            change.refuse_missing_scopes(before.id, write).await?;
        }
        let had_administrator = is_suspension && change.has_administrator(None, write.at).await?;
        let columns = ChangingColumns::of(after);
        let parameters: [Parameter<'_>; 15] = [
            &before.id.0,
            &signed(before.revision),
            &columns.name,
            &columns.keys,
            &columns.audiences,
            &columns.algorithms,
            &columns.max_lifetime_seconds,
            &after.require_jti,
            &after.subject_optional,
            &columns.subjects,
            &columns.status,
            &SqlTimestamp(after.updated_at),
            &signed(after.generation),
            &signed(after.subjects_generation),
            &signed(after.revision),
        ];
        if change.execute(UPDATE, &parameters).await? == 0 {
            return Err(ChangeIssuerError::LostRace);
        }
        if had_administrator && !change.has_administrator(None, write.at).await? {
            return Err(ChangeIssuerError::LastAdministrator);
        }
        if after.generation > before.generation {
            change.notify(&RevocationNotice::of_issuer(after, write.at)).await?;
        }
        if after.subjects_generation > before.subjects_generation {
            change.notify(&RevocationNotice::of_everyone(after, write.at)).await?;
        }
        change.record(after.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    async fn delete(&self, issuer: &TrustedIssuer, write: Write<'_>) -> Result<(), ChangeIssuerError> {
        let mut change = self.begin_exclusive(issuer.organization, true, write).await??;
        let rows = change.query(IS_IN_USE, &[&issuer.id.0, &SqlTimestamp(write.at)]).await?;
        if column(&rows[0], "is_in_use")? {
            return Err(ChangeIssuerError::InUse);
        }
        if change.execute(DELETE, &[&issuer.id.0, &signed(issuer.revision)]).await? == 0 {
            return Err(ChangeIssuerError::LostRace);
        }
        let generation = generation_after(issuer.generation, write.at);
        let deleted = TrustedIssuer { generation, ..issuer.clone() };
        change.notify(&RevocationNotice::of_issuer(&deleted, write.at)).await?;
        change.record(issuer.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    async fn revoke_person(
        &self,
        issuer: &TrustedIssuer,
        sub: &str,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError> {
        let mut change = self.begin_exclusive(issuer.organization, true, write).await??;
        let least = signed(generation_after(0, write.at));
        let rows = change.query(REVOKE_PERSON, &[&issuer.id.0, &&digest_of(sub)[..], &least]).await?;
        let Some(row) = rows.first() else { return Err(ChangeIssuerError::LostRace) };
        let generation = number(row, "generation")?;
        let notice = RevocationNotice::of_person(PersonId::of(issuer.id, sub), generation, write.at);
        change.notify(&notice).await?;
        change.record(issuer.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    async fn is_in_use(&self, id: IssuerId, now: Timestamp) -> Result<bool, StoreError> {
        column(&self.read(IS_IN_USE, &[&id.0, &SqlTimestamp(now)]).await?[0], "is_in_use")
    }

    async fn credentials_of(
        &self,
        issuer: &TrustedIssuer,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Credential>>, StoreError> {
        let sql = format!(
            "-- issuer_store.credentials_of\nSELECT {CREDENTIAL} FROM credentials \
             LEFT JOIN credential_uses USING (credential_id) \
             WHERE issuer_id = $1 AND (subject IS NULL OR subject = $2) AND revoked_at IS NULL \
                AND (expires_at IS NULL OR expires_at > $3) \
             ORDER BY created_at DESC, credential_id DESC LIMIT {MAX_MATCHES}"
        );
        let rows = self.read(&sql, &[&issuer.id.0, &subject, &SqlTimestamp(now)]).await?;
        rows.iter().map(|row| codec::credential(row).map(Arc::new)).collect()
    }
}

impl Transaction<'_> {
    /// Returns [`ChangeIssuerError::MissingScopes`] if an agent that the issuer authenticates may manage more than the
    /// caller.
    async fn refuse_missing_scopes(
        &mut self,
        issuer: IssuerId,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError> {
        let Some(authority) = write.authority else { return Ok(()) };
        let lacked = ManagementScopes::from_iter(ManagementScope::ALL).difference(authority.scopes);
        // An administrator with all scopes suspends an issuer at the same cost however many agents it authenticates.
        if lacked.is_empty() {
            return Ok(());
        }
        let lacked: Vec<&str> = lacked.iter().map(ManagementScope::as_str).collect();
        let rows = self.query(HELD_SCOPES, &[&issuer.0, &SqlTimestamp(write.at), &lacked]).await?;
        let held: Vec<&str> =
            rows.iter().map(|row| column(row, "scope")).collect::<Result<_, StoreError>>()?;
        let missing = Scopes::of_token(&held.join(" ")).management();
        if missing.is_empty() { Ok(()) } else { Err(ChangeIssuerError::MissingScopes(missing)) }
    }
}
