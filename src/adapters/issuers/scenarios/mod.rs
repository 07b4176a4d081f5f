//! Scenarios over servers that each test starts itself.

mod addresses;
mod caching;
mod certificates;
mod discovery;
mod misbehaviour;
mod refreshing;
mod server;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use domain::id::OrganizationId;
use domain::issuer::{IssuerUrl, KeySource, KeysUrl};
use domain::issuer_key::IssuerKey;
use domain::time::Timestamp;
use ports::clock::Clock;
use ports::issuer_keys::{IssuerKeys as _, KeysState, KeysUnavailable};
use serde_json::{Value, json};
use shares::Place;

use super::issuer_keys::FetchedIssuerKeys;
use super::resolver::{Resolver, SystemResolver};
use super::settings::IssuerKeySettings;

/// A clock that tests set.
#[derive(Default)]
struct TestClock(AtomicI64);

impl TestClock {
    fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A resolver that gives these addresses, one list after the other, and the last again.
struct ScriptedResolver {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    look_ups: AtomicUsize,
}

impl ScriptedResolver {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let addresses =
            |texts: &&[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
        let answers = Mutex::new(answers.iter().map(addresses).collect());
        Arc::new(Self { answers, look_ups: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Resolver for ScriptedResolver {
    async fn addresses(&self, _: &str, _: Arc<Place>) -> io::Result<Vec<IpAddr>> {
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("not poisoned");
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Keys of issuers with a clock of the test.
struct Fixture {
    keys: FetchedIssuerKeys,
    clock: Arc<TestClock>,
}

impl Fixture {
    /// Allows these networks, and trusts the authority of the tests.
    fn new(networks: &[&str]) -> Self {
        Self::with_resolver(networks, Arc::new(SystemResolver::default()))
    }

    fn with_resolver(networks: &[&str], resolver: Arc<dyn Resolver>) -> Self {
        let authority = certificates::authority_file();
        let settings = IssuerKeySettings {
            private_networks: networks.iter().map(|text| text.parse().expect("a network")).collect(),
            ca_file: Some(authority.path().to_owned()),
        };
        let clock = Arc::new(TestClock::default());
        let keys = FetchedIssuerKeys::with_resolver(&settings, clock.clone(), resolver).expect("readable");
        Self { keys, clock }
    }

    async fn fetch(
        &self,
        source: &KeySource,
        wanted: Option<&str>,
    ) -> Result<Arc<[IssuerKey]>, KeysUnavailable> {
        self.keys.keys(OrganizationId::NIL, &issuer("https://ci.example.com"), source, wanted).await
    }

    /// Returns the IDs of the keys.
    async fn ids(&self, source: &KeySource, wanted: Option<&str>) -> Result<Vec<String>, KeysUnavailable> {
        self.fetch(source, wanted).await.map(|keys| ids_of(&keys))
    }

    /// Returns why the last attempt failed; `None` if it succeeded.
    fn error(&self, source: &KeySource) -> Option<&'static str> {
        self.error_of(&issuer("https://ci.example.com"), source)
    }

    fn error_of(&self, issuer: &IssuerUrl, source: &KeySource) -> Option<&'static str> {
        let status = self.keys.status(issuer, source);
        let state = if status.error.is_some() { KeysState::Failing } else { KeysState::Ok };
        assert_eq!(status.state, state);
        assert!(status.checked_at.is_some());
        status.error
    }
}

fn issuer(text: &str) -> IssuerUrl {
    IssuerUrl::parse(text).expect("an issuer")
}

fn jwks_uri(url: &str) -> KeySource {
    KeySource::JwksUri(KeysUrl::parse(url).expect("a URL"))
}

fn ids_of(keys: &[IssuerKey]) -> Vec<String> {
    keys.iter().map(|key| key.id.clone().expect("an ID")).collect()
}

/// Returns a JWK set of keys with these IDs.
fn set(ids: &[&str]) -> Value {
    let key = |id: &&str| json!({ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43), "kid": id });
    json!({ "keys": ids.iter().map(key).collect::<Vec<_>>() })
}

/// Lets tasks go on until the condition holds.
async fn until(condition: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(2));
    for _ in 0..2_500 {
        if condition() {
            return;
        }
        ticks.tick().await;
    }
    panic!("the condition never holds");
}
