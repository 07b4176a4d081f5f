//! Registration of agents: in a batch, or in a transaction of its own, which waits for locks.

use std::sync::LazyLock;

use super::rows::registrations::{Outcome, Registration, RegistrationColumns, judged, lock_key, statement};
use super::store::Postgres;
use domain::agent::Agent;
use domain::audit::{AuditEvent, Authority};
use domain::credential::Credential;
use domain::id::OrganizationId;
use ports::agent_store::InsertAgentError;
use ports::store_error::StoreError;
use ports::write::Write;

/// Registers the agents, and waits for their organizations.
static REGISTER: LazyLock<String> = LazyLock::new(|| statement("true", ""));

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
        let lock =
            format!("SELECT pg_advisory_xact_lock({})", lock_key(&format!("'{}'", agent.organization)));
        let mut change = self.begin_after(&lock, write).await??;
        // The event is recorded with the organization, and after the credential.
        let rows = change.query(&REGISTER, &RegistrationColumns::of_agent(agent).parameters()).await?;
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
