//! Properties of the database schema.

use agentidp::adapters::postgres::{migrate, privileges};
use agentidp::adapters::system::SystemClock;
use agentidp::domain::agent::{AgentFilter, AgentStatus, AgentType, Owner};
use agentidp::domain::audit::{AuditAction, AuditEvent, AuditFilter, Outcome, ResourceType};
use agentidp::domain::credential::CredentialStatus;
use agentidp::domain::id::{AgentId, TokenId};
use agentidp::domain::issuer::IssuerStatus;
use agentidp::domain::page::PageRequest;
use agentidp::domain::plan::{Limit, LimitOverrides, Limits, Plan};
use agentidp::domain::tenancy::Tenancy;
use agentidp::domain::time::CLOCK_SLACK_SECONDS;
use agentidp::ports::audit_log::AuditQuery;
use agentidp::ports::clock::Clock as _;
use agentidp::ports::error_chain::error_chain;
use agentidp::ports::outbox::Topic;
use agentidp::ports::store_error::StoreError;
use agentidp::ports::token_store::{Revocation, Signer, SpentAssertion};
use agentidp::ports::usage_store::UsageQuery;
use testing::{Database, NOON, OWNER, SERVES};
use tokio_postgres::Client;

use crate::fixtures::*;

/// Returns one line per row that a query over the system catalog finds.
/// The result is empty if the schema is as required.
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
        let floor = client.query_one("SELECT days FROM audit_floors WHERE plan = $1", &[&name]).await;
        assert_eq!(floor.expect("a row").get::<_, i64>(0), i64::from(plan.audit_floor_days()), "{name}");
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
    for statement in [
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "DROP TABLE audit_events",
        "ALTER TABLE audit_events OWNER TO agentidp",
        "SET session_replication_role = replica",
        "SELECT set_config('agentidp.retention', 'on', false); DELETE FROM audit_events",
        "CREATE TABLE mine ()",
    ] {
        let error = serves.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("42501"), "{statement}");
    }
    let too_much = "SELECT remove_past_audit_events(clock_timestamp() + interval '100 years', 30, 1000, '00000000-0000-0000-0000-000000000000')";
    serves.batch_execute(too_much).await.expect("by no time to come, but by its own clock");
    let too_soon =
        "SELECT remove_past_audit_events(clock_timestamp(), 0, 1000, '00000000-0000-0000-0000-000000000000')";
    serves.batch_execute(too_soon).await.expect_err("not without the grace");
    let tricked = "CREATE TEMP VIEW organization_retention AS SELECT organization_id, -100000 AS days FROM organizations;
        SELECT remove_past_audit_events(clock_timestamp(), 30, 1000, '00000000-0000-0000-0000-000000000000')";
    serves.batch_execute(tricked).await.expect("it looks at the tables that are its own");
    assert_eq!(stores.count(AuditAction::OrganizationCreated).await, 1, "nothing went");
}

/// Grants what PostgreSQL granted before version 15: every role may create in the schema `public`.
/// The superuser owns that schema.
async fn as_before_15(database: &Database) {
    let superuser = database.client("postgres").await;
    let opened = "ALTER SCHEMA public OWNER TO postgres; GRANT CREATE ON SCHEMA public TO PUBLIC";
    superuser.batch_execute(opened).await.expect("opened");
}

