//! How many requests are made, and which keys callers get meanwhile.

use std::sync::Arc;

use domain::issuer::{KeySource, KeysUrl};
use domain::issuer_key::{IssuerKey, KeyUse};
use domain::time::Timestamp;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use ports::issuer_keys::{IssuerKeys as _, KeysState, KeysStatus, KeysUnavailable};
use serde_json::json;

use super::server::{Answer, Server};
use super::{Fixture, issuer, jwks_uri, set, until};

async fn server_of(ids: &[&str]) -> (Server, KeySource, Fixture) {
    let server = Server::start(Answer::json(&set(ids))).await;
    let source = jwks_uri(&server.url());
    (server, source, Fixture::new(&["127.0.0.1/32"]))
}

#[tokio::test]
async fn a_storm_of_unknown_keys_makes_one_request_in_thirty_seconds() {
    let (server, source, fixture) = server_of(&["a"]).await;
    fixture.fetch(&source, Some("a")).await.expect("keys");
    fixture.clock.pass(30_000);
    server.close();
    let unknown: Vec<_> = (0..1_000).map(|number| format!("unknown-{number}")).collect();
    let storm = || join_all(unknown.iter().map(|id| fixture.ids(&source, Some(id))));
    let mut waiting = Box::pin(storm());
    assert!(waiting.as_mut().now_or_never().is_none());
    until(|| server.count() == 2).await;
    for _ in 0..1_000 {
        let known = fixture.ids(&source, Some("a")).now_or_never();
        assert_eq!(known, Some(Ok(vec!["a".to_owned()])), "the known key is used without waiting");
    }
    server.answer(Answer::json(&set(&["a", "unknown-7"])));
    server.open();
    for keys in waiting.await {
        assert_eq!(keys, Ok(vec!["a".to_owned(), "unknown-7".to_owned()]));
    }
    fixture.clock.pass(29_999);
    for keys in storm().now_or_never().expect("answered from the cache") {
        assert!(keys.is_ok());
    }
    assert_eq!(server.count(), 2);
    fixture.clock.pass(1);
    storm().await;
    assert_eq!(server.count(), 3, "the next attempt is 30 seconds after the one before");
}

#[tokio::test]
async fn a_storm_without_any_keys_waits_for_one_request_and_says_when_to_try_again() {
    let (server, source, fixture) = server_of(&["a"]).await;
    server.close();
    let mut waiting = Box::pin(join_all((0..1_000).map(|_| fixture.ids(&source, Some("a")))));
    assert!(waiting.as_mut().now_or_never().is_none());
    until(|| server.count() == 1).await;
    server.answer(Answer::raw("HTTP/1.1 500 x\r\n\r\n"));
    fixture.clock.pass(500);
    server.open();
    for keys in waiting.await {
        assert_eq!(keys, Err(KeysUnavailable { retry_after: 30 }));
    }
    server.answer(Answer::json(&set(&["a"])));
    for (passed, retry_after) in [(10_500, 19), (18_999, 1)] {
        fixture.clock.pass(passed);
        let keys = fixture.ids(&source, Some("a")).now_or_never();
        assert_eq!(keys, Some(Err(KeysUnavailable { retry_after })));
    }
    fixture.clock.pass(1);
    assert_eq!(fixture.ids(&source, None).await, Ok(vec!["a".to_owned()]));
    assert_eq!(server.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_several_threads_share_one_request() {
    let (server, source, fixture) = server_of(&["a"]).await;
    let shared = Arc::new((source, fixture));
    for round in 1..=8 {
        let call = || {
            let shared = shared.clone();
            tokio::spawn(async move { shared.1.ids(&shared.0, Some("unknown")).await })
        };
        for keys in join_all((0..100).map(|_| call())).await {
            assert_eq!(keys.expect("no panic"), Ok(vec!["a".to_owned()]));
        }
        assert_eq!(server.count(), round);
        shared.1.clock.pass(30_000);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cancel_the_attempt() {
    let (server, source, fixture) = server_of(&["a"]).await;
    server.close();
    let mut first = Box::pin(fixture.ids(&source, None));
    let mut second = Box::pin(fixture.ids(&source, None));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    until(|| server.count() == 1).await;
    drop(first);
    server.open();
    assert_eq!(second.await, Ok(vec!["a".to_owned()]));

    fixture.clock.pass(30_000);
    server.close();
    server.answer(Answer::json(&set(&["b"])));
    assert!(fixture.ids(&source, Some("b")).now_or_never().is_none());
    until(|| server.count() == 2).await;
    server.open();
    let checked_at = Some(Timestamp::from_millis(30_000));
    until(|| fixture.keys.status(&issuer("https://a.example"), &source).checked_at == checked_at).await;
    assert_eq!(fixture.ids(&source, Some("b")).now_or_never(), Some(Ok(vec!["b".to_owned()])));
}

#[tokio::test]
async fn pinned_keys_are_used_as_they_are() {
    let fixture = Fixture::new(&[]);
    let pinned: Arc<[IssuerKey]> = IssuerKey::of_set(&set(&["a"]), KeyUse::Signature).expect("a set").into();
    let source = KeySource::Jwks(pinned.clone());
    assert_eq!(fixture.fetch(&source, Some("b")).now_or_never(), Some(Ok(pinned)));
    let status = fixture.keys.status(&issuer("https://a.example"), &source);
    assert_eq!(status, KeysStatus { state: KeysState::Ok, checked_at: None, error: None });
}

#[tokio::test]
async fn the_status_is_that_of_the_last_attempt_and_asking_for_it_fetches_nothing() {
    let (server, source, fixture) = server_of(&["a"]).await;
    let status = || fixture.keys.status(&issuer("https://a.example"), &source);
    let unknown = KeysStatus { state: KeysState::Unknown, checked_at: None, error: None };
    assert_eq!(status(), unknown);
    server.close();
    let mut waiting = Box::pin(fixture.fetch(&source, None));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(status(), unknown, "the attempt has not ended");
    server.open();
    waiting.await.expect("keys");
    let at = |millis| Some(Timestamp::from_millis(millis));
    assert_eq!(status(), KeysStatus { state: KeysState::Ok, checked_at: at(0), error: None });
    server.answer(Answer::raw("HTTP/1.1 404 x\r\n\r\n"));
    fixture.clock.pass(40_000);
    fixture.fetch(&source, Some("b")).await.expect("the last keys");
    assert_eq!((status().state, status().checked_at), (KeysState::Failing, at(40_000)));
    assert!(status().error.is_some_and(|error| !error.contains("404")));
    server.answer(Answer::json(&set(&["b"])));
    fixture.clock.pass(30_000);
    fixture.fetch(&source, Some("b")).await.expect("keys");
    assert_eq!(status(), KeysStatus { state: KeysState::Ok, checked_at: at(70_000), error: None });
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_bundle_and_a_set_at_one_url_are_fetched_once_and_give_their_own_keys() {
    let (server, set_source, fixture) = server_of(&[]).await;
    let key =
        |usage, id| json!({ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43), "use": usage, "kid": id });
    let keys = [key("jwt-svid", "svid"), key("x509-svid", "x509"), key("sig", "sig")];
    server.answer(Answer::json(&json!({ "keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 600 })));
    let bundle = KeySource::SpiffeBundle(KeysUrl::parse(&server.url()).expect("a URL"));
    assert_eq!(fixture.ids(&bundle, Some("svid")).await, Ok(vec!["svid".to_owned()]));
    assert_eq!(fixture.ids(&set_source, Some("sig")).await, Ok(vec!["sig".to_owned()]));
    assert_eq!(server.count(), 1);
}
