//! How PostgreSQL removes expired rows: in steps, and without waiting for readers.

use agentidp::domain::audit::AuditAction;
use agentidp::domain::plan::{Limit, LimitOverrides};
use agentidp::domain::time::Timestamp;
use testing::{NOON, OWNER};
use tokio_postgres::Client;

use crate::fixtures::*;

/// Instant past the retention of the free plan and its grace period.
/// The retention is 90 days, and the grace period 30 days.
const LATER: Timestamp = Timestamp::from_millis(NOON.as_millis() + 140 * 86_400_000);

/// Inserts organizations on the free plan with one event each, and `strays` other events.
/// All events are at [`NOON`], and the other events belong to no organization.
async fn fill(client: &Client, organizations: i32, strays: i32) {
    let sql = format!(
        "SELECT make_audit_partitions('2026-01-15T12:00:00Z', 1);
         INSERT INTO organizations (organization_id, slug, created_at, name, plan, status, resources, updated_at,
            generation, revision)
         SELECT gen_random_uuid(), 'many-' || n, now(), 'One of many', 'free', 'active', '{{}}', now(), 0, 0
         FROM generate_series(1, {organizations}) n;
         INSERT INTO audit_events (event_id, organization_id, action, outcome, metadata, occurred_at)
         SELECT gen_random_uuid(), organization_id, 'token.issued', 'success', '{{}}'::json, timestamptz '2026-01-15T12:00:00Z'
         FROM organizations WHERE slug LIKE 'many-%'
         UNION ALL
         SELECT gen_random_uuid(), NULL, 'auth.failed', 'failure', '{{}}'::json, timestamptz '2026-01-15T12:00:00Z'
         FROM generate_series(1, {strays})"
    );
    client.batch_execute(&sql).await.expect("filled");
}

async fn months(client: &Client) -> i64 {
    const MONTHS: &str = "SELECT count(*) FROM pg_inherits
        WHERE inhparent = 'audit_events'::regclass AND inhrelid::regclass::text = 'audit_events_2026_01'";
    client.query_one(MONTHS, &[]).await.expect("an answer").get(0)
}

async fn events(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM audit_events", &[]).await.expect("an answer").get(0)
}

#[tokio::test]
async fn all_that_is_past_goes_however_many_steps_it_takes() {
    let stores = postgres().await;
    let for_ever =
        LimitOverrides { audit_retention_days: Some(Limit::Unlimited), ..LimitOverrides::default() };
    stores.organization(for_ever).await;
    let client = stores.database().client(OWNER).await;
    fill(&client, 1_203, 12_345).await;
    assert_eq!(stores.retention.purge(LATER).await.expect("purged"), 1_203 + 12_345);
    assert_eq!(stores.count(AuditAction::OrganizationCreated).await, 1, "it is never removed");
    assert_eq!((events(&client).await, months(&client).await), (1, 1));
}

#[tokio::test]
async fn a_month_that_is_wholly_past_goes_whole_but_waits_for_no_reader() {
    let stores = postgres().await;
    let mut reader = stores.database().client(OWNER).await;
    fill(&reader, 3, 4).await;
    let reading = reader.transaction().await.expect("begun");
    reading.query("SELECT FROM audit_events", &[]).await.expect("read");
    assert_eq!(stores.retention.purge(LATER).await.expect("purged"), 7, "a row at a time");
    reading.rollback().await.expect("over");
    assert_eq!((events(&reader).await, months(&reader).await), (0, 1));
    stores.retention.purge(LATER).await.expect("purged");
    assert_eq!(months(&reader).await, 0);
}
