//! Delegation: tokens that act for another agent or for a person (RFC 8693).
//!
//! A token that was obtained by exchange names its subject, the agents that act (`act`), the tokens that it was obtained
//! from, and every agent of its chain with the generation that it had. It is active only while all of these are, so that
//! a revocation anywhere in the chain has the same cost however many tokens depend on it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use uuid::fmt::Hyphenated;

use super::id::{AgentId, IssuerId, PersonId, TokenId};
use super::token::{Claims, TokenStatus};

/// The most ancestors of a token.
pub const MAX_PARENTS: usize = 16;
/// The least and the greatest depth that can be allowed.
pub const DEPTHS: std::ops::RangeInclusive<u32> = 1..=5;
/// The longest `sub` of a person, in characters.
pub const MAX_SUBJECT_CHARS: usize = 255;

/// The party that a token acts for: its `sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An agent.
    Agent(AgentId),
    /// A person.
    Person(Person),
}

/// A person, known to a trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The trusted issuer.
    pub issuer: IssuerId,
    /// `iss` of the trusted issuer.
    pub iss: Arc<str>,
    /// `sub` at the trusted issuer.
    pub sub: Arc<str>,
    /// Sum of the person's own generation and of the issuer's for persons when the token was issued.
    pub generation: u64,
}

impl PersonId {
    /// Returns the ID of a person of a trusted issuer.
    pub fn of(issuer: IssuerId, sub: &str) -> Self {
        Self::named(issuer, b"/", sub)
    }

    /// Returns the ID that stands for all persons of a trusted issuer.
    pub fn everyone_of(issuer: IssuerId) -> Self {
        Self::named(issuer, b"", "")
    }

