//! The audit log, in memory.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use super::Memory;
use super::state::{OpenTally, State};
use domain::audit::{AuditAction, AuditEvent, MAX_SAMPLES, Position, Tally};
use domain::id::{EventId, OrganizationId, TokenId};
use domain::plan::Plan;
use domain::tenancy::Tenancy;
use domain::time::Timestamp;
use ports::audit_log::{AuditLog, AuditQuery};
use ports::store_error::StoreError;

#[async_trait]
impl AuditLog for Memory {
    async fn tally(&self, tallies: &[Tally]) -> Result<(), StoreError> {
        let state = &mut *self.lock();
        for tally in tallies {
            let open = state.tallies.entry(tally.key.clone()).or_insert_with(|| OpenTally {
                minute: tally.minute,
                event: tally.event.clone(),
                samples: 0,
                count: 0,
            });
            let room = (MAX_SAMPLES - open.samples).min(tally.samples.len());
            open.samples += room;
            open.count += tally.count + (tally.samples.len() - room) as u64;
            for event in &tally.samples[..room] {
                state.record(event.organization, event.clone());
            }
        }
        Ok(())
    }

    async fn settle(&self, end: Timestamp) -> Result<(), StoreError> {
        let state = &mut *self.lock();
        let ended: Vec<_> = state.tallies.extract_if(|_, tally| tally.minute < end).collect();
        for (_, OpenTally { event, count, .. }) in ended.into_iter().filter(|(_, tally)| tally.count > 0) {
            let metadata = event.metadata.with("count", count);
            state.record(event.organization, AuditEvent { metadata, ..event });
        }
        Ok(())
    }

    async fn list(&self, query: &AuditQuery) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        let state = self.lock();
        let upper = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let newest_first = state.events.range((Bound::Unbounded, upper)).rev().map(|(_, event)| event);
        Ok(newest_first
            .filter(|event| event.is_within(query.within) && query.filter.matches(event))
            .filter(|event| state.shows(event, query.now))
            .take(query.limit as usize)
            .cloned()
            .collect())
    }

    async fn exchanged_from(
        &self,
        organization: OrganizationId,
        root: TokenId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Arc<AuditEvent>>, StoreError> {
        let state = self.lock();
        let root = root.to_string();
        let is_of_root = |event: &&Arc<AuditEvent>| {
            event.action == AuditAction::TokenExchanged
                && event.organization == Some(organization)
                && event.metadata.as_map().get("root").is_some_and(|one| *one == root)
                && state.shows(event, now)
        };
        Ok(state.events.values().filter(is_of_root).take(limit as usize).cloned().collect())
    }

    async fn find(
        &self,
        within: Tenancy,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<Arc<AuditEvent>>, StoreError> {
        let state = self.lock();
        let event = state.event_times.get(&id).and_then(|at| state.events.get(&Position { at: *at, id }));
        Ok(event.filter(|event| event.is_within(within) && state.shows(event, now)).cloned())
    }
}

impl State {
    /// Returns whether the event is within its organization's retention.
    ///
    /// An event without an organization has the retention of the free plan, which is the shortest.
    fn shows(&self, event: &AuditEvent, now: Timestamp) -> bool {
        let organization = event.organization.and_then(|id| self.organizations.get(&id));
        let horizon = match organization {
            Some(organization) => organization.audit_horizon(now),
            None => Plan::Free.limits().audit_horizon(now),
        };
        horizon.is_none_or(|horizon| event.at >= horizon)
    }
}
