use agentidp::domain::agent::AgentChange;
use agentidp::domain::audit::{AuditAction, AuditEvent};
use agentidp::domain::credential::{Credential, MAX_LIVE_CREDENTIALS, StoredSecret};
use agentidp::domain::id::{IssuerId, TokenId};
use agentidp::domain::organization::{OrganizationChange, OrganizationStatus};
use agentidp::domain::plan::{LimitOverrides, Plan};
use agentidp::domain::scope::Scopes;
use agentidp::domain::secret::{Fingerprint, SecretHash};
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::time::{CLOCK_SLACK_SECONDS, Timestamp};
use agentidp::domain::token::generation_of;
use agentidp::ports::credential_store::CredentialUpdate;
use agentidp::ports::token_store::{IssueError, Revocation, Signer, SpentAssertion, TokenIssue};
use testing::{NOON, OWNER};

use crate::fixtures::*;

contract!([memory, postgres, sqlite, fallback, fallback_postgres] [
    an_issued_token_has_its_event_and_notes_the_use,
    nothing_is_issued_to_what_is_no_longer_allowed,
    nothing_is_issued_to_a_secret_that_was_rotated_since,
    no_token_is_issued_under_a_generation_that_a_kill_has_passed,
    the_monthly_quota_is_exact_however_many_race,
    a_month_begins_with_a_quota_of_its_own,
    an_assertion_works_once_however_many_race,
    an_assertion_is_not_spent_by_a_refusal,
    an_assertion_is_not_spent_by_a_refusal_beside_it,
    a_spent_assertion_is_remembered_for_clocks_that_are_late,
    a_revoked_token_is_revoked_and_has_one_event,
    revocations_at_once_have_one_event_a_token,
    a_standing_is_that_of_the_agent_and_its_organization_now,
]);

async fn nothing_is_issued_to_a_secret_that_was_rotated_since(stores: Stores) {
    let agent = stores.agent().await;
    let before = stores.credential(&agent).await;
    let new =
        StoredSecret { fingerprint: Fingerprint([9; 8]), hash: SecretHash("another".into()), digest: None };
    let after = before.rotated(new, None, None).expect("live");
    let change = CredentialUpdate {
        before: &before,
        after: &after,
        max_live: MAX_LIVE_CREDENTIALS,
        agent_after: None,
    };
    let rotated = event(AuditAction::CredentialRotated, after.id);
    stores.credentials.update(&agent, &change, unchecked(&rotated)).await.expect("changed");
    let outcome = stores.tokens.issue(issue(&agent, &before)).await;
    assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "the credential lives, the secret does not");
    stores.tokens.issue(issue(&agent, &after)).await.expect("the new one does");
}

async fn an_issued_token_has_its_event_and_notes_the_use(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    stores.tokens.issue(issue(&agent, &credential)).await.expect("allowed");
    assert_eq!(stores.count(AuditAction::TokenIssued).await, 1);
    let used = stores.credentials.find(agent.id, credential.id).await.expect("an answer").expect("stored");
    assert_eq!(used.last_used_at, Some(NOON.to_the_minute()));
}