    /// Returns a UUIDv8 made of the first 128 bits of a SHA-256, six of which the format replaces (RFC 9562 section 5.8).
    fn named(issuer: IssuerId, separator: &[u8], sub: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(issuer.0.as_bytes())
            .chain_update(separator)
            .chain_update(sub.as_bytes())
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// Returns whether a text may be the `sub` of a person: 1 to [`MAX_SUBJECT_CHARS`] characters, none of them a control
/// character.
pub fn is_sub(text: &str) -> bool {
    (1..=MAX_SUBJECT_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Returns the SHA-256 of the `sub` of a person, by which a store knows the person.
pub fn digest_of(sub: &str) -> [u8; 32] {
    Sha256::digest(sub.as_bytes()).into()
}

impl Person {
    /// Returns the ID of the person.
    pub fn id(&self) -> PersonId {
        PersonId::of(self.issuer, &self.sub)
    }
}

impl Subject {
    /// Prefix of the `sub` of a person, so that it is never that of an agent.
    const PERSON: &'static str = "user:";

    /// Parses the `sub` of a token; `person` is what the token says of a person, if it has one.
    ///
    /// `None` if both do not belong together.
    pub fn parse(sub: &str, person: Option<(&str, &str, u64)>) -> Option<Self> {
        let Some((iss, foreign_sub, generation)) = person else {
            return AgentId::parse(sub).map(Self::Agent);
        };
        let (issuer, rest) = sub.strip_prefix(Self::PERSON)?.split_at_checked(Hyphenated::LENGTH)?;
        if rest.strip_prefix(':') != Some(foreign_sub) {
            return None;
        }
        let issuer = IssuerId::parse(issuer)?;
        Some(Self::Person(Person { issuer, iss: iss.into(), sub: foreign_sub.into(), generation }))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => agent.fmt(f),
            Self::Person(Person { issuer, sub, .. }) => write!(f, "{}{issuer}:{sub}", Self::PERSON),
        }
    }
}

/// Parties and ancestors of a token that was obtained by exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The party that the token acts for, the same along the chain.
    pub subject: Subject,
    /// The agents that act, the token's client first: `act`. Empty if an agent only narrowed a token of its own.
    pub actors: Vec<AgentId>,
    /// Every ancestor, the nearest first.
    pub parents: Vec<TokenId>,
    /// Every agent of the chain except the token's client, which is among them only if the chain has it twice, with the
    /// generation that it had when the token was issued.
    pub agents: BTreeMap<AgentId, u64>,
}

impl Delegation {
    /// Returns the delegation of the first token that acts for a person.
    pub fn of_person(person: Person, actor: AgentId) -> Self {
        Self {
            subject: Subject::Person(person),
            actors: vec![actor],
            parents: Vec::new(),
            agents: BTreeMap::new(),
        }
    }

    /// Returns the delegation of a token that `actor` obtains by an active token with these claims and this status.
    ///
    /// An agent that is the client of the token already narrows it. Any other needs the permission of the client and, if
    /// that acts for another party, of this party too. Nothing but the token decides which case it is.
    ///
    /// Returns the rule that forbids it.
    pub fn of_exchange(
        claims: &Claims,
        status: &TokenStatus,
        actor: AgentId,
        max_depth: u32,
    ) -> Result<Self, DelegationRule> {
        let Self { subject, mut actors, mut parents, mut agents } =
            claims.delegation.as_deref().cloned().unwrap_or_else(|| Self {
                subject: Subject::Agent(claims.agent),
                actors: Vec::new(),
                parents: Vec::new(),
                agents: BTreeMap::new(),
            });
        if claims.agent != actor {
            if !status.agent.may_act.allows(actor) {
                return Err(DelegationRule::MayAct);
            }
            if !actors.is_empty() && !status.allows_redelegation(&subject) {
                return Err(DelegationRule::Redelegation);
            }
            agents.insert(claims.agent, claims.generation);
            actors.insert(0, actor);
        }
        if depth(&actors) > max_depth {
            return Err(DelegationRule::Depth);
        }
        parents.insert(0, claims.id);
        if parents.len() > MAX_PARENTS {
            return Err(DelegationRule::Parents);
        }
        Ok(Self { subject, actors, parents, agents })
    }

    /// Returns the number of exchanges that added an actor.
    pub fn depth(&self) -> u32 {
        depth(&self.actors)
    }

    /// Returns the first token of the chain; `None` if the token itself is the first.
    pub fn root(&self) -> Option<TokenId> {
        self.parents.last().copied()
    }
}

fn depth(actors: &[AgentId]) -> u32 {
    u32::try_from(actors.len()).unwrap_or(u32::MAX)
}

/// A rule that forbids an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DelegationRule {
    /// The agent that holds the token, or the issuer of the person, must allow the actor.
    MayAct,
    /// The subject must allow that its actors pass on authority.
    Redelegation,
    /// The chain must not be too long.
    Depth,
    /// The token must not have too many ancestors.
    Parents,
    /// The trusted issuer must have persons that can be acted for.
    Subjects,
}

impl DelegationRule {
    /// Every rule with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("may_act", Self::MayAct),
        ("redelegation", Self::Redelegation),
        ("depth", Self::Depth),
        ("parents", Self::Parents),
        ("subjects", Self::Subjects),
    ];

