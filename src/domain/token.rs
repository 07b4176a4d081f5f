//! Access tokens: their claims, and when they are active.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::agent::Agent;
use super::delegation::{Delegation, Person, Subject};
use super::id::{AgentId, IssuerId, OrganizationId, PersonId, TokenId};
use super::issuer::{IssuerGeneration, Subjects, TrustedIssuer};
use super::organization::Organization;
use super::proof::{ProofRequirement, Thumbprint};
use super::scope::{ManagementScopes, Scopes};
use super::time::Timestamp;

/// Seconds by which a token's `iat` may lie in the future.
///
/// They are allowed because the clock of another instance may be ahead.
const CLOCK_SKEW_SECONDS: i64 = 60;
/// Seconds past a token's `exp` for which its revocation is still published.
pub const REVOCATION_MARGIN_SECONDS: i64 = 300;
/// The shortest and the longest lifetime of a token, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<u32> = 60..=86_400;

/// The claims of a token (RFC 9068 section 2.2). The signer adds and checks the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `client_id`, and `sub` unless the token acts for another party.
    pub agent: AgentId,
    /// `organization_id`: the agent's organization.
    pub organization: OrganizationId,
    /// `aud`.
    pub audience: Audience,
    /// `scope`.
    pub scopes: Scopes,
    /// `jti`.
    pub id: TokenId,
    /// `iat`, in seconds since the epoch.
    pub issued_at: i64,
    /// `exp`, in seconds since the epoch. From that second on, the token is expired.
    pub expires_at: i64,
    /// `gen`: the sum of the agent's and the organization's generations when the token was issued.
    pub generation: u64,
    /// `issuers`: the trusted issuers that the token rests on, because a client of its chain authenticated by them or it
    /// acts for a person of one.
    pub issuers: Vec<IssuerGeneration>,
    /// `cnf.jkt`: the key that the token is bound to; `None` for a bearer token.
    pub key: Option<Thumbprint>,
    /// Parties and ancestors of a token that was obtained by exchange; `None` for any other.
    pub delegation: Option<Box<Delegation>>,
}

impl Claims {
    /// Returns whether `now` is within the validity period.
    ///
    /// The clock that issued the token may be slightly ahead. The end of the period has no leeway.
    pub const fn are_in_time(&self, now: Timestamp) -> bool {
        self.issued_at <= now.as_seconds() + CLOCK_SKEW_SECONDS && now.as_seconds() < self.expires_at
    }

    /// Returns the party that the token acts for: its `sub`.
    pub fn subject(&self) -> Subject {
        match &self.delegation {
            None => Subject::Agent(self.agent),
            Some(delegation) => delegation.subject.clone(),
        }
    }

    /// Returns the person that the token acts for; `None` if that is an agent.
    pub fn person(&self) -> Option<&Person> {
        match &self.delegation.as_ref()?.subject {
            Subject::Agent(_) => None,
            Subject::Person(person) => Some(person),
        }
    }

    /// Returns the ancestors of the token, the nearest first.
    pub fn parents(&self) -> &[TokenId] {
        self.delegation.as_ref().map_or(&[], |delegation| &delegation.parents)
    }

    /// Returns every agent of the token's chain, some perhaps twice.
    pub fn parties(&self) -> impl Iterator<Item = AgentId> {
        let others = self.delegation.iter().flat_map(|delegation| delegation.agents.keys());
        std::iter::once(self.agent).chain(others.copied())
    }

    /// Returns the agents of the token's chain other than its client.
    pub fn other_agents(&self) -> impl Iterator<Item = AgentId> {
        let agents = self.delegation.iter().flat_map(|delegation| delegation.agents.keys());
        agents.copied().filter(|agent| *agent != self.agent)
    }
}

/// The intended audience of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// This service.
    Issuer,
    /// A resource server that the agent's organization lists.
    Resource(Box<str>),
}

/// Returns the generation that a token of this agent carries now: the sum of both generations.
///
/// Both only rise, with each revocation, so an equal sum means that neither rose.
pub fn generation_of(agent: &Agent, organization: &Organization) -> u64 {
    agent.generation + organization.generation
}

