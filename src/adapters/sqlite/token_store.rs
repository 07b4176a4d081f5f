//! Issuance, revocation and status of tokens in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;
use uuid::Uuid;

use super::database::Database;
use super::facts::Facts as _;
use super::row_cache::RowKey;
use super::store::Sqlite;
use super::writer::Refusal;
use domain::audit::AuditEvent;
use domain::credential::Credential;
use domain::id::OrganizationId;
use domain::organization::Organization;
use domain::plan::Limit;
use domain::tenancy::Tenancy;
use domain::token::{Claims, RevocationNotice, RevocationTarget, TokenStatus};
use ports::store_error::StoreError;
use ports::token_store::{
    Dependency, IssueError, IssuerDependency, Revocation, Signer, SpentAssertion, TokenIssue, TokenStore,
};

#[async_trait]
impl TokenStore for Sqlite {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        const COUNT: &str = "\
INSERT INTO monthly_tokens (agent_id, month, organization_id, tokens) VALUES (?1, ?2, ?3, 1)
ON CONFLICT DO UPDATE SET tokens = tokens + 1";
        self.change_unless_refused("token_store.issue", Refusal::BeforeWriting, move |database| {
            let now = issue.event.at;
            let Some(organization) = database.organization_if_allowed(&issue)? else {
                return Err(IssueError::NoLongerAllowed);
            };
            let Some(credential) = database.live_credential(&issue)? else {
                return Err(IssueError::NoLongerAllowed);
            };
            for (place, assertion) in issue.assertions.iter().enumerate() {
                let is_repeated = issue.assertions[..place].iter().any(|other| other.is_same(assertion));
                if is_repeated || database.is_spent(assertion)? {
                    return Err(IssueError::AssertionSpent);
                }
            }
            let month = now.month().to_string();
            if let Limit::AtMost(limit) = organization.limits().max_tokens_per_month
                && database.tokens(issue.agent.0, &month)? >= u64::from(limit)
            {
                return Err(IssueError::QuotaReached(limit));
            }
            for assertion in &issue.assertions {
                database.spend(assertion)?;
            }
            database.execute(COUNT, params![issue.agent.0, month, organization.id.0])?;
            let minute = now.to_the_minute();
            if credential.last_used_at.is_none_or(|last| last < minute) {
                database.touch(issue.agent, issue.credential, minute)?;
            }
            Ok(database.record(Some(organization.id), &issue.event)?)
        })
        .await
    }

    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let assertion = assertion.clone();
        self.change("token_store.spend", move |database| database.spend(&assertion)).await
    }

    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let assertion = assertion.clone();
        self.look_up("token_store.is_spent", move |database| database.is_spent(&assertion)).await
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        const REVOKE: &str = "\
INSERT INTO token_revocations (token_id, organization_id, remembered_until) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET remembered_until = MAX(remembered_until, ?3)";
        let (revocation, event) = (*revocation, event.clone());
        self.change("token_store.revoke", move |database| {
            let is_known = database.is_revoked(revocation.token)?;
            let Revocation { token, organization, until } = revocation;
            database.cached_rows().mark_changed(RowKey::Revocation(token));
            database.execute(REVOKE, params![token.0, organization.0, until.as_millis()])?;
            if !is_known {
                database.notify(&RevocationNotice { target: RevocationTarget::Token(token), until })?;
                database.record(Some(organization), &event)?;
            }
            Ok(())
        })
        .await
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        if let Ok(status) = self.rows().status(claims) {
            return Ok(status);
        }
        let claims = claims.clone();
        self.look_up("token_store.status", move |database| database.status(&claims)).await
    }

    async fn statuses(
        &self,
        organization: OrganizationId,
        claims: &[Claims],
    ) -> Result<Vec<Option<TokenStatus>>, StoreError> {
        let claims = claims.to_vec();
        let within = Tenancy::Only(organization);
        self.list_within("token_store.statuses", within, move |database| {
            claims.iter().map(|claims| database.status(claims)).collect()
        })
        .await
    }
}

