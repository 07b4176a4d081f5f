//! Rows and advisory locks held by another transaction.
//! No token is issued past a waiting revocation, and a request that waits in vain fails alone.

use std::sync::Arc;

use agentidp::adapters::postgres::Postgres;
use agentidp::domain::agent::{Agent, AgentChange, Version};
use agentidp::domain::audit::{AuditAction, Authority};
use agentidp::domain::id::{OrganizationId, TokenId};
use agentidp::domain::issuer::{IssuerChange, IssuerStatus};
use agentidp::domain::page::PageRequest;
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::scope::ManagementScopes;
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::agent_store::{AgentStore as _, InsertAgentError};
use agentidp::ports::store_error::StoreError;
use agentidp::ports::token_store::{
    Dependency, IssueError, IssuerDependency, Revocation, TokenIssue, TokenStore as _,
};
use agentidp::ports::write::Write;
use testing::{NOON, SERVES};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::fixtures::*;

/// Returns the advisory lock key of the agent's organization.
/// The SQL function `organization_gate` computes the same key.
fn gate_of(agent: &Agent) -> i32 {
    let [.., a, b, c, d] = *agent.organization.0.as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

/// Waits until `wanted` sessions wait for a lock, or the task has finished.
async fn until_waiting<T>(client: &Client, wanted: i64, task: &JoinHandle<T>) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while !task.is_finished()
        && client.query_one(WAITING, &[]).await.expect("an answer").get::<_, i64>(0) < wanted
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_overtakes_a_kill_that_waits_for_others() {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let credential = stores.credential(&agent).await;
    overtakes_no_kill(&stores, &agent, issue(&agent, &credential)).await;
    let other = stores.agent().await;
    let credential = stores.credential(&other).await;
    let killed = stores.agent().await;
    let depends_on =
        vec![Dependency { agent: killed.id, revision: killed.revision, changed_at: killed.updated_at }];
    overtakes_no_kill(&stores, &killed, TokenIssue { depends_on, ..issue(&other, &credential) }).await;
}

/// Asks for the token while the kill of an agent waits for another instance's token.
async fn overtakes_no_kill(stores: &Stores, killed: &Agent, issue: TokenIssue) {
    let watcher = stores.database().client("postgres").await;
    let mut other_instance = stores.database().client("postgres").await;
    let issuing = other_instance.transaction().await.expect("begun");
    let gate = gate_of(killed);
    issuing.query("SELECT pg_advisory_xact_lock_shared(1, $1)", &[&gate]).await.expect("passed");
    let share = "SELECT FROM agents WHERE agent_id = $1 FOR SHARE";
    issuing.query(share, &[&killed.id.0]).await.expect("locked");

    let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
    let suspended = killed.changed(suspension, NOON).expect("not decommissioned");
    let (agents, before) = (stores.agents.clone(), killed.clone());
    let kill = tokio::spawn(async move { agents.update(&before, &suspended, unchecked(&[])).await });
    until_waiting(&watcher, 1, &kill).await;
    let tokens = stores.tokens.clone();
    let token = tokio::spawn(async move { tokens.issue(issue).await });
    until_waiting(&watcher, 2, &token).await;
    issuing.commit().await.expect("the other instance has its token");

    kill.await.expect("no panic").expect("suspended");
    token.await.expect("no panic").expect_err("the kill came first");
}

/// Asks for a token while the suspension of the issuer that it rests on waits for another instance's token.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_overtakes_the_suspension_of_its_issuer() {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let issuer = stores.trust(issuer(agent.organization)).await;
    let credential = stores.federated(&agent, &issuer).await;
    let watcher = stores.database().client("postgres").await;
    let mut other_instance = stores.database().client("postgres").await;
    let issuing = other_instance.transaction().await.expect("begun");
    let gate = gate_of(&agent);
    issuing.query("SELECT pg_advisory_xact_lock_shared(1, $1)", &[&gate]).await.expect("passed");
    let share = "SELECT FROM trusted_issuers WHERE issuer_id = $1 FOR SHARE";
    issuing.query(share, &[&issuer.id.0]).await.expect("locked");

    let suspension = IssuerChange { status: Some(IssuerStatus::Suspended), ..IssuerChange::default() };
    let (issuers, before, after) = (stores.issuers.clone(), issuer.clone(), issuer.changed(suspension, NOON));
    let kill = tokio::spawn(async move { issuers.update(&before, &after, unchecked(&[])).await });
    until_waiting(&watcher, 1, &kill).await;
    let rests_on = IssuerDependency::of(&issuer);
    let request = TokenIssue { issuers: vec![rests_on], ..issue(&agent, &credential) };
    let tokens = stores.tokens.clone();
    let token = tokio::spawn(async move { tokens.issue(request).await });
    until_waiting(&watcher, 2, &token).await;
    issuing.commit().await.expect("the other instance has its token");

    kill.await.expect("no panic").expect("suspended");
    token.await.expect("no panic").expect_err("the suspension came first");
}