#[tokio::test]
async fn who_serves_cannot_become_the_owner_through_functions_of_its_own() {
    let stores = postgres().await;
    stores.organization(LimitOverrides::default()).await;
    let database = stores.database();
    as_before_15(database).await;
    let serves = database.client(SERVES).await;
    // Each of these matches some call more closely than PostgreSQL's own function of that name, and would run
    // as the owner.
    let body = "AS $$ BEGIN
        ALTER TABLE audit_events DISABLE TRIGGER ALL; DELETE FROM audit_events; CREATE TABLE taken (); RETURN 0;
    END $$";
    for (name, arguments, result) in [
        ("hashtextextended", "text, integer", "bigint"),
        ("pg_advisory_xact_lock", "integer", "bigint"),
        ("date_trunc", "unknown, timestamp", "bigint"),
        ("make_interval", "integer", "bigint"),
        ("to_char", "timestamp, unknown", "bigint"),
        ("\"right\"", "name, integer", "bigint"),
        ("set_config", "unknown, unknown, boolean", "bigint"),
        ("quote_ident", "name", "bigint"),
        ("current_schema", "", "bigint"),
    ] {
        let arguments = arguments.replace("unknown", "text");
        let sql =
            format!("CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql {body}");
        serves.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let calls = "SELECT make_audit_partitions(clock_timestamp() + interval '4 months', 2);
        SELECT remove_past_audit_events(clock_timestamp(), 30, 1000, '00000000-0000-0000-0000-000000000000');
        UPDATE organizations SET plan = 'free';
        INSERT INTO agents SELECT gen_random_uuid(), organization_id, 'a@example.com', now(), 'custom', '1.0.0', '{a:b}', 'me',
            'development', 'active', now(), 0, 0 FROM organizations LIMIT 1";
    serves.batch_execute(calls).await.expect("they do what they should");
    migrate(&database.settings(OWNER), Some(SERVES)).await.expect("the owner falls for none of them either");
    assert_eq!(stores.count(AuditAction::OrganizationCreated).await, 1, "nothing went");
    let taken = findings(&serves, "SELECT relname::text FROM pg_class WHERE relname = 'taken'").await;
    assert_eq!(taken, [""; 0]);
}

#[tokio::test]
async fn what_runs_as_the_owner_looks_up_nothing_where_others_may_create() {
    let client = Database::migrated().await.client(OWNER).await;
    let trusting = findings(
        &client,
        "SELECT proname::text FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace
            AND NOT 'search_path=pg_catalog, pg_temp' = ANY (COALESCE(proconfig, '{}'))",
    );
    assert_eq!(trusting.await, [""; 0]);
    let own = findings(&client, "SELECT count(*)::text FROM pg_proc WHERE prosecdef").await;
    assert_eq!(own, ["3"]);
}

#[tokio::test]
async fn a_migration_leaves_the_schema_to_its_owner_and_the_start_tells_where_it_cannot() {
    let database = Database::migrated().await;
    let may_create = async || {
        let privileges = privileges(&database.settings(SERVES)).await.expect("an answer");
        assert!(!privileges.is_superuser && !privileges.may_change_the_audit);
        privileges.may_create
    };
    let owner = database.client(OWNER).await;
    owner.batch_execute("GRANT CREATE ON SCHEMA public TO PUBLIC").await.expect("opened");
    assert!(may_create().await);
    migrate(&database.settings(OWNER), Some(SERVES)).await.expect("migrated");
    assert!(!may_create().await);
    as_before_15(&database).await;
    migrate(&database.settings(OWNER), Some(SERVES)).await.expect("migrated");
    assert!(may_create().await, "the superuser must close it");
}

#[tokio::test]
async fn who_serves_removes_nothing_that_the_last_thirty_days_would_have_kept() {
    const KEPT: &str = "SELECT count(*)::text FROM audit_events WHERE action = 'auth.failed'";
    let stores = postgres().await;
    let database = stores.database();
    let organization = stores.organization(LimitOverrides::default()).await;
    let now = SystemClock.now();
    let event = |days| AuditEvent {
        organization: Some(organization.id),
        at: now.minus_days(days),
        ..event(AuditAction::AuthFailed, organization.id)
    };
    stores.append(&[event(3), event(35), event(100), event(800)]).await;
    let serves = database.client(SERVES).await;
    let purge = |ahead: &str| {
        format!(
            "SELECT remove_past_audit_events(clock_timestamp() + interval '{ahead}', 30, 5000,
                '00000000-0000-0000-0000-000000000000')"
        )
    };
    for statement in [
        "UPDATE organizations SET audit_retention_days = 1",
        "UPDATE organizations SET plan = 'free', audit_retention_days = 1, updated_at = '2000-01-01'",
        "UPDATE organizations SET audit_retention_days = 0; UPDATE organizations SET audit_retention_days = 2",
        "SELECT set_config('agentidp.retention', 'on', false)",
    ] {
        serves.batch_execute(statement).await.expect(statement);
        for ahead in ["0", "23 hours"] {
            serves.batch_execute(&purge(ahead)).await.expect("run");
        }
        assert_eq!(findings(&serves, KEPT).await, ["4"], "{statement}");
    }
    for statement in [
        "UPDATE audit_retention_falls SET kept_until = now()",
        "DELETE FROM audit_retention_falls",
        "INSERT INTO audit_retention_falls SELECT organization_id, 1, now() FROM organizations",
        "UPDATE audit_floors SET days = 1",
        "UPDATE organizations SET organization_id = gen_random_uuid()",
        "UPDATE organizations SET created_at = now()",
        "UPDATE agents SET organization_id = gen_random_uuid()",
        "DELETE FROM organizations",
        "DELETE FROM agents",
        "DELETE FROM agent_counts",
        "ALTER TABLE organizations DISABLE TRIGGER ALL",
        "SELECT remember_retention_fall()",
    ] {
        let error = serves.batch_execute(statement).await.expect_err(statement);
        assert_eq!(
            error.code().map(tokio_postgres::error::SqlState::code),
            Some("42501"),
            "{statement}: {error}"
        );
    }
    stores.let_retention_falls_pass().await;
    stores.retention.purge(now).await.expect("purged");
    assert_eq!(findings(&serves, KEPT).await, ["2"], "of 3 and of 35 days; the floor and the grace are 60");
}