/// The current state, in the stores, of a token, its agent and its organization.
#[derive(Clone, Debug)]
pub struct TokenStatus {
    /// The token's agent.
    pub agent: Arc<Agent>,
    /// The agent's organization.
    pub organization: Arc<Organization>,
    /// Whether this particular token, or an ancestor of it, was revoked.
    pub is_revoked: bool,
    /// Whether every trusted issuer that the token rests on is there, active, and of the generation in the token.
    pub issuers_hold: bool,
    /// The agents of the token's chain other than its own, as far as they exist.
    pub other_agents: Vec<Arc<Agent>>,
    /// The person that the token acts for; `None` if that is an agent, or if the issuer of the person is gone.
    pub person: Option<PersonStatus>,
}

/// The current state of the person that a token acts for.
#[derive(Clone, Debug)]
pub struct PersonStatus {
    /// The trusted issuer of the person.
    pub issuer: Arc<TrustedIssuer>,
    /// The person's own generation.
    pub generation: u64,
}

impl PersonStatus {
    /// Returns the generation that a token for the person carries now: the sum of both generations.
    pub fn token_generation(&self) -> u64 {
        self.generation + self.issuer.subjects_generation
    }
}

impl TokenStatus {
    /// Returns whether a token with these claims is active, if its signature and its times are valid.
    pub fn is_active(&self, claims: &Claims) -> bool {
        let audience_holds = match &claims.audience {
            Audience::Issuer => true,
            Audience::Resource(uri) => self.organization.has_resource(uri),
        };
        !self.is_revoked
            && self.issuers_hold
            && audience_holds
            && self.agent.id == claims.agent
            && self.organization.id == claims.organization
            && self.agent.is_active()
            && self.organization.is_active()
            && generation_of(&self.agent, &self.organization) == claims.generation
            && (claims.key.is_some() || self.agent.dpop == ProofRequirement::Optional)
            && claims.delegation.as_ref().is_none_or(|delegation| self.chain_holds(delegation))
    }

    /// Returns whether every other party of the token's chain is as it was when the token was issued.
    fn chain_holds(&self, delegation: &Delegation) -> bool {
        let is_same = |(id, generation): (&AgentId, &u64)| {
            self.agent_of_chain(*id).is_some_and(|agent| {
                agent.is_active()
                    && agent.organization == self.organization.id
                    && generation_of(agent, &self.organization) == *generation
            })
        };
        let person_holds = match &delegation.subject {
            Subject::Agent(_) => true,
            Subject::Person(person) => self.person.as_ref().is_some_and(|known| {
                known.issuer.id == person.issuer
                    && known.issuer.organization == self.organization.id
                    && known.issuer.subjects.is_some()
                    && known.token_generation() == person.generation
            }),
        };
        person_holds && delegation.agents.iter().all(is_same)
    }

    /// Returns an agent of the token's chain; `None` if it is unknown.
    fn agent_of_chain(&self, id: AgentId) -> Option<&Agent> {
        std::iter::once(&self.agent)
            .chain(&self.other_agents)
            .find(|agent| agent.id == id)
            .map(|agent| &**agent)
    }

    /// Returns whether the subject of the token allows that its actors pass on authority.
    pub fn allows_redelegation(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Agent(id) => self.agent_of_chain(*id).is_some_and(|agent| agent.redelegation),
            Subject::Person(_) => self.subjects().is_some_and(|subjects| subjects.redelegation),
        }
    }

    fn subjects(&self) -> Option<&Subjects> {
        self.person.as_ref()?.issuer.subjects.as_ref()
    }

    /// Returns the management scopes of all agents of the token's chain together.
    pub fn management(&self) -> ManagementScopes {
        let agents = std::iter::once(&self.agent).chain(&self.other_agents);
        agents.fold(ManagementScopes::default(), |all, agent| all.union(agent.capabilities.management()))
    }

    /// Returns the scopes of the token that every agent of its chain, and the person that it acts for, still has.
    pub fn effective_scopes(&self, claims: &Claims) -> Scopes {
        let of_agent = claims.scopes.intersection(&self.agent.capabilities);
        let of_chain =
            self.other_agents.iter().fold(of_agent, |scopes, agent| scopes.intersection(&agent.capabilities));
        // A capability may have become a management scope since.
        let of_chain = match claims.delegation {
            Some(_) => of_chain.without_management(),
            None => of_chain,
        };
        match (claims.person(), self.subjects()) {
            (None, _) => of_chain,
            (Some(_), Some(subjects)) => of_chain.intersection(&subjects.scopes),
            (Some(_), None) => Scopes::of_token(""),
        }
    }
}

