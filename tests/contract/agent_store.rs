use agentidp::domain::agent::{Agent, AgentChange, AgentFilter, AgentStatus};
use agentidp::domain::audit::AuditAction;
use agentidp::domain::credential::CredentialStatus;
use agentidp::domain::managed_by::ManagedBy;
use agentidp::domain::may_act::MayAct;
use agentidp::domain::page::PageRequest;
use agentidp::domain::plan::LimitOverrides;
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::agent_store::{InsertAgentError, UpdateAgentError};
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    an_agent_reads_back_as_it_was_stored,
    a_stored_agent_has_its_event_and_a_refused_one_has_none,
    an_address_is_taken_once_however_many_race,
    an_address_stays_taken_after_the_end,
    the_same_address_is_free_in_another_organization,
    the_limit_of_agents_holds_however_many_race,
    a_decommissioned_agent_makes_room,
    another_organizations_agent_is_not_found,
    an_agent_of_an_unknown_organization_is_refused,
    of_two_changes_of_one_state_one_wins,
    the_last_administrator_stays_however_many_race,
    an_agent_with_another_administrator_beside_it_may_go,
    decommissioning_revokes_the_credentials_with_it,
    a_list_is_newest_first_filtered_and_paged,
    agents_that_change_places_do_not_wait_for_each_other,
]);

async fn an_agent_reads_back_as_it_was_stored(stores: Stores) {
    let other = stores.agent().await;
    for may_act in [MayAct::NONE, MayAct::All, MayAct::Only(vec![other.id])] {
        let managed_by = Some(ManagedBy::parse("caf\u{e9} \u{1F980}").expect("valid"));
        let agent = Agent { may_act, redelegation: true, managed_by, ..agent(other.organization) };
        let agent = stores.add(agent).await;
        let find = || stores.agents.find(Tenancy::All, agent.id);
        assert_eq!(find().await.expect("an answer").as_deref(), Some(&agent));
        let change = AgentChange {
            may_act: Some(MayAct::Only(vec![other.id, agent.id])),
            redelegation: Some(false),
            ..AgentChange::default()
        };
        let after = agent.changed(change, NOON.plus_seconds(1)).expect("not final");
        let updated = event(AuditAction::AgentUpdated, agent.id);
        stores.agents.update(&agent, &after, unchecked(&updated)).await.expect("changed");
        assert_eq!(find().await.expect("an answer").as_deref(), Some(&after));
    }
}

async fn a_stored_agent_has_its_event_and_a_refused_one_has_none(stores: Stores) {
    let first = stores.agent().await;
    assert_eq!(stores.count(AuditAction::AgentCreated).await, 1);
    let mut same = agent(first.organization);
    same.email = first.email.clone();
    let outcome = stores
        .agents
        .insert(Tenancy::All, &same, None, unchecked(&[event(AuditAction::AgentCreated, same.id)]))
        .await;
    assert!(matches!(outcome, Err(InsertAgentError::EmailTaken)));
    assert_eq!(stores.count(AuditAction::AgentCreated).await, 1);
}

async fn an_address_is_taken_once_however_many_race(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    for round in 1..=ROUNDS {
        let email = agent(organization.id).email;
        let callers = (0..RACERS).map(|_| {
            let (agents, mut new) = (stores.agents.clone(), agent(organization.id));
            new.email = email.clone();
            async move {
                agents
                    .insert(Tenancy::All, &new, None, unchecked(&[event(AuditAction::AgentCreated, new.id)]))
                    .await
            }
        });
        let stored = race(callers).await.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(stored, 1, "round {round}");
    }
}

async fn an_address_stays_taken_after_the_end(stores: Stores) {
    let first = stores.agent().await;
    let after = first.decommissioned(NOON).expect("not decommissioned");
    let events = [event(AuditAction::AgentDecommissioned, first.id)];
    stores.agents.update(&first, &after, unchecked(&events)).await.expect("changed");
    let mut same = agent(first.organization);
    same.email = first.email;
    let outcome = stores
        .agents
        .insert(Tenancy::All, &same, None, unchecked(&[event(AuditAction::AgentCreated, same.id)]))
        .await;
    assert!(matches!(outcome, Err(InsertAgentError::EmailTaken)));
}

async fn the_same_address_is_free_in_another_organization(stores: Stores) {
    let first = stores.agent().await;
    let other = stores.organization(LimitOverrides::default()).await;
    let mut same = agent(other.id);
    same.email = first.email;
    stores.add(same).await;
}

async fn the_limit_of_agents_holds_however_many_race(stores: Stores) {
    for round in 1..=ROUNDS {
        let overrides = LimitOverrides { max_agents: at_most(10), ..LimitOverrides::default() };
        let organization = stores.organization(overrides).await;
        let callers = (0..RACERS).map(|_| {
            let (agents, new) = (stores.agents.clone(), agent(organization.id));
            async move {
                agents
                    .insert(Tenancy::All, &new, None, unchecked(&[event(AuditAction::AgentCreated, new.id)]))
                    .await
            }
        });
        let outcomes = race(callers).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10, "round {round}");
        let refused = |outcome: &&Result<(), _>| matches!(outcome, Err(InsertAgentError::LimitReached(10)));
        assert_eq!(outcomes.iter().filter(refused).count(), RACERS - 10, "round {round}");
        assert_eq!(stores.count(AuditAction::AgentCreated).await, 10 * round, "one event each");
    }
}