#[tokio::test]
async fn partitions_are_made_for_plausible_times_only() {
    let database = Database::migrated().await;
    let serves = database.client(SERVES).await;
    let make = |at: &str| format!("SELECT make_audit_partitions(clock_timestamp() + interval '{at}', 24)");
    for (at, expected) in
        [("-40 years", "55000"), ("-4 years", "55000"), ("8 months", "55000"), ("300 years", "55000")]
    {
        let error = serves.batch_execute(&make(at)).await.expect_err(at);
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some(expected), "{at}");
    }
    let partitions = findings(
        &serves,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_events'::regclass",
    );
    assert_eq!(partitions.await, [""; 0]);
    let stores = postgres().await;
    let late = AuditEvent {
        at: SystemClock.now().minus_days(9_000),
        ..event(AuditAction::AuthFailed, AgentId(id()))
    };
    let outcome = stores.audit.tally(&[tally("late", &[late], 0)]).await;
    let Err(StoreError::Unavailable { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(error_chain(&*source).contains("the clock of an instance is wrong"), "{source}");
}

/// A clock that is days ahead must not make revoked tokens active.
/// Nor must it restart a month's quota.
#[tokio::test]
async fn nothing_that_is_remembered_goes_by_the_clock_of_one_instance() {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let now = SystemClock.now();
    let (token, until) = (TokenId(id()), now.plus_seconds(60));
    let revocation = Revocation { token, organization: agent.organization, until };
    let revoked = AuditEvent { at: now, ..event(AuditAction::TokenRevoked, token) };
    stores.tokens.revoke(&revocation, &revoked).await.expect("revoked");
    let assertion = SpentAssertion { signer: Signer::Client(agent.id), digest: [7; 32], until };
    assert!(stores.tokens.spend(&assertion).await.expect("an answer"));
    let this_month = "INSERT INTO monthly_tokens SELECT agent_id, date_trunc('month', now() AT TIME ZONE 'UTC')::date, organization_id, 3, 3, 0 FROM agents";
    stores.database().client(OWNER).await.batch_execute(this_month).await.expect("counted");
    for ahead in [CLOCK_SLACK_SECONDS + 61, 86_400, 40 * 86_400] {
        stores.retention.purge(now.plus_seconds(ahead)).await.expect("purged");
        let status = stores.tokens.status(&claims(&agent, token)).await.expect("an answer").expect("known");
        assert!(status.is_revoked, "{ahead}");
        assert!(!stores.tokens.spend(&assertion).await.expect("an answer"), "{ahead}");
        assert_eq!(
            stores.outbox.pending(Topic::Revocations, 10).await.expect("an answer").len(),
            1,
            "{ahead}"
        );
        let query =
            UsageQuery { organization: agent.organization, month: now.month(), client: None, clients: 1 };
        assert_eq!(stores.usage.usage(&query).await.expect("an answer").tokens, 3, "{ahead}");
    }
}

/// Makes new sessions log the plan of each statement, and ends the existing sessions.
/// New sessions use sorts and sequential scans only if there is no alternative.
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

/// Returns the logged plans, each with its statement.
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

/// Checks that every list query uses an index.
/// Sorts and sequential scans are made so expensive that a plan contains one only if there is no alternative.
async fn walk_every_list(plan_cache_mode: &str) {
    let stores = postgres().await;
    let agent = stores.agent().await;
    let superuser = stores.database().client("postgres").await;
    explain(&superuser, plan_cache_mode).await;
    let page = PageRequest { number: 2, limit: 20 };
    let owner = Owner::parse("team").ok();
    for within in [Tenancy::All, Tenancy::Only(agent.organization)] {
        for filter in [
            AgentFilter::default(),
            AgentFilter { owner: owner.clone(), ..AgentFilter::default() },
            AgentFilter { email: Some(agent.email.clone()), ..AgentFilter::default() },
            AgentFilter { agent_type: Some(AgentType::Custom), ..AgentFilter::default() },
            AgentFilter { status: Some(AgentStatus::Suspended), ..AgentFilter::default() },
        ] {
            stores.agents.list(within, &filter, page).await.expect("an answer");
        }
        for filter in [
            AuditFilter::default(),
            AuditFilter { actor: Some(agent.id), ..AuditFilter::default() },
            AuditFilter { action: Some(AuditAction::AgentCreated), ..AuditFilter::default() },
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
    for status in [None, Some(IssuerStatus::Suspended)] {
        for within in [Tenancy::All, Tenancy::Only(agent.organization)] {
            stores.issuers.list(within, status, page).await.expect("an answer");
        }
    }
    for status in [None, Some(CredentialStatus::Active), Some(CredentialStatus::Revoked)] {
        stores.credentials.list(agent.id, status, page).await.expect("an answer");
    }
    for within in [Tenancy::All, Tenancy::Only(agent.organization)] {
        stores.credentials.expiring(within, NOON, NOON.plus_seconds(60), page).await.expect("an answer");
    }
    for client in [None, Some(AgentId(id()))] {
        let query =
            UsageQuery { organization: agent.organization, month: NOON.month(), client, clients: 100 };
        stores.usage.usage(&query).await.expect("an answer");
    }
    stores.inventory.inventory(NOON, NOON.plus_seconds(60)).await.expect("an answer");
    let plans = plans(&superuser).await;
    for (list, times) in [
        ("agent_store.list", 10),
        ("audit_log.list", 14),
        ("organization_store.list", 1),
        ("issuer_store.list", 4),
        ("credential_store.list", 3),
        ("credential_store.expiring", 2),
        ("usage_store.busiest", 1),
        ("inventory_store.counts", 1),
    ] {
        let plans: Vec<_> = plans.iter().filter(|plan| plan.contains(list)).collect();
        assert_eq!(plans.len(), times, "{list}");
        for plan in plans {
            // The counts of all organizations are few rows, and the query needs all of them.
            assert!(!plan.replace("Seq Scan on agent_counts", "").contains("Seq Scan"), "{plan}");
            // The busiest clients come first, which no index can order; they are few rows, those of one
            // organization and month.
            assert!(!plan.contains("Sort Key") || list == "usage_store.busiest", "{plan}");
        }
    }
}
