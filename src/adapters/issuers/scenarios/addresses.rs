//! Which address a request goes to.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use domain::id::OrganizationId;
use domain::issuer::MAX_ISSUERS;
use futures_util::future::join_all;
use ports::issuer_keys::{IssuerKeys as _, KeysUnavailable};
use shares::Place;
use uuid::Uuid;

use super::super::fetch::{NOT_ALLOWED, UNREACHABLE};
use super::super::resolver::Resolver;
use super::server::{Answer, Server};
use super::{Fixture, ScriptedResolver, certificates, issuer, jwks_uri, set};

fn good() -> Answer {
    Answer::json(&set(&["a"]))
}

async fn https_server() -> Server {
    Server::start_with_tls(certificates::server("right"), good()).await
}

#[tokio::test]
async fn keys_are_fetched_over_tls_by_name_and_by_address() {
    let server = https_server().await;
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::ffff:127.0.0.1]"] {
        let fixture = Fixture::new(&["127.0.0.1/32"]);
        let source = jwks_uri(&format!("https://{host}:{}/", server.port));
        assert_eq!(
            fixture.ids(&source, None).await,
            Ok(vec!["a".to_owned()]),
            "{host}: {:?}",
            fixture.error(&source)
        );
    }
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_connected_to() {
    let server = https_server().await;
    let other_port = format!("127.0.0.1/32:{}", server.port.wrapping_add(1).max(1));
    for networks in [&[][..], &["10.0.0.0/8", "::1/128"], &[&other_port]] {
        for url in [
            "http://127.0.0.1",
            "https://127.0.0.1",
            "https://localhost",
            "https://2130706433",
            "https://[::]",
        ] {
            let fixture = Fixture::new(networks);
            let url = format!("{url}:{}/", server.port);
            let source = jwks_uri(&url);
            assert!(fixture.fetch(&source, None).await.is_err(), "{url} {networks:?}");
            // Of localhost, ::1 is allowed, and has no server.
            let error = fixture.error(&source).expect("failing");
            let is_half_allowed = url.contains("localhost") && networks.contains(&"::1/128");
            assert!(
                error == NOT_ALLOWED || is_half_allowed && error == UNREACHABLE,
                "{url} {networks:?}: {error}"
            );
            assert!(is_half_allowed || fixture.keys.check_url(&url).is_err(), "{url} {networks:?}");
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn of_several_addresses_only_those_that_are_allowed_are_connected_to() {
    let server = https_server().await;
    let port = server.port;
    let tls = Some(certificates::server("right"));
    let neighbour = Server::start_on("127.0.0.2", port, tls, false, good()).await;
    let resolver = ScriptedResolver::new(&[&["127.0.0.2", "10.0.0.1", "::ffff:127.0.0.2", "127.0.0.1"]]);
    let fixture = Fixture::with_resolver(&["127.0.0.1/32"], resolver.clone());
    let source = jwks_uri(&format!("https://keys.example:{port}/"));
    assert!(fixture.fetch(&source, None).await.is_ok());
    assert_eq!((neighbour.connections(), server.connections()), (0, 1));
    assert_eq!(resolver.look_ups.load(Ordering::SeqCst), 1, "the address that was checked is connected to");
}

#[tokio::test]
async fn an_address_without_a_server_is_followed_by_the_next() {
    let server = https_server().await;
    // A final dot is for the resolver, and in no certificate.
    let resolver = ScriptedResolver::new(&[&["127.0.0.3", "127.0.0.4", "127.0.0.1"]]);
    let fixture = Fixture::with_resolver(&["127.0.0.0/8"], resolver);
    let source = jwks_uri(&format!("https://keys.example.:{}/", server.port));
    assert!(fixture.fetch(&source, None).await.is_ok());
}

#[tokio::test]
async fn a_name_that_moves_to_a_private_address_fails_and_its_last_keys_stay() {
    let server = https_server().await;
    let tls = Some(certificates::server("right"));
    let neighbour = Server::start_on("127.0.0.2", server.port, tls, false, good()).await;
    let resolver = ScriptedResolver::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let fixture = Fixture::with_resolver(&["127.0.0.1/32"], resolver.clone());
    let source = jwks_uri(&format!("https://keys.example:{}/", server.port));
    assert!(fixture.fetch(&source, None).await.is_ok());
    assert_eq!(fixture.error(&source), None);
    fixture.clock.pass(30_000);
    assert_eq!(fixture.ids(&source, Some("new")).await, Ok(vec!["a".to_owned()]));
    assert_eq!(fixture.error(&source), Some(NOT_ALLOWED));
    assert_eq!((neighbour.connections(), server.connections()), (0, 1));
    assert_eq!(resolver.look_ups.load(Ordering::SeqCst), 2, "one for each attempt");
}

#[tokio::test]
async fn http_reaches_a_loopback_address_only_even_if_others_are_allowed() {
    let networks = ["127.0.0.0/8", "10.0.0.0/8"];
    for (addresses, sentence) in
        [(&["10.0.0.1"][..], NOT_ALLOWED), (&["8.8.8.8"], NOT_ALLOWED), (&[], UNREACHABLE)]
    {
        let fixture = Fixture::with_resolver(&networks, ScriptedResolver::new(&[addresses]));
        let source = jwks_uri("http://localhost:9/");
        assert!(fixture.fetch(&source, None).await.is_err());
        assert_eq!(fixture.error(&source), Some(sentence), "{addresses:?}");
    }
    let server = Server::start(good()).await;
    let fixture = Fixture::new(&networks);
    assert!(fixture.fetch(&jwks_uri(&server.url()), None).await.is_ok());
}

/// A resolver that never answers.
#[derive(Default)]
struct StalledResolver {
    held: Mutex<Vec<Arc<Place>>>,
}

#[async_trait]
impl Resolver for StalledResolver {
    async fn addresses(&self, _: &str, place: Arc<Place>) -> io::Result<Vec<IpAddr>> {
        self.held.lock().expect("not poisoned").push(place);
        std::future::pending().await
    }
}

#[tokio::test]
async fn names_that_stall_keep_only_their_organization_from_fetching_keys() {
    let resolver = Arc::new(StalledResolver::default());
    let fixture = Fixture::with_resolver(&["127.0.0.0/8"], resolver.clone());
    let (one, other) = (OrganizationId(Uuid::from_u128(1)), OrganizationId(Uuid::from_u128(2)));
    let ci = issuer("https://ci.example.com");
    let stalled: Vec<_> =
        (0..MAX_ISSUERS).map(|each| jwks_uri(&format!("https://{each}.example/"))).collect();
    let attempts = stalled.iter().map(|source| fixture.keys.keys(one, &ci, source, None));
    assert!(join_all(attempts).await.iter().all(Result::is_err));

    let server = Server::start(good()).await;
    let source = jwks_uri(&server.url());
    let refused = fixture.keys.keys(one, &ci, &source, None).await;
    assert_eq!(refused, Err(KeysUnavailable { retry_after: 1 }), "its look-ups still go on");
    assert!(fixture.keys.keys(other, &ci, &source, None).await.is_ok(), "the same URL, at once");
    assert!(fixture.keys.keys(one, &ci, &source, None).await.is_ok(), "what is cached needs no place");

    resolver.held.lock().expect("not poisoned").clear();
    fixture.clock.pass(30_000);
    assert!(fixture.keys.keys(one, &ci, &source, Some("other")).await.is_ok());
    assert_eq!(server.count(), 2, "a look-up that has ended gives its place back");
}

#[tokio::test]
async fn a_look_up_that_fails_or_stalls_is_a_failure_to_reach_the_server() {
    let stalled = Fixture::with_resolver(&[], Arc::new(StalledResolver::default()));
    let failing = Fixture::with_resolver(&[], ScriptedResolver::new(&[]));
    for fixture in [stalled, failing] {
        let source = jwks_uri("https://keys.example/");
        assert!(fixture.fetch(&source, None).await.is_err());
        assert_eq!(fixture.error(&source), Some(UNREACHABLE));
    }
}
