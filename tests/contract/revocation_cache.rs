use std::sync::Arc;

use agentidp::domain::agent::Agent;
use agentidp::domain::id::{AgentId, OrganizationId, TokenId};
use agentidp::domain::token::{Claims, RevocationNotice, RevocationTarget};
use agentidp::ports::revocation_cache::RevocationCache;
use testing::NOON;

use crate::fixtures::*;

contract!([redis, redis_cluster] [
    a_notice_says_that_its_token_is_dead_and_no_other,
    a_generation_kills_what_was_issued_before_it_and_never_sinks,
    the_generations_of_agent_and_organization_add_up,
    a_notice_is_gone_after_its_time,
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
