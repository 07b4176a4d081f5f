//! What must be known of tokens, in PostgreSQL.

use async_trait::async_trait;

use super::events::{EventColumns, INSERT_EVENTS};
use super::store::{Parameter, Postgres};
use crate::domain::audit::EventDraft;
use crate::domain::id::AgentId;
use crate::domain::token::{Claims, Standing};
use crate::ports::store_error::StoreError;
use crate::ports::token_store::{IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};

const SPEND: &str = "\
-- token_store.spend
INSERT INTO assertion_replay (agent_id, digest, remembered_until) VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT assertion_replay_pkey DO NOTHING
RETURNING true";

/// What of a revocation stands before its event. Run twice the whole does nothing the second time, so it needs no
/// look-up of its fate.
const REVOKED: &str = "\
-- token_store.revoke
WITH revoked AS (
    INSERT INTO token_revocations (token_id, organization_id, remembered_until) VALUES ($12, $13, $14)
    ON CONFLICT ON CONSTRAINT token_revocations_pkey DO NOTHING
    RETURNING token_id, remembered_until
), told AS (
    INSERT INTO outbox (kind, subject_id, remembered_until)
    SELECT 'token', token_id, remembered_until FROM revoked
)";

#[async_trait]
impl TokenStore for Postgres {
    async fn issue(&self, issue: &TokenIssue) -> Result<u64, IssueError> {
        self.make_room(issue.event.at).await?;
        self.issuer.issue(issue.clone()).await
    }

    async fn spend(&self, agent: AgentId, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let outcome = self.run_once(SPEND, &[&agent.0, &&assertion.digest[..], &assertion.until]).await;
        Ok(!outcome?.is_empty())
    }

    async fn revoke(&self, revocation: &Revocation, event: &EventDraft) -> Result<(), StoreError> {
        self.make_room(event.at).await?;
        let columns = EventColumns::of([(Some(revocation.organization), event)]);
        let mut parameters = columns.parameters().to_vec();
        let (token, organization) = (revocation.token.0, revocation.organization.0);
        parameters.extend([&token as Parameter<'_>, &organization, &revocation.until]);
        self.run(&format!("{REVOKED}\n{INSERT_EVENTS}, revoked"), &parameters).await.map(drop)
    }

    async fn standing(&self, claims: &Claims) -> Result<Option<Standing>, StoreError> {
        self.lookup.standing(claims).await
    }
}
