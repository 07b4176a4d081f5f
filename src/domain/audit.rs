//! Audit events: what happened, which agent did it, to what, and from where.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::agent::Agent;
use super::id::{AgentId, CredentialId, EventId, IssuerId, OrganizationId, TokenId};
use super::issuer::IssuerGeneration;
use super::organization::Organization;
use super::scope::ManagementScopes;
use super::tenancy::Tenancy;
use super::time::Timestamp;
use super::token::generation_of;

/// The longest user agent that is stored, in bytes.
pub const MAX_USER_AGENT_BYTES: usize = 512;
/// The largest metadata of an event, in bytes of JSON.
pub const MAX_METADATA_BYTES: usize = 4096;

/// One event of the audit log. Never changed, and never removed before its retention ends.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// The organization that the event belongs to.
    ///
    /// An event of a change is created without it, because the store takes it from the row that changed. A stored
    /// event has none only if it is a failed authentication that named no known client.
    pub organization: Option<OrganizationId>,
    /// ID of the event.
    pub id: EventId,
    /// The agent that acted.
    ///
    /// `None` for an unauthenticated caller, for the operator of the service, and for a folded event, which
    /// stands for several callers.
    pub actor: Option<AgentId>,
    /// Kind of the event.
    pub action: AuditAction,
    /// Result of the action.
    pub outcome: Outcome,
    /// Entity that the event is about, if any.
    pub resource: Option<Resource>,
    /// Source of the request.
    pub origin: Origin,
    /// Further details.
    pub metadata: Metadata,
    /// Instant of the event.
    pub at: Timestamp,
}

impl AuditEvent {
    /// Returns whether the event may be seen within this tenancy.
    ///
    /// An event without an organization is seen only with [`Tenancy::All`].
    pub fn is_within(&self, tenancy: Tenancy) -> bool {
        self.organization.map_or(tenancy == Tenancy::All, |organization| tenancy.contains(organization))
    }
}

/// A caller's authority for a change: its rights when it authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The calling agent.
    pub agent: AgentId,
    /// The agent's organization.
    pub organization: OrganizationId,
    /// Sum of the generations of agent and organization.
    pub generation: u64,
    /// The management scopes of the caller.
    pub scopes: ManagementScopes,
    /// The token that the caller used; `None` if it authenticated as a client.
    pub token: Option<TokenId>,
    /// The trusted issuers by which the caller authenticated, or that its token rests on.
    pub issuers: Vec<IssuerGeneration>,
}

impl Authority {
    /// Returns whether the authority still holds.
    ///
    /// It does not if the caller was stopped or has lost a management scope that it came with. `is_revoked` says whether
    /// its token was revoked, and `issuers_hold` whether its issuers are still of the same generations.
    pub fn holds(
        &self,
        agent: &Agent,
        organization: &Organization,
        is_revoked: bool,
        issuers_hold: bool,
    ) -> bool {
        !is_revoked
            && issuers_hold
            && agent.is_active()
            && organization.is_active()
            && generation_of(agent, organization) == self.generation
            && self.scopes.difference(agent.capabilities.management()).is_empty()
    }
}

/// Source of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, as far as trusted proxies report it.
    ///
    /// `None` for a command of the operator, and for a folded event, which stands for several callers.
    pub address: Option<IpAddr>,
    /// `User-Agent` of the request, as valid text of at most 512 bytes.
    pub user_agent: Option<String>,
    /// The trace that the request is part of; `None` if it is part of none.
    pub trace: Option<TraceId>,
}

impl Origin {
    /// Origin of what no request caused.
    pub const NONE: Self = Self { address: None, user_agent: None, trace: None };
}

/// ID of a trace (W3C Trace Context): 128 bits, shown as 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Result of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The action succeeded.
    Success,
    /// The action was refused.
    Failure,
}

