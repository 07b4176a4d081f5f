//! Issuance, revocation and status of tokens in PostgreSQL.

use async_trait::async_trait;

use super::rows::codec::SqlTimestamp;
use super::store::Postgres;
use domain::audit::AuditEvent;
use domain::id::AgentId;
use domain::token::{Claims, TokenStatus};
use ports::store_error::StoreError;
use ports::token_store::{IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};

const SPEND: &str = "\
-- token_store.spend
INSERT INTO assertion_replay (agent_id, digest, remembered_until) VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT assertion_replay_pkey DO NOTHING
RETURNING true";

#[async_trait]
impl TokenStore for Postgres {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        self.ensure_partition(issue.event.at).await?;
        self.issuer.issue(issue).await
    }

    async fn spend(&self, agent: AgentId, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let outcome =
            self.run_once(SPEND, &[&agent.0, &&assertion.digest[..], &SqlTimestamp(assertion.until)]).await;
        Ok(!outcome?.is_empty())
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        self.ensure_partition(event.at).await?;
        self.revoker.revoke(*revocation, event.clone()).await
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        self.lookup.status(claims).await
    }
}
