//! Issuance, revocation and status of tokens in PostgreSQL.

use async_trait::async_trait;

use super::rows::codec::SqlTimestamp;
use super::store::Postgres;
use domain::audit::AuditEvent;
use domain::id::{AgentId, IssuerId};
use domain::token::{Claims, TokenStatus};
use ports::store_error::StoreError;
use ports::token_store::{IssueError, Revocation, Signer, SpentAssertion, TokenIssue, TokenStore};

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

#[async_trait]
impl TokenStore for Postgres {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        self.ensure_partition(issue.event.at).await?;
        self.issuer.issue(issue).await
    }

    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let (sql, signer) = match assertion.signer {
            Signer::Client(AgentId(id)) => (SPEND, id),
            Signer::Issuer(IssuerId(id)) => (SPEND_OF_ISSUER, id),
        };
        let outcome =
            self.run_once(sql, &[&signer, &&assertion.digest[..], &SqlTimestamp(assertion.until)]).await;
        Ok(!outcome?.is_empty())
    }

    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let (table, column, signer) = match assertion.signer {
            Signer::Client(AgentId(id)) => ("assertion_replay", "agent_id", id),
            Signer::Issuer(IssuerId(id)) => ("issuer_replay", "issuer_id", id),
        };
        let sql = format!("-- token_store.is_spent\nSELECT FROM {table} WHERE {column} = $1 AND digest = $2");
        Ok(!self.read(&sql, &[&signer, &&assertion.digest[..]]).await?.is_empty())
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        self.ensure_partition(event.at).await?;
        self.revoker.revoke(*revocation, event.clone()).await
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        self.lookup.status(claims).await
    }
}
