//! The authenticated caller of a request, and its permissions.

use std::sync::Arc;

use super::events::EventDetails;
use domain::agent::Agent;
use domain::audit::{AuditAction, Authority, Metadata, Origin, Resource};
use domain::id::{AgentId, TokenId};
use domain::issuer::IssuerGeneration;
use domain::scope::{ManagementScope, ManagementScopes};
use domain::tenancy::Tenancy;

/// An agent authenticated by an access token or as a client.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) agent: Arc<Agent>,
    /// Sum of the generations of the agent and its organization.
    pub(super) generation: u64,
    /// Management scopes of the token that the agent still has; all of the agent's if it authenticated as a client.
    pub(super) scopes: ManagementScopes,
    pub(super) origin: Origin,
    /// ID of the access token; `None` if the agent authenticated as a client.
    pub(super) token: Option<TokenId>,
    /// The trusted issuers by which it authenticated, or that its token rests on.
    pub(super) issuers: Vec<IssuerGeneration>,
}

impl Caller {
    /// Returns the ID of the calling agent.
    pub fn agent(&self) -> AgentId {
        self.agent.id
    }

    /// Returns the tenancy of the caller: its own organization, or all with `admin:orgs`.
    ///
    /// Nothing else creates a tenancy for a request.
    pub fn tenancy(&self) -> Tenancy {
        if self.scopes.contains(ManagementScope::AdminOrgs) {
            Tenancy::All
        } else {
            Tenancy::Only(self.agent.organization)
        }
    }

    /// Returns [`Forbidden`] if the caller lacks the scope.
    pub(super) fn require(&self, scope: ManagementScope) -> Result<(), Forbidden> {
        if self.scopes.contains(scope) { Ok(()) } else { Err(Forbidden::without(scope)) }
    }

    /// Returns [`Forbidden`] if the caller has neither `scope` nor, for its own agent, `own`.
    pub(super) fn require_or_own(
        &self,
        scope: ManagementScope,
        own: ManagementScope,
        of: AgentId,
    ) -> Result<(), Forbidden> {
        if of == self.agent.id && self.scopes.contains(own) { Ok(()) } else { self.require(scope) }
    }

    /// Returns [`Forbidden`] if `target` contains a management scope that the caller lacks.
    ///
    /// This is the rule against privilege escalation: a write on an agent requires all management scopes that the
    /// agent has before or after the write. The rule applies to the caller's own agent too.
    pub(super) fn ensure_may_manage(&self, target: ManagementScopes) -> Result<(), Forbidden> {
        let missing = target.difference(self.scopes);
        if missing.is_empty() { Ok(()) } else { Err(Forbidden { missing }) }
    }

    /// Returns the audit event details of an action of the caller.
    pub(super) fn event(
        &self,
        action: AuditAction,
        resource: impl Into<Resource>,
        metadata: Metadata,
    ) -> EventDetails<'_> {
        EventDetails {
            actor: Some(self.agent.id),
            action,
            resource: Some(resource.into()),
            origin: &self.origin,
            metadata,
        }
    }

    /// Returns what the caller's writes depend on.
    pub(super) fn authority(&self) -> Authority {
        Authority {
            agent: self.agent.id,
            organization: self.agent.organization,
            generation: self.generation,
            scopes: self.scopes,
            token: self.token,
            issuers: self.issuers.clone(),
        }
    }
}

/// Error returned if the caller lacks required scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("insufficient scope: the call requires {}, which the caller lacks", list(.missing))]
pub struct Forbidden {
    /// Scopes that the caller lacks.
    pub missing: ManagementScopes,
}

fn list(missing: &ManagementScopes) -> String {
    missing.iter().map(ManagementScope::as_str).collect::<Vec<_>>().join(" ")
}

impl Forbidden {
    /// Creates the error for one missing scope.
    pub(super) fn without(scope: ManagementScope) -> Self {
        Self { missing: ManagementScopes::from_iter([scope]) }
    }
}