impl Outcome {
    /// Every outcome with its name.
    pub const ALL: [(&'static str, Self); 2] = [("success", Self::Success), ("failure", Self::Failure)];
}

/// The kind of an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// An agent was registered.
    AgentCreated,
    /// Fields of an agent were changed.
    AgentUpdated,
    /// An agent was suspended.
    AgentSuspended,
    /// An agent was reactivated.
    AgentReactivated,
    /// An agent was decommissioned.
    AgentDecommissioned,
    /// A credential was created.
    CredentialGenerated,
    /// A client secret was rotated.
    CredentialRotated,
    /// A credential was revoked.
    CredentialRevoked,
    /// A token was issued.
    TokenIssued,
    /// A token was obtained by exchange.
    TokenExchanged,
    /// A token exchange was refused.
    TokenRefused,
    /// A token was introspected.
    TokenIntrospected,
    /// One token, or all tokens of an agent, were revoked.
    TokenRevoked,
    /// A caller failed to authenticate.
    AuthFailed,
    /// An organization was created.
    OrganizationCreated,
    /// Fields of an organization were changed.
    OrganizationUpdated,
    /// An organization was suspended.
    OrganizationSuspended,
    /// An organization was reactivated.
    OrganizationReactivated,
    /// A trusted issuer was created.
    IssuerCreated,
    /// Fields of a trusted issuer were changed.
    IssuerUpdated,
    /// A trusted issuer was suspended.
    IssuerSuspended,
    /// A trusted issuer was reactivated.
    IssuerReactivated,
    /// A trusted issuer was deleted.
    IssuerDeleted,
    /// All tokens that act for a person were revoked.
    SubjectRevoked,
}

impl AuditAction {
    /// Every action with its name.
    pub const ALL: [(&'static str, Self); 24] = [
        ("agent.created", Self::AgentCreated),
        ("agent.updated", Self::AgentUpdated),
        ("agent.suspended", Self::AgentSuspended),
        ("agent.reactivated", Self::AgentReactivated),
        ("agent.decommissioned", Self::AgentDecommissioned),
        ("credential.generated", Self::CredentialGenerated),
        ("credential.rotated", Self::CredentialRotated),
        ("credential.revoked", Self::CredentialRevoked),
        ("token.issued", Self::TokenIssued),
        ("token.exchanged", Self::TokenExchanged),
        ("token.refused", Self::TokenRefused),
        ("token.introspected", Self::TokenIntrospected),
        ("token.revoked", Self::TokenRevoked),
        ("auth.failed", Self::AuthFailed),
        ("organization.created", Self::OrganizationCreated),
        ("organization.updated", Self::OrganizationUpdated),
        ("organization.suspended", Self::OrganizationSuspended),
        ("organization.reactivated", Self::OrganizationReactivated),
        ("issuer.created", Self::IssuerCreated),
        ("issuer.updated", Self::IssuerUpdated),
        ("issuer.suspended", Self::IssuerSuspended),
        ("issuer.reactivated", Self::IssuerReactivated),
        ("issuer.deleted", Self::IssuerDeleted),
        ("subject.revoked", Self::SubjectRevoked),
    ];
}

/// The kind of entity that an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceType {
    /// An agent.
    Agent,
    /// A credential.
    Credential,
    /// A token.
    Token,
    /// An organization.
    Organization,
    /// A trusted issuer.
    Issuer,
}

impl ResourceType {
    /// Every kind with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("agent", Self::Agent),
        ("credential", Self::Credential),
        ("token", Self::Token),
        ("organization", Self::Organization),
        ("issuer", Self::Issuer),
    ];
}

/// The entity that an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Kind of the entity.
    pub kind: ResourceType,
    /// ID of the entity.
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

impl From<IssuerId> for Resource {
    fn from(id: IssuerId) -> Self {
        Self { kind: ResourceType::Issuer, id: id.0 }
    }
}

/// Further details of an event: names and values, at most 4 KB. Never a secret or a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// Adds a value. One that would exceed the bound is left out, which `truncated` reports.
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

    /// Returns metadata with these names and values, as a store has kept them.
    pub const fn of_stored(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// Returns the names and values.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    fn json_bytes(&self) -> usize {
        2 + self.0.iter().map(|(name, value)| name.len() + 4 + json_bytes(value)).sum::<usize>()
    }
}

