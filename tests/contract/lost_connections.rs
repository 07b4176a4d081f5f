//! Connections that are cut while PostgreSQL works.
//! Acknowledged changes are stored, and changes that were refused as unavailable are not.

use std::time::Duration;

use agentidp::domain::audit::{AuditAction, AuditEvent};
use agentidp::domain::id::TokenId;
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::agent_store::InsertAgentError;
use agentidp::ports::organization_store::InsertOrganizationError;
use agentidp::ports::store_error::StoreError;
use agentidp::ports::token_store::{IssueError, Revocation};
use agentidp::ports::usage_store::UsageQuery;
use testing::NOON;
use tokio::task::JoinSet;

use crate::fixtures::*;

/// Terminates all connections of the serving role every 30 ms while the work runs.
/// It does so at most 30 times.
async fn under_cuts<T: Send + 'static>(stores: &Stores, work: impl Future<Output = T> + Send + 'static) -> T {
    const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = 'agentidp'";
    let superuser = stores.database().client("postgres").await;
    let work = tokio::spawn(work);
    let mut pace = tokio::time::interval(Duration::from_millis(30));
    let mut cuts = 0;
    while !work.is_finished() && cuts < 30 {
        pace.tick().await;
        superuser.batch_execute(CUT).await.expect("cut");
        cuts += 1;
    }
    work.await.expect("the work does not panic")
}

async fn has_event(stores: &Stores, event: &AuditEvent) -> bool {
    let found = stores.audit.find(Tenancy::All, event.id, NOON).await;
    found.expect("an answer, now that nothing is cut").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_was_let_through_has_its_event_and_one_that_was_refused_has_none() {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    let organization = agent.organization;
    let tokens = stores.tokens.clone();
    let outcomes = under_cuts(&stores, async move {
        let mut outcomes = Vec::new();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        // Runs until 1,000 calls have succeeded, so that the work goes on after the last cut.
        while outcomes.iter().filter(|(outcome, _): &&(Result<_, _>, _)| outcome.is_ok()).count() < 1_000 {
            pace.tick().await;
            let calls = (0..50).map(|_| {
                let (tokens, issue) = (tokens.clone(), issue(&agent, &credential));
                async move { (tokens.issue(issue.clone()).await, issue.event) }
            });
            outcomes.extend(calls.collect::<JoinSet<_>>().join_all().await);
        }
        outcomes
    })
    .await;
    let mut events = 0;
    for (outcome, event) in outcomes {
        let is_there = has_event(&stores, &event).await;
        events += u64::from(is_there);
        match outcome {
            Ok(_) => assert!(is_there, "it was let through"),
            Err(IssueError::Store(StoreError::Unavailable { .. })) => {
                assert!(!is_there, "nothing was changed");
            }
            Err(IssueError::Store(StoreError::InDoubt { .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let query = UsageQuery { organization, month: NOON.month(), client: None, clients: 1 };
    assert_eq!(stores.usage.usage(&query).await.expect("an answer").tokens, events, "each was counted once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_that_was_acknowledged_is_there_and_one_that_was_refused_is_not() {
    let stores = postgres().await;
    let organizations = stores.organizations.clone();
    let outcomes = under_cuts(&stores, async move {
        let mut outcomes = Vec::new();
        for _ in 0..60 {
            let calls = (0..8).map(|_| {
                let (organizations, new) = (organizations.clone(), organization());
                let event = event(AuditAction::OrganizationCreated, new.id);
                async move { (organizations.insert(&new, unchecked(&event)).await, new, event) }
            });
            outcomes.extend(calls.collect::<JoinSet<_>>().join_all().await);
        }
        outcomes
    })
    .await;
    for (outcome, new, event) in outcomes {
        let found = stores.organizations.find(Tenancy::All, new.id).await.expect("an answer");
        assert_eq!(found.is_some(), has_event(&stores, &event).await, "both or neither");
        match outcome {
            Ok(()) => assert!(found.is_some(), "it was acknowledged"),
            Err(InsertOrganizationError::Store(StoreError::Unavailable { .. })) => assert!(found.is_none()),
            Err(InsertOrganizationError::Store(StoreError::InDoubt { .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_that_was_registered_in_a_batch_is_there_with_its_event_and_one_that_was_refused_is_not() {
    let stores = postgres().await;
    let (agents, organization) =
        (stores.agents.clone(), stores.organization(LimitOverrides::default()).await);
    let outcomes = under_cuts(&stores, async move {
        let mut outcomes = Vec::new();
        while outcomes.iter().filter(|(outcome, ..): &&(Result<_, _>, _, _)| outcome.is_ok()).count() < 1_000
        {
            let calls = (0..50).map(|_| {
                let (agents, new) = (agents.clone(), agent(organization.id));
                let event = event(AuditAction::AgentCreated, new.id);
                async move {
                    let write = unchecked(&event);
                    (agents.insert(Tenancy::All, &new, None, write).await, new, event)
                }
            });
            outcomes.extend(calls.collect::<JoinSet<_>>().join_all().await);
        }
        outcomes
    })
    .await;
    for (outcome, new, event) in outcomes {
        let found = stores.agents.find(Tenancy::All, new.id).await.expect("an answer");
        assert_eq!(found.is_some(), has_event(&stores, &event).await, "both or neither");
        match outcome {
            Ok(()) => assert_eq!(found.as_deref(), Some(&new), "it was acknowledged"),
            Err(InsertAgentError::Store(StoreError::Unavailable { .. })) => assert!(found.is_none()),
            Err(InsertAgentError::Store(StoreError::InDoubt { .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_that_was_acknowledged_holds_with_one_event_and_one_that_was_refused_has_none() {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let (tokens, organization) = (stores.tokens.clone(), agent.organization);
    let outcomes = under_cuts(&stores, async move {
        let mut outcomes = Vec::new();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while outcomes.iter().filter(|(outcome, ..): &&(Result<_, _>, _, _)| outcome.is_ok()).count() < 1_000
        {
            pace.tick().await;
            let calls = (0..50).map(|_| {
                let (tokens, token) = (tokens.clone(), TokenId(id()));
                let revocation = Revocation { token, organization, until: NOON.plus_seconds(60) };
                let event = event(AuditAction::TokenRevoked, token);
                async move { (tokens.revoke(&revocation, &event).await, token, event) }
            });
            outcomes.extend(calls.collect::<JoinSet<_>>().join_all().await);
        }
        outcomes
    })
    .await;
    for (outcome, token, event) in outcomes {
        let status = stores.tokens.status(&claims(&agent, token)).await.expect("an answer").expect("known");
        assert_eq!(status.is_revoked, has_event(&stores, &event).await, "both or neither");
        match outcome {
            Ok(()) => assert!(status.is_revoked, "it was acknowledged"),
            Err(StoreError::Unavailable { .. }) => assert!(!status.is_revoked, "nothing was changed"),
            Err(StoreError::InDoubt { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}