/// A revocation, as broadcast to other instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationNotice {
    /// The revoked token, or the agent, organization, trusted issuer or person whose tokens are revoked.
    pub target: RevocationTarget,
    /// Instant from which the notice may be deleted, because no token revoked by it can be active.
    pub until: Timestamp,
}

/// The subject of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// This one token is revoked.
    Token(TokenId),
    /// An agent has reached this generation, so its tokens from before are revoked.
    Agent(AgentId, u64),
    /// An organization has reached this generation, so its agents' tokens from before are revoked.
    Organization(OrganizationId, u64),
    /// A trusted issuer has reached this generation, so the tokens that rest on it from before are revoked.
    Issuer(IssuerId, u64),
    /// A person, or all persons of a trusted issuer, have reached this generation, so the tokens that act for them from
    /// before are revoked.
    Person(PersonId, u64),
}

impl RevocationNotice {
    /// Creates the notice that an agent has reached its generation, at this instant.
    pub fn of_agent(agent: &Agent, at: Timestamp) -> Self {
        Self { target: RevocationTarget::Agent(agent.id, agent.generation), until: Self::end(at) }
    }

    /// Creates the notice that an organization has reached its generation, at this instant.
    pub fn of_organization(organization: &Organization, at: Timestamp) -> Self {
        Self {
            target: RevocationTarget::Organization(organization.id, organization.generation),
            until: Self::end(at),
        }
    }

    /// Creates the notice that a trusted issuer has reached its generation, at this instant.
    pub fn of_issuer(issuer: &TrustedIssuer, at: Timestamp) -> Self {
        Self { target: RevocationTarget::Issuer(issuer.id, issuer.generation), until: Self::end(at) }
    }

    /// Creates the notice that the persons of a trusted issuer have reached their generation, at this instant.
    pub fn of_everyone(issuer: &TrustedIssuer, at: Timestamp) -> Self {
        Self::of_person(PersonId::everyone_of(issuer.id), issuer.subjects_generation, at)
    }

    /// Creates the notice that a person has reached this generation, at this instant.
    pub fn of_person(person: PersonId, generation: u64, at: Timestamp) -> Self {
        Self { target: RevocationTarget::Person(person, generation), until: Self::end(at) }
    }

    /// Returns when the last token issued before this instant is past its expiry by
    /// [`REVOCATION_MARGIN_SECONDS`].
    fn end(at: Timestamp) -> Timestamp {
        at.plus_seconds(i64::from(*TTL_SECONDS.end()) + REVOCATION_MARGIN_SECONDS)
    }
}

/// A signed token, as it is handed out.
#[derive(Clone, Debug)]
pub struct AccessToken(SecretString);

impl AccessToken {
    /// Creates a token from its text.
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// Returns the text itself. For the one response that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::agent::AgentStatus;
    use super::super::agent::tests::agent;
    use super::super::generation::generation_after;
    use super::super::issuer::tests::{issuer, subjects};
    use super::super::may_act::MayAct;
    use super::super::organization::OrganizationStatus;
    use super::super::organization::tests::organization;
    use super::super::scope::ManagementScope;
    use super::*;

    fn token_status() -> TokenStatus {
        let organization = Organization { generation: 3, ..organization() };
        let agent = Agent { organization: organization.id, generation: 4, ..agent() };
        TokenStatus {
            agent: agent.into(),
            organization: organization.into(),
            is_revoked: false,
            issuers_hold: true,
            other_agents: Vec::new(),
            person: None,
        }
    }

