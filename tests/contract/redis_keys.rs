use std::process::Command;

use agentidp::domain::id::AgentId;
use agentidp::domain::token::{RevocationNotice, RevocationTarget};
use agentidp::domain::usage::MonthlyUsage;
use agentidp::ports::rate_limiter::{RateKey, RateLimiter as _};
use agentidp::ports::revocation_cache::RevocationCache as _;
use agentidp::ports::usage_mirror::UsageMirror as _;
use testing::{NOON, redis_url};

use crate::fixtures::*;

#[tokio::test]
async fn services_with_different_key_prefixes_share_a_redis_and_no_key() {
    let (url, stores) = (redis_url(), memory().await);
    let agent = stores.agent().await;
    let claims = claims(&agent, agentidp::domain::id::TokenId(id()));
    let key = RateKey::Client(AgentId(id()));
    let until = NOON.plus_seconds(60);
    let mut publishes = true;
    for prefix in ["", "one:", "two:"] {
        let (limiter, cache, mirror) = in_redis_at(&url, prefix, &stores.clock).await;
        assert!(limiter.admit(key, 1).await.expect("an answer").admitted, "{prefix:?}");
        assert!(!limiter.admit(key, 1).await.expect("an answer").admitted, "{prefix:?}");
        assert!(!cache.is_revoked(&claims).await.expect("an answer"), "{prefix:?}");
        if publishes {
            for target in [RevocationTarget::Token(claims.id), RevocationTarget::Agent(agent.id, 9)] {
                cache.publish(&RevocationNotice { target, until }).await.expect("published");
            }
            let usage = MonthlyUsage { client: agent.id, month: NOON.month(), tokens: 1 };
            mirror.publish(&usage).await.expect("published");
            assert!(cache.is_revoked(&claims).await.expect("an answer"));
        }
        publishes = prefix.is_empty();
    }
    let keys = keys(&url);
    let of = |prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
    assert_eq!((keys.len(), of("one:"), of("two:")), (4 + 4 + 1, 4, 1), "{keys:?}");
}

#[tokio::test]
async fn the_usage_mirror_keeps_the_largest_count_of_a_client_and_month() {
    let (url, stores) = (redis_url(), memory().await);
    let (_, _, mirror) = in_redis_at(&url, "", &stores.clock).await;
    let client = AgentId(id());
    for tokens in [1, 7, 3] {
        let usage = MonthlyUsage { client, month: NOON.month(), tokens };
        mirror.publish(&usage).await.expect("published");
    }
    assert_eq!(redis_cli(&url, &["get", &format!("monthly:{client}:2026:1")]), "7\n");
}

/// Returns every key of the database.
fn keys(url: &str) -> Vec<String> {
    redis_cli(url, &["--scan"]).lines().map(str::to_owned).collect()
}

/// Returns what `redis-cli` prints, for the database in the URL of a Unix socket.
fn redis_cli(url: &str, arguments: &[&str]) -> String {
    let (socket, database) = url
        .strip_prefix("redis+unix://")
        .and_then(|rest| rest.split_once("?db="))
        .expect("a socket and a database");
    let output = Command::new("redis-cli").args(["-s", socket, "-n", database]).args(arguments).output();
    String::from_utf8(output.expect("redis-cli runs").stdout).expect("text")
}
