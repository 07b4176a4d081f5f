use std::sync::Arc;

use agentidp::domain::agent::Agent;
use agentidp::domain::delegation::{Delegation, Person, Subject};
use agentidp::domain::id::{AgentId, IssuerId, OrganizationId, PersonId, TokenId};
use agentidp::domain::issuer::IssuerGeneration;
use agentidp::domain::token::{Claims, RevocationNotice, RevocationTarget};
use agentidp::ports::revocation_cache::RevocationCache;
use testing::NOON;

use crate::fixtures::*;

contract!([redis, redis_cluster] [
    a_notice_says_that_its_token_is_dead_and_no_other,
    a_generation_kills_what_was_issued_before_it_and_never_sinks,
    the_generations_of_agent_and_organization_add_up,
    a_notice_is_gone_after_its_time,
    a_delegated_token_is_revoked_with_every_party_of_its_chain,
    the_generations_of_a_person_and_of_all_persons_add_up,
]);

fn revocation_cache(stores: &Stores) -> Arc<dyn RevocationCache> {
    stores.revocation_cache.clone().expect("a revocation_cache")
}

fn some_agent() -> Agent {
    agent(OrganizationId(id()))
}

fn of_generation(agent: &Agent, generation: u64) -> Claims {
    Claims { generation, ..claims(agent, TokenId(id())) }
}

fn until_later(target: RevocationTarget) -> RevocationNotice {
    RevocationNotice { target, until: NOON.plus_seconds(60) }
}

async fn a_notice_says_that_its_token_is_dead_and_no_other(stores: Stores) {
    let (revocation_cache, agent) = (revocation_cache(&stores), some_agent());
    let (dead, other) = (of_generation(&agent, 0), of_generation(&agent, 0));
    assert!(!revocation_cache.is_revoked(&dead).await.expect("an answer"));
    revocation_cache.publish(&until_later(RevocationTarget::Token(dead.id))).await.expect("posted");
    assert!(revocation_cache.is_revoked(&dead).await.expect("an answer"));
    assert!(!revocation_cache.is_revoked(&other).await.expect("an answer"));
}

async fn a_generation_kills_what_was_issued_before_it_and_never_sinks(stores: Stores) {
    let (revocation_cache, agent) = (revocation_cache(&stores), some_agent());
    for generation in [3, 2, 3] {
        revocation_cache
            .publish(&until_later(RevocationTarget::Agent(agent.id, generation)))
            .await
            .expect("posted");
        assert!(revocation_cache.is_revoked(&of_generation(&agent, 2)).await.expect("an answer"));
        assert!(!revocation_cache.is_revoked(&of_generation(&agent, 3)).await.expect("an answer"));
    }
    let another = Agent { id: AgentId(id()), ..agent };
    assert!(!revocation_cache.is_revoked(&of_generation(&another, 2)).await.expect("an answer"));
}

async fn the_generations_of_agent_and_organization_add_up(stores: Stores) {
    let (revocation_cache, agent) = (revocation_cache(&stores), some_agent());
    for target in
        [RevocationTarget::Agent(agent.id, 2), RevocationTarget::Organization(agent.organization, 5)]
    {
        revocation_cache.publish(&until_later(target)).await.expect("posted");
    }
    assert!(revocation_cache.is_revoked(&of_generation(&agent, 6)).await.expect("an answer"));
    assert!(!revocation_cache.is_revoked(&of_generation(&agent, 7)).await.expect("an answer"));
}

async fn a_notice_is_gone_after_its_time(stores: Stores) {
    let (revocation_cache, agent) = (revocation_cache(&stores), some_agent());
    let (token, generation) = (of_generation(&agent, 0), of_generation(&some_agent(), 0));
    // Redis is given the time left, at least a millisecond, and expires notices by its own clock.
    for target in [RevocationTarget::Token(token.id), RevocationTarget::Agent(generation.agent, 1)] {
        revocation_cache.publish(&RevocationNotice { target, until: NOON }).await.expect("posted");
    }
    while revocation_cache.is_revoked(&token).await.expect("an answer") {}
    while revocation_cache.is_revoked(&generation).await.expect("an answer") {}
}

/// Returns a token of generation 3, in a chain of agents of generations 4 and 5, for a person of generation 6.
fn delegated(agent: &Agent) -> Claims {
    let person = Person {
        issuer: IssuerId(id()),
        iss: "https://id.example.com".into(),
        sub: "alice".into(),
        generation: 6,
    };
    let issuers = vec![IssuerGeneration { issuer: person.issuer, generation: 2 }];
    let delegation = Delegation {
        subject: Subject::Person(person),
        actors: vec![agent.id],
        parents: (0..3).map(|_| TokenId(id())).collect(),
        agents: [4, 5].map(|generation| (AgentId(id()), generation)).into(),
    };
    Claims { issuers, delegation: Some(Box::new(delegation)), ..of_generation(agent, 3) }
}

