//! Removal of what is past its time, in PostgreSQL.

use async_trait::async_trait;
use uuid::Uuid;

use super::rows::codec::{SqlTimestamp, column, number};
use super::store::Postgres;
use domain::time::{CLOCK_SLACK_SECONDS, Timestamp};
use ports::retention::{GRACE_DAYS, Retention};
use ports::store_error::StoreError;

/// Maximum rows deleted per purge transaction, so that none holds locks for long.
const PURGE_BATCH: u32 = 5_000;

const PURGE_EVENTS: &str = "\
-- retention.purge
SELECT removed, go_on_after FROM remove_past_audit_events($1, $2, $3, $4)";

/// Other tables whose rows expire, each with the condition that expired rows meet at `{now}`.
const REMEMBERED: [(&str, &str); 7] = [
    ("token_revocations", "remembered_until <= {now}"),
    ("assertion_replay", "remembered_until <= {now}"),
    ("issuer_replay", "remembered_until <= {now}"),
    ("proof_replay", "remembered_until <= {now}"),
    (
        "person_generations",
        "{now} IS NOT NULL AND NOT EXISTS (SELECT FROM trusted_issuers i WHERE i.issuer_id = person_generations.issuer_id)",
    ),
    ("outbox", "remembered_until <= {now}"),
    ("monthly_tokens", "month < (date_trunc('month', {now} AT TIME ZONE 'UTC'))::date"),
];

/// Instant that decides which rows have expired: the earlier of two clocks, less the slack.
///
/// The clocks are the instance's and the database server's, because one instance whose clock is ahead must not make
/// revoked tokens active on all others.
const PRESENT: &str = "LEAST($1::timestamptz, now() - make_interval(secs => $2))";

#[async_trait]
impl Retention for Postgres {
    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        // Each purge is independent: if one fails, the others still run.
        let events = self.purge_events(now).await;
        let mut others = Ok(());
        for (table, is_past) in REMEMBERED {
            others = others.and(self.purge_remembered(table, is_past, now).await);
        }
        self.forget_partitions();
        self.make_partitions(now).await?;
        others?;
        events
    }
}

impl Postgres {
    /// Removes past events step by step, until no step finds more. Returns about how many were removed.
    async fn purge_events(&self, now: Timestamp) -> Result<u64, StoreError> {
        let parameter = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let (grace, batch) = (parameter(GRACE_DAYS), parameter(PURGE_BATCH));
        let mut removed = 0;
        let mut after = Some(Uuid::nil());
        while let Some(last) = after {
            let rows = self.run(PURGE_EVENTS, &[&SqlTimestamp(now), &grace, &batch, &last]).await?;
            removed += number(&rows[0], "removed")?;
            after = column(&rows[0], "go_on_after")?;
        }
        Ok(removed)
    }

    async fn purge_remembered(&self, table: &str, is_past: &str, now: Timestamp) -> Result<(), StoreError> {
        let is_past = is_past.replace("{now}", PRESENT);
        let late = SqlTimestamp(now.plus_seconds(-CLOCK_SLACK_SECONDS));
        let sql = format!(
            "-- retention.purge_{table}\nWITH gone AS (DELETE FROM {table} WHERE ctid = ANY (ARRAY(\
             SELECT ctid FROM {table} WHERE {is_past} LIMIT {PURGE_BATCH} FOR UPDATE SKIP LOCKED)) RETURNING true) \
             SELECT count(*) AS done FROM gone"
        );
        self.run_in_batches(PURGE_BATCH, &sql, &[&late, &(CLOCK_SLACK_SECONDS as f64)]).await
    }
}