    fn claims() -> Claims {
        let TokenStatus { agent, organization, .. } = token_status();
        Claims {
            agent: agent.id,
            organization: organization.id,
            audience: Audience::Issuer,
            scopes: agent.capabilities.clone(),
            id: TokenId(Uuid::from_u128(9)),
            issued_at: 0,
            expires_at: 60,
            generation: 7,
            issuers: Vec::new(),
            key: None,
            delegation: None,
        }
    }

    #[test]
    fn a_token_is_alive_where_nothing_speaks_against_it() {
        assert!(token_status().is_active(&claims()));
        let audience = Audience::Resource("https://api.example.com".into());
        assert!(token_status().is_active(&Claims { audience, ..claims() }));
        for generation in [0, 6, 8] {
            assert!(!token_status().is_active(&Claims { generation, ..claims() }), "{generation}");
        }
        let other = OrganizationId(Uuid::from_u128(77));
        assert!(!token_status().is_active(&Claims { organization: other, ..claims() }));
        let other = AgentId(Uuid::from_u128(77));
        assert!(!token_status().is_active(&Claims { agent: other, ..claims() }));
        let audience = Audience::Resource("https://elsewhere.example.com".into());
        assert!(!token_status().is_active(&Claims { audience, ..claims() }));
        assert!(!TokenStatus { is_revoked: true, ..token_status() }.is_active(&claims()));
        assert!(!TokenStatus { issuers_hold: false, ..token_status() }.is_active(&claims()));
        for status in [AgentStatus::Suspended, AgentStatus::Decommissioned] {
            let agent = Agent { status, ..Agent::clone(&token_status().agent) };
            assert!(!TokenStatus { agent: agent.into(), ..token_status() }.is_active(&claims()));
        }
        let status = OrganizationStatus::Suspended;
        let organization = Organization { status, ..Organization::clone(&token_status().organization) };
        assert!(!TokenStatus { organization: organization.into(), ..token_status() }.is_active(&claims()));
    }

    /// Returns a token in whose chain are two other agents and its client, for a person, with its status.
    fn delegated() -> (Claims, TokenStatus) {
        let status = token_status();
        let others = [11, 12].map(|number| Agent {
            id: AgentId(Uuid::from_u128(number)),
            generation: u64::try_from(number).expect("small"),
            ..Agent::clone(&status.agent)
        });
        let issuer = TrustedIssuer { subjects: Some(subjects()), subjects_generation: 20, ..issuer() };
        let person = Person {
            issuer: issuer.id,
            iss: "https://ci.example.com".into(),
            sub: "alice".into(),
            generation: 21,
        };
        let all = others.iter().chain([&*status.agent]);
        let delegation = Delegation {
            subject: Subject::Person(person),
            actors: vec![status.agent.id],
            parents: vec![TokenId(Uuid::from_u128(8))],
            agents: all.map(|agent| (agent.id, generation_of(agent, &status.organization))).collect(),
        };
        let claims = Claims { delegation: Some(Box::new(delegation)), ..claims() };
        let person = Some(PersonStatus { issuer: issuer.into(), generation: 1 });
        (claims, TokenStatus { other_agents: others.map(Arc::new).to_vec(), person, ..status })
    }

    #[test]
    fn a_delegated_token_is_active_only_while_every_agent_of_its_chain_is_as_it_was() {
        let (claims, status) = delegated();
        assert!(status.is_active(&claims));
        let reversed = status.other_agents.iter().rev().cloned().collect();
        assert!(TokenStatus { other_agents: reversed, ..status.clone() }.is_active(&claims));
        for place in 0..2 {
            let with = |change: &dyn Fn(&mut Agent)| {
                let mut status = status.clone();
                change(Arc::make_mut(&mut status.other_agents[place]));
                status
            };
            assert!(with(&|agent| agent.revision += 1).is_active(&claims), "another change");
            for changed in [
                with(&|agent| agent.generation += 1),
                with(&|agent| agent.generation -= 1),
                with(&|agent| agent.status = AgentStatus::Suspended),
                with(&|agent| agent.status = AgentStatus::Decommissioned),
                with(&|agent| agent.organization = OrganizationId(Uuid::from_u128(77))),
                with(&|agent| agent.id = AgentId(Uuid::from_u128(77))),
            ] {
                assert!(!changed.is_active(&claims), "{:?}", changed.other_agents);
            }
            let mut missing = status.clone();
            missing.other_agents.remove(place);
            assert!(!missing.is_active(&claims));
        }
        assert!(!TokenStatus { is_revoked: true, ..status.clone() }.is_active(&claims));
        assert!(!TokenStatus { issuers_hold: false, ..status }.is_active(&claims));
    }