async fn a_delegated_token_is_revoked_with_every_party_of_its_chain(stores: Stores) {
    let (revocation_cache, agent) = (revocation_cache(&stores), some_agent());
    let parties = |claims: &Claims| {
        let delegation = claims.delegation.as_ref().expect("delegated");
        let person = claims.person().expect("a person");
        let mut targets = vec![
            (RevocationTarget::Agent(claims.agent, 3), RevocationTarget::Agent(claims.agent, 4)),
            (RevocationTarget::Issuer(person.issuer, 2), RevocationTarget::Issuer(person.issuer, 3)),
            (RevocationTarget::Person(person.id(), 6), RevocationTarget::Person(person.id(), 7)),
        ];
        let everyone = PersonId::everyone_of(person.issuer);
        targets.push((RevocationTarget::Person(everyone, 6), RevocationTarget::Person(everyone, 7)));
        targets.extend(delegation.agents.iter().map(|(agent, generation)| {
            (RevocationTarget::Agent(*agent, *generation), RevocationTarget::Agent(*agent, generation + 1))
        }));
        let unrelated = RevocationTarget::Token(TokenId(id()));
        let tokens = delegation.parents.iter().chain([&claims.id]);
        targets.extend(tokens.map(|token| (unrelated, RevocationTarget::Token(*token))));
        targets
    };
    for place in 0..parties(&delegated(&agent)).len() {
        let (claims, other) = (delegated(&agent_of(&agent)), delegated(&agent_of(&agent)));
        let (reached, passed) = parties(&claims)[place];
        revocation_cache.publish(&until_later(reached)).await.expect("posted");
        assert!(!revocation_cache.is_revoked(&claims).await.expect("an answer"), "{reached:?}");
        revocation_cache.publish(&until_later(passed)).await.expect("posted");
        assert!(revocation_cache.is_revoked(&claims).await.expect("an answer"), "{passed:?}");
        assert!(!revocation_cache.is_revoked(&other).await.expect("an answer"), "{passed:?}");
    }
    // The generation of the organization is a part of every agent's.
    let claims = delegated(&agent);
    let organization = RevocationTarget::Organization(agent.organization, 3);
    revocation_cache.publish(&until_later(organization)).await.expect("posted");
    assert!(!revocation_cache.is_revoked(&claims).await.expect("an answer"));
    let mut last = claims.delegation.as_ref().expect("delegated").agents.keys();
    let last = RevocationTarget::Agent(*last.next_back().expect("an agent"), 3);
    revocation_cache.publish(&until_later(last)).await.expect("posted");
    assert!(revocation_cache.is_revoked(&claims).await.expect("an answer"));
}

async fn the_generations_of_a_person_and_of_all_persons_add_up(stores: Stores) {
    let (revocation_cache, agent) = (revocation_cache(&stores), some_agent());
    let claims = delegated(&agent);
    let alice = claims.person().expect("a person").clone();
    let of = |sub: &str, generation: u64| {
        let person = Person { sub: sub.into(), generation, ..alice.clone() };
        Claims {
            delegation: Some(Box::new(Delegation::of_person(person, agent.id))),
            ..of_generation(&agent, 0)
        }
    };
    for target in [
        RevocationTarget::Person(alice.id(), 2),
        RevocationTarget::Person(PersonId::everyone_of(alice.issuer), 5),
    ] {
        revocation_cache.publish(&until_later(target)).await.expect("posted");
    }
    for (sub, generation, is_revoked) in
        [("alice", 6, true), ("alice", 7, false), ("bob", 4, true), ("bob", 5, false)]
    {
        let answer = revocation_cache.is_revoked(&of(sub, generation)).await.expect("an answer");
        assert_eq!(answer, is_revoked, "{sub} {generation}");
    }
    let other = Person { issuer: IssuerId(id()), generation: 0, ..alice.clone() };
    let delegation = Some(Box::new(Delegation::of_person(other, agent.id)));
    let other = Claims { delegation, ..of_generation(&agent, 0) };
    assert!(!revocation_cache.is_revoked(&other).await.expect("an answer"), "of another issuer");
}

/// Returns another agent of the same organization.
fn agent_of(agent: &Agent) -> Agent {
    Agent { id: AgentId(id()), ..agent.clone() }
}
