//! Who calls, and what that caller may do.

use std::sync::Arc;

use super::events::EventDetails;
use crate::domain::agent::Agent;
use crate::domain::audit::{AuditAction, Authority, Metadata, Origin, Resource};
use crate::domain::id::{AgentId, TokenId};
use crate::domain::scope::{ManagementScope, ManagementScopes};
use crate::domain::tenancy::Tenancy;

/// An agent that has proved who it is, by a token or as a client.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) agent: Arc<Agent>,
    /// The sum of its generation and its organization's.
    pub(super) generation: u64,
    /// Those of its token that the agent still has; all of them where it authenticated as a client.
    pub(super) scopes: ManagementScopes,
    pub(super) origin: Origin,
    /// The token that it called with.
    pub(super) token: Option<TokenId>,
}

impl Caller {
    /// The agent that calls.
    pub fn agent(&self) -> AgentId {
        self.agent.id
    }

    /// How far the caller reaches: its own organization, or all with `admin:orgs`. Nothing else makes one for a request.
    pub fn tenancy(&self) -> Tenancy {
        if self.scopes.contains(ManagementScope::AdminOrgs) {
            Tenancy::All
        } else {
            Tenancy::Only(self.agent.organization)
        }
    }

    /// Refuses a caller without that scope.
    pub(super) fn require(&self, scope: ManagementScope) -> Result<(), Forbidden> {
        if self.scopes.contains(scope) { Ok(()) } else { Err(Forbidden::without(scope)) }
    }

    /// Refuses a caller that has neither `scope` nor, for what is its own, `own`.
    pub(super) fn require_or_own(
        &self,
        scope: ManagementScope,
        own: ManagementScope,
        of: AgentId,
    ) -> Result<(), Forbidden> {
        if of == self.agent.id && self.scopes.contains(own) { Ok(()) } else { self.require(scope) }
    }

    /// The rule against escalation: refuses a write on an agent whose management scopes, before or after,
    /// are not all among the caller's. It holds for the caller's own agent too.
    pub(super) fn ensure_may_manage(&self, target: ManagementScopes) -> Result<(), Forbidden> {
        let missing = target.difference(self.scopes);
        if missing.is_empty() { Ok(()) } else { Err(Forbidden { missing }) }
    }

    /// What the caller does, for the audit log.
    pub(super) fn event(
        &self,
        action: AuditAction,
        resource: impl Into<Resource>,
        metadata: Metadata,
    ) -> EventDetails<'_> {
        EventDetails {
            actor: Some(self.agent.id),
            authority: Some(Authority {
                agent: self.agent.id,
                organization: self.agent.organization,
                generation: self.generation,
                scopes: self.scopes,
                token: self.token,
            }),
            action,
            resource: Some(resource.into()),
            origin: &self.origin,
            metadata,
        }
    }
}

/// The caller lacks scopes that the call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call needs scopes that the caller's token lacks")]
pub struct Forbidden {
    /// Those that it lacks.
    pub missing: ManagementScopes,
}

impl Forbidden {
    /// Refused for want of one scope.
    pub(super) fn without(scope: ManagementScope) -> Self {
        Self { missing: ManagementScopes::from_iter([scope]) }
    }
}
