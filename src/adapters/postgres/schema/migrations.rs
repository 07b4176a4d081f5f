//! Schema migrations, and the privileges of the serving role.

use std::time::Duration;

use refinery::{Migration, Runner};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;

use crate::pool::connect::Connector;
use crate::pool::failure::{Timeout, failed, unavailable};
use crate::pool::settings::PgSettings;
use ports::store_error::StoreError;

/// All files of `migrations/`, in order.
const MIGRATIONS: [(&str, &str); 34] = [
    ("V0001__organizations", include_str!("../../../../migrations/0001_organizations.sql")),
    ("V0002__agents", include_str!("../../../../migrations/0002_agents.sql")),
    ("V0003__credentials", include_str!("../../../../migrations/0003_credentials.sql")),
    ("V0004__audit_events", include_str!("../../../../migrations/0004_audit_events.sql")),
    ("V0005__tokens", include_str!("../../../../migrations/0005_tokens.sql")),
    ("V0006__outbox", include_str!("../../../../migrations/0006_outbox.sql")),
    ("V0007__audit_retention", include_str!("../../../../migrations/0007_audit_retention.sql")),
    ("V0008__least_power", include_str!("../../../../migrations/0008_least_power.sql")),
    ("V0009__outbox_topics", include_str!("../../../../migrations/0009_outbox_topics.sql")),
    ("V0010__revoked_secrets", include_str!("../../../../migrations/0010_revoked_secrets.sql")),
    ("V0011__default_resource", include_str!("../../../../migrations/0011_default_resource.sql")),
    ("V0012__agents_by_email", include_str!("../../../../migrations/0012_agents_by_email.sql")),
    (
        "V0013__old_fingerprint_indexes",
        include_str!("../../../../migrations/0013_old_fingerprint_indexes.sql"),
    ),
    ("V0014__secret_digests", include_str!("../../../../migrations/0014_secret_digests.sql")),
    ("V0015__trusted_issuers", include_str!("../../../../migrations/0015_trusted_issuers.sql")),
    ("V0016__federated_credentials", include_str!("../../../../migrations/0016_federated_credentials.sql")),
    (
        "V0017__federated_credential_indexes",
        include_str!("../../../../migrations/0017_federated_credential_indexes.sql"),
    ),
    ("V0018__issuer_revocations", include_str!("../../../../migrations/0018_issuer_revocations.sql")),
    ("V0019__more_capabilities", include_str!("../../../../migrations/0019_more_capabilities.sql")),
    ("V0020__issuer_scopes", include_str!("../../../../migrations/0020_issuer_scopes.sql")),
    ("V0021__may_act", include_str!("../../../../migrations/0021_may_act.sql")),
    ("V0022__subjects_generation", include_str!("../../../../migrations/0022_subjects_generation.sql")),
    ("V0023__person_generations", include_str!("../../../../migrations/0023_person_generations.sql")),
    ("V0024__person_revocations", include_str!("../../../../migrations/0024_person_revocations.sql")),
    ("V0025__exchanged_tokens", include_str!("../../../../migrations/0025_exchanged_tokens.sql")),
    ("V0026__proofs", include_str!("../../../../migrations/0026_proofs.sql")),
    ("V0027__proof_replay", include_str!("../../../../migrations/0027_proof_replay.sql")),
    ("V0028__audit_partition", include_str!("../../../../migrations/0028_audit_partition.sql")),
    ("V0029__managed_agents", include_str!("../../../../migrations/0029_managed_agents.sql")),
    ("V0030__managed_issuers", include_str!("../../../../migrations/0030_managed_issuers.sql")),
    ("V0031__traced_events", include_str!("../../../../migrations/0031_traced_events.sql")),
    ("V0032__expiring_credentials", include_str!("../../../../migrations/0032_expiring_credentials.sql")),
    (
        "V0033__expiring_credentials_in_order",
        include_str!("../../../../migrations/0033_expiring_credentials_in_order.sql"),
    ),
    ("V0034__old_expiry_index", include_str!("../../../../migrations/0034_old_expiry_index.sql")),
];

/// Latest schema version that this program knows.
const LATEST: i64 = MIGRATIONS.len() as i64;

/// Interval between attempts to take the migration lock.
const TRY_EVERY: Duration = Duration::from_millis(250);
/// Interval between log messages that name the holder of the lock.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Time limit for the migrations, including the wait for another instance that migrates.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Tries to take the migration lock, so that one instance migrates at a time.
///
/// Functions are named with their schema and exact types, because the owner runs this statement, and other roles may
/// have created functions of the same names that match better.
const LOCK: &str = "\
-- migrate.lock
SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('agentidp migrations', 0::bigint)) AS is_taken";

