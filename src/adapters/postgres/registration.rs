//! Registration of agents: in a batch, or in a transaction of its own, which waits for locks.

use std::sync::LazyLock;

use super::pool::statement::Parameter;
use super::rows::events::EventColumns;
use super::rows::registrations::{Outcome, Registration, RegistrationColumns, judged};
use super::store::Postgres;
use domain::agent::Agent;
use domain::audit::{AuditEvent, Authority};
use domain::credential::Credential;
use domain::id::OrganizationId;
use ports::agent_store::InsertAgentError;
use ports::store_error::StoreError;
use ports::write::Write;

/// Registers the agents, and waits for their organizations.
static REGISTER: LazyLock<String> = LazyLock::new(|| {
    include_str!("sql/agent_store.register.sql").replace("{unlocked}", "").replace("{has_locks}", "true")
});

/// Returns the statement that takes the registration lock of an organization.
///
/// Agents of an organization are registered by one transaction at a time, so that their number still holds when a new
/// agent is stored.
fn lock_organization(id: OrganizationId) -> String {
    format!("SELECT pg_advisory_xact_lock(hashtextextended('agentidp agents of {id}', 0))")
}

impl Postgres {
    /// Registers an agent in a batch with others that wait; `None` if it needs a transaction of its own.
    pub(super) async fn register_in_batch(
        &self,
        agent: &Agent,
        event: &AuditEvent,
        authority: Option<&Authority>,
    ) -> Result<Outcome, StoreError> {
        self.ensure_partition(event.at).await?;
        let registration =
            Registration { agent: agent.clone(), event: event.clone(), authority: authority.cloned() };
        let outcome = self.registrations.register(registration).await?;
        self.note_if_full(agent.organization, &outcome);
        Ok(outcome)
    }

    /// Registers an agent in a transaction of its own, with its first credential if one is given.
    pub(super) async fn register_alone(
        &self,
        agent: &Agent,
        credential: Option<&Credential>,
        write: Write<'_>,
    ) -> Result<(), InsertAgentError> {
        let mut change = self.begin_after(&lock_organization(agent.organization), write).await??;
        // The caller's authority has been checked.
        let columns = RegistrationColumns::of([(agent, None)]);
        // The event is recorded with the organization, and after the credential.
        let events = EventColumns::default();
        let mut parameters: Vec<Parameter<'_>> = columns.parameters().to_vec();
        parameters.extend(events.parameters_without_organization());
        let rows = change.query(&REGISTER, &parameters).await?;
        let outcome = judged(&rows, 1)?.into_iter().next().flatten();
        self.note_if_full(agent.organization, &outcome);
        outcome.unwrap_or(Err(InsertAgentError::NoSuchOrganization))?;
        if let Some(credential) = credential {
            change.insert_credential(credential).await?;
        }
        change.record(agent.organization, write.events).await?;
        Ok(change.commit().await?)
    }

    fn note_if_full(&self, OrganizationId(organization): OrganizationId, outcome: &Outcome) {
        if let Some(Err(InsertAgentError::LimitReached(_))) = outcome {
            self.full.insert(organization, ());
        }
    }
}
