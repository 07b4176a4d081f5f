//! Trusted issuers in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;

use super::database::Database;
use super::facts::Facts as _;
use super::filter::Filter;
use super::row_cache::RowKey;
use super::rows::column::{parsed, signed};
use super::rows::credentials::credential;
use super::rows::issuers::issuer;
use super::store::Sqlite;
use domain::credential::Credential;
use domain::delegation::digest_of;
use domain::generation::generation_after;
use domain::id::{IssuerId, OrganizationId, PersonId};
use domain::issuer::{IssuerStatus, MAX_ISSUERS, TrustedIssuer};
use domain::names::name_of;
use domain::page::{Page, PageRequest};
use domain::scope::{ManagementScopes, Scopes};
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use domain::token::{PersonStatus, RevocationNotice};
use ports::issuer_store::{ChangeIssuerError, InsertIssuerError, IssuerStore, MAX_MATCHES};
use ports::store_error::StoreError;
use ports::write::Write;

#[async_trait]
impl IssuerStore for Sqlite {
    async fn insert(
        &self,
        within: Tenancy,
        issuer: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), InsertIssuerError> {
        let issuer = issuer.clone();
        self.write("issuer_store.insert", write, move |database, write| {
            let organization = issuer.organization;
            if !within.contains(organization) || database.organization(organization)?.is_none() {
                return Err(InsertIssuerError::NoSuchOrganization);
            }
            if database.issuer_of(organization, issuer.issuer.as_str())?.is_some() {
                return Err(InsertIssuerError::Taken);
            }
            let count = "SELECT count(*) FROM trusted_issuers WHERE organization_id = ?1";
            if database.value::<i64>(count, [organization.0])? >= i64::from(MAX_ISSUERS) {
                return Err(InsertIssuerError::LimitReached(MAX_ISSUERS));
            }
            database.put_issuer(&issuer)?;
            Ok(database.record_all(organization, write.events)?)
        })
        .await
    }

    async fn find(&self, within: Tenancy, id: IssuerId) -> Result<Option<Arc<TrustedIssuer>>, StoreError> {
        let issuer = self
            .kept_or_looked_up("issuer_store.find", self.rows().issuer(id), move |database| {
                database.issuer(id)
            })
            .await?;
        Ok(issuer.filter(|issuer| within.contains(issuer.organization)))
    }

    async fn find_for_person(
        &self,
        organization: OrganizationId,
        iss: &str,
        digest: &[u8; 32],
    ) -> Result<Option<PersonStatus>, StoreError> {
        let (iss, digest) = (iss.to_owned(), *digest);
        self.look_up("issuer_store.find_for_person", move |database| {
            let Some(issuer) = database.issuer_of(organization, &iss)? else { return Ok(None) };
            let generation = database.person_generation((issuer.id, digest))?;
            Ok(Some(PersonStatus { issuer, generation }))
        })
        .await
    }

    async fn list(
        &self,
        within: Tenancy,
        status: Option<IssuerStatus>,
        page: PageRequest,
    ) -> Result<Page<Arc<TrustedIssuer>>, StoreError> {
        let mut wanted = Filter::default();
        if let Some(organization) = within.organization() {
            wanted.add_id("organization_id = ?", organization.0);
        }
        if let Some(status) = status {
            wanted.add("status = ?", name_of(&IssuerStatus::ALL, &status).to_owned());
        }
        self.list_within("issuer_store.list", within, move |database| {
            let total = database.count("SELECT count(*) FROM trusted_issuers", &wanted)?;
            let items = database.page("trusted_issuers", "issuer_id", &wanted, page, issuer)?;
            Ok(Page { items, total })
        })
        .await
    }

