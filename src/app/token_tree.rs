//! Use cases of tokens that are known by their ID: revoke one with all that was exchanged from it, show its tree.

use std::collections::HashMap;
use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use super::events::Events;
use super::metrics::{RevocationCounts, RevocationKind};
use super::ports::Ports;
use super::revocation::ensure_may_revoke;
use domain::audit::{AuditAction, AuditFilter, Metadata, ResourceType};
use domain::id::{OrganizationId, TokenId};
use domain::scope::ManagementScope;
use domain::tenancy::Tenancy;
use domain::time::CLOCK_SLACK_SECONDS;
use domain::token::{Claims, REVOCATION_MARGIN_SECONDS, TokenStatus};
use domain::token_record::TokenRecord;
use ports::audit_log::{AuditLog, AuditQuery};
use ports::clock::Clock;
use ports::store_error::StoreError;
use ports::token_store::{Revocation, TokenStore};

/// The most tokens of a tree that are shown.
pub const MAX_SHOWN: usize = 1_000;
/// Number of events of one token that are read: that of its issue, of its revocation, and some more.
const MAX_EVENTS: u32 = 10;

/// Use cases of tokens that are known by their ID.
#[derive(Clone)]
pub struct TokenTrees {
    audit: Arc<dyn AuditLog>,
    tokens: Arc<dyn TokenStore>,
    events: Events,
    clock: Arc<dyn Clock>,
    counts: RevocationCounts,
}

/// A tree of tokens: one, and all that were exchanged from it.
#[derive(Clone, Debug)]
pub struct TokenTree {
    /// The first token of the tree.
    pub root: TokenId,
    /// The tokens, oldest first, each with whether it is active.
    pub tokens: Vec<(TokenRecord, bool)>,
    /// Whether the tree has more than [`MAX_SHOWN`] tokens.
    pub is_truncated: bool,
}

impl TokenTrees {
    pub(super) fn new(ports: &Ports) -> Self {
        Self {
            audit: ports.stores.audit.clone(),
            tokens: ports.stores.tokens.clone(),
            events: Events::new(ports.ids.clone()),
            clock: ports.clock.clone(),
            counts: RevocationCounts::new(),
        }
    }

    /// Revokes a token by its ID, and with it every token that was exchanged from it, at any depth.
    ///
    /// Revoking it again has no effect. The caller needs `agents:write`, and otherwise the same as for
    /// [`Revocations::revoke`](super::revocation::Revocations::revoke).
    pub async fn revoke(&self, caller: &Caller, id: TokenId) -> Result<(), TokenTreeError> {
        caller.require(ManagementScope::AgentsWrite)?;
        let record = self.find(caller.tenancy(), id).await?.ok_or(TokenTreeError::NoSuchToken)?;
        let now = self.clock.now();
        if record.expires_at.plus_seconds(CLOCK_SLACK_SECONDS) <= now {
            return Ok(());
        }
        let claims = record.claims(Vec::new());
        // The token is known to be revoked already.
        let Some(status) = self.tokens.status(&claims).await? else { return Ok(()) };
        ensure_may_revoke(caller, &claims, &status)?;
        let metadata = Metadata::default().with("agentId", record.agent.to_string());
        let event = self.events.success(caller.event(AuditAction::TokenRevoked, id, metadata), now);
        let revocation = Revocation {
            token: id,
            organization: record.organization,
            until: record.expires_at.plus_seconds(REVOCATION_MARGIN_SECONDS),
        };
        self.tokens.revoke(&revocation, &event).await?;
        self.counts.count(RevocationKind::Token);
        Ok(())
    }

    /// Returns the whole tree that a token belongs to.
    pub async fn find_tree(&self, caller: &Caller, id: TokenId) -> Result<TokenTree, TokenTreeError> {
        caller.require(ManagementScope::AuditRead)?;
        let record = self.find(caller.tenancy(), id).await?.ok_or(TokenTreeError::NoSuchToken)?;
        let (root, organization) = (record.root, record.organization);
        let first = if root == record.id { Some(record) } else { self.find(caller.tenancy(), root).await? };
        let limit = u32::try_from(MAX_SHOWN + 1).unwrap_or(u32::MAX);
        let exchanged = self.audit.exchanged_from(organization, root, self.clock.now(), limit).await?;
        let exchanged = exchanged.iter().filter_map(|event| TokenRecord::of_event(event));
        let mut records: Vec<TokenRecord> =
            first.into_iter().chain(exchanged.filter(|one| one.id != root)).collect();
        let is_truncated = records.len() > MAX_SHOWN;
        records.truncate(MAX_SHOWN);
        let tokens = self.with_status(organization, records).await?;
        Ok(TokenTree { root, tokens, is_truncated })
    }

    /// Returns the records, each with whether its token is active.
    async fn with_status(
        &self,
        organization: OrganizationId,
        records: Vec<TokenRecord>,
    ) -> Result<Vec<(TokenRecord, bool)>, StoreError> {
        let parents: HashMap<TokenId, TokenId> =
            records.iter().filter_map(|record| Some((record.id, record.parent?))).collect();
        let ancestors = |id: TokenId| {
            std::iter::successors(parents.get(&id), |parent| parents.get(parent)).copied().collect()
        };
        let claims: Vec<Claims> = records.iter().map(|record| record.claims(ancestors(record.id))).collect();
        let now = self.clock.now();
        let statuses = self.tokens.statuses(organization, &claims).await?;
        let is_active = |(claims, status): (&Claims, Option<TokenStatus>)| {
            claims.are_in_time(now) && status.is_some_and(|status| status.is_active(claims))
        };
        let active: Vec<bool> = claims.iter().zip(statuses).map(is_active).collect();
        Ok(records.into_iter().zip(active).collect())
    }

    /// Returns a token by the event of its issue; `None` if no such event is within the tenancy.
    async fn find(&self, within: Tenancy, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        let filter = AuditFilter {
            resource_type: Some(ResourceType::Token),
            resource_id: Some(id.0),
            ..AuditFilter::default()
        };
        let query = AuditQuery { within, filter, after: None, limit: MAX_EVENTS, now: self.clock.now() };
        let events = self.audit.list(&query).await?;
        Ok(events.iter().find_map(|event| TokenRecord::of_event(event)))
    }
}

/// Error returned by the use cases of tokens that are known by their ID.
#[derive(Debug, thiserror::Error)]
pub enum TokenTreeError {
    /// The caller lacks a required scope.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No token with this ID was issued within the caller's tenancy.
    #[error("no such token")]
    NoSuchToken,
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
