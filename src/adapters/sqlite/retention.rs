//! Removal of what is past its time, in SQLite.

use async_trait::async_trait;
use rusqlite::params;
use uuid::Uuid;

use super::database::Database;
use super::facts::Facts as _;
use super::rows::column::{column, instant};
use super::store::Sqlite;
use domain::id::OrganizationId;
use domain::organization::Organization;
use domain::plan::{Limit, Plan};
use domain::time::{CLOCK_SLACK_SECONDS, Timestamp};
use ports::retention::{GRACE_DAYS, Retention};
use ports::store_error::StoreError;

/// Maximum number of rows removed in one change, so that others do not wait long for theirs.
const PURGE_BATCH: u32 = 1_000;

/// Tables whose rows expire, each with its key and the condition that expired rows meet at `?1`, which is in the month
/// `?2`.
///
/// No question depends on such a row any more, so the rows that are kept in memory stay.
const REMEMBERED: [(&str, &str, &str); 5] = [
    ("token_revocations", "token_id", "remembered_until <= ?1"),
    ("assertion_replay", "signer_kind, signer, digest", "remembered_until <= ?1"),
    ("outbox", "notice_id", "remembered_until <= ?1"),
    ("monthly_tokens", "agent_id, month", "month < ?2"),
    (
        "person_generations",
        "issuer_id, digest",
        "NOT EXISTS (SELECT 1 FROM trusted_issuers i WHERE i.issuer_id = person_generations.issuer_id)",
    ),
];

#[async_trait]
impl Retention for Sqlite {
    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        const OWNERS: &str = "SELECT organization_id FROM organizations";
        let owners = self.look_up("retention.purge", |database| {
            database.all(OWNERS, (), |row| Ok(OrganizationId(column(row, "organization_id")?)))
        });
        let mut removed = 0;
        for owner in owners.await?.into_iter().map(Some).chain([None]) {
            removed += self.purge_in_steps(move |database| database.purge_events(owner, now)).await?;
        }
        let late = now.plus_seconds(-CLOCK_SLACK_SECONDS);
        for (table, key, is_past) in REMEMBERED {
            let sql = format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {is_past} LIMIT ?3)"
            );
            self.purge_in_steps(move |database| {
                database.execute(&sql, params![late.as_millis(), late.month().to_string(), PURGE_BATCH])
            })
            .await?;
        }
        Ok(removed)
    }
}

impl Sqlite {
    /// Makes a change until it removes fewer than [`PURGE_BATCH`] rows. Returns how many were removed.
    async fn purge_in_steps(
        &self,
        purge: impl Fn(&Database) -> Result<usize, StoreError> + Clone + Send + 'static,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let count = self.change("retention.purge_in_steps", purge.clone()).await?;
            removed += count as u64;
            if count < PURGE_BATCH as usize {
                return Ok(removed);
            }
        }
    }
}

impl Database {
    /// Removes events of an organization, or of none, that are past its present retention and the grace. Returns how many.
    fn purge_events(&self, owner: Option<OrganizationId>, now: Timestamp) -> Result<usize, StoreError> {
        const PURGE: &str = "\
DELETE FROM audit_events WHERE event_id IN (
    SELECT event_id FROM audit_events WHERE organization_id IS ?1 AND occurred_at < ?2 ORDER BY occurred_at LIMIT ?3)";
        let kept = match owner {
            None => Plan::Free.limits().audit_retention_days,
            Some(id) => match self.organization(id)? {
                Some(organization) => self.keeping(&organization, now)?,
                None => return Ok(0),
            },
        };
        let Limit::AtMost(days) = kept else { return Ok(0) };
        let end = now.minus_days(days.saturating_add(GRACE_DAYS)).as_millis();
        let owner: Option<Uuid> = owner.map(|id| id.0);
        self.purging(|| self.execute(PURGE, params![owner, end, PURGE_BATCH]))
    }

    /// Returns for how many days the events of an organization are kept now, before the grace.
    fn keeping(&self, organization: &Organization, now: Timestamp) -> Result<Limit, StoreError> {
        let keeps = organization.audit_keeping();
        let fall = self.retention_fall(organization.id, now)?;
        Ok(fall.map_or(keeps, |kept| kept.or_more(keeps)))
    }

    /// Returns for how many days events were kept before a shortened retention that does not count yet.
    fn retention_fall(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Limit>, StoreError> {
        let sql = "SELECT days, kept_until FROM audit_retention_falls WHERE organization_id = ?1";
        let fall = self.first(sql, [organization.0], |row| {
            let days: Option<u32> = column(row, "days")?;
            Ok((days.map_or(Limit::Unlimited, Limit::AtMost), instant(row, "kept_until")?))
        })?;
        Ok(fall.filter(|(_, until)| *until > now).map(|(kept, _)| kept))
    }

    /// Records that events of an organization were kept for `kept` days until now.
    pub fn retention_fell(
        &self,
        organization: OrganizationId,
        kept: Limit,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const PUT: &str = "\
INSERT INTO audit_retention_falls (organization_id, days, kept_until) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET days = ?2, kept_until = ?3";
        let before = self.retention_fall(organization, now)?;
        let kept = before.map_or(kept, |longer| longer.or_more(kept));
        let until = now.plus_seconds(i64::from(GRACE_DAYS) * 86_400);
        let days = match kept {
            Limit::Unlimited => None,
            Limit::AtMost(days) => Some(days),
        };
        self.execute(PUT, params![organization.0, days, until.as_millis()]).map(drop)
    }
}
