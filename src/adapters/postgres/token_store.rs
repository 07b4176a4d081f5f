//! Issuance, revocation and status of tokens in PostgreSQL.

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::rows::codec::SqlTimestamp;
use super::store::Postgres;
use domain::audit::AuditEvent;
use domain::id::{AgentId, IssuerId, OrganizationId};
use domain::token::{Claims, TokenStatus};
use ports::store_error::StoreError;
use ports::token_store::{IssueError, Revocation, Signer, SpentAssertion, TokenIssue, TokenStore};

/// Number of tokens of one organization whose status is asked for at once.
const STATUSES_AT_ONCE: usize = 32;

const SPEND: &str = "\
-- token_store.spend
INSERT INTO assertion_replay (agent_id, digest, remembered_until) VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT assertion_replay_pkey DO NOTHING
RETURNING true";

const SPEND_OF_ISSUER: &str = "\
-- token_store.spend_of_issuer
INSERT INTO issuer_replay (issuer_id, digest, remembered_until) VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT issuer_replay_pkey DO NOTHING
RETURNING true";

const SPEND_OF_KEY: &str = "\
-- token_store.spend_of_key
INSERT INTO proof_replay (digest, remembered_until) VALUES ($1, $2)
ON CONFLICT ON CONSTRAINT proof_replay_pkey DO NOTHING
RETURNING true";

const IS_SPENT: &str = "\
-- token_store.is_spent
SELECT FROM assertion_replay WHERE agent_id = $1 AND digest = $2";

const IS_SPENT_OF_ISSUER: &str = "\
-- token_store.is_spent_of_issuer
SELECT FROM issuer_replay WHERE issuer_id = $1 AND digest = $2";

const IS_SPENT_OF_KEY: &str = "\
-- token_store.is_spent_of_key
SELECT FROM proof_replay WHERE digest = $1";

#[async_trait]
impl TokenStore for Postgres {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        self.ensure_partition(issue.event.at).await?;
        self.issuer.issue(issue).await
    }

    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let (digest, until) = (&assertion.digest[..], SqlTimestamp(assertion.until));
        let outcome = match assertion.signer {
            Signer::Client(AgentId(id)) => self.run_once(SPEND, &[&id, &digest, &until]).await,
            Signer::Issuer(IssuerId(id)) => self.run_once(SPEND_OF_ISSUER, &[&id, &digest, &until]).await,
            Signer::Key => self.run_once(SPEND_OF_KEY, &[&digest, &until]).await,
        };
        Ok(!outcome?.is_empty())
    }

    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let digest = &assertion.digest[..];
        let rows = match assertion.signer {
            Signer::Client(AgentId(id)) => self.read(IS_SPENT, &[&id, &digest]).await,
            Signer::Issuer(IssuerId(id)) => self.read(IS_SPENT_OF_ISSUER, &[&id, &digest]).await,
            Signer::Key => self.read(IS_SPENT_OF_KEY, &[&digest]).await,
        };
        Ok(!rows?.is_empty())
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        self.ensure_partition(event.at).await?;
        self.revoker.revoke(*revocation, event.clone()).await
    }

    async fn statuses(
        &self,
        organization: OrganizationId,
        claims: &[Claims],
    ) -> Result<Vec<Option<TokenStatus>>, StoreError> {
        // All organizations share the queue of these questions.
        let _place = self.place(Some(organization), false).await?;
        let mut statuses = Vec::with_capacity(claims.len());
        for some in claims.chunks(STATUSES_AT_ONCE) {
            statuses.extend(try_join_all(some.iter().map(|claims| self.lookup.status(claims))).await?);
        }
        Ok(statuses)
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        self.lookup.status(claims).await
    }
}
