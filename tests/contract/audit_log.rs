use std::sync::Arc;

use agentidp::adapters::system::SystemClock;
use agentidp::domain::audit::{AuditAction, AuditEvent, AuditFilter, MAX_SAMPLES, Outcome, ResourceType};
use agentidp::domain::id::{AgentId, EventId, OrganizationId};
use agentidp::domain::organization::{Organization, OrganizationChange};
use agentidp::domain::plan::{LimitOverrides, Plan};
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::time::Timestamp;
use agentidp::ports::audit_log::AuditQuery;
use agentidp::ports::clock::Clock as _;
use agentidp::ports::retention::GRACE_DAYS;
use testing::NOON;

use crate::fixtures::*;

contract!([memory, postgres, sqlite] [
    an_event_reads_back_as_it_was_stored,
    a_tally_of_many_instances_is_one_event_beside_the_first_few_in_full,
    a_tally_that_counted_nothing_is_no_event,
    every_event_before_the_first_page_comes_exactly_once,
    each_filter_admits_what_it_names_and_nothing_else,
    another_organizations_events_are_not_seen,
    an_event_of_no_organization_is_seen_with_all_of_them_only,
    an_event_past_its_retention_is_not_shown_and_kept_for_the_grace,
    an_event_is_kept_for_the_floor_of_the_plan_however_short_its_retention,
    a_retention_that_falls_removes_nothing_for_thirty_days,
    a_downgrade_that_is_taken_back_within_the_grace_loses_nothing,
]);

fn query(within: Tenancy) -> AuditQuery {
    AuditQuery { within, filter: AuditFilter::default(), after: None, limit: 1000, now: NOON }
}

fn authentication_failure(organization: Option<OrganizationId>, second: i64) -> AuditEvent {
    AuditEvent {
        organization,
        outcome: Outcome::Failure,
        at: NOON.plus_seconds(second),
        ..event(AuditAction::AuthFailed, AgentId(id()))
    }
}

async fn ids(stores: &Stores, query: &AuditQuery) -> Vec<EventId> {
    stores.audit.list(query).await.expect("an answer").iter().map(|event| event.id).collect()
}

async fn an_event_reads_back_as_it_was_stored(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let stored = authentication_failure(Some(organization.id), 0);
    stores.append(std::slice::from_ref(&stored)).await;
    let found = stores.audit.find(Tenancy::All, stored.id, NOON).await.expect("an answer");
    assert_eq!(found.as_deref(), Some(&stored));
    let nothing = stores.audit.find(Tenancy::All, EventId(id()), NOON).await.expect("an answer");
    assert_eq!(nothing, None);
}

async fn every_event_before_the_first_page_comes_exactly_once(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let within = Tenancy::Only(organization.id);
    let mut events: Vec<_> =
        (0..40).map(|place| authentication_failure(Some(organization.id), place / 7)).collect();
    stores.append(&events).await;
    let mut seen = Vec::new();
    let mut page = AuditQuery { limit: 3, ..query(within) };
    loop {
        let events = stores.audit.list(&page).await.expect("an answer");
        let Some(last) = events.last() else { break };
        page.after = Some(last.position());
        seen.extend(events.iter().map(|event| event.id));
        // More events are stored while the log is read: newer events, and events of the same instants.
        let late = [
            authentication_failure(Some(organization.id), 100),
            authentication_failure(Some(organization.id), 2),
        ];
        stores.append(&late).await;
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.position()));
    let expected: Vec<_> = events.iter().map(|event| event.id).collect();
    let of_before: Vec<_> = seen.iter().copied().filter(|id| expected.contains(id)).collect();
    assert_eq!(of_before, expected);
    let distinct: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "none comes twice");
}

