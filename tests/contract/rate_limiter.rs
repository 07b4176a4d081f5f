use agentidp::domain::id::AgentId;
use agentidp::domain::rate::{WINDOW_MILLIS, WindowCounts};
use agentidp::ports::clock::Clock as _;
use agentidp::ports::rate_limiter::RateKey;

use crate::fixtures::*;

contract!([memory, redis, redis_cluster, fallback] [
    exactly_the_limit_passes_however_many_race,
    keys_do_not_share_an_allowance,
    it_answers_as_the_sliding_window_of_the_domain,
]);

async fn exactly_the_limit_passes_however_many_race(stores: Stores) {
    for round in 1..=ROUNDS {
        let key = RateKey::Client(AgentId(id()));
        let callers = (0..RACERS).map(|_| {
            let limiter = stores.limiter.clone();
            async move { limiter.admit(key, 10).await.expect("an answer").admitted }
        });
        let admitted = race(callers).await.into_iter().filter(|admitted| *admitted).count();
        assert_eq!(admitted, 10, "round {round}");
    }
}

async fn keys_do_not_share_an_allowance(stores: Stores) {
    let client = RateKey::Client(AgentId(id()));
    let address = RateKey::of_address([192, 0, 2, 1].into());
    for key in [client, address] {
        assert!(stores.limiter.admit(key, 1).await.expect("an answer").admitted);
        assert!(!stores.limiter.admit(key, 1).await.expect("an answer").admitted);
    }
}

/// Compares the limiter with the pure rule of the domain.
/// The clock advances in fixed but uneven steps over many windows.
async fn it_answers_as_the_sliding_window_of_the_domain(stores: Stores) {
    let key = RateKey::Client(AgentId(id()));
    let mut expected = WindowCounts::default();
    for step in 0..2_000 {
        stores.clock.advance_millis((step * 7_919) % 1_543);
        if step % 400 == 399 {
            stores.clock.advance_millis(2 * WINDOW_MILLIS);
        }
        let now = stores.clock.now();
        let decision = stores.limiter.admit(key, 60).await.expect("an answer");
        assert_eq!(decision, expected.admit(60, now), "step {step}");
    }
}