/// Describes the process that holds the migration lock.
const HOLDER: &str = "\
-- migrate.holder
SELECT pg_catalog.concat_ws(' ', 'process', a.pid::text, 'of', a.usename::text, 'at', COALESCE(a.client_addr::text, 'this host'),
    'named', a.application_name) AS holder
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.database = a.datid AND l.objsubid = 1
    AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended('agentidp migrations', 0::bigint)
LIMIT 1";

/// Takes the same lock as `make_audit_partitions`.
const LOCK_PARTITIONS: &str = "SELECT pg_catalog.pg_advisory_xact_lock(
    pg_catalog.hashtextextended('agentidp audit partitions', 0::bigint))";

/// Lets only the owner create objects in the schema of the tables.
///
/// On PostgreSQL 14 and earlier, the schema `public` belongs to the superuser, so this changes nothing there, and
/// [`privileges`] reports it.
const CLOSE_SCHEMA: &str = "REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC";

const VERSION: &str = "\
-- schema_version
SELECT COALESCE(max(version), 0)::bigint AS version FROM refinery_schema_history";

/// Privileges of the serving role. Of the audit log it may only `SELECT` and `INSERT`.
const GRANTS: [&str; 11] = [
    "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT INSERT ON audit_events TO {role}",
    "GRANT INSERT, UPDATE (agent_type, version, capabilities, owner, default_resource, may_act, redelegation, dpop,
        deployment_env, status, updated_at, generation, revision) ON agents TO {role}",
    "GRANT INSERT, UPDATE (name, plan, status, resources, max_agents, max_tokens_per_month, requests_per_minute,
        audit_retention_days, updated_at, generation, revision) ON organizations TO {role}",
    "GRANT INSERT, UPDATE ON agent_counts TO {role}",
    "GRANT INSERT, DELETE, UPDATE (name, keys, audiences, algorithms, max_lifetime_seconds, require_jti, subject_optional,
        subjects, status, updated_at, generation, subjects_generation, revision) ON trusted_issuers TO {role}",
    "GRANT INSERT, UPDATE, DELETE ON credentials, credential_uses, token_revocations, assertion_replay, issuer_replay, proof_replay,
        monthly_tokens, outbox, audit_tallies TO {role}",
    "GRANT INSERT, DELETE, UPDATE (generation) ON person_generations TO {role}",
    "GRANT EXECUTE ON FUNCTION make_audit_partitions, remove_past_audit_events TO {role}",
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
];

/// Applies pending migrations, one instance at a time, and grants privileges to the role `serves`.
///
/// `owner` connects as the role that owns the tables. `serves` is the serving role, if it is a different one. Returns
/// [`MigrationError::Newer`] if the schema is newer than this program.
pub async fn migrate(owner: &PgSettings, serves: Option<&str>) -> Result<(), MigrationError> {
    let mut client = Connector(owner.without_timeouts()).open_in_time().await?;
    match timeout(TIMEOUT, apply(&mut client, serves)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(unavailable(Timeout(TIMEOUT)).into()),
    }
}

async fn apply(client: &mut Client, serves: Option<&str>) -> Result<(), MigrationError> {
    check_encoding(client).await?;
    lock(client).await?;
    refuse_newer(version_of(client).await?)?;
    let role = client
        .query_one("SELECT current_user::text, pg_catalog.current_schema()::text", &[])
        .await
        .map_err(failed)?;
    let owner: String = role.get(0);
    let schema = role.get::<_, Option<String>>(1).ok_or(MigrationError::NoSchema)?;
    let close = CLOSE_SCHEMA.replace("{schema}", &quoted(&schema));
    client.batch_execute(&close).await.map_err(failed)?;
    let migrations: Result<Vec<_>, _> =
        MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect();
    // Each in a transaction of its own: one that held the locks of several tables would wait for requests of other
    // instances that hold one of these and wait for another.
    let runner = Runner::new(&migrations?).set_grouped(false).set_abort_divergent(true);
    runner.run_async(client).await?;
    let Some(serves) = serves.filter(|serves| *serves != owner) else { return Ok(()) };
    // The partition lock comes first, because creating partitions changes the same rows of the system catalog.
    let grants = format!("BEGIN; {LOCK_PARTITIONS}; {}; COMMIT", GRANTS.join("; "))
        .replace("{role}", &quoted(serves))
        .replace("{schema}", &quoted(&schema));
    let granted = client.batch_execute(&grants).await;
    granted.map_err(|error| MigrationError::Grant { role: serves.to_owned(), source: failed(error) })
}

