//! What is true of the tables by themselves.

use agentidp::domain::agent::{AgentStatus, AgentType, Owner};
use agentidp::domain::audit::{Action, AuditFilter, Outcome, ResourceType};
use agentidp::domain::credential::CredentialStatus;
use agentidp::domain::id::AgentId;
use agentidp::domain::page::Page;
use agentidp::domain::plan::{Limit, LimitOverrides, Limits, Plan};
use agentidp::domain::tenancy::Tenancy;
use agentidp::ports::agent_store::AgentFilter;
use agentidp::ports::audit_log::AuditQuery;
use agentidp::ports::usage_store::UsageQuery;
use tokio_postgres::Client;

use crate::bench::*;
use crate::servers::{Database, OWNER, SERVES};

/// What a query over the catalogue finds, a line a row: nothing, where all is as it should be.
async fn findings(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.expect("an answer");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_table_says_what_it_is_for() {
    let client = Database::migrated().await.client(OWNER).await;
    let silent = findings(
        &client,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
         AND obj_description(oid, 'pg_class') IS NULL AND relname <> 'refinery_schema_history'",
    );
    assert_eq!(silent.await, [""; 0]);
}

#[tokio::test]
async fn every_foreign_key_has_an_index() {
    let client = Database::migrated().await.client(OWNER).await;
    let slow = findings(
        &client,
        "SELECT conname::text FROM pg_constraint c WHERE contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])",
    );
    assert_eq!(slow.await, [""; 0]);
}

#[tokio::test]
async fn constraints_and_indexes_are_named_after_their_table() {
    let client = Database::migrated().await.client(OWNER).await;
    let odd = findings(
        &client,
        "SELECT conname::text FROM pg_constraint JOIN pg_class t ON t.oid = conrelid
         WHERE t.relnamespace = 'public'::regnamespace AND conname NOT LIKE relname || '\\_%'
         UNION ALL
         SELECT i.relname::text FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
         WHERE t.relnamespace = 'public'::regnamespace AND i.relname NOT LIKE t.relname || '\\_%'",
    );
    assert_eq!(odd.await, [""; 0]);
}

#[tokio::test]
async fn the_plans_in_the_database_are_those_of_the_domain() {
    let client = Database::migrated().await.client(SERVES).await;
    let rows = client.query("SELECT * FROM plans", &[]).await.expect("an answer");
    assert_eq!(rows.len(), Plan::ALL.len());
    let number = |limit| match limit {
        Limit::Unlimited => 0,
        Limit::AtMost(most) => i64::from(most),
    };
    for (name, plan) in Plan::ALL {
        let row = rows.iter().find(|row| row.get::<_, &str>("plan") == name).expect("a row");
        let Limits { max_agents, max_tokens_per_month, requests_per_minute, audit_retention_days } =
            plan.limits();
        for (column, limit) in [
            ("max_agents", max_agents),
            ("max_tokens_per_month", max_tokens_per_month),
            ("requests_per_minute", requests_per_minute),
            ("audit_retention_days", audit_retention_days),
        ] {
            assert_eq!(row.get::<_, i64>(column), number(limit), "{name} {column}");
        }
    }
}

#[tokio::test]
async fn the_audit_log_takes_no_change_from_whoever_serves_and_none_from_its_owner() {
    let stores = postgres().await;
    stores.organization(LimitOverrides::default()).await;
    let database = stores.database();
    let changes = [
        "UPDATE audit_events SET action = 'agent.created'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE audit_events_2026_01 SET action = 'agent.created'",
        "DELETE FROM audit_events_2026_01",
        "TRUNCATE audit_events_2026_01",
    ];
    for role in [SERVES, OWNER] {
        let client = database.client(role).await;
        for change in changes {
            let error = client.batch_execute(change).await.expect_err(change);
            assert_eq!(
                error.code().map(tokio_postgres::error::SqlState::code),
                Some("42501"),
                "{role}: {change}"
            );
        }
    }
    let serves = database.client(SERVES).await;
    for deed in [
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "DROP TABLE audit_events",
        "ALTER TABLE audit_events OWNER TO agentidp",
        "SET session_replication_role = replica",
        "SELECT set_config('agentidp.retention', 'on', false); DELETE FROM audit_events",
        "CREATE TABLE mine ()",
    ] {
        let error = serves.batch_execute(deed).await.expect_err(deed);
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("42501"), "{deed}");
    }
    let too_much = "SELECT remove_past_audit_events(clock_timestamp() + interval '100 years', 30, 1000, '00000000-0000-0000-0000-000000000000')";
    serves.batch_execute(too_much).await.expect_err("not by a time to come");
    let too_soon =
        "SELECT remove_past_audit_events(clock_timestamp(), 0, 1000, '00000000-0000-0000-0000-000000000000')";
    serves.batch_execute(too_soon).await.expect_err("not without the grace");
    let tricked = "CREATE TEMP VIEW organization_retention AS SELECT organization_id, -100000 AS days FROM organizations;
        SELECT remove_past_audit_events(clock_timestamp(), 30, 1000, '00000000-0000-0000-0000-000000000000')";
    serves.batch_execute(tricked).await.expect("it looks at the tables that are its own");
    assert_eq!(stores.count(Action::OrganizationCreated).await, 1, "nothing went");
}

