//! The audit log in memory.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use super::Memory;
use super::world::World;
use crate::domain::audit::{AuditEvent, Position};
use crate::domain::id::EventId;
use crate::domain::plan::Plan;
use crate::domain::tenancy::Tenancy;
use crate::domain::time::Timestamp;
use crate::ports::audit_log::{AuditLog, AuditQuery, GRACE_DAYS};
use crate::ports::store_error::StoreError;

#[async_trait]
impl AuditLog for Memory {
    async fn append(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        let mut world = self.lock();
        for event in events {
            world.record(event.organization, event.draft.clone());
        }
        Ok(())
    }

    async fn list(&self, query: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        let world = self.lock();
        let upper = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let newest_first = world.events.range((Bound::Unbounded, upper)).rev().map(|(_, event)| event);
        Ok(newest_first
            .filter(|event| is_within(query.within, event) && query.filter.admits(&event.draft))
            .filter(|event| world.shows(event, query.now))
            .take(query.limit as usize)
            .cloned()
            .collect())
    }

    async fn find(
        &self,
        within: Tenancy,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<Arc<AuditEvent>>, StoreError> {
        let world = self.lock();
        let event = world.event_times.get(&id).and_then(|at| world.events.get(&Position { at: *at, id }));
        Ok(event.filter(|event| is_within(within, event) && world.shows(event, now)).cloned())
    }

    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        let world = &mut *self.lock();
        let past: Vec<Position> = world
            .events
            .values()
            .filter(|event| !world.shows(event, now.minus_days(GRACE_DAYS)))
            .map(|event| event.draft.position())
            .collect();
        for position in &past {
            world.events.remove(position);
            world.event_times.remove(&position.id);
        }
        world.revocations.retain(|_, until| *until > now);
        world.assertions.retain(|_, until| *until > now);
        world.monthly.retain(|(_, month), _| *month >= now.month());
        Ok(past.len() as u64)
    }
}

impl World {
    /// Whether the event is within its organization's retention. One of no organization is kept as on the
    /// plan with the least.
    fn shows(&self, event: &AuditEvent, now: Timestamp) -> bool {
        let organization = event.organization.and_then(|id| self.organizations.get(&id));
        let horizon = match organization {
            Some(organization) => organization.audit_horizon(now),
            None => Plan::Free.limits().audit_horizon(now),
        };
        horizon.is_none_or(|horizon| event.draft.at >= horizon)
    }
}

fn is_within(within: Tenancy, event: &AuditEvent) -> bool {
    match event.organization {
        Some(organization) => within.admits(organization),
        None => within == Tenancy::All,
    }
}