async fn each_filter_admits_what_it_names_and_nothing_else(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let mut wanted = authentication_failure(Some(organization.id), 10);
    wanted.actor = Some(AgentId(id()));
    let other = AuditEvent {
        organization: Some(organization.id),
        at: NOON.plus_seconds(20),
        ..event(AuditAction::TokenIntrospected, organization.id)
    };
    stores.append(&[wanted.clone(), other]).await;
    let filters = [
        AuditFilter { actor: wanted.actor, ..AuditFilter::default() },
        AuditFilter { action: Some(AuditAction::AuthFailed), ..AuditFilter::default() },
        AuditFilter { outcome: Some(Outcome::Failure), ..AuditFilter::default() },
        AuditFilter { resource_type: Some(ResourceType::Agent), ..AuditFilter::default() },
        AuditFilter { resource_id: wanted.resource.map(|resource| resource.id), ..AuditFilter::default() },
        AuditFilter { from: Some(wanted.at), to: Some(NOON.plus_seconds(20)), ..AuditFilter::default() },
    ];
    for filter in filters {
        let query = AuditQuery { filter: filter.clone(), ..query(Tenancy::Only(organization.id)) };
        assert_eq!(ids(&stores, &query).await, [wanted.id], "{filter:?}");
    }
    let at_its_end = AuditFilter { from: Some(NOON), to: Some(wanted.at), ..AuditFilter::default() };
    let query = AuditQuery { filter: at_its_end, ..query(Tenancy::Only(organization.id)) };
    assert!(!ids(&stores, &query).await.contains(&wanted.id), "the end itself is not within");
}

async fn another_organizations_events_are_not_seen(stores: Stores) {
    let ours = stores.organization(LimitOverrides::default()).await;
    let theirs = stores.organization(LimitOverrides::default()).await;
    let event = authentication_failure(Some(theirs.id), 1);
    stores.append(std::slice::from_ref(&event)).await;
    let within = Tenancy::Only(ours.id);
    assert!(!ids(&stores, &query(within)).await.contains(&event.id));
    assert_eq!(stores.audit.find(within, event.id, NOON).await.expect("an answer"), None);
    assert!(ids(&stores, &query(Tenancy::Only(theirs.id))).await.contains(&event.id));
}

async fn an_event_of_no_organization_is_seen_with_all_of_them_only(stores: Stores) {
    let organization = stores.organization(LimitOverrides::default()).await;
    let stray = authentication_failure(None, 1);
    stores.append(std::slice::from_ref(&stray)).await;
    assert!(ids(&stores, &query(Tenancy::All)).await.contains(&stray.id));
    assert!(!ids(&stores, &query(Tenancy::Only(organization.id))).await.contains(&stray.id));
}

/// Returns the instant this many days before the present.
/// A store that also judges by its own clock takes it for the past.
fn days_ago(days: u32) -> Timestamp {
    SystemClock.now().minus_days(days)
}

/// Returns an event of the organization at that instant.
fn event_of(organization: &Organization, at: Timestamp) -> AuditEvent {
    let event = authentication_failure(Some(organization.id), 0);
    AuditEvent { at, ..event }
}

async fn is_kept(stores: &Stores, event: &AuditEvent) -> bool {
    let at_once = event.at;
    stores.audit.find(Tenancy::All, event.id, at_once).await.expect("an answer").is_some()
}

fn retention(days: u32) -> LimitOverrides {
    LimitOverrides { audit_retention_days: at_most(days), ..LimitOverrides::default() }
}

fn retention_change(days: u32) -> OrganizationChange {
    OrganizationChange { overrides: Some(retention(days)), ..OrganizationChange::default() }
}

async fn an_event_past_its_retention_is_not_shown_and_kept_for_the_grace(stores: Stores) {
    let organization = stores.organization(retention(400)).await;
    let event = event_of(&organization, days_ago(500));
    stores.append(std::slice::from_ref(&event)).await;
    let day = |days: u32| event.at.plus_seconds(i64::from(days) * 86_400);
    let is_shown = async |now| {
        let query = AuditQuery { now, ..query(Tenancy::Only(organization.id)) };
        let listed = ids(&stores, &query).await.contains(&event.id);
        let found = stores.audit.find(Tenancy::All, event.id, now).await.expect("an answer").is_some();
        assert_eq!(listed, found);
        listed
    };
    assert!(is_shown(day(400)).await);
    assert!(!is_shown(day(400).plus_seconds(1)).await);
    stores.retention.purge(day(400 + GRACE_DAYS)).await.expect("purged");
    assert!(is_shown(day(1)).await, "kept until the grace is over");
    assert!(stores.retention.purge(day(400 + GRACE_DAYS).plus_seconds(1)).await.expect("purged") > 0);
    assert!(!is_shown(day(1)).await, "gone");
}

async fn an_event_is_kept_for_the_floor_of_the_plan_however_short_its_retention(stores: Stores) {
    let organization = stores.organization(retention(1)).await;
    let floor = organization.plan.audit_floor_days() + GRACE_DAYS;
    let (kept, past) =
        (event_of(&organization, days_ago(floor - 1)), event_of(&organization, days_ago(floor + 1)));
    stores.append(&[kept.clone(), past.clone()]).await;
    stores.retention.purge(days_ago(0)).await.expect("purged");
    assert_eq!((is_kept(&stores, &kept).await, is_kept(&stores, &past).await), (true, false));
}