    #[test]
    fn a_client_that_is_in_its_chain_twice_must_be_as_it_was_both_times() {
        let (claims, status) = delegated();
        let mut delegation = Delegation::clone(claims.delegation.as_deref().expect("delegated"));
        for (generation, is_active) in [(6, false), (7, true), (8, false)] {
            delegation.agents.insert(claims.agent, generation);
            let claims = Claims { delegation: Some(Box::new(delegation.clone())), ..claims.clone() };
            assert_eq!(status.is_active(&claims), is_active, "{generation}");
        }
    }

    #[test]
    fn a_token_for_a_person_is_active_only_while_the_person_is_as_it_was() {
        let (claims, status) = delegated();
        let known = status.person.clone().expect("known");
        let with = |person: Option<PersonStatus>| TokenStatus { person, ..status.clone() };
        let of = |change: &dyn Fn(&mut TrustedIssuer)| {
            let mut issuer = TrustedIssuer::clone(&known.issuer);
            change(&mut issuer);
            with(Some(PersonStatus { issuer: issuer.into(), ..known.clone() }))
        };
        assert!(of(&|issuer| issuer.revision += 1).is_active(&claims), "another change");
        let more = Subjects { may_act: MayAct::NONE, redelegation: false, ..subjects() };
        assert!(of(&|issuer| issuer.subjects = Some(more.clone())).is_active(&claims));
        for changed in [
            with(None),
            with(Some(PersonStatus { generation: 0, ..known.clone() })),
            with(Some(PersonStatus { generation: 2, ..known.clone() })),
            of(&|issuer| issuer.subjects_generation += 1),
            of(&|issuer| issuer.subjects = None),
            of(&|issuer| issuer.id = IssuerId(Uuid::from_u128(77))),
            of(&|issuer| issuer.organization = OrganizationId(Uuid::from_u128(77))),
        ] {
            assert!(!changed.is_active(&claims), "{:?}", changed.person);
        }
    }

    #[test]
    fn a_scope_counts_while_every_party_of_the_chain_has_it() {
        let scopes = |values: &[&str]| Scopes::capabilities(values).expect("valid");
        let (claims, mut status) = delegated();
        let all = scopes(&["a:b", "c:d", "e:f"]);
        let claims = Claims { scopes: all.clone(), ..claims };
        let mut parties = vec![all.clone(); 4];
        let effective = |parties: &[Scopes], status: &mut TokenStatus| {
            Arc::make_mut(&mut status.agent).capabilities = parties[0].clone();
            for (other, capabilities) in status.other_agents.iter_mut().zip(&parties[1..]) {
                Arc::make_mut(other).capabilities = capabilities.clone();
            }
            let known = status.person.as_mut().expect("known");
            let subjects = Some(Subjects { scopes: parties[3].clone(), ..subjects() });
            known.issuer = TrustedIssuer { subjects, ..issuer() }.into();
            status.effective_scopes(&claims)
        };
        assert_eq!(effective(&parties, &mut status).as_str(), "a:b c:d e:f");
        for place in 0..parties.len() {
            parties[place] = scopes(&["e:f", "g:h", "a:b"]);
            assert_eq!(effective(&parties, &mut status).as_str(), "a:b e:f", "{place}");
            parties[place] = all.clone();
        }
        for (place, values) in [["a:b", "c:d"], ["c:d", "e:f"], ["a:b", "e:f"]].iter().enumerate() {
            parties[place] = scopes(values);
        }
        assert_eq!(effective(&parties, &mut status).as_str(), "", "what no party lacks");
        parties.fill(all);
        effective(&parties, &mut status);
        let without = TokenStatus { person: None, ..status.clone() };
        assert_eq!(without.effective_scopes(&claims).as_str(), "", "the issuer is gone");
        let agents_only = Claims { delegation: None, ..claims.clone() };
        assert_eq!(without.effective_scopes(&agents_only).as_str(), "a:b c:d e:f");
    }

