//! Tokens that depend on other agents than the client.

use agentidp::domain::agent::{Agent, AgentChange};
use agentidp::domain::audit::AuditAction;
use agentidp::domain::organization::{OrganizationChange, OrganizationStatus};
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::token_store::{Dependency, IssueError, TokenIssue};
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite, fallback, fallback_postgres] [
    a_token_may_depend_on_many_agents_of_many_organizations,
    nothing_is_issued_once_something_that_it_depends_on_has_changed,
    no_token_is_issued_after_the_answer_to_a_kill_of_what_it_depends_on,
]);

fn on(agent: &Agent) -> Dependency {
    Dependency { agent: agent.id, revision: agent.revision, changed_at: agent.updated_at }
}

fn suspended(agent: &Agent) -> Agent {
    let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
    agent.changed(suspension, NOON).expect("not decommissioned")
}

async fn a_token_may_depend_on_many_agents_of_many_organizations(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    let mut depends_on = vec![on(&agent)];
    for _ in 0..4 {
        let other = stores.agent().await;
        depends_on.extend([on(&other), on(&other)]);
        depends_on.push(on(&stores.add(crate::fixtures::agent(other.organization)).await));
    }
    stores.tokens.issue(TokenIssue { depends_on, ..issue(&agent, &credential) }).await.expect("allowed");
    assert_eq!(stores.count(AuditAction::TokenIssued).await, 1);
}

async fn nothing_is_issued_once_something_that_it_depends_on_has_changed(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    let sound = stores.agent().await;
    let refused = async |dependency: Dependency, why: &str| {
        for depends_on in [vec![dependency, on(&sound)], vec![on(&sound), dependency]] {
            let outcome = stores.tokens.issue(TokenIssue { depends_on, ..issue(&agent, &credential) }).await;
            assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "{why}: {outcome:?}");
        }
    };
    refused(on(&crate::fixtures::agent(agent.organization)), "an unknown agent").await;
    refused(Dependency { revision: 1, ..on(&sound) }, "another revision").await;
    let restored = Dependency { changed_at: NOON.plus_seconds(1), ..on(&sound) };
    refused(restored, "the same revision of another change").await;

    let changed = stores.agent().await;
    let killed = changed.with_tokens_revoked(NOON).expect("not decommissioned");
    stores.agents.update(&changed, &killed, unchecked(&[])).await.expect("changed");
    refused(on(&changed), "an agent whose tokens were revoked").await;

    let active = stores.agent().await;
    let suspended = suspended(&active);
    stores.agents.update(&active, &suspended, unchecked(&[])).await.expect("changed");
    refused(on(&active), "a suspended agent").await;
    refused(on(&suspended), "a suspended agent, of its own revision").await;

    let other = stores.agent().await;
    let within = stores.organizations.find(Tenancy::All, other.organization).await.expect("an answer");
    let within = within.expect("stored");
    let suspension =
        OrganizationChange { status: Some(OrganizationStatus::Suspended), ..OrganizationChange::default() };
    let after = within.changed(suspension, NOON);
    stores.organizations.update(&within, &after, unchecked(&[])).await.expect("changed");
    refused(on(&other), "a suspended organization").await;
    let current =
        Dependency { revision: other.revision + after.revision, changed_at: after.updated_at, ..on(&other) };
    refused(current, "a suspended organization, of its own revision").await;
    assert_eq!(stores.count(AuditAction::TokenIssued).await, 0, "a refusal stores nothing");
}

/// Races tokens against the suspension of an agent that they depend on.
async fn no_token_is_issued_after_the_answer_to_a_kill_of_what_it_depends_on(stores: Stores) {
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    for round in 1..=ROUNDS {
        let other = stores.agent().await;
        let request = || TokenIssue { depends_on: vec![on(&other)], ..issue(&agent, &credential) };
        let kill = {
            let (agents, before, after) = (stores.agents.clone(), other.clone(), suspended(&other));
            tokio::spawn(async move { agents.update(&before, &after, unchecked(&[])).await })
        };
        let callers = (0..RACERS).map(|_| {
            let (tokens, issue) = (stores.tokens.clone(), request());
            async move { tokens.issue(issue).await }
        });
        race(callers).await;
        kill.await.expect("no panic").expect("changed");
        let outcome = stores.tokens.issue(request()).await;
        assert!(matches!(outcome, Err(IssueError::NoLongerAllowed)), "round {round}: {outcome:?}");
    }
}