async fn nothing_is_issued_to_what_is_no_longer_allowed(stores: Stores) {
    let refused = async |issue: TokenIssue, why: &str| {
        let outcome = stores.tokens.issue(issue).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "{why}");
    };
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;

    let unknown =
        TokenIssue { agent: crate::fixtures::agent(agent.organization).id, ..issue(&agent, &credential) };
    refused(unknown, "an unknown agent").await;
    let foreign = stores.credential(&stores.agent().await).await;
    refused(issue(&agent, &foreign), "another agent's credential").await;
    let old = TokenIssue { revision: 1, ..issue(&agent, &credential) };
    refused(old, "another revision").await;
    let restored = TokenIssue { changed_at: NOON.plus_seconds(1), ..issue(&agent, &credential) };
    refused(restored, "the same revision of another change").await;

    let changed = stores.agent().await;
    let credential_of_it = stores.credential(&changed).await;
    let fewer = Scopes::capabilities(&["files:list"]).expect("valid");
    let after = changed
        .changed(AgentChange { capabilities: Some(fewer), ..AgentChange::default() }, NOON)
        .expect("not decommissioned");
    stores.agents.update(&changed, &after, unchecked(&[])).await.expect("changed");
    refused(issue(&changed, &credential_of_it), "an agent whose capabilities have changed").await;
    let changed = stores.agent().await;
    let credential_of_it = stores.credential(&changed).await;
    let before = stores.organizations.find(Tenancy::All, changed.organization).await.expect("an answer");
    let before = before.expect("stored");
    let after =
        before.changed(OrganizationChange { plan: Some(Plan::Free), ..OrganizationChange::default() }, NOON);
    stores.organizations.update(&before, &after, unchecked(&[])).await.expect("changed");
    refused(issue(&changed, &credential_of_it), "an organization that has changed").await;

    let expiring = Credential { expires_at: Some(NOON), ..crate::fixtures::credential(agent.id) };
    let generated = event(AuditAction::CredentialGenerated, expiring.id);
    stores.credentials.insert(&agent, &expiring, 10, unchecked(&generated)).await.expect("stored");
    refused(issue(&agent, &expiring), "an expired credential").await;

    let revoked = credential.revoked(NOON).expect("live");
    let change = CredentialUpdate {
        before: &credential,
        after: &revoked,
        max_live: MAX_LIVE_CREDENTIALS,
        agent_after: None,
    };
    let event = event(AuditAction::CredentialRevoked, revoked.id);
    stores.credentials.update(&agent, &change, unchecked(&event)).await.expect("changed");
    refused(issue(&agent, &credential), "a revoked credential").await;

    let other = stores.agent().await;
    let live = stores.credential(&other).await;
    let within = stores.organizations.find(Tenancy::All, other.organization).await.expect("an answer");
    let within = within.expect("stored");
    let suspension =
        OrganizationChange { status: Some(OrganizationStatus::Suspended), ..OrganizationChange::default() };
    let suspended = within.changed(suspension, NOON);
    stores.organizations.update(&within, &suspended, unchecked(&[])).await.expect("changed");
    refused(issue(&other, &live), "a suspended organization").await;
    let current =
        TokenIssue { revision: suspended.revision, changed_at: suspended.updated_at, ..issue(&other, &live) };
    refused(current, "a suspended organization, of its own revision").await;
    assert_eq!(stores.count(AuditAction::TokenIssued).await, 0, "a refusal stores nothing");
}

/// Races tokens against a suspension: a token is issued before the suspension or not at all.
async fn no_token_is_issued_under_a_generation_that_a_kill_has_passed(stores: Stores) {
    for round in 1..=ROUNDS {
        let agent = stores.agent().await;
        let credential = stores.credential(&agent).await;
        let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
        let suspended = agent.changed(suspension, NOON).expect("not decommissioned");
        let kill = {
            let (agents, before, after) = (stores.agents.clone(), agent.clone(), suspended.clone());
            tokio::spawn(
                async move { agents.update(&before, &after, unchecked(&[])).await.expect("changed") },
            )
        };
        let callers = (0..RACERS).map(|_| {
            let (tokens, issue) = (stores.tokens.clone(), issue(&agent, &credential));
            async move { tokens.issue(issue).await }
        });
        race(callers).await;
        kill.await.expect("no panic");
        let outcome = stores.tokens.issue(issue(&agent, &credential)).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "after the kill, round {round}");
        let outcome = stores.tokens.issue(issue(&suspended, &credential)).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "while suspended, round {round}");
    }
}