    #[test]
    fn the_management_scopes_of_a_token_are_those_of_every_agent_of_its_chain() {
        let (_, mut status) = delegated();
        let capabilities = [["agents:read"], ["tokens:read"], ["a:b"]];
        let capabilities = capabilities.map(|values| Scopes::capabilities(&values).expect("valid"));
        let [own, first, second] = capabilities;
        Arc::make_mut(&mut status.agent).capabilities = own;
        Arc::make_mut(&mut status.other_agents[0]).capabilities = first;
        Arc::make_mut(&mut status.other_agents[1]).capabilities = second;
        let management = status.management();
        let expected = [ManagementScope::AgentsRead, ManagementScope::TokensRead];
        assert_eq!(management, ManagementScopes::from_iter(expected));
    }

    #[test]
    fn no_revocation_after_a_restore_reaches_a_generation_from_before_it() {
        let TokenStatus { agent, organization, .. } = token_status();
        let at = |second: i64| Timestamp::from_millis(1_800_000_000_000).plus_seconds(second);
        let mut handed_out = Vec::new();
        let (mut lost_agent, mut lost_organization) =
            (Agent::clone(&agent), Organization::clone(&organization));
        for second in 0..20 {
            handed_out.push(generation_of(&lost_agent, &lost_organization));
            if second % 3 == 0 {
                lost_organization.generation = generation_after(lost_organization.generation, at(second));
            } else {
                lost_agent = lost_agent.with_tokens_revoked(at(second)).expect("not final");
            }
        }
        // Both tables are restored, or one of the two.
        for (mut agent, mut organization) in [
            (Agent::clone(&agent), Organization::clone(&organization)),
            (lost_agent, Organization::clone(&organization)),
            (Agent::clone(&agent), lost_organization),
        ] {
            for second in 60..80 {
                if second % 2 == 0 {
                    organization.generation = generation_after(organization.generation, at(second));
                } else {
                    agent = agent.with_tokens_revoked(at(second)).expect("not final");
                }
                let generation = generation_of(&agent, &organization);
                assert!(!handed_out.contains(&generation), "{second}: {generation}");
            }
        }
    }

    #[test]
    fn a_generation_rises_however_often_in_a_millisecond_and_whatever_the_clock_says() {
        let at = Timestamp::from_millis(1_000);
        assert_eq!([generation_after(0, at), generation_after(1_000, at)], [1_000, 1_001]);
        assert_eq!(generation_after(5_000, at), 5_001, "the clock was ahead before");
        assert_eq!(generation_after(7, Timestamp::from_millis(-1)), 8);
    }

    #[test]
    fn a_token_may_come_from_a_clock_a_minute_ahead_and_ends_on_the_second() {
        let claims = Claims { issued_at: 1_000, expires_at: 1_060, ..claims() };
        for (second, are_in_time) in [(939, false), (940, true), (1_059, true), (1_060, false)] {
            let now = Timestamp::from_millis(0).plus_seconds(second);
            assert_eq!(claims.are_in_time(now), are_in_time, "{second}");
        }
    }

    #[test]
    fn a_kill_is_told_until_no_token_from_before_can_live_anywhere() {
        let at = Timestamp::from_millis(1_000);
        let until = Timestamp::from_millis(1_000 + (86_400 + 300) * 1_000);
        let TokenStatus { agent, organization, .. } = token_status();
        assert_eq!(
            RevocationNotice::of_agent(&agent, at),
            RevocationNotice { target: RevocationTarget::Agent(agent.id, 4), until }
        );
        let target = RevocationTarget::Organization(organization.id, 3);
        assert_eq!(RevocationNotice::of_organization(&organization, at), RevocationNotice { target, until });
    }

    #[test]
    fn a_token_shows_itself_only_where_it_is_handed_out() {
        let token = AccessToken::new("eyJ.eyJ.sig".to_owned());
        assert_eq!(token.expose(), "eyJ.eyJ.sig");
        assert!(!format!("{token:?}").contains("eyJ"));
    }
}
