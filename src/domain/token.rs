//! Access tokens: what they say, and when they are alive.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::agent::Agent;
use super::id::{AgentId, OrganizationId, TokenId};
use super::organization::Organization;
use super::scope::Scopes;
use super::time::Timestamp;

/// How far the clocks of two instances may be apart, in seconds.
pub const CLOCK_SKEW_SECONDS: i64 = 60;
/// How long a revocation is remembered past the token's end, in seconds.
pub const REVOCATION_MARGIN_SECONDS: i64 = 300;
/// The shortest and the longest that a token may live, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<u32> = 60..=86_400;

/// What a token says (RFC 9068 section 2.2). The issuer is the signer's and is checked there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub` and `client_id`.
    pub agent: AgentId,
    pub organization: OrganizationId,
    pub audience: Audience,
    pub scopes: Scopes,
    /// `jti`.
    pub id: TokenId,
    /// `iat`, in seconds since the epoch.
    pub issued_at: i64,
    /// `exp`, in seconds since the epoch. From that second on the token is dead.
    pub expires_at: i64,
    /// `gen`: the agent's and the organization's generation together, when it was issued.
    pub generation: u64,
}

/// Whom a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// This service.
    Issuer,
    /// A resource server that the agent's organization names.
    Resource(Box<str>),
}

/// The generation that a token of this agent carries now. Both parts only rise, with each kill, so an equal sum means that
/// neither rose.
pub fn generation_of(agent: &Agent, organization: &Organization) -> u64 {
    agent.generation + organization.generation
}

/// What the stores say, at this instant, about a token's agent and about the token itself.
#[derive(Clone, Debug)]
pub struct Standing {
    pub agent: Arc<Agent>,
    pub organization: Arc<Organization>,
    /// Whether this very token was revoked.
    pub is_revoked: bool,
}

impl Standing {
    /// Whether a token with these claims, whose signature and times hold, is alive.
    pub fn keeps_alive(&self, claims: &Claims) -> bool {
        let audience_holds = match &claims.audience {
            Audience::Issuer => true,
            Audience::Resource(uri) => self.organization.has_resource(uri),
        };
        !self.is_revoked
            && audience_holds
            && self.agent.id == claims.agent
            && self.organization.id == claims.organization
            && self.agent.is_active()
            && self.organization.is_active()
            && generation_of(&self.agent, &self.organization) == claims.generation
    }

    /// What the token is still good for: its scopes, as far as the agent still has them.
    pub fn effective_scopes(&self, claims: &Claims) -> Scopes {
        claims.scopes.intersection(&self.agent.capabilities)
    }
}

/// Something that kills tokens, as it is told to whoever wants to know early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kill: Kill,
    /// From when on nothing that it kills can be alive any more, so that it may be forgotten.
    pub until: Timestamp,
}

/// What kills tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// This one token was revoked.
    Token(TokenId),
    /// An agent has reached this generation.
    Agent(AgentId, u64),
    /// An organization has reached this generation.
    Organization(OrganizationId, u64),
}

impl Notice {
    /// That an agent has reached a generation, at that instant.
    pub fn of_agent(agent: &Agent, at: Timestamp) -> Self {
        Self { kill: Kill::Agent(agent.id, agent.generation), until: Self::end(at) }
    }

    /// That an organization has reached a generation, at that instant.
    pub fn of_organization(organization: &Organization, at: Timestamp) -> Self {
        Self { kill: Kill::Organization(organization.id, organization.generation), until: Self::end(at) }
    }

    /// When the last token that was issued before that instant has been expired for a while.
    fn end(at: Timestamp) -> Timestamp {
        at.plus_seconds(i64::from(*TTL_SECONDS.end()) + REVOCATION_MARGIN_SECONDS)
    }
}

/// A signed token, as it is handed out.
#[derive(Clone, Debug)]
pub struct AccessToken(SecretString);

impl AccessToken {
    /// The token in this text.
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The text itself. For the one answer that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}
