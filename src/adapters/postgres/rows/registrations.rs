//! Registrations of agents as database columns.

use tokio_postgres::Row;
use uuid::Uuid;

use super::codec::{SqlTimestamp, column, signed};
use super::events::EventColumns;
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

/// Returns the statement that registers agents, those for which the condition `has_locks` holds.
///
/// `unlocked` follows `FOR SHARE` and `FOR UPDATE`: `SKIP LOCKED`, or nothing.
pub fn statement(has_locks: &str, unlocked: &str) -> String {
    const SQL: &str = include_str!("../sql/agent_store.register.sql");
    SQL.replace("{has_locks}", has_locks).replace("{unlocked}", unlocked)
}

/// Returns the key of an organization's registration lock, where `id` is the organization's ID as a text in SQL.
///
/// Agents of an organization are registered by one transaction at a time, so that their number still holds when a new
/// agent is stored.
pub fn lock_key(id: &str) -> String {
    format!("hashtextextended('agentidp agents of ' || {id}, 0)")
}

/// Agents, their callers and their events as one vector per column.
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
    events: EventColumns<'a>,
}

impl<'a> RegistrationColumns<'a> {
    /// Collects the columns of these registrations.
    pub fn of(registrations: &[&'a Registration]) -> Self {
        let events = EventColumns::of(registrations.iter().map(|one| (None, &one.event)));
        let mut columns = Self { events, ..Self::default() };
        for one in registrations {
            columns.push(&one.agent, one.authority.as_ref());
        }
        columns
    }

    /// Collects the columns of one agent, for a caller whose authority has been checked and without its event.
    pub fn of_agent(agent: &'a Agent) -> Self {
        let mut columns = Self::default();
        columns.push(agent, None);
        columns
    }

    fn push(&mut self, agent: &'a Agent, authority: Option<&Authority>) {
        self.ids.push(agent.id.0);
        self.organizations.push(agent.organization.0);
        self.emails.push(agent.email.as_str());
        self.types.push(name_of(&AgentType::ALL, &agent.agent_type));
        self.versions.push(agent.version.as_str());
        self.capabilities.push(agent.capabilities.as_str());
        self.owners.push(agent.owner.as_str());
        self.default_resources.push(agent.default_resource.as_ref().map(ResourceIndicator::as_str));
        self.may_act.push(agent.may_act.names().join(" "));
        self.redelegation.push(agent.redelegation);
        self.dpop.push(name_of(&ProofRequirement::ALL, &agent.dpop));
        self.managed_by.push(agent.managed_by.as_ref().map(ManagedBy::as_str));
        self.environments.push(name_of(&DeploymentEnv::ALL, &agent.deployment_env));
        self.statuses.push(name_of(&AgentStatus::ALL, &agent.status));
        self.created.push(SqlTimestamp(agent.created_at));
        self.updated.push(SqlTimestamp(agent.updated_at));
        self.generations.push(signed(agent.generation));
        self.revisions.push(signed(agent.revision));
        self.caller_ids.push(authority.map(|authority| authority.agent.0));
        self.caller_generations.push(authority.map(|authority| signed(authority.generation)));
        let scopes = |authority: &Authority| {
            let names: Vec<&str> = authority.scopes.iter().map(ManagementScope::as_str).collect();
            names.join(" ")
        };
        self.caller_scopes.push(authority.map(scopes));
        self.caller_tokens.push(authority.and_then(|authority| authority.token).map(|id| id.0));
        self.caller_issuers.push(authority.and_then(|authority| rests_on(&authority.issuers)));
        self.caller_gates.push(authority.map(|authority| gate(authority.organization)));
    }

    /// Returns the parameters in the order of the statement.
    pub fn parameters(&self) -> Vec<Parameter<'_>> {
        let agents: [Parameter<'_>; 24] = [
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
        ];
        agents.into_iter().chain(self.events.parameters_without_organization()).collect()
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