async fn the_monthly_quota_is_exact_however_many_race(stores: Stores) {
    for round in 1..=ROUNDS {
        let overrides = LimitOverrides { max_tokens_per_month: at_most(10), ..LimitOverrides::default() };
        let organization = stores.organization(overrides).await;
        let agent = stores.add(agent(organization.id)).await;
        let credential = stores.credential(&agent).await;
        let callers = (0..RACERS).map(|_| {
            let (tokens, issue) = (stores.tokens.clone(), issue(&agent, &credential));
            async move { tokens.issue(issue).await }
        });
        let outcomes = race(callers).await;
        let refused = |outcome: &&Result<(), _>| matches!(outcome, Err(IssueError::QuotaReached(10)));
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10, "round {round}");
        assert_eq!(outcomes.iter().filter(refused).count(), RACERS - 10, "round {round}");
        assert_eq!(stores.count(AuditAction::TokenIssued).await, 10 * round, "one event each");
    }
}

async fn a_month_begins_with_a_quota_of_its_own(stores: Stores) {
    let overrides = LimitOverrides { max_tokens_per_month: at_most(1), ..LimitOverrides::default() };
    let organization = stores.organization(overrides).await;
    let agent = stores.add(agent(organization.id)).await;
    let credential = stores.credential(&agent).await;
    let at = |at: Timestamp| {
        let issue = issue(&agent, &credential);
        TokenIssue { event: AuditEvent { at, ..issue.event }, ..issue }
    };
    const END_OF_JANUARY: Timestamp = Timestamp::from_millis(1_769_903_999_999);
    stores.tokens.issue(at(NOON)).await.expect("the first of January");
    let outcome = stores.tokens.issue(at(END_OF_JANUARY)).await;
    assert!(matches!(outcome, Err(IssueError::QuotaReached(1))), "the second of January");
    let february = Timestamp::from_millis(END_OF_JANUARY.as_millis() + 1);
    stores.tokens.issue(at(february)).await.expect("the first of February");
}

async fn an_assertion_works_once_however_many_race(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    for round in 1..=ROUNDS {
        let assertion = SpentAssertion {
            signer: if round % 2 == 0 { Signer::Key } else { Signer::Client(agent.id) },
            digest: [round as u8; 32],
            until: NOON.plus_seconds(60),
        };
        let callers = (0..RACERS).map(|place| {
            let (tokens, assertion) = (stores.tokens.clone(), assertion.clone());
            let issue = TokenIssue { assertions: vec![assertion.clone()], ..issue(&agent, &credential) };
            async move {
                // Using an assertion at the token endpoint and using it elsewhere count as the same use.
                if place % 2 == 0 {
                    tokens.issue(issue).await.is_ok()
                } else {
                    tokens.spend(&assertion).await.expect("an answer")
                }
            }
        });
        let accepted = race(callers).await.into_iter().filter(|accepted| *accepted).count();
        assert_eq!(accepted, 1, "round {round}");
    }
}

async fn an_assertion_is_not_spent_by_a_refusal(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    let assertion =
        SpentAssertion { signer: Signer::Client(agent.id), digest: [1; 32], until: NOON.plus_seconds(60) };
    let old = TokenIssue { revision: 7, assertions: vec![assertion.clone()], ..issue(&agent, &credential) };
    assert!(stores.tokens.issue(old).await.is_err());
    let current = TokenIssue { assertions: vec![assertion], ..issue(&agent, &credential) };
    stores.tokens.issue(current).await.expect("a refusal stores nothing");
}

async fn an_assertion_is_not_spent_by_a_refusal_beside_it(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    for round in 0..ROUNDS {
        let digest = [u8::try_from(round).expect("few"); 32];
        let signer = if round % 2 == 0 { Signer::Key } else { Signer::Client(agent.id) };
        let assertion = SpentAssertion { signer, digest, until: NOON.plus_seconds(60) };
        let callers = (0..RACERS).map(|place| {
            let current = TokenIssue { assertions: vec![assertion.clone()], ..issue(&agent, &credential) };
            let is_last = place == RACERS - 1;
            let issue = if is_last { current } else { TokenIssue { revision: 7, ..current } };
            let tokens = stores.tokens.clone();
            async move { tokens.issue(issue).await }
        });
        let outcomes = race(callers).await;
        let passed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(passed, 1, "round {round}: {outcomes:?}");
    }
}

