//! Registrations of agents as database columns.

use tokio_postgres::Row;
use uuid::Uuid;

use super::codec::{SqlTimestamp, column, signed};
use super::issuers::rests_on;
use crate::pool::statement::Parameter;
use crate::transaction::gate;
use domain::agent::{Agent, AgentStatus, AgentType, DeploymentEnv};
use domain::audit::{AuditEvent, Authority};
use domain::managed_by::ManagedBy;
use domain::names::name_of;
use domain::proof::ProofRequirement;
use domain::resource_indicator::ResourceIndicator;
use domain::scope::ManagementScope;
use ports::agent_store::InsertAgentError;
use ports::store_error::StoreError;
use ports::write::CallerRevoked;

/// An agent to be registered by a caller.
pub struct Registration {
    pub agent: Agent,
    pub event: AuditEvent,
    pub authority: Option<Authority>,
}

/// Result of a registration; `None` if it is left to a transaction of its own.
pub type Outcome = Option<Result<(), InsertAgentError>>;

/// Agents and their callers as one vector per column.
#[derive(Default)]
pub struct RegistrationColumns<'a> {
    ids: Vec<Uuid>,
    organizations: Vec<Uuid>,
    emails: Vec<&'a str>,
    types: Vec<&'static str>,
    versions: Vec<&'a str>,
    capabilities: Vec<&'a str>,
    owners: Vec<&'a str>,
    default_resources: Vec<Option<&'a str>>,
    may_act: Vec<String>,
    redelegation: Vec<bool>,
    dpop: Vec<&'static str>,
    managed_by: Vec<Option<&'a str>>,
    environments: Vec<&'static str>,
    statuses: Vec<&'static str>,
    created: Vec<SqlTimestamp>,
    updated: Vec<SqlTimestamp>,
    generations: Vec<i64>,
    revisions: Vec<i64>,
    caller_ids: Vec<Option<Uuid>>,
    caller_generations: Vec<Option<i64>>,
    caller_scopes: Vec<Option<String>>,
    caller_tokens: Vec<Option<Uuid>>,
    caller_issuers: Vec<Option<String>>,
    caller_gates: Vec<Option<i32>>,
}

impl<'a> RegistrationColumns<'a> {
    /// Collects the columns of these agents, each with the authority of its caller.
    pub fn of<'b>(asked: impl IntoIterator<Item = (&'a Agent, Option<&'b Authority>)>) -> Self {
        let mut columns = Self::default();
        for (agent, authority) in asked {
            columns.ids.push(agent.id.0);
            columns.organizations.push(agent.organization.0);
            columns.emails.push(agent.email.as_str());
            columns.types.push(name_of(&AgentType::ALL, &agent.agent_type));
            columns.versions.push(agent.version.as_str());
            columns.capabilities.push(agent.capabilities.as_str());
            columns.owners.push(agent.owner.as_str());
            columns.default_resources.push(agent.default_resource.as_ref().map(ResourceIndicator::as_str));
            columns.may_act.push(agent.may_act.names().join(" "));
            columns.redelegation.push(agent.redelegation);
            columns.dpop.push(name_of(&ProofRequirement::ALL, &agent.dpop));
            columns.managed_by.push(agent.managed_by.as_ref().map(ManagedBy::as_str));
            columns.environments.push(name_of(&DeploymentEnv::ALL, &agent.deployment_env));
            columns.statuses.push(name_of(&AgentStatus::ALL, &agent.status));
            columns.created.push(SqlTimestamp(agent.created_at));
            columns.updated.push(SqlTimestamp(agent.updated_at));
            columns.generations.push(signed(agent.generation));
            columns.revisions.push(signed(agent.revision));
            columns.caller_ids.push(authority.map(|authority| authority.agent.0));
            columns.caller_generations.push(authority.map(|authority| signed(authority.generation)));
            let scopes = |authority: &Authority| {
                let names: Vec<&str> = authority.scopes.iter().map(ManagementScope::as_str).collect();
                names.join(" ")
            };
            columns.caller_scopes.push(authority.map(scopes));
            columns.caller_tokens.push(authority.and_then(|authority| authority.token).map(|id| id.0));
            columns.caller_issuers.push(authority.and_then(|authority| rests_on(&authority.issuers)));
            columns.caller_gates.push(authority.map(|authority| gate(authority.organization)));
        }
        columns
    }

    /// Returns the parameters in the order of the statement.
    pub fn parameters(&self) -> [Parameter<'_>; 24] {
        [
            &self.ids,
            &self.organizations,
            &self.emails,
            &self.types,
            &self.versions,
            &self.capabilities,
            &self.owners,
            &self.default_resources,
            &self.environments,
            &self.statuses,
            &self.created,
            &self.updated,
            &self.generations,
            &self.revisions,
            &self.caller_ids,
            &self.caller_generations,
            &self.caller_scopes,
            &self.caller_tokens,
            &self.caller_issuers,
            &self.may_act,
            &self.redelegation,
            &self.dpop,
            &self.managed_by,
            &self.caller_gates,
        ]
    }
}

/// Reads the results of this many registrations, in their order; `None` for an agent whose organization is unknown, or
/// which was left out because of a lock.
pub fn judged(rows: &[Row], count: usize) -> Result<Vec<Outcome>, StoreError> {
    let mut outcomes: Vec<Outcome> = (0..count).map(|_| None).collect();
    for row in rows {
        // Ordinality counts from 1.
        let place = usize::try_from(column::<i64>(row, "place")? - 1).ok();
        if let Some(slot) = place.and_then(|place| outcomes.get_mut(place)) {
            *slot = Some(outcome(row)?);
        }
    }
    Ok(outcomes)
}

fn outcome(row: &Row) -> Result<Result<(), InsertAgentError>, StoreError> {
    // It is there already if it is registered again because an answer was lost.
    Ok(if column::<bool>(row, "is_registered")? || column::<bool>(row, "is_there")? {
        Ok(())
    } else if !column::<bool>(row, "holds")? {
        Err(CallerRevoked.into())
    } else if column::<bool>(row, "is_taken")? {
        Err(InsertAgentError::EmailTaken)
    } else {
        let most = column::<Option<i64>>(row, "most")?.unwrap_or_default();
        Err(InsertAgentError::LimitReached(u32::try_from(most).unwrap_or(u32::MAX)))
    })
}