/// Waits until no other instance is migrating, and takes the migration lock.
///
/// The lock is released with the connection, however the migration ends.
async fn lock(client: &Client) -> Result<(), StoreError> {
    let mut pace = interval(TRY_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut logged_at: Option<Instant> = None;
    loop {
        pace.tick().await;
        if client.query_one(LOCK, &[]).await.map_err(failed)?.get("is_taken") {
            return Ok(());
        }
        if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOG_EVERY) {
            logged_at = Some(Instant::now());
            let holder = client.query_opt(HOLDER, &[]).await.map_err(failed)?;
            let holder = holder.map_or_else(|| "another instance".to_owned(), |row| row.get("holder"));
            tracing::info!(holder, "waiting for the migration lock");
        }
    }
}

/// Returns whether the schema is at the version that this program knows.
///
/// Returns [`MigrationError::Newer`] if the schema is newer, and [`MigrationError::Encoding`] if the database cannot store
/// every text.
pub async fn schema_version(settings: &PgSettings) -> Result<SchemaVersion, MigrationError> {
    let client = Connector(settings.clone()).open_in_time().await?;
    check_encoding(&client).await?;
    let version = version_of(&client).await?;
    refuse_newer(version)?;
    Ok(if version == LATEST { SchemaVersion::Current } else { SchemaVersion::Older })
}

/// Version of the schema relative to this program. A newer schema is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaVersion {
    /// The schema is at the version that this program knows.
    Current,
    /// The schema is older, or does not exist.
    Older,
}

/// Refuses a database that cannot store every text, which would fail only with the first such text.
async fn check_encoding(client: &Client) -> Result<(), MigrationError> {
    const ENCODING: &str = "SELECT pg_catalog.current_setting('server_encoding')";
    let encoding: String = client.query_one(ENCODING, &[]).await.map_err(failed)?.get(0);
    if encoding == "UTF8" { Ok(()) } else { Err(MigrationError::Encoding(encoding)) }
}

async fn version_of(client: &Client) -> Result<i64, StoreError> {
    const IS_THERE: &str = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    if !client.query_one(IS_THERE, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Ok(0);
    }
    Ok(client.query_one(VERSION, &[]).await.map_err(failed)?.get("version"))
}

fn refuse_newer(version: i64) -> Result<(), MigrationError> {
    if version > LATEST { Err(MigrationError::Newer { version, latest: LATEST }) } else { Ok(()) }
}

/// Privileges of a role beyond those that serving needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolePrivileges {
    /// Whether the role is a superuser.
    pub is_superuser: bool,
    /// Whether the role owns the audit log, or may change it.
    pub may_change_the_audit: bool,
    /// Whether the role may create functions and tables in the schema of the tables.
    pub may_create: bool,
}

/// Returns the privileges of the role that connects.
pub async fn privileges(settings: &PgSettings) -> Result<RolePrivileges, StoreError> {
    const POWERS: &str = "\
-- privileges
SELECT rolsuper AS is_superuser,
    pg_has_role(current_user, c.relowner, 'MEMBER') OR has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') AS may,
    has_schema_privilege(c.relnamespace, 'CREATE') AS may_create
FROM pg_roles, pg_class c WHERE rolname = current_user AND c.oid = 'audit_events'::regclass";
    let row =
        Connector(settings.clone()).open_in_time().await?.query_one(POWERS, &[]).await.map_err(failed)?;
    Ok(RolePrivileges {
        is_superuser: row.get("is_superuser"),
        may_change_the_audit: row.get("may"),
        may_create: row.get("may_create"),
    })
}

/// Quotes a name as an SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Reason that the schema is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The schema is newer than this program.
    #[error(
        "the tables are at schema version {version}, newer than {latest}, the newest this program supports; use a newer agentidp"
    )]
    Newer {
        /// Version of the schema.
        version: i64,
        /// Newest version that this program supports.
        latest: i64,
    },
    /// The database is in this encoding instead of UTF8.
    #[error(
        "the encoding of the database is {0}; create one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    /// The serving role could not be granted its privileges.
    #[error("cannot grant privileges to the role {role}; does it exist?")]
    Grant {
        /// Name of the role.
        role: String,
        /// Cause of the failure.
        #[source]
        source: StoreError,
    },
    /// The connection's `search_path` names no existing schema.
    #[error("search_path names no existing schema; create it, or change options in the URL")]
    NoSchema,
    /// A migration failed.
    #[error("migration failed")]
    Failed(#[from] refinery::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