/// Returns the length of a value as JSON, in bytes.
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

/// How many events of one tally are stored in full: the first failures of a minute.
pub const MAX_SAMPLES: usize = 5;

/// Counts and samples of similar events that one instance saw since its last report.
///
/// Over all instances, a tally becomes one event with a `count` when its minute is over. Before that, the
/// first [`MAX_SAMPLES`] samples are stored in full and the samples beyond are counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// Identifies the events that are counted together: their kind, caller and minute.
    pub key: String,
    /// Start of the minute.
    pub minute: Timestamp,
    /// The event that represents all that is counted, if this is the first report of the tally. It names no trace.
    pub event: AuditEvent,
    /// Events to be stored in full.
    pub samples: Vec<AuditEvent>,
    /// Number of events that are only counted.
    pub count: u64,
}

/// Filter of a list of events. A field that is `None` matches every event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuditFilter {
    /// The agent that acted.
    pub actor: Option<AgentId>,
    /// Kind of the event.
    pub action: Option<AuditAction>,
    /// Result of the action.
    pub outcome: Option<Outcome>,
    /// Kind of the entity that the event is about.
    pub resource_type: Option<ResourceType>,
    /// ID of the entity that the event is about.
    pub resource_id: Option<Uuid>,
    /// Start of the period, inclusive.
    pub from: Option<Timestamp>,
    /// End of the period, exclusive.
    pub to: Option<Timestamp>,
}

impl AuditFilter {
    /// Returns whether the event matches every field of the filter.
    pub fn matches(&self, event: &AuditEvent) -> bool {
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

/// Position of an event in the log, by time and then by ID. It never changes.
///
/// The log is listed from the highest position down, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Instant of the event.
    pub at: Timestamp,
    /// ID of the event.
    pub id: EventId,
}

impl AuditEvent {
    /// Returns the position of the event in the log.
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
        // The bound counts a comma for the first name too, though it has none.
        let room = MAX_METADATA_BYTES - r#"{"b":"1","a":"","truncated":true}"#.len() - 1;
        let full = Metadata::default().with("b", "1").with("a", "x".repeat(room));
        assert_eq!(full.as_map().keys().collect::<Vec<_>>(), ["b", "a"]);
        let more = Metadata::default().with("b", "1").with("a", "x".repeat(room + 1));
        assert_eq!(more.as_map().keys().collect::<Vec<_>>(), ["b", "truncated"]);
    }

    fn new_event() -> AuditEvent {
        AuditEvent {
            organization: None,
            id: EventId(Uuid::from_u128(1)),
            actor: Some(AgentId(Uuid::from_u128(2))),
            action: AuditAction::AgentUpdated,
            outcome: Outcome::Success,
            resource: Some(AgentId(Uuid::from_u128(3)).into()),
            origin: Origin::NONE,
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
        assert!(all.matches(&new_event()) && AuditFilter::default().matches(&new_event()));
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
            assert!(!filter.matches(&new_event()), "{filter:?}");
        }
    }

    #[test]
    fn an_event_of_no_organization_is_seen_with_all_of_them_only() {
        let own = OrganizationId(Uuid::from_u128(5));
        let event = |organization| AuditEvent { organization, ..new_event() };
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
            issuers: Vec::new(),
        };
        assert!(authority.holds(&agent, &organization, false, true));
        assert!(!authority.holds(&agent, &organization, true, true));
        assert!(!authority.holds(&agent, &organization, false, false));
        let suspended = Agent { status: AgentStatus::Suspended, ..agent.clone() };
        assert!(!authority.holds(&suspended, &organization, false, true));
        let status = OrganizationStatus::Suspended;
        assert!(!authority.holds(&agent, &Organization { status, ..organization.clone() }, false, true));
        assert!(!authority.holds(&Agent { generation: 5, ..agent.clone() }, &organization, false, true));
        let capabilities = Scopes::capabilities(&["agents:read"]).expect("valid");
        assert!(!authority.holds(&Agent { capabilities, ..agent }, &organization, false, true));
    }
}