async fn a_spent_assertion_is_remembered_for_clocks_that_are_late(stores: Stores) {
    let agent = stores.agent().await;
    let until = NOON.plus_seconds(60);
    let assertions = [Signer::Client(agent.id), Signer::Issuer(IssuerId(id())), Signer::Key]
        .map(|signer| SpentAssertion { signer, digest: [1; 32], until });
    let late = until.plus_seconds(CLOCK_SLACK_SECONDS);
    for (purged_at, is_first) in [(None, true), (Some(late.plus_seconds(-1)), false), (Some(late), true)] {
        if let Some(now) = purged_at {
            stores.retention.purge(now).await.expect("purged");
        }
        for assertion in &assertions {
            let is_spent = stores.tokens.is_spent(assertion).await.expect("an answer");
            assert_eq!(is_spent, !is_first, "{:?}", assertion.signer);
            assert_eq!(stores.tokens.spend(assertion).await.expect("an answer"), is_first);
        }
    }
}

async fn a_revoked_token_is_revoked_and_has_one_event(stores: Stores) {
    let agent = stores.agent().await;
    let (token, other) = (TokenId(id()), TokenId(id()));
    let revocation = Revocation { token, organization: agent.organization, until: NOON.plus_seconds(60) };
    for _ in 0..2 {
        stores.tokens.revoke(&revocation, &event(AuditAction::TokenRevoked, token)).await.expect("revoked");
    }
    assert_eq!(stores.count(AuditAction::TokenRevoked).await, 1);
    let is_revoked = async |token| {
        let status = stores.tokens.status(&claims(&agent, token)).await.expect("an answer").expect("known");
        status.is_revoked
    };
    assert!(is_revoked(token).await);
    assert!(!is_revoked(other).await);
    stores.retention.purge(revocation.until.plus_seconds(CLOCK_SLACK_SECONDS - 1)).await.expect("purged");
    assert!(is_revoked(token).await, "remembered for as long as it was asked to, by a clock that is late");
}

async fn revocations_at_once_have_one_event_a_token(stores: Stores) {
    let agent = stores.agent().await;
    for round in 1..=ROUNDS {
        let several: Vec<TokenId> = (0..RACERS / 3).map(|_| TokenId(id())).collect();
        let callers = (0..RACERS).map(|place| {
            let token = several[place % several.len()];
            let revocation =
                Revocation { token, organization: agent.organization, until: NOON.plus_seconds(60) };
            let tokens = stores.tokens.clone();
            async move { tokens.revoke(&revocation, &event(AuditAction::TokenRevoked, token)).await }
        });
        for outcome in race(callers).await {
            outcome.expect("revoked");
        }
        assert_eq!(stores.count(AuditAction::TokenRevoked).await, round * several.len());
    }
}

async fn a_standing_is_that_of_the_agent_and_its_organization_now(stores: Stores) {
    let agent = stores.agent().await;
    let killed = agent.with_tokens_revoked(NOON).expect("not decommissioned");
    stores.agents.update(&agent, &killed, unchecked(&[])).await.expect("changed");
    let status =
        stores.tokens.status(&claims(&agent, TokenId(id()))).await.expect("an answer").expect("known");
    assert_eq!(
        (&*status.agent, generation_of(&status.agent, &status.organization)),
        (&killed, killed.generation)
    );
    assert_eq!(status.organization.id, agent.organization);
    let nobody = crate::fixtures::agent(agent.organization);
    assert!(stores.tokens.status(&claims(&nobody, TokenId(id()))).await.expect("an answer").is_none());
}

/// A row that was not written by the service, such as one of an import, has microseconds.
#[tokio::test]
async fn a_token_is_issued_to_an_agent_whose_last_change_has_microseconds() {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    let owner = stores.database().client(OWNER).await;
    for table in ["agents", "organizations"] {
        let shift = format!("UPDATE {table} SET updated_at = updated_at + interval '123 microseconds'");
        owner.batch_execute(&shift).await.expect("shifted");
        stores.tokens.issue(issue(&agent, &credential)).await.expect("nothing has changed");
    }
}
