use std::sync::Arc;

use agentidp::domain::agent::Agent;
use agentidp::domain::id::{AgentId, OrganizationId, TokenId};
use agentidp::domain::token::{Claims, Kill, Notice};
use agentidp::ports::noticeboard::Noticeboard;

use crate::bench::*;

contract!([redis, redis_cluster] [
    a_notice_says_that_its_token_is_dead_and_no_other,
    a_generation_kills_what_was_issued_before_it_and_never_sinks,
    the_generations_of_agent_and_organization_add_up,
    a_notice_is_gone_after_its_time,
]);

fn board(stores: &Stores) -> Arc<dyn Noticeboard> {
    stores.board.clone().expect("a board")
}

fn some_agent() -> Agent {
    agent(OrganizationId(id()))
}

fn of_generation(agent: &Agent, generation: u64) -> Claims {
    Claims { generation, ..claims(agent, TokenId(id())) }
}

fn until_later(kill: Kill) -> Notice {
    Notice { kill, until: NOON.plus_seconds(60) }
}

async fn a_notice_says_that_its_token_is_dead_and_no_other(stores: Stores) {
    let (board, agent) = (board(&stores), some_agent());
    let (dead, other) = (of_generation(&agent, 0), of_generation(&agent, 0));
    assert!(!board.says_dead(&dead).await.expect("an answer"));
    board.post(&until_later(Kill::Token(dead.id))).await.expect("posted");
    assert!(board.says_dead(&dead).await.expect("an answer"));
    assert!(!board.says_dead(&other).await.expect("an answer"));
}

async fn a_generation_kills_what_was_issued_before_it_and_never_sinks(stores: Stores) {
    let (board, agent) = (board(&stores), some_agent());
    for generation in [3, 2, 3] {
        board.post(&until_later(Kill::Agent(agent.id, generation))).await.expect("posted");
        assert!(board.says_dead(&of_generation(&agent, 2)).await.expect("an answer"));
        assert!(!board.says_dead(&of_generation(&agent, 3)).await.expect("an answer"));
    }
    let another = Agent { id: AgentId(id()), ..agent };
    assert!(!board.says_dead(&of_generation(&another, 2)).await.expect("an answer"));
}

async fn the_generations_of_agent_and_organization_add_up(stores: Stores) {
    let (board, agent) = (board(&stores), some_agent());
    for kill in [Kill::Agent(agent.id, 2), Kill::Organization(agent.organization, 5)] {
        board.post(&until_later(kill)).await.expect("posted");
    }
    assert!(board.says_dead(&of_generation(&agent, 6)).await.expect("an answer"));
    assert!(!board.says_dead(&of_generation(&agent, 7)).await.expect("an answer"));
}

async fn a_notice_is_gone_after_its_time(stores: Stores) {
    let (board, agent) = (board(&stores), some_agent());
    let (token, generation) = (of_generation(&agent, 0), of_generation(&some_agent(), 0));
    // What is past is gone a millisecond later: Redis goes by its own clock, and by how much was left.
    for kill in [Kill::Token(token.id), Kill::Agent(generation.agent, 1)] {
        board.post(&Notice { kill, until: NOON }).await.expect("posted");
    }
    while board.says_dead(&token).await.expect("an answer") {}
    while board.says_dead(&generation).await.expect("an answer") {}
}