    /// Returns the description of a violation: the name of the rule, and what must be so.
    pub const fn description(self) -> &'static str {
        match self {
            Self::MayAct => {
                "may_act: this client must be in the mayAct of the agent that the subject token was issued to, or for a person in subjects.mayAct of the trusted issuer"
            }
            Self::Redelegation => "redelegation: the subject must allow that its actors pass on authority",
            Self::Depth => "depth: the chain of actors would be longer than MAX_DELEGATION_DEPTH",
            Self::Parents => "parents: a token can have at most 16 ancestors; exchange an earlier one",
            Self::Subjects => {
                "subjects: the trusted issuer must have subjects, people that agents may act for"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::agent::Agent;
    use super::super::issuer::tests::{issuer, subjects};
    use super::super::issuer::{Subjects, TrustedIssuer};
    use super::super::may_act::MayAct;
    use super::super::organization::tests::organization;
    use super::super::token::{Audience, PersonStatus};
    use super::*;

    /// Returns an agent with an ID of this number and its own generation, for which these may act.
    fn agent(number: u64, may_act: MayAct) -> Agent {
        let id = AgentId(Uuid::from_u128(number.into()));
        Agent {
            id,
            organization: organization().id,
            generation: 10 * number,
            may_act,
            ..super::super::agent::tests::agent()
        }
    }

    fn only(agents: &[&Agent]) -> MayAct {
        MayAct::Only(agents.iter().map(|agent| agent.id).collect())
    }

    fn token(number: u128) -> TokenId {
        TokenId(Uuid::from_u128(number))
    }

    /// Returns the claims of a token of this agent.
    fn claims(id: TokenId, agent: &Agent, delegation: Option<Delegation>) -> Claims {
        Claims {
            agent: agent.id,
            organization: agent.organization,
            audience: Audience::Issuer,
            scopes: agent.capabilities.clone(),
            id,
            issued_at: 0,
            expires_at: 60,
            generation: agent.generation,
            issuers: Vec::new(),
            key: None,
            delegation: delegation.map(Box::new),
        }
    }

    /// Returns the status of a token of the first agent, with the others in its chain.
    fn status(agents: &[&Agent]) -> TokenStatus {
        let agents: Vec<_> = agents.iter().map(|agent| Arc::new(Agent::clone(agent))).collect();
        TokenStatus {
            agent: agents[0].clone(),
            organization: organization().into(),
            is_revoked: false,
            issuers_hold: true,
            other_agents: agents[1..].to_vec(),
            person: None,
        }
    }

    fn generations(agents: &[&Agent]) -> BTreeMap<AgentId, u64> {
        agents.iter().map(|agent| (agent.id, agent.generation)).collect()
    }

    fn alice() -> Person {
        Person {
            issuer: issuer().id,
            iss: "https://ci.example.com".into(),
            sub: "alice".into(),
            generation: 3,
        }
    }

    #[test]
    fn an_agent_acts_for_another_only_if_that_lists_it() {
        let (worker, other) = (agent(2, MayAct::NONE), agent(3, MayAct::NONE));
        for (may_act, is_allowed) in [
            (MayAct::NONE, false),
            (only(&[&other]), false),
            (only(&[&other, &worker]), true),
            (MayAct::All, true),
        ] {
            let boss = agent(1, may_act.clone());
            let own = claims(token(1), &boss, None);
            let expected = Delegation {
                subject: Subject::Agent(boss.id),
                actors: vec![worker.id],
                parents: vec![token(1)],
                agents: generations(&[&boss]),
            };
            let outcome = Delegation::of_exchange(&own, &status(&[&boss]), worker.id, 1);
            let expected = if is_allowed { Ok(expected) } else { Err(DelegationRule::MayAct) };
            assert_eq!(outcome, expected, "{may_act:?}");
        }
    }

    #[test]
    fn a_client_narrows_its_token_without_permission_and_stays_the_same_party() {
        let boss = agent(1, MayAct::NONE);
        let own = claims(token(1), &boss, None);
        let narrowed = Delegation::of_exchange(&own, &status(&[&boss]), boss.id, 1).expect("allowed");
        let subject = Subject::Agent(boss.id);
        let expected =
            Delegation { subject, actors: vec![], parents: vec![token(1)], agents: BTreeMap::new() };
        assert_eq!((narrowed.depth(), narrowed.root()), (0, Some(token(1))));
        assert_eq!(narrowed, expected);

        // The holder lists no agent, the subject forbids redelegation, and the chain is as long as it may be.
        let worker = agent(2, MayAct::NONE);
        let delegation = Delegation {
            subject: Subject::Agent(boss.id),
            actors: vec![worker.id],
            parents: vec![token(1)],
            agents: generations(&[&boss]),
        };
        let delegated = claims(token(2), &worker, Some(delegation.clone()));
        let narrowed = Delegation::of_exchange(&delegated, &status(&[&worker, &boss]), worker.id, 1);
        assert_eq!(narrowed, Ok(Delegation { parents: vec![token(2), token(1)], ..delegation }));
    }

    #[test]
    fn a_token_that_was_narrowed_is_still_its_own_clients_and_no_redelegation() {
        let worker = agent(2, MayAct::NONE);
        let boss = agent(1, only(&[&worker]));
        let narrowed = Delegation::of_exchange(&claims(token(1), &boss, None), &status(&[&boss]), boss.id, 1);
        let narrowed = claims(token(2), &boss, Some(narrowed.expect("allowed")));
        let expected = Delegation {
            subject: Subject::Agent(boss.id),
            actors: vec![worker.id],
            parents: vec![token(2), token(1)],
            agents: generations(&[&boss]),
        };
        assert_eq!(Delegation::of_exchange(&narrowed, &status(&[&boss]), worker.id, 1), Ok(expected));
    }

    #[test]
    fn authority_is_passed_on_if_the_holder_lists_the_actor_and_the_subject_allows_it() {
        let last = agent(3, MayAct::NONE);
        for (of_boss, of_worker, boss_allows, worker_allows, refusal) in [
            // The subject's own list does not count.
            (MayAct::All, MayAct::NONE, true, true, Some(DelegationRule::MayAct)),
            (MayAct::All, MayAct::NONE, false, true, Some(DelegationRule::MayAct)),
            (MayAct::All, only(&[&last]), false, true, Some(DelegationRule::Redelegation)),
            (MayAct::NONE, only(&[&last]), true, false, None),
            (MayAct::NONE, MayAct::All, true, false, None),
        ] {
            let boss = Agent { redelegation: boss_allows, ..agent(1, of_boss) };
            let worker = Agent { redelegation: worker_allows, ..agent(2, of_worker) };
            let held = Delegation {
                subject: Subject::Agent(boss.id),
                actors: vec![worker.id],
                parents: vec![token(1)],
                agents: generations(&[&boss]),
            };
            let held = claims(token(2), &worker, Some(held));
            let outcome = Delegation::of_exchange(&held, &status(&[&worker, &boss]), last.id, 2);
            let expected = Delegation {
                subject: Subject::Agent(boss.id),
                actors: vec![last.id, worker.id],
                parents: vec![token(2), token(1)],
                agents: generations(&[&boss, &worker]),
            };
            assert_eq!(outcome, refusal.map_or(Ok(expected), Err));
            let too_deep = Delegation::of_exchange(&held, &status(&[&worker, &boss]), last.id, 1);
            assert_eq!(too_deep, Err(refusal.unwrap_or(DelegationRule::Depth)));
        }
    }

    #[test]
    fn authority_of_a_person_is_passed_on_if_the_issuer_allows_it() {
        let first = Agent { redelegation: true, ..agent(1, MayAct::All) };
        let second = agent(2, MayAct::NONE);
        let held = Delegation::of_person(alice(), first.id);
        assert_eq!((held.depth(), held.root()), (1, None));
        let held = claims(token(1), &first, Some(held));
        let of = |subjects: Option<Subjects>| {
            let issuer = TrustedIssuer { subjects, ..issuer() };
            let person = Some(PersonStatus { issuer: issuer.into(), generation: 3 });
            TokenStatus { person, ..status(&[&first]) }
        };
        let exchange = |status: &TokenStatus| Delegation::of_exchange(&held, status, second.id, 2);
        for status in [status(&[&first]), of(None), of(Some(Subjects { redelegation: false, ..subjects() }))]
        {
            assert_eq!(exchange(&status), Err(DelegationRule::Redelegation));
        }
        let expected = Delegation {
            subject: Subject::Person(alice()),
            actors: vec![second.id, first.id],
            parents: vec![token(1)],
            agents: generations(&[&first]),
        };
        assert_eq!(exchange(&of(Some(Subjects { redelegation: true, ..subjects() }))), Ok(expected));
    }

    #[test]
    fn going_back_and_forth_between_two_agents_makes_a_chain_longer() {
        let [one, other] = [1, 2].map(|number| Agent { redelegation: true, ..agent(number, MayAct::All) });
        for max_depth in DEPTHS {
            let mut held = claims(token(0), &one, None);
            let mut actors = Vec::new();
            for depth in 0.. {
                let (holder, actor) = if depth % 2 == 0 { (&one, &other) } else { (&other, &one) };
                let outcome = Delegation::of_exchange(&held, &status(&[holder, actor]), actor.id, max_depth);
                if depth == max_depth {
                    assert_eq!(outcome, Err(DelegationRule::Depth));
                    break;
                }
                let delegation = outcome.expect("not yet too deep");
                actors.insert(0, actor.id);
                assert_eq!((&delegation.actors, delegation.depth()), (&actors, depth + 1));
                let expected = if depth == 0 { generations(&[&one]) } else { generations(&[&one, &other]) };
                assert_eq!(delegation.agents, expected, "an actor that comes back is among them");
                assert_eq!(delegation.subject, Subject::Agent(one.id));
                assert_eq!(delegation.root(), Some(token(0)));
                held = claims(token(u128::from(depth) + 1), actor, Some(delegation));
            }
        }
    }

    #[test]
    fn a_token_has_at_most_sixteen_ancestors_by_whichever_exchange() {
        let boss = Agent { redelegation: true, ..agent(1, MayAct::All) };
        let mut held = claims(token(0), &boss, None);
        let refused = Err(DelegationRule::Parents);
        for number in 1..=MAX_PARENTS as u128 {
            let delegation =
                Delegation::of_exchange(&held, &status(&[&boss]), boss.id, 5).expect("not too many");
            let parents: Vec<_> = (0..number).rev().map(token).collect();
            assert_eq!(delegation.parents, parents, "the nearest first");
            held = claims(token(number), &boss, Some(delegation));
        }
        assert_eq!(Delegation::of_exchange(&held, &status(&[&boss]), boss.id, 5), refused);
        let worker = agent(2, MayAct::NONE);
        assert_eq!(Delegation::of_exchange(&held, &status(&[&boss]), worker.id, 5), refused);
    }

    #[test]
    fn the_sub_of_a_person_names_the_issuer_and_is_never_that_of_an_agent() {
        let issuer = IssuerId(Uuid::from_u128(7));
        for sub in ["alice", "user:alice", "a:b:c", &AgentId(Uuid::from_u128(1)).to_string()] {
            let person =
                Person { issuer, iss: "https://ci.example.com".into(), sub: sub.into(), generation: 3 };
            let subject = Subject::Person(person);
            let text = subject.to_string();
            assert_eq!(AgentId::parse(&text), None);
            assert_eq!(Subject::parse(&text, Some(("https://ci.example.com", sub, 3))), Some(subject));
            assert_eq!(Subject::parse(&text, Some(("https://ci.example.com", "bob", 3))), None);
            assert_eq!(Subject::parse(&text, None), None);
        }
        let agent = AgentId(Uuid::from_u128(1));
        assert_eq!(Subject::parse(&agent.to_string(), None), Some(Subject::Agent(agent)));
        for text in [
            "",
            "user:",
            "user:x",
            "user:\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}:a",
        ] {
            assert_eq!(Subject::parse(text, Some(("", "a", 0))), None, "{text}");
        }
    }

    #[test]
    fn persons_have_ids_of_their_own_at_every_issuer() {
        let [one, other] = [1, 2].map(|id| IssuerId(Uuid::from_u128(id)));
        let ids = [
            PersonId::of(one, "alice"),
            PersonId::of(one, "bob"),
            PersonId::of(other, "alice"),
            PersonId::of(one, ""),
            PersonId::everyone_of(one),
            PersonId::everyone_of(other),
        ];
        let distinct: std::collections::HashSet<_> = ids.into_iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(PersonId::of(one, "alice"), ids[0]);
        assert_eq!(ids[0].0.get_version_num(), 8);
    }
}
