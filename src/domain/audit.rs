//! The audit log: what happened, who did it, to what, from where.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::agent::Agent;
use super::id::{AgentId, CredentialId, EventId, OrganizationId, TokenId};
use super::organization::Organization;
use super::scope::ManagementScopes;
use super::tenancy::Tenancy;
use super::time::Timestamp;
use super::token::generation_of;

/// The longest user agent that is kept, in bytes.
pub const MAX_USER_AGENT_BYTES: usize = 512;
/// The most that an event's metadata may take as JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 4096;

/// One line of the record. Never changed, never removed before its retention ends.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Whose it is; `None` for a failed authentication that named no known client.
    pub organization: Option<OrganizationId>,
    /// What happened.
    pub draft: NewAuditEvent,
}

impl AuditEvent {
    /// Whether it may be seen from there. One of no organization is seen only with all of them.
    pub fn is_within(&self, tenancy: Tenancy) -> bool {
        self.organization.map_or(tenancy == Tenancy::All, |organization| tenancy.contains(organization))
    }
}

/// An event as a use case writes it. The store takes its organization from the row that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAuditEvent {
    pub id: EventId,
    /// Who acted; `None` for a stranger and for the operator of the service.
    pub actor: Option<AgentId>,
    /// By what right, where something is changed on somebody's behalf: it must still hold at the moment in which the change
    /// is stored. It is not kept.
    pub authority: Option<Authority>,
    pub action: AuditAction,
    pub outcome: Outcome,
    /// What it was done to.
    pub resource: Option<Resource>,
    pub origin: Origin,
    pub metadata: Metadata,
    pub at: Timestamp,
}

/// By what right a caller changes something: what it was when it proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    pub agent: AgentId,
    pub organization: OrganizationId,
    /// The sum of the generations of both.
    pub generation: u64,
    /// The management scopes that it has.
    pub scopes: ManagementScopes,
    /// The token that it called with.
    pub token: Option<TokenId>,
}

impl Authority {
    /// Whether it still holds: the caller was neither stopped nor lost a capability that it came with.
    pub fn holds(&self, agent: &Agent, organization: &Organization, is_revoked: bool) -> bool {
        !is_revoked
            && agent.is_active()
            && organization.is_active()
            && generation_of(agent, organization) == self.generation
            && self.scopes.difference(agent.capabilities.management()).is_empty()
    }
}

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, as far as trusted proxies tell it; `None` for a command of the operator.
    pub address: Option<IpAddr>,
    /// Valid text of at most 512 bytes.
    pub user_agent: Option<String>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Success,
    Failure,
}

impl Outcome {
    /// Each outcome with its name.
    pub const ALL: [(&'static str, Self); 2] = [("success", Self::Success), ("failure", Self::Failure)];
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditAction {
    AgentCreated,
    AgentUpdated,
    AgentSuspended,
    AgentReactivated,
    AgentDecommissioned,
    CredentialGenerated,
    CredentialRotated,
    CredentialRevoked,
    TokenIssued,
    TokenIntrospected,
    TokenRevoked,
    AuthFailed,
    OrganizationCreated,
    OrganizationUpdated,
    OrganizationSuspended,
    OrganizationReactivated,
}

impl AuditAction {
    /// Each action with its name.
    pub const ALL: [(&'static str, Self); 16] = [
        ("agent.created", Self::AgentCreated),
        ("agent.updated", Self::AgentUpdated),
        ("agent.suspended", Self::AgentSuspended),
        ("agent.reactivated", Self::AgentReactivated),
        ("agent.decommissioned", Self::AgentDecommissioned),
        ("credential.generated", Self::CredentialGenerated),
        ("credential.rotated", Self::CredentialRotated),
        ("credential.revoked", Self::CredentialRevoked),
        ("token.issued", Self::TokenIssued),
        ("token.introspected", Self::TokenIntrospected),
        ("token.revoked", Self::TokenRevoked),
        ("auth.failed", Self::AuthFailed),
        ("organization.created", Self::OrganizationCreated),
        ("organization.updated", Self::OrganizationUpdated),
        ("organization.suspended", Self::OrganizationSuspended),
        ("organization.reactivated", Self::OrganizationReactivated),
    ];
}

/// The kind of thing an event was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceType {
    Agent,
    Credential,
    Token,
    Organization,
}

impl ResourceType {
    /// Each kind with its name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("agent", Self::Agent),
        ("credential", Self::Credential),
        ("token", Self::Token),
        ("organization", Self::Organization),
    ];
}

/// What an event was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    pub kind: ResourceType,
    pub id: Uuid,
}

impl From<AgentId> for Resource {
    fn from(id: AgentId) -> Self {
        Self { kind: ResourceType::Agent, id: id.0 }
    }
}

impl From<CredentialId> for Resource {
    fn from(id: CredentialId) -> Self {
        Self { kind: ResourceType::Credential, id: id.0 }
    }
}

impl From<super::id::TokenId> for Resource {
    fn from(id: super::id::TokenId) -> Self {
        Self { kind: ResourceType::Token, id: id.0 }
    }
}

impl From<OrganizationId> for Resource {
    fn from(id: OrganizationId) -> Self {
        Self { kind: ResourceType::Organization, id: id.0 }
    }
}

/// What else is worth knowing of an event: names and values, at most 4 KB. Never a secret or a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// Adds a value. One that would take the whole over its bound is left out, and `truncated` says so.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        const MARK: usize = r#","truncated":true"#.len();
        let value = value.into();
        if self.json_bytes() + name.len() + 4 + json_bytes(&value) + MARK <= MAX_METADATA_BYTES {
            self.0.insert(name.to_owned(), value);
        } else {
            self.0.insert("truncated".to_owned(), Value::Bool(true));
        }
        self
    }

    /// Those names and values, as a store kept them.
    pub const fn of_stored(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The names and values.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    fn json_bytes(&self) -> usize {
        2 + self.0.iter().map(|(name, value)| name.len() + 4 + json_bytes(value)).sum::<usize>()
    }
}