async fn a_decommissioned_agent_makes_room(stores: Stores) {
    let overrides = LimitOverrides { max_agents: at_most(1), ..LimitOverrides::default() };
    let organization = stores.organization(overrides).await;
    let first = stores.add(agent(organization.id)).await;
    let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
    let suspended = first.changed(suspension, NOON).expect("not decommissioned");
    stores.agents.update(&first, &suspended, unchecked(&[])).await.expect("changed");
    let second = agent(organization.id);
    let created = event(AuditAction::AgentCreated, second.id);
    let outcome = stores.agents.insert(Tenancy::All, &second, None, unchecked(&created)).await;
    assert!(matches!(outcome, Err(InsertAgentError::LimitReached(1))), "a suspended one still counts");
    let gone = suspended.decommissioned(NOON).expect("not decommissioned");
    stores.agents.update(&suspended, &gone, unchecked(&[])).await.expect("changed");
    stores.agents.insert(Tenancy::All, &second, None, unchecked(&created)).await.expect("room again");
}

async fn another_organizations_agent_is_not_found(stores: Stores) {
    let (ours, theirs) = (stores.agent().await, stores.agent().await);
    let within = Tenancy::Only(ours.organization);
    assert_eq!(stores.agents.find(within, theirs.id).await.expect("an answer"), None);
    let listing =
        stores.agents.list(within, &AgentFilter::default(), PageRequest { number: 1, limit: 10 }).await;
    let listing = listing.expect("an answer");
    assert_eq!(listing.items.iter().map(|agent| agent.id).collect::<Vec<_>>(), [ours.id]);
    assert_eq!(listing.total, 1);
}

async fn an_agent_of_an_unknown_organization_is_refused(stores: Stores) {
    let ours = stores.agent().await;
    let theirs = stores.organization(LimitOverrides::default()).await;
    for (within, organization) in
        [(Tenancy::All, organization().id), (Tenancy::Only(ours.organization), theirs.id)]
    {
        let new = agent(organization);
        let outcome = stores
            .agents
            .insert(within, &new, None, unchecked(&[event(AuditAction::AgentCreated, new.id)]))
            .await;
        assert!(matches!(outcome, Err(InsertAgentError::NoSuchOrganization)));
    }
}

async fn of_two_changes_of_one_state_one_wins(stores: Stores) {
    for round in 1..=ROUNDS {
        let before = stores.agent().await;
        let callers = (0..RACERS).map(|_| {
            let (agents, before) = (stores.agents.clone(), before.clone());
            async move {
                let after = before.with_tokens_revoked(NOON).expect("not decommissioned");
                agents
                    .update(&before, &after, unchecked(&[event(AuditAction::TokenRevoked, before.id)]))
                    .await
            }
        });
        let outcomes = race(callers).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "round {round}");
        let lost = |outcome: &&Result<(), _>| matches!(outcome, Err(UpdateAgentError::LostRace));
        assert_eq!(outcomes.iter().filter(lost).count(), RACERS - 1, "round {round}");
        assert_eq!(stores.count(AuditAction::TokenRevoked).await, round, "one event, of the one that won");
    }
}

async fn the_last_administrator_stays_however_many_race(stores: Stores) {
    let (organization, first, _) = stores.administrator().await;
    let mut administrators = vec![first];
    for _ in 1..RACERS {
        let another = stores.add(administrator(organization.id)).await;
        stores.credential(&another).await;
        administrators.push(another);
    }
    let callers = administrators.into_iter().map(|before| {
        let agents = stores.agents.clone();
        async move {
            let suspension = AgentChange { is_active: Some(false), ..AgentChange::default() };
            let after = before.changed(suspension, NOON).expect("not decommissioned");
            agents.update(&before, &after, unchecked(&[event(AuditAction::AgentSuspended, before.id)])).await
        }
    });
    let outcomes = race(callers).await;
    let refused = |outcome: &&Result<(), _>| matches!(outcome, Err(UpdateAgentError::LastAdministrator));
    assert_eq!(outcomes.iter().filter(refused).count(), 1);
    assert_eq!(stores.count(AuditAction::AgentSuspended).await, RACERS - 1);
}

async fn an_agent_with_another_administrator_beside_it_may_go(stores: Stores) {
    let (_, first, _) = stores.administrator().await;
    let gone = first.decommissioned(NOON).expect("not decommissioned");
    let without_credential = stores.organization(LimitOverrides::default()).await;
    stores.add(administrator(without_credential.id)).await;
    let outcome = stores.agents.update(&first, &gone, unchecked(&[])).await;
    assert!(
        matches!(outcome, Err(UpdateAgentError::LastAdministrator)),
        "one without a credential does not count"
    );
    stores.administrator().await;
    stores.agents.update(&first, &gone, unchecked(&[])).await.expect("another is there");
}

