//! When keys are fetched again.

use domain::id::OrganizationId;
use domain::issuer::KeySource;
use futures_util::FutureExt as _;
use ports::issuer_keys::{IssuerKeys as _, KeysUnavailable};
use serde_json::json;

use super::super::fetch::WRONG_ANSWER;
use super::server::{Answer, Server, Then};
use super::{Fixture, issuer, jwks_uri, set, until};

const HOUR: i64 = 3_600_000;

fn with_age(seconds: u32, ids: &[&str]) -> Answer {
    Answer::with(&[&format!("cache-control: public, max-age={seconds}")], set(ids).to_string())
}

async fn server_of(answer: Answer) -> (Server, KeySource, Fixture) {
    let server = Server::start(answer).await;
    let source = jwks_uri(&server.url());
    let fixture = Fixture::new(&["127.0.0.1/32"]);
    assert_eq!(fixture.ids(&source, None).await, Ok(vec!["a".to_owned()]));
    (server, source, fixture)
}

/// Asks for keys, which must be answered from the cache.
fn cached(fixture: &Fixture, source: &KeySource) -> Vec<String> {
    fixture.ids(source, None).now_or_never().expect("without waiting").expect("keys")
}

/// Waits until an attempt that began at this time has ended.
async fn attempted(fixture: &Fixture, source: &KeySource, millis: i64) {
    let issuer = issuer("https://a.example");
    until(|| fixture.keys.status(&issuer, source).checked_at.is_some_and(|at| at.as_millis() == millis))
        .await;
}

#[tokio::test]
async fn keys_are_fetched_again_in_the_background_before_their_lifetime_ends() {
    for (headers, seconds) in [
        (&["cache-control: max-age=100"][..], 100),
        (&["cache-control: max-age=1"], 60),
        (&["cache-control: max-age=86400"], 3_600),
        (&["cache-control: no-store"], 60),
        (&[], 300),
    ] {
        let (server, source, fixture) = server_of(Answer::with(headers, set(&["a"]).to_string())).await;
        server.answer(Answer::with(headers, set(&["b"]).to_string()));
        fixture.clock.pass(seconds * 750 - 1);
        assert_eq!(cached(&fixture, &source), ["a"]);
        assert_eq!(server.count(), 1, "{headers:?}");
        fixture.clock.pass(1);
        assert_eq!(cached(&fixture, &source), ["a"], "the caller does not wait");
        attempted(&fixture, &source, seconds * 750).await;
        assert_eq!(cached(&fixture, &source), ["b"], "the key that disappeared is refused");
        assert_eq!(server.count(), 2, "{headers:?}");
    }
}

#[tokio::test]
async fn keys_that_were_not_used_for_their_lifetime_are_fetched_before_they_are_used() {
    let (server, source, fixture) = server_of(with_age(100, &["a"])).await;
    server.answer(with_age(100, &["b"]));
    fixture.clock.pass(100_000);
    assert_eq!(fixture.ids(&source, None).await, Ok(vec!["b".to_owned()]));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn after_failures_the_last_keys_are_used_for_a_day_without_waiting() {
    let (server, source, fixture) = server_of(with_age(3_600, &["a"])).await;
    server.answer(Answer::raw("HTTP/1.1 503 x\r\n\r\n"));
    fixture.clock.pass(HOUR);
    assert_eq!(
        fixture.ids(&source, None).await,
        Ok(vec!["a".to_owned()]),
        "the first caller waits for the attempt"
    );
    for hour in 2..=24 {
        fixture.clock.pass(HOUR);
        assert_eq!(cached(&fixture, &source), ["a"]);
        attempted(&fixture, &source, hour * HOUR).await;
    }
    assert_eq!(fixture.error(&source), Some(WRONG_ANSWER));
    assert_eq!(server.count(), 25);
    fixture.clock.pass(1);
    let keys = fixture.ids(&source, None).now_or_never();
    assert_eq!(keys, Some(Err(KeysUnavailable { retry_after: 30 })));
    fixture.clock.pass(29_999);
    server.answer(with_age(60, &["b"]));
    assert_eq!(fixture.ids(&source, None).await, Ok(vec!["b".to_owned()]));
}

#[tokio::test]
async fn a_server_that_stalls_is_asked_at_most_every_thirty_seconds_and_holds_nothing_up() {
    let (server, source, fixture) = server_of(with_age(60, &["a"])).await;
    server.answer(Answer::raw("").then(Then::Hold));
    fixture.clock.pass(45_000);
    for _ in 0..100 {
        assert_eq!(cached(&fixture, &source), ["a"]);
    }
    until(|| server.count() == 2).await;
    fixture.clock.pass(14_999);
    assert_eq!(cached(&fixture, &source), ["a"]);
    attempted(&fixture, &source, 59_999).await;
    fixture.clock.pass(15_000);
    assert_eq!(cached(&fixture, &source), ["a"], "its lifetime is over, and the last attempt failed");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn of_two_documents_the_shorter_lifetime_counts() {
    for (configuration_seconds, set_seconds) in [(100, 3_600), (3_600, 100)] {
        let server = Server::start(Answer::raw("")).await;
        let origin = format!("http://127.0.0.1:{}", server.port);
        let configuration = json!({ "issuer": origin, "jwks_uri": format!("{origin}/k") }).to_string();
        server.answer_by(move |head| {
            if head.contains("well-known") {
                Answer::with(&[&format!("cache-control: max-age={configuration_seconds}")], &configuration)
            } else {
                with_age(set_seconds, &["a"])
            }
        });
        let fixture = Fixture::new(&["127.0.0.1/32"]);
        let issuer = issuer(&origin);
        for (passed, requests) in [(0, 2), (74_999, 2), (25_001, 4)] {
            fixture.clock.pass(passed);
            fixture.keys.keys(OrganizationId::NIL, &issuer, &KeySource::Discovery, None).await.expect("keys");
            assert_eq!(server.count(), requests);
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_blocks_no_attempt() {
    let (server, source, fixture) = server_of(with_age(3_600, &["a"])).await;
    server.answer(with_age(3_600, &["b"]));
    fixture.clock.pass(-2 * HOUR);
    assert_eq!(fixture.ids(&source, Some("b")).await, Ok(vec!["b".to_owned()]));
    assert_eq!(server.count(), 2);
    fixture.ids(&source, Some("c")).await.expect("keys");
    assert_eq!(server.count(), 2, "the limit counts from the new time on");
}