/// From now on new sessions tell the plan of each statement, and take sorts and scans of whole tables only where
/// there is no other way.
async fn explain(superuser: &Client, plan_cache_mode: &str) {
    let name = findings(superuser, "SELECT current_database()::text").await.remove(0);
    let mode = format!("plan_cache_mode = {plan_cache_mode}");
    for setting in [
        &mode,
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "enable_seqscan = off",
        "enable_sort = off",
        "enable_incremental_sort = off",
    ] {
        superuser.batch_execute(&format!("ALTER DATABASE {name} SET {setting}")).await.expect("set");
    }
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    superuser.batch_execute(others).await.expect("ended");
}

/// The plans that were told, each with its statement.
async fn plans(superuser: &Client) -> Vec<String> {
    let read = "SELECT pg_read_file(current_setting('data_directory') || '/../log')";
    let log = findings(superuser, read).await.remove(0);
    let name = findings(superuser, "SELECT current_database()::text").await.remove(0);
    let mut plans = Vec::new();
    let mut is_plan = false;
    for line in log.lines() {
        if !line.starts_with('\t') {
            is_plan = line.starts_with(&format!("{name} LOG:  duration"));
            if is_plan {
                plans.push(String::new());
            }
        }
        if let Some(plan) = plans.last_mut().filter(|_| is_plan) {
            plan.push_str(line);
            plan.push('\n');
        }
    }
    plans
}

#[tokio::test]
async fn every_list_is_walked_by_an_index_when_planned_for_its_values() {
    walk_every_list("force_custom_plan").await;
}

#[tokio::test]
async fn every_list_is_walked_by_an_index_when_planned_for_any_values() {
    walk_every_list("force_generic_plan").await;
}

/// Sorts and scans of whole tables are made so dear that a plan only has them where there is no other way.
async fn walk_every_list(plan_cache_mode: &str) {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let superuser = stores.database().client("postgres").await;
    explain(&superuser, plan_cache_mode).await;
    let page = Page { number: 2, limit: 20 };
    let owner = Owner::parse("team").ok();
    for within in [Tenancy::All, Tenancy::Only(agent.organization)] {
        for filter in [
            AgentFilter::default(),
            AgentFilter { owner: owner.clone(), ..AgentFilter::default() },
            AgentFilter { agent_type: Some(AgentType::Custom), ..AgentFilter::default() },
            AgentFilter { status: Some(AgentStatus::Suspended), ..AgentFilter::default() },
        ] {
            stores.agents.list(within, &filter, page).await.expect("an answer");
        }
        for filter in [
            AuditFilter::default(),
            AuditFilter { actor: Some(agent.id), ..AuditFilter::default() },
            AuditFilter { action: Some(Action::AgentCreated), ..AuditFilter::default() },
            AuditFilter { outcome: Some(Outcome::Failure), ..AuditFilter::default() },
            AuditFilter { resource_type: Some(ResourceType::Agent), ..AuditFilter::default() },
            AuditFilter { resource_id: Some(agent.id.0), ..AuditFilter::default() },
            AuditFilter { from: Some(NOON), to: Some(NOON.plus_seconds(60)), ..AuditFilter::default() },
        ] {
            let query = AuditQuery { within, filter, after: None, limit: 50, now: NOON };
            stores.audit.list(&query).await.expect("an answer");
        }
    }
    stores.organizations.list(page).await.expect("an answer");
    for status in [None, Some(CredentialStatus::Active), Some(CredentialStatus::Revoked)] {
        stores.credentials.list(agent.id, status, page).await.expect("an answer");
    }
    for client in [None, Some(AgentId(id()))] {
        let query =
            UsageQuery { organization: agent.organization, month: NOON.month(), client, clients: 100 };
        stores.usage.usage(&query).await.expect("an answer");
    }
    let plans = plans(&superuser).await;
    for (list, times) in [
        ("agent_store.list", 8),
        ("audit_log.list", 14),
        ("organization_store.list", 1),
        ("credential_store.list", 3),
        ("usage_store.busiest", 1),
    ] {
        let plans: Vec<_> = plans.iter().filter(|plan| plan.contains(list)).collect();
        assert_eq!(plans.len(), times, "{list}");
        for plan in plans {
            // All organizations' counts together are few, and all of them are wanted.
            assert!(!plan.replace("Seq Scan on agent_counts", "").contains("Seq Scan"), "{plan}");
            // The busiest come first, and no index can know them: they are few, those of one organization and month.
            assert!(!plan.contains("Sort Key") || list == "usage_store.busiest", "{plan}");
        }
    }
}
