//! What an organization has used of what its plan allows.

use std::sync::Arc;

use super::caller::{Caller, Forbidden};
use crate::domain::id::AgentId;
use crate::domain::organization::Organization;
use crate::domain::scope::ManagementScope;
use crate::domain::time::Month;
use crate::ports::agent_store::AgentStore;
use crate::ports::clock::Clock;
use crate::ports::organization_store::OrganizationStore;
use crate::ports::store_error::StoreError;
pub use crate::ports::usage_store::Usage;
use crate::ports::usage_store::{UsageQuery, UsageStore};

/// How many clients a report names.
const BUSIEST_CLIENTS: u32 = 100;

/// Reports usage.
#[derive(Clone)]
pub struct UsageReports {
    pub(super) store: Arc<dyn UsageStore>,
    pub(super) agents: Arc<dyn AgentStore>,
    pub(super) organizations: Arc<dyn OrganizationStore>,
    pub(super) clock: Arc<dyn Clock>,
}

/// An organization's usage in the present month, beside its limits.
#[derive(Clone, Debug)]
pub struct UsageReport {
    pub organization: Arc<Organization>,
    pub month: Month,
    pub usage: Usage,
}

impl UsageReports {
    /// The usage of the caller's organization, or of that of the named client, whose line alone is shown.
    pub async fn report(
        &self,
        caller: &Caller,
        client: Option<Option<AgentId>>,
    ) -> Result<UsageReport, UsageError> {
        caller.require(ManagementScope::AgentsRead)?;
        let (organization, client) = match client {
            None => (caller.agent.organization, None),
            Some(id) => {
                let id = id.ok_or(UsageError::NoSuchAgent)?;
                let agent = self.agents.find(caller.tenancy(), id).await?.ok_or(UsageError::NoSuchAgent)?;
                (agent.organization, Some(id))
            }
        };
        let found = self.organizations.find(caller.tenancy(), organization).await?;
        let organization = found.ok_or(UsageError::NoSuchAgent)?;
        let month = self.clock.now().month();
        let query = UsageQuery { organization: organization.id, month, client, clients: BUSIEST_CLIENTS };
        let usage = self.store.usage(&query).await?;
        Ok(UsageReport { organization, month, usage })
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("no such agent")]
    NoSuchAgent,
    #[error(transparent)]
    Store(#[from] StoreError),
}