async fn decommissioning_revokes_the_credentials_with_it(stores: Stores) {
    let before = stores.agent().await;
    let credential = stores.credential(&before).await;
    let after = before.decommissioned(NOON).expect("not decommissioned");
    stores.agents.update(&before, &after, unchecked(&[])).await.expect("changed");
    let found = stores.credentials.find(before.id, credential.id).await.expect("an answer").expect("kept");
    assert_eq!(found.status(), CredentialStatus::Revoked);
    assert_eq!(found.revoked_at, Some(NOON));
}

async fn a_list_is_newest_first_filtered_and_paged(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let mut ids = Vec::new();
    for second in 0..5 {
        let mut new = agent(organization.id);
        new.created_at = NOON.plus_seconds(second);
        if second == 2 {
            new.status = AgentStatus::Suspended;
        }
        ids.insert(0, stores.add(new).await.id);
    }
    let within = Tenancy::Only(organization.id);
    let mut seen = Vec::new();
    for number in 1..=3 {
        let listing =
            stores.agents.list(within, &AgentFilter::default(), PageRequest { number, limit: 2 }).await;
        let listing = listing.expect("an answer");
        assert_eq!(listing.total, 5);
        seen.extend(listing.items.iter().map(|agent| agent.id));
    }
    assert_eq!(seen, ids);
    let filter = AgentFilter { status: Some(AgentStatus::Suspended), ..AgentFilter::default() };
    let listing =
        stores.agents.list(within, &filter, PageRequest { number: 1, limit: 10 }).await.expect("an answer");
    assert_eq!(listing.items.iter().map(|agent| agent.id).collect::<Vec<_>>(), [ids[2]]);
    assert_eq!(listing.total, 1);
}

/// Half of the agents move to the status that the others leave, and back.
async fn agents_that_change_places_do_not_wait_for_each_other(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let mut agents = Vec::new();
    for place in 0..8 {
        let status = if place % 2 == 0 { AgentStatus::Active } else { AgentStatus::Suspended };
        agents.push(stores.add(agentidp::domain::agent::Agent { status, ..agent(organization.id) }).await);
    }
    for round in 1..=ROUNDS {
        let changes = agents.into_iter().map(|before| {
            let stores = stores.agents.clone();
            let is_active = Some(!before.is_active());
            async move {
                let change = AgentChange { is_active, ..AgentChange::default() };
                let after = before.changed(change, NOON).expect("not decommissioned");
                stores.update(&before, &after, unchecked(&[])).await.map(|()| after)
            }
        });
        let outcomes = race(changes).await;
        agents = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|e| panic!("{round}: {e:?}")))
            .collect();
    }
    let filter = AgentFilter { status: Some(AgentStatus::Active), ..AgentFilter::default() };
    let page = PageRequest { number: 1, limit: 20 };
    let list = stores.agents.list(Tenancy::Only(organization.id), &filter, page).await.expect("an answer");
    assert_eq!((list.total, list.items.len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn agents_that_are_registered_at_once_share_transactions() {
    let stores = postgres().await;
    let limits = LimitOverrides::default;
    let organizations = [stores.organization(limits()).await.id, stores.organization(limits()).await.id];
    let callers = (0..RACERS).map(|place| {
        let (agents, new) = (stores.agents.clone(), agent(organizations[place % 2]));
        async move {
            agents
                .insert(Tenancy::All, &new, None, unchecked(&event(AuditAction::AgentCreated, new.id)))
                .await
        }
    });
    for outcome in race(callers).await {
        outcome.expect("registered");
    }
    let used = stores.transactions_of_agents(&organizations).await;
    assert!(2 * used < i64::try_from(RACERS).expect("few"), "{RACERS} agents took {used} transactions");
}

/// As a batch does whose answer was lost, if its commit arrives after all.
#[tokio::test]
async fn an_agent_that_is_registered_a_second_time_by_the_same_request_is_there_once() {
    let stores = postgres().await;
    let new = agent(stores.organization(LimitOverrides::default()).await.id);
    let created = event(AuditAction::AgentCreated, new.id);
    for _ in 0..2 {
        stores.agents.insert(Tenancy::All, &new, None, unchecked(&created)).await.expect("registered");
    }
    let filter = AgentFilter::default();
    let page = PageRequest { number: 1, limit: 20 };
    let list = stores.agents.list(Tenancy::Only(new.organization), &filter, page).await.expect("an answer");
    assert_eq!(list.total, 1);
    let other = Agent { id: agent(new.organization).id, ..new };
    let taken = stores.agents.insert(Tenancy::All, &other, None, unchecked(&created)).await;
    assert!(matches!(taken, Err(InsertAgentError::EmailTaken)), "{taken:?}");
}
