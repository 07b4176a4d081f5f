//! Issuance, revocation and status of tokens, in memory.

use async_trait::async_trait;

use super::Memory;
use domain::audit::AuditEvent;
use domain::id::OrganizationId;
use domain::plan::Limit;
use domain::token::{Claims, RevocationNotice, RevocationTarget, TokenStatus};
use ports::store_error::StoreError;
use ports::token_store::{Dependency, IssueError, Revocation, SpentAssertion, TokenIssue, TokenStore};

#[async_trait]
impl TokenStore for Memory {
    async fn issue(&self, issue: TokenIssue) -> Result<(), IssueError> {
        let now = issue.event.at;
        let state = &mut *self.lock();
        let agent = state.agents.get(&issue.agent).ok_or(IssueError::NoLongerAllowed)?;
        let organization =
            state.organizations.get(&agent.organization).ok_or(IssueError::NoLongerAllowed)?.clone();
        let TokenIssue { agent, revision, changed_at, .. } = issue;
        let client = Dependency { agent, revision, changed_at };
        let still_holds = std::iter::once(client).chain(issue.depends_on).all(|each| state.is_at(each))
            && issue.issuers.iter().all(|issuer| state.is_issuer_at(organization.id, *issuer))
            && issue.person.is_none_or(|person| state.generation_of(&person) == person.generation)
            && !issue.ancestors.iter().any(|ancestor| state.is_revoked(*ancestor))
            && state.credential(issue.agent, issue.credential).is_some_and(|credential| match issue.secret {
                Some(fingerprint) => credential.secret_for(fingerprint, now).is_some(),
                None => credential.is_live(now),
            });
        if !still_holds {
            return Err(IssueError::NoLongerAllowed);
        }
        let is_spent =
            |assertion: &SpentAssertion| state.assertions.contains_key(&(assertion.signer, assertion.digest));
        if issue.assertions.iter().any(is_spent) {
            return Err(IssueError::AssertionSpent);
        }
        let count = state.monthly.entry((issue.agent, now.month())).or_default();
        let quota = organization.limits().max_tokens_per_month;
        if let Limit::AtMost(limit) = quota
            && *count >= limit
        {
            return Err(IssueError::QuotaReached(limit));
        }
        *count += 1;
        let spent = issue.assertions.iter();
        state.assertions.extend(spent.map(|one| ((one.signer, one.digest), one.until)));
        state.touch(issue.agent, issue.credential, now.to_the_minute());
        state.record(Some(organization.id), issue.event);
        Ok(())
    }

    async fn spend(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        let mut state = self.lock();
        Ok(state.assertions.insert((assertion.signer, assertion.digest), assertion.until).is_none())
    }

    async fn is_spent(&self, assertion: &SpentAssertion) -> Result<bool, StoreError> {
        Ok(self.lock().assertions.contains_key(&(assertion.signer, assertion.digest)))
    }

    async fn revoke(&self, revocation: &Revocation, event: &AuditEvent) -> Result<(), StoreError> {
        let state = &mut *self.lock();
        if state.revocations.insert(revocation.token, revocation.until).is_none() {
            state.notify(RevocationNotice {
                target: RevocationTarget::Token(revocation.token),
                until: revocation.until,
            });
            state.record(Some(revocation.organization), event.clone());
        }
        Ok(())
    }

    async fn statuses(
        &self,
        _: OrganizationId,
        claims: &[Claims],
    ) -> Result<Vec<Option<TokenStatus>>, StoreError> {
        let mut statuses = Vec::with_capacity(claims.len());
        for claims in claims {
            statuses.push(self.status(claims).await?);
        }
        Ok(statuses)
    }

    async fn status(&self, claims: &Claims) -> Result<Option<TokenStatus>, StoreError> {
        let state = self.lock();
        let Some(agent) = state.agents.get(&claims.agent) else { return Ok(None) };
        let organization = state.organizations.get(&agent.organization);
        Ok(organization.map(|organization| TokenStatus {
            agent: agent.clone(),
            organization: organization.clone(),
            is_revoked: state.is_revoked(claims.id)
                || claims.parents().iter().any(|id| state.is_revoked(*id)),
            issuers_hold: state.issuers_hold(&claims.issuers),
            other_agents: claims.other_agents().filter_map(|id| state.agents.get(&id).cloned()).collect(),
            person: claims.person().and_then(|person| state.person(person)),
        }))
    }
}
