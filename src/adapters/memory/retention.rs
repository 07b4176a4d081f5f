//! Removal of what is past its time, in memory.

use async_trait::async_trait;

use super::Memory;
use super::state::State;
use domain::audit::{AuditEvent, Position};
use domain::id::OrganizationId;
use domain::plan::{Limit, Plan};
use domain::time::{CLOCK_SLACK_SECONDS, Timestamp};
use ports::retention::{GRACE_DAYS, Retention};
use ports::store_error::StoreError;

#[async_trait]
impl Retention for Memory {
    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        let state = &mut *self.lock();
        let past: Vec<Position> = state
            .events
            .values()
            .filter(|event| !state.keeps(event, now))
            .map(|event| event.position())
            .collect();
        for position in &past {
            state.events.remove(position);
            state.event_times.remove(&position.id);
        }
        let now = now.plus_seconds(-CLOCK_SLACK_SECONDS);
        state.revocations.retain(|_, until| *until > now);
        let State { person_generations, issuers, .. } = state;
        person_generations.retain(|(issuer, _), _| issuers.contains_key(issuer));
        state.outbox.retain(|pending| pending.message.until() > now);
        state.assertions.retain(|_, until| *until > now);
        state.monthly.retain(|(_, month), _| *month >= now.month());
        Ok(past.len() as u64)
    }
}

impl State {
    /// Returns whether the event is kept, even if it is no longer shown.
    fn keeps(&self, event: &AuditEvent, now: Timestamp) -> bool {
        let organization = event.organization.and_then(|id| self.organizations.get(&id));
        let keeping = organization.map_or(Plan::Free.limits().audit_retention_days, |organization| {
            let fall = self.retention_falls.get(&organization.id).filter(|(_, until)| *until > now);
            fall.map_or(organization.audit_keeping(), |(kept, _)| kept.or_more(organization.audit_keeping()))
        });
        match keeping {
            Limit::Unlimited => true,
            Limit::AtMost(days) => event.at >= now.minus_days(days + GRACE_DAYS),
        }
    }

    /// Records that events of an organization were kept for `kept` days until now.
    pub(super) fn retention_fell(&mut self, id: OrganizationId, kept: Limit, now: Timestamp) {
        let before = self.retention_falls.get(&id).filter(|(_, until)| *until > now);
        let kept = before.map_or(kept, |(longer, _)| longer.or_more(kept));
        self.retention_falls.insert(id, (kept, now.plus_seconds(i64::from(GRACE_DAYS) * 86_400)));
    }
}