/// Returns the kind and the ID of a signer.
fn columns_of(signer: Signer) -> (&'static str, Uuid) {
    match signer {
        Signer::Client(agent) => ("client", agent.0),
        Signer::Issuer(issuer) => ("issuer", issuer.0),
        Signer::Key => ("key", Uuid::nil()),
    }
}

impl Database {
    /// Marks an assertion as used; `false` if it was used before.
    fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        const SPEND: &str = "\
INSERT INTO assertion_replay (signer_kind, signer, digest, remembered_until) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO NOTHING";
        let (kind, signer) = columns_of(assertion.signer);
        let parameters = params![kind, signer, assertion.digest, assertion.until.as_millis()];
        Ok(self.execute(SPEND, parameters)? == 1)
    }

    /// Returns whether an assertion was used before.
    fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        const IS_SPENT: &str = "\
SELECT EXISTS (SELECT 1 FROM assertion_replay WHERE signer_kind = ?1 AND signer = ?2 AND digest = ?3)";
        let (kind, signer) = columns_of(assertion.signer);
        self.value(IS_SPENT, params![kind, signer, assertion.digest])
    }

    /// Returns how many tokens a client was issued in a month.
    pub fn tokens(&self, client: Uuid, month: &str) -> Result<u64, StoreError> {
        const TOKENS: &str = "\
SELECT COALESCE((SELECT tokens FROM monthly_tokens WHERE agent_id = ?1 AND month = ?2), 0)";
        self.value::<i64>(TOKENS, params![client, month]).map(i64::unsigned_abs)
    }

    /// Returns the client's organization if all parties and ancestors are still so as a token depends on.
    fn organization_if_allowed(&self, issue: &TokenIssue) -> Result<Option<Arc<Organization>>, StoreError> {
        let TokenIssue { agent, revision, changed_at, .. } = *issue;
        let Some(organization) = self.organization_at(Dependency { agent, revision, changed_at })? else {
            return Ok(None);
        };
        for dependency in &issue.depends_on {
            if self.organization_at(*dependency)?.is_none() {
                return Ok(None);
            }
        }
        for dependency in &issue.issuers {
            if !self.is_issuer_at(organization.id, *dependency)? {
                return Ok(None);
            }
        }
        if let Some(person) = issue.person
            && self.person_generation((person.issuer, person.digest))? != person.generation
        {
            return Ok(None);
        }
        for ancestor in &issue.ancestors {
            if self.is_revoked(*ancestor)? {
                return Ok(None);
            }
        }
        Ok(Some(organization))
    }

    /// Returns the client's credential if it is live and still has the secret that was presented.
    fn live_credential(&self, issue: &TokenIssue) -> Result<Option<Arc<Credential>>, StoreError> {
        let now = issue.event.at;
        let credentials = self.credentials(issue.agent)?;
        let credential = credentials.iter().find(|credential| credential.id == issue.credential);
        let is_live = |credential: &&Arc<Credential>| match issue.secret {
            Some(fingerprint) => credential.secret_for(fingerprint, now).is_some(),
            None => credential.is_live(now),
        };
        Ok(credential.filter(is_live).cloned())
    }

    /// Returns the organization of an agent, if both are active and of the revision that a token depends on.
    fn organization_at(&self, dependency: Dependency) -> Result<Option<Arc<Organization>>, StoreError> {
        let Some(agent) = self.agent(dependency.agent)? else { return Ok(None) };
        let organization = self.organization(agent.organization)?;
        Ok(organization.filter(|organization| {
            agent.is_active()
                && organization.is_active()
                && agent.revision + organization.revision == dependency.revision
                && agent.updated_at.max(organization.updated_at) == dependency.changed_at
        }))
    }

    /// Returns whether the issuer is there, of the organization, active and last changed as a token depends on.
    fn is_issuer_at(
        &self,
        organization: OrganizationId,
        dependency: IssuerDependency,
    ) -> Result<bool, StoreError> {
        let issuer = self.issuer(dependency.issuer)?;
        Ok(issuer.is_some_and(|issuer| {
            issuer.is_active()
                && issuer.organization == organization
                && issuer.generation == dependency.generation
                && dependency.decided_by.is_none_or(|seen| seen == (issuer.revision, issuer.updated_at))
        }))
    }
}