    async fn update(
        &self,
        before: &TrustedIssuer,
        after: &TrustedIssuer,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError> {
        let (before, after) = (before.clone(), after.clone());
        self.write("issuer_store.update", write, move |database, write| {
            let now = write.at;
            if !before.differs_in_name_only(&after) {
                database.refuse_missing_scopes(before.id, write)?;
            }
            database.refuse_changed(&before)?;
            let is_suspension = before.is_active() && !after.is_active();
            let had_administrator = is_suspension && database.has_administrator(None, now)?;
            database.put_issuer(&after)?;
            if had_administrator && !database.has_administrator(None, now)? {
                return Err(ChangeIssuerError::LastAdministrator);
            }
            if after.generation > before.generation {
                database.notify(&RevocationNotice::of_issuer(&after, now))?;
            }
            if after.subjects_generation > before.subjects_generation {
                database.notify(&RevocationNotice::of_everyone(&after, now))?;
            }
            Ok(database.record_all(after.organization, write.events)?)
        })
        .await
    }

    async fn delete(&self, issuer: &TrustedIssuer, write: Write<'_>) -> Result<(), ChangeIssuerError> {
        let issuer = issuer.clone();
        self.write("issuer_store.delete", write, move |database, write| {
            if database.is_in_use(issuer.id, write.at)? {
                return Err(ChangeIssuerError::InUse);
            }
            database.refuse_changed(&issuer)?;
            database.cached_rows().mark_changed(RowKey::Issuer(issuer.id));
            database.execute("DELETE FROM trusted_issuers WHERE issuer_id = ?1", [issuer.id.0])?;
            let generation = generation_after(issuer.generation, write.at);
            let last = TrustedIssuer { generation, ..issuer };
            database.notify(&RevocationNotice::of_issuer(&last, write.at))?;
            Ok(database.record_all(last.organization, write.events)?)
        })
        .await
    }

    async fn revoke_person(
        &self,
        issuer: &TrustedIssuer,
        sub: &str,
        write: Write<'_>,
    ) -> Result<(), ChangeIssuerError> {
        const PUT: &str = "\
INSERT INTO person_generations (issuer_id, digest, generation) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET generation = ?3";
        let (issuer, organization, sub) = (issuer.id, issuer.organization, sub.to_owned());
        self.write("issuer_store.revoke_person", write, move |database, write| {
            if database.issuer(issuer)?.is_none() {
                return Err(ChangeIssuerError::LostRace);
            }
            let digest = digest_of(&sub);
            let generation = generation_after(database.person_generation((issuer, digest))?, write.at);
            database.cached_rows().mark_changed(RowKey::Person((issuer, digest)));
            database.execute(PUT, params![issuer.0, digest, signed(generation)])?;
            let notice = RevocationNotice::of_person(PersonId::of(issuer, &sub), generation, write.at);
            database.notify(&notice)?;
            Ok(database.record_all(organization, write.events)?)
        })
        .await
    }

    async fn is_in_use(&self, id: IssuerId, now: Timestamp) -> Result<bool, StoreError> {
        self.look_up("issuer_store.is_in_use", move |database| database.is_in_use(id, now)).await
    }

    async fn credentials_of(
        &self,
        issuer: &TrustedIssuer,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Credential>>, StoreError> {
        const MATCHES: &str = "\
SELECT * FROM credentials
WHERE issuer_id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)
    AND (subject IS NULL OR subject = ?3)
ORDER BY created_at DESC, credential_id DESC LIMIT ?4";
        let (id, subject) = (issuer.id.0, subject.map(str::to_owned));
        self.list_within("issuer_store.credentials_of", Tenancy::Only(issuer.organization), move |database| {
            let most = signed(MAX_MATCHES as u64);
            database.all(MATCHES, params![id, now.as_millis(), subject, most], credential)
        })
        .await
    }
}

impl Database {
    /// Returns [`ChangeIssuerError::LostRace`] if the stored issuer is not of the same revision.
    fn refuse_changed(&self, before: &TrustedIssuer) -> Result<(), ChangeIssuerError> {
        match self.issuer(before.id)? {
            Some(stored) if stored.revision == before.revision => Ok(()),
            _ => Err(ChangeIssuerError::LostRace),
        }
    }

    fn is_in_use(&self, issuer: IssuerId, now: Timestamp) -> Result<bool, StoreError> {
        const IS_IN_USE: &str = "\
SELECT EXISTS (SELECT 1 FROM credentials
    WHERE issuer_id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2))";
        self.value(IS_IN_USE, params![issuer.0, now.as_millis()])
    }

    /// Returns [`ChangeIssuerError::MissingScopes`] if an agent that the issuer authenticates may manage more than the
    /// caller.
    fn refuse_missing_scopes(&self, issuer: IssuerId, write: Write<'_>) -> Result<(), ChangeIssuerError> {
        const CAPABILITIES: &str = "\
SELECT DISTINCT capabilities FROM agents JOIN credentials USING (agent_id)
WHERE issuer_id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)";
        let Some(authority) = write.authority else { return Ok(()) };
        let capabilities = self.all(CAPABILITIES, params![issuer.0, write.at.as_millis()], |row| {
            parsed(row, "capabilities", |text| Some(Scopes::of_token(text)))
        })?;
        let scopes = capabilities
            .iter()
            .fold(ManagementScopes::default(), |all, capabilities| all.union(capabilities.management()));
        let missing = scopes.difference(authority.scopes);
        if missing.is_empty() { Ok(()) } else { Err(ChangeIssuerError::MissingScopes(missing)) }
    }
}