/// Tokens of two organizations depend on each other's clients, on two instances, while both clients are killed: locks
/// are taken in one order, so that no kill is the victim of a deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kills_of_clients_that_depend_on_each_other_never_deadlock() {
    let stores = postgres().await;
    let instance = || Postgres::new(&stores.database().settings(SERVES), 8).expect("a pool");
    let instances = [Arc::new(instance()), Arc::new(instance())];
    for round in 1..=ROUNDS {
        let clients = [stores.agent().await, stores.agent().await];
        let credentials = [stores.credential(&clients[0]).await, stores.credential(&clients[1]).await];
        let mut tokens = Vec::new();
        for racer in 0..4 * RACERS {
            let (client, other) = (&clients[racer % 2], &clients[(racer + 1) % 2]);
            let depends_on =
                vec![Dependency { agent: other.id, revision: other.revision, changed_at: other.updated_at }];
            let issue = TokenIssue { depends_on, ..issue(client, &credentials[racer % 2]) };
            let instance = instances[racer / 2 % 2].clone();
            tokens.push(tokio::spawn(async move { instance.issue(issue).await }));
        }
        let kills = [0, 1].map(|place| {
            let (instance, before) = (instances[place].clone(), clients[place].clone());
            let killed = before.with_tokens_revoked(NOON).expect("not decommissioned");
            tokio::spawn(async move { instance.update(&before, &killed, unchecked(&[])).await })
        });
        for kill in kills {
            kill.await.expect("no panic").unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        for token in tokens {
            // Issued before both kills, or refused.
            let outcome = token.await.expect("no panic");
            assert!(
                matches!(outcome, Ok(()) | Err(IssueError::NoLongerAllowed)),
                "round {round}: {outcome:?}"
            );
        }
    }
}

/// The change has already checked its caller, which belongs to another organization than its target.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_is_not_answered_while_a_change_of_who_it_stops_is_being_stored() {
    let stores = postgres().await;
    let caller = stores.agent().await;
    let target = stores.agent().await;
    let watcher = stores.database().client("postgres").await;
    let mut operator = stores.database().client("postgres").await;
    let at_work = operator.transaction().await.expect("begun");
    let hold = "SELECT FROM agents WHERE agent_id = $1 FOR UPDATE";
    at_work.query(hold, &[&target.id.0]).await.expect("held");

    let new = credential(target.id);
    let authority = Authority {
        agent: caller.id,
        organization: caller.organization,
        generation: 0,
        scopes: ManagementScopes::default(),
        token: None,
        issuers: Vec::new(),
    };
    let generated = event(AuditAction::CredentialGenerated, new.id);
    let credentials = stores.credentials.clone();
    let change =
        tokio::spawn(async move { credentials.insert(&target, &new, 10, by(&authority, &generated)).await });
    until_waiting(&watcher, 1, &change).await;
    let killed = caller.with_tokens_revoked(NOON).expect("not decommissioned");
    let agents = stores.agents.clone();
    let kill = tokio::spawn(async move { agents.update(&caller, &killed, unchecked(&[])).await });
    until_waiting(&watcher, 2, &kill).await;
    assert!(!kill.is_finished());
    at_work.commit().await.expect("let go");

    change.await.expect("no panic").expect("it came first");
    kill.await.expect("no panic").expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_gate_is_the_same_in_the_program_and_in_the_database() {
    let stores = postgres().await;
    let client = stores.database().client("postgres").await;
    for round in 0..ROUNDS as u64 {
        let agent = Agent {
            organization: OrganizationId(uuid::Uuid::from_u128(
                0x0192_0000_0000_7000_8000_0000_9e37_79b9_u128.wrapping_mul(u128::from(round) * 2 + 1),
            )),
            ..agent(OrganizationId(id()))
        };
        let row = client
            .query_one("SELECT organization_gate($1)", &[&agent.organization.0])
            .await
            .expect("an answer");
        assert_eq!(row.get::<_, i32>(0), gate_of(&agent));
    }
}