async fn a_retention_that_falls_removes_nothing_for_thirty_days(stores: Stores) {
    let before = stores.organization(retention(700)).await;
    let event = event_of(&before, days_ago(600));
    stores.append(std::slice::from_ref(&event)).await;
    let now = days_ago(0);
    // The retention is lowered in two steps, raised and lowered again. No step shortens the period promised
    // at first.
    let steps = [500, 1, 550, 2];
    let mut organization = before;
    for days in steps {
        let next = organization.changed(retention_change(days), now);
        stores.organizations.update(&organization, &next, unchecked(&[])).await.expect("changed");
        stores.retention.purge(now).await.expect("purged");
        assert!(is_kept(&stores, &event).await, "{days}");
        organization = next;
    }
    stores.let_retention_falls_pass().await;
    let later = now.plus_seconds(i64::from(GRACE_DAYS) * 86_400);
    stores.retention.purge(later).await.expect("purged");
    assert!(!is_kept(&stores, &event).await, "the fall is thirty days ago");
}

async fn a_downgrade_that_is_taken_back_within_the_grace_loses_nothing(stores: Stores) {
    let pro = OrganizationChange { plan: Some(Plan::Pro), ..OrganizationChange::default() };
    let free = OrganizationChange { plan: Some(Plan::Free), ..OrganizationChange::default() };
    let enterprise = stores.organization(LimitOverrides::default()).await;
    let now = days_ago(0);
    let before = enterprise.changed(pro.clone(), now);
    stores.organizations.update(&enterprise, &before, unchecked(&[])).await.expect("changed");
    stores.let_retention_falls_pass().await;
    let events = [100, 130, 200, 360].map(|days| event_of(&before, days_ago(days)));
    stores.append(&events).await;
    let short = before.changed(free, now);
    stores.organizations.update(&before, &short, unchecked(&[])).await.expect("changed");
    stores.retention.purge(now).await.expect("purged");
    let found = stores.audit.find(Tenancy::All, events[1].id, now).await.expect("an answer");
    assert_eq!(found, None, "it is not shown");
    let long = short.changed(pro, now);
    stores.organizations.update(&short, &long, unchecked(&[])).await.expect("changed");
    for event in events {
        assert!(stores.audit.find(Tenancy::All, event.id, now).await.expect("an answer").is_some());
    }
}

async fn a_tally_of_many_instances_is_one_event_beside_the_first_few_in_full(stores: Stores) {
    for round in 0..ROUNDS {
        let organization = stores.organization(LimitOverrides::default()).await;
        let query = query(Tenancy::Only(organization.id));
        let key = format!("round {round}");
        let callers = (0..RACERS).map(|_| {
            let (audit, key) = (stores.audit.clone(), key.clone());
            let event = authentication_failure(Some(organization.id), 0);
            async move { audit.tally(&[tally(&key, &[event], 2)]).await.expect("stored") }
        });
        race(callers).await;
        let before = stores.audit.list(&query).await.expect("an answer");
        let is_failure = |event: &&Arc<AuditEvent>| event.action == AuditAction::AuthFailed;
        assert_eq!(before.iter().filter(is_failure).count(), MAX_SAMPLES, "round {round}");
        stores.audit.settle(NOON).await.expect("nothing to do");
        assert_eq!(stores.audit.list(&query).await.expect("an answer").len(), before.len(), "not over yet");
        let callers = (0..RACERS).map(|_| {
            let audit = stores.audit.clone();
            async move { audit.settle(NOON.plus_seconds(60)).await.expect("settled") }
        });
        race(callers).await;
        let after = stores.audit.list(&query).await.expect("an answer");
        let counts: Vec<_> = after.iter().filter_map(|event| event.metadata.as_map().get("count")).collect();
        assert_eq!(counts, [3 * RACERS - MAX_SAMPLES], "round {round}");
    }
}

async fn a_tally_that_counted_nothing_is_no_event(stores: Stores) {
    let event = authentication_failure(None, 0);
    stores.audit.tally(&[tally("one", &[event], 0)]).await.expect("stored");
    stores.audit.settle(NOON.plus_seconds(60)).await.expect("settled");
    assert_eq!(stores.count(AuditAction::AuthFailed).await, 1, "it was written in full");
}
