use agentidp::domain::audit::AuditAction;
use agentidp::domain::organization::{OrganizationChange, OrganizationStatus};
use agentidp::domain::page::PageRequest;
use agentidp::domain::plan::{LimitOverrides, Plan};
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::organization_store::{InsertOrganizationError, UpdateOrganizationError};
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    an_organization_reads_back_by_id_and_by_slug,
    a_slug_is_taken_once_however_many_race,
    another_organization_is_not_found,
    of_two_changes_of_one_state_one_wins,
    the_organization_of_the_last_administrator_stays_active,
    a_list_is_newest_first_and_paged,
]);

fn suspension() -> OrganizationChange {
    OrganizationChange { status: Some(OrganizationStatus::Suspended), ..OrganizationChange::default() }
}

async fn an_organization_reads_back_by_id_and_by_slug(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let by_id = stores.organizations.find(Tenancy::All, organization.id).await.expect("an answer");
    let by_slug = stores.organizations.find_by_slug(&organization.slug).await.expect("an answer");
    assert_eq!(by_id.as_deref(), Some(&organization));
    assert_eq!(by_slug.as_deref(), Some(&organization));
    assert_eq!(stores.count(AuditAction::OrganizationCreated).await, 1);
}

async fn a_slug_is_taken_once_however_many_race(stores: Stores) {
    for round in 1..=ROUNDS {
        let slug = organization().slug;
        let callers = (0..RACERS).map(|_| {
            let (organizations, mut new) = (stores.organizations.clone(), organization());
            new.slug = slug.clone();
            async move {
                organizations.insert(&new, unchecked(&event(AuditAction::OrganizationCreated, new.id))).await
            }
        });
        let outcomes = race(callers).await;
        let taken = |outcome: &&Result<(), _>| matches!(outcome, Err(InsertOrganizationError::SlugTaken));
        assert_eq!(outcomes.iter().filter(taken).count(), RACERS - 1, "round {round}");
        assert_eq!(stores.count(AuditAction::OrganizationCreated).await, round, "one event");
    }
}

async fn another_organization_is_not_found(stores: Stores) {
    let ours = stores.organization(LimitOverrides::default()).await;
    let theirs = stores.organization(LimitOverrides::default()).await;
    let found = stores.organizations.find(Tenancy::Only(ours.id), theirs.id).await.expect("an answer");
    assert_eq!(found, None);
}

async fn of_two_changes_of_one_state_one_wins(stores: Stores) {
    for round in 1..=ROUNDS {
        let before = stores.organization(LimitOverrides::default()).await;
        let callers = (0..RACERS).map(|place| {
            let (organizations, before) = (stores.organizations.clone(), before.clone());
            async move {
                let plan = if place % 2 == 0 { Plan::Free } else { Plan::Pro };
                let change = OrganizationChange { plan: Some(plan), ..OrganizationChange::default() };
                let after = before.changed(change, NOON);
                organizations
                    .update(&before, &after, unchecked(&[event(AuditAction::OrganizationUpdated, before.id)]))
                    .await
            }
        });
        let outcomes = race(callers).await;
        let lost = |outcome: &&Result<(), _>| matches!(outcome, Err(UpdateOrganizationError::LostRace));
        assert_eq!(outcomes.iter().filter(lost).count(), RACERS - 1, "round {round}");
        assert_eq!(stores.count(AuditAction::OrganizationUpdated).await, round, "one event");
    }
}

async fn the_organization_of_the_last_administrator_stays_active(stores: Stores) {
    let (first, ..) = stores.administrator().await;
    let refused =
        stores.organizations.update(&first, &first.changed(suspension(), NOON), unchecked(&[])).await;
    assert!(matches!(refused, Err(UpdateOrganizationError::LastAdministrator)));
    let kept = stores.organizations.find(Tenancy::All, first.id).await.expect("an answer");
    assert_eq!(kept.as_deref(), Some(&first), "nothing of the refused change stays");

    let (second, ..) = stores.administrator().await;
    for round in 0..ROUNDS {
        let (one, other) = (first.clone(), second.clone());
        let callers =
            [one, other].map(|before| {
                let organizations = stores.organizations.clone();
                async move {
                    organizations.update(&before, &before.changed(suspension(), NOON), unchecked(&[])).await
                }
            });
        let outcomes = race(callers).await;
        assert!(outcomes.iter().any(Result::is_err), "both went in round {round}");
    }
}

async fn a_list_is_newest_first_and_paged(stores: Stores) {
    let mut ids = Vec::new();
    for second in 0..5 {
        let mut new = organization();
        new.created_at = NOON.plus_seconds(second);
        stores
            .organizations
            .insert(&new, unchecked(&event(AuditAction::OrganizationCreated, new.id)))
            .await
            .expect("stored");
        ids.insert(0, new.id);
    }
    let mut seen = Vec::new();
    for number in 1..=3 {
        let listing = stores.organizations.list(PageRequest { number, limit: 2 }).await.expect("an answer");
        assert_eq!(listing.total, 5);
        seen.extend(listing.items.iter().map(|organization| organization.id));
    }
    assert_eq!(seen, ids);
}
