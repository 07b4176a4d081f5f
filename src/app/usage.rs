//! Usage reports of organizations.

use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use super::ports::Ports;
use domain::id::{AgentId, OrganizationId};
use domain::organization::Organization;
use domain::scope::ManagementScope;
use domain::time::Month;
use domain::usage::Usage;
use ports::agent_store::AgentStore;
use ports::clock::Clock;
use ports::organization_store::OrganizationStore;
use ports::store_error::StoreError;
use ports::usage_store::{UsageQuery, UsageStore};

/// Maximum number of clients in a report.
const BUSIEST_CLIENTS: u32 = 100;

/// Reports the usage of organizations.
#[derive(Clone)]
pub struct UsageReports {
    store: Arc<dyn UsageStore>,
    agents: Arc<dyn AgentStore>,
    organizations: Arc<dyn OrganizationStore>,
    clock: Arc<dyn Clock>,
}

/// An organization's usage in the current month, with its limits.
#[derive(Clone, Debug)]
pub struct UsageReport {
    /// The organization, which has the limits.
    pub organization: Arc<Organization>,
    /// Month of the report.
    pub month: Month,
    /// Usage in that month.
    pub usage: Usage,
}

impl UsageReports {
    pub(super) fn new(ports: &Ports) -> Self {
        Self {
            store: ports.stores.usage.clone(),
            agents: ports.stores.agents.clone(),
            organizations: ports.stores.organizations.clone(),
            clock: ports.clock.clone(),
        }
    }

    /// Returns the usage of an organization: the one that is named, else that of the client, else that of the caller.
    ///
    /// If a client is named, only this client is listed. Returns [`UsageError::NoSuchOrganization`] or
    /// [`UsageError::NoSuchAgent`] if one of them is unknown or outside the caller's tenancy, or if the client belongs to
    /// another organization.
    pub async fn report(
        &self,
        caller: &Caller,
        organization: Option<OrganizationId>,
        client: Option<AgentId>,
    ) -> Result<UsageReport, UsageError> {
        caller.require(ManagementScope::AgentsRead)?;
        let mut named = organization;
        if let Some(id) = client {
            let agent = self.agents.find(caller.tenancy(), id).await?.ok_or(UsageError::NoSuchAgent)?;
            if *named.get_or_insert(agent.organization) != agent.organization {
                return Err(UsageError::NoSuchAgent);
            }
        }
        let id = named.unwrap_or(caller.agent.organization);
        let found = self.organizations.find(caller.tenancy(), id).await?;
        let organization = found.ok_or(UsageError::NoSuchOrganization)?;
        let month = self.clock.now().month();
        let query = UsageQuery { organization: organization.id, month, client, clients: BUSIEST_CLIENTS };
        let usage = self.store.usage(&query).await?;
        Ok(UsageReport { organization, month, usage })
    }
}

/// Error returned by usage reports.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The caller lacks `agents:read`.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No agent has this ID within the caller's tenancy.
    #[error("no such agent")]
    NoSuchAgent,
    /// No organization has this ID within the caller's tenancy.
    #[error("no such organization")]
    NoSuchOrganization,
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}