/// No organization waits for another's advisory lock, however many of them are held.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gate_that_is_held_delays_its_own_organization_and_nobody_else() {
    let stores = postgres().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let agent = stores.agent().await;
        held.push((stores.credential(&agent).await, agent));
    }
    let free = stores.agent().await;
    let free_credential = stores.credential(&free).await;
    let mut operator = stores.database().client("postgres").await;
    let at_work = operator.transaction().await.expect("begun");
    for (_, agent) in &held {
        at_work.query("SELECT pg_advisory_xact_lock(1, $1)", &[&gate_of(agent)]).await.expect("held");
    }
    let waiting: Vec<_> = held
        .iter()
        .map(|(credential, agent)| {
            let (tokens, issue) = (stores.tokens.clone(), issue(agent, credential));
            tokio::spawn(async move { tokens.issue(issue).await })
        })
        .collect();
    let watcher = stores.database().client("postgres").await;
    for task in &waiting {
        until_waiting(&watcher, 3, task).await;
    }
    for _ in 0..20 {
        stores.tokens.issue(issue(&free, &free_credential)).await.expect("its rows are free");
    }
    assert!(waiting.iter().all(|task| !task.is_finished()), "twenty tokens, and not one lock time-out");
    at_work.commit().await.expect("let go");
    for task in waiting {
        task.await.expect("no panic").expect("its turn has come");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_that_is_held_fails_those_that_need_it_and_nobody_else() {
    let stores = postgres().await;
    let (held, free) = (stores.agent().await, stores.agent().await);
    let (held_credential, free_credential) = (stores.credential(&held).await, stores.credential(&free).await);
    let mut operator = stores.database().client("postgres").await;
    let at_work = operator.transaction().await.expect("begun");
    let hold = "SELECT FROM agents WHERE agent_id = $1 FOR UPDATE";
    at_work.query(hold, &[&held.id.0]).await.expect("held");
    let callers = (0..RACERS).map(|place| {
        let is_held = place % 10 == 0;
        let issue = if is_held { issue(&held, &held_credential) } else { issue(&free, &free_credential) };
        let tokens = stores.tokens.clone();
        async move { (is_held, tokens.issue(issue).await) }
    });
    for (is_held, outcome) in race(callers).await {
        match outcome {
            Ok(_) => assert!(!is_held),
            Err(IssueError::Store(StoreError::Unavailable { source, .. })) => {
                assert!(is_held);
                assert!(source.to_string().contains("lock timeout"), "the log would not say why: {source}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_that_the_tables_refuse_fails_alone() {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let callers = (0..RACERS).map(|place| {
        let is_wrong = place % 10 == 0;
        let organization = if is_wrong { OrganizationId(id()) } else { agent.organization };
        let token = TokenId(id());
        let revocation = Revocation { token, organization, until: NOON.plus_seconds(60) };
        let tokens = stores.tokens.clone();
        async move { (is_wrong, tokens.revoke(&revocation, &event(AuditAction::TokenRevoked, token)).await) }
    });
    for (is_wrong, outcome) in race(callers).await {
        assert_eq!(outcome.is_err(), is_wrong, "{outcome:?}");
    }
    assert_eq!(stores.count(AuditAction::TokenRevoked).await, RACERS - RACERS.div_ceil(10));
}

/// A tenant that holds its own lock or floods the pool does not block others.
/// Revocations, changes and lists of other tenants still get connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_organization_leaves_most_of_the_pool_to_others() {
    let stores = postgres().await;
    let (held, free) = (stores.agent().await, stores.agent().await);
    let mut operator = stores.database().client("postgres").await;
    let at_work = operator.transaction().await.expect("begun");
    at_work.query("SELECT pg_advisory_xact_lock(1, $1)", &[&gate_of(&held)]).await.expect("held");
    let changed = |agent: &Agent, version: &str| {
        let version = Some(Version::parse(version).expect("valid"));
        agent.changed(AgentChange { version, ..AgentChange::default() }, NOON).expect("not final")
    };
    // Far more changes than the pool has connections; without a bound, each would wait for the lock with a
    // connection.
    let flood: Vec<_> = (0..3 * RACERS)
        .map(|_| {
            let (agents, before, after) = (stores.agents.clone(), held.clone(), changed(&held, "2.0.0"));
            tokio::spawn(async move { agents.update(&before, &after, unchecked(&[])).await })
        })
        .collect();
    let watcher = stores.database().client("postgres").await;
    until_waiting(&watcher, 1, &flood[0]).await;
    let mut agent = free;
    for _ in 0..20 {
        let after = changed(&agent, "3.0.0");
        stores.agents.update(&agent, &after, unchecked(&[])).await.expect("there is a connection");
        let killed = after.with_tokens_revoked(NOON).expect("not final");
        stores.agents.update(&after, &killed, unchecked(&[])).await.expect("there is one for kills");
        let page = PageRequest { number: 1, limit: 1 };
        let within = Tenancy::Only(agent.organization);
        let listing = stores.agents.list(within, &Default::default(), page).await.expect("and one for lists");
        assert_eq!(listing.total, 1);
        agent = killed;
    }
    at_work.commit().await.expect("let go");
    let mut stored = 0;
    for task in flood {
        stored += usize::from(task.await.expect("no panic").is_ok());
    }
    assert!(stored <= 1, "of one state one change is stored");
}

/// Agents are registered in batches, but none waits for what only another one of its batch needs, and none is registered
/// without its locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_registration_that_waits_delays_nobody_else() {
    let stores = postgres().await;
    let (held, free) = (stores.agent().await, stores.agent().await);
    let mut operator = stores.database().client("postgres").await;
    let organization = held.organization;
    let mut before = stores.transactions_of_agents(&[free.organization]).await;
    let register = |new: Agent, caller: Option<Authority>| {
        let agents = stores.agents.clone();
        async move {
            let events = [event(AuditAction::AgentCreated, new.id)];
            let write = Write { authority: caller.as_ref(), events: &events, at: NOON };
            agents.insert(Tenancy::All, &new, None, write).await
        }
    };
    let authority = Authority {
        agent: held.id,
        organization,
        generation: held.generation,
        scopes: ManagementScopes::default(),
        token: None,
        issuers: Vec::new(),
    };
    for lock in [
        format!("SELECT pg_advisory_xact_lock(hashtextextended('agentidp agents of {organization}', 0))"),
        format!("SELECT pg_advisory_xact_lock(1, {})", gate_of(&held)),
        format!("SELECT FROM organizations WHERE organization_id = '{organization}' FOR UPDATE"),
        format!("SELECT FROM agent_counts WHERE organization_id = '{organization}' FOR UPDATE"),
    ] {
        let at_work = operator.transaction().await.expect("begun");
        at_work.batch_execute(&lock).await.expect("held");
        let callers = (0..RACERS).map(|place| {
            let is_held = place % 5 == 0;
            let (whose, authority) =
                if is_held { (organization, Some(authority.clone())) } else { (free.organization, None) };
            let registration = register(agent(whose), authority);
            async move { (is_held, registration.await) }
        });
        for (is_held, outcome) in race(callers).await {
            assert_eq!(outcome.is_err(), is_held, "{lock}: {outcome:?}");
        }
        at_work.commit().await.expect("let go");
        register(agent(organization), Some(authority.clone())).await.expect("its turn has come");
        let used = stores.transactions_of_agents(&[free.organization]).await - before;
        before += used;
        assert!(2 * used < i64::try_from(RACERS).expect("few"), "{lock}: {used} transactions");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_at_the_limit_is_refused_without_the_lock_of_registrations() {
    let stores = postgres().await;
    let overrides = LimitOverrides { max_agents: at_most(1), ..LimitOverrides::default() };
    let organization = stores.organization(overrides).await;
    let first = stores.add(agent(organization.id)).await;
    let register = async |new: &Agent| {
        let created = event(AuditAction::AgentCreated, new.id);
        stores.agents.insert(Tenancy::All, new, None, unchecked(&created)).await
    };
    let refused = register(&agent(organization.id)).await;
    assert!(matches!(refused, Err(InsertAgentError::LimitReached(1))), "{refused:?}");
    let mut operator = stores.database().client("postgres").await;
    let at_work = operator.transaction().await.expect("begun");
    let lock = format!(
        "SELECT pg_advisory_xact_lock(hashtextextended('agentidp agents of {}', 0))",
        organization.id
    );
    at_work.batch_execute(&lock).await.expect("held");
    for _ in 0..RACERS {
        let refused = register(&agent(organization.id)).await;
        assert!(matches!(refused, Err(InsertAgentError::LimitReached(1))), "{refused:?}");
    }
    let taken = Agent { email: first.email.clone(), ..agent(organization.id) };
    assert!(matches!(register(&taken).await, Err(InsertAgentError::EmailTaken)));
    at_work.commit().await.expect("let go");
    let gone = first.decommissioned(NOON).expect("not final");
    stores.agents.update(&first, &gone, unchecked(&[])).await.expect("decommissioned");
    register(&agent(organization.id)).await.expect("there is room at once");
}