/// How long a value is as JSON.
fn json_bytes(value: &Value) -> usize {
    struct Length(usize);
    impl fmt::Write for Length {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut length = Length(0);
    write!(length, "{value}").expect("counting cannot fail");
    length.0
}

/// How many events of one tally are kept in full: the first failures of a minute.
pub const MAX_SAMPLES: usize = 5;

/// What one instance has seen, since it last told, of something that is counted rather than written each time.
///
/// Over all instances a tally becomes one event with a `count`, when its minute is over; before that the first
/// [`MAX_SAMPLES`] events that want it are written in full, and those beyond are counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// What is counted together: of what kind, by whom, in which minute.
    pub key: String,
    pub minute: Timestamp,
    /// Stands for all that is counted, where it is the tally's first.
    pub event: AuditEvent,
    /// What wants to be written in full.
    pub samples: Vec<AuditEvent>,
    /// What is only counted.
    pub count: u64,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuditFilter {
    pub actor: Option<AgentId>,
    pub action: Option<AuditAction>,
    pub outcome: Option<Outcome>,
    pub resource_type: Option<ResourceType>,
    pub resource_id: Option<Uuid>,
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Up to this instant, and not the instant itself.
    pub to: Option<Timestamp>,
}

impl AuditFilter {
    /// Whether the event is one of those wanted.
    pub fn matches(&self, event: &NewAuditEvent) -> bool {
        fn holds<T: PartialEq + Copy>(wanted: Option<T>, have: Option<T>) -> bool {
            wanted.is_none() || wanted == have
        }
        holds(self.actor, event.actor)
            && holds(self.action, Some(event.action))
            && holds(self.outcome, Some(event.outcome))
            && holds(self.resource_type, event.resource.map(|resource| resource.kind))
            && holds(self.resource_id, event.resource.map(|resource| resource.id))
            && self.from.is_none_or(|from| event.at >= from)
            && self.to.is_none_or(|to| event.at < to)
    }
}

/// Where an event stands in the log, newest first: by time, then by id. It never moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub at: Timestamp,
    pub id: EventId,
}

impl NewAuditEvent {
    /// Where the event stands in the log.
    pub const fn position(&self) -> Position {
        Position { at: self.at, id: self.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_stays_within_its_bound_and_says_what_it_left_out() {
        let metadata = Metadata::default()
            .with("first", "x".repeat(3000))
            .with("second", "y".repeat(3000))
            .with("third", 3);
        let json = serde_json::to_string(metadata.as_map()).expect("a map of strings");
        assert!(json.len() <= MAX_METADATA_BYTES, "{}", json.len());
        assert_eq!(metadata.as_map().get("truncated"), Some(&Value::Bool(true)));
        assert_eq!(metadata.as_map().get("third"), Some(&Value::from(3)));
        assert!(metadata.as_map().contains_key("first") && !metadata.as_map().contains_key("second"));
    }

    #[test]
    fn metadata_takes_all_that_leaves_room_to_say_that_more_was_left_out() {
        // The comma that the first name has not is counted too.
        let room = MAX_METADATA_BYTES - r#"{"b":"1","a":"","truncated":true}"#.len() - 1;
        let full = Metadata::default().with("b", "1").with("a", "x".repeat(room));
        assert_eq!(full.as_map().keys().collect::<Vec<_>>(), ["b", "a"]);
        let more = Metadata::default().with("b", "1").with("a", "x".repeat(room + 1));
        assert_eq!(more.as_map().keys().collect::<Vec<_>>(), ["b", "truncated"]);
    }

    fn draft() -> NewAuditEvent {
        NewAuditEvent {
            id: EventId(Uuid::from_u128(1)),
            actor: Some(AgentId(Uuid::from_u128(2))),
            authority: None,
            action: AuditAction::AgentUpdated,
            outcome: Outcome::Success,
            resource: Some(AgentId(Uuid::from_u128(3)).into()),
            origin: Origin { address: None, user_agent: None },
            metadata: Metadata::default(),
            at: Timestamp::from_millis(10),
        }
    }

    #[test]
    fn a_filter_admits_what_fits_in_everything_that_it_names() {
        let all = AuditFilter {
            actor: Some(AgentId(Uuid::from_u128(2))),
            action: Some(AuditAction::AgentUpdated),
            outcome: Some(Outcome::Success),
            resource_type: Some(ResourceType::Agent),
            resource_id: Some(Uuid::from_u128(3)),
            from: Some(Timestamp::from_millis(10)),
            to: Some(Timestamp::from_millis(11)),
        };
        assert!(all.matches(&draft()) && AuditFilter::default().matches(&draft()));
        let other = [
            AuditFilter { actor: Some(AgentId(Uuid::from_u128(4))), ..all.clone() },
            AuditFilter { action: Some(AuditAction::AgentCreated), ..all.clone() },
            AuditFilter { outcome: Some(Outcome::Failure), ..all.clone() },
            AuditFilter { resource_type: Some(ResourceType::Token), ..all.clone() },
            AuditFilter { resource_id: Some(Uuid::from_u128(4)), ..all.clone() },
            AuditFilter { from: Some(Timestamp::from_millis(11)), ..all.clone() },
            AuditFilter { to: Some(Timestamp::from_millis(10)), ..all },
        ];
        for filter in other {
            assert!(!filter.matches(&draft()), "{filter:?}");
        }
    }

    #[test]
    fn an_event_of_no_organization_is_seen_with_all_of_them_only() {
        let own = OrganizationId(Uuid::from_u128(5));
        let event = |organization| AuditEvent { organization, draft: draft() };
        assert!(event(Some(own)).is_within(Tenancy::Only(own)) && event(Some(own)).is_within(Tenancy::All));
        assert!(!event(Some(OrganizationId(Uuid::from_u128(6)))).is_within(Tenancy::Only(own)));
        assert!(event(None).is_within(Tenancy::All) && !event(None).is_within(Tenancy::Only(own)));
    }

    #[test]
    fn an_authority_ends_with_what_it_rests_on() {
        use super::super::agent::AgentStatus;
        use super::super::agent::tests::agent;
        use super::super::organization::OrganizationStatus;
        use super::super::organization::tests::organization;
        use super::super::scope::{ManagementScope, Scopes};
        let organization = Organization { generation: 3, ..organization() };
        let capabilities = Scopes::capabilities(&["agents:read", "agents:write"]).expect("valid");
        let agent = Agent { capabilities, generation: 4, ..agent() };
        let authority = Authority {
            agent: agent.id,
            organization: organization.id,
            generation: 7,
            scopes: ManagementScopes::from_iter([ManagementScope::AgentsWrite]),
            token: None,
        };
        assert!(authority.holds(&agent, &organization, false));
        assert!(!authority.holds(&agent, &organization, true));
        let suspended = Agent { status: AgentStatus::Suspended, ..agent.clone() };
        assert!(!authority.holds(&suspended, &organization, false));
        let status = OrganizationStatus::Suspended;
        assert!(!authority.holds(&agent, &Organization { status, ..organization.clone() }, false));
        assert!(!authority.holds(&Agent { generation: 5, ..agent.clone() }, &organization, false));
        let capabilities = Scopes::capabilities(&["agents:read"]).expect("valid");
        assert!(!authority.holds(&Agent { capabilities, ..agent }, &organization, false));
    }
}
