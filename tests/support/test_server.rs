//! A separate service for each test, in this process.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use agentidp::adapters::crypto::generate_pem;
use agentidp::cli::Cli;
use agentidp::config::Config;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::time::Timestamp;
use agentidp::wiring::Service;
use clap::Parser as _;
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::databases::{Database, SERVES, redis_url};
use crate::manual_clock::ManualClock;
use crate::test_client::{Client, TestClient};

/// Key that the services of the tests sign with, generated once because that is slow.
pub static RSA_PEM: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::Rsa).expect("a key"));

/// The stores that a service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// All data in memory.
    Memory,
    /// All data in an SQLite file.
    Sqlite,
    /// PostgreSQL alone.
    Postgres,
    /// PostgreSQL and Redis.
    PostgresAndRedis,
    /// Two services on the same PostgreSQL and Redis, which receive requests in turn.
    TwoInstances,
}

/// A running service and its clock. It is also a [`TestClient`] of that service.
pub struct TestServer {
    /// The service, or the first of two.
    pub service: Service,
    other: Option<Service>,
    client: TestClient,
    /// Clock of all instances.
    pub clock: Arc<ManualClock>,
    /// Database of the service, if it was created for it.
    pub database: Option<Database>,
    /// Folder of the service's file, if it has one; removed with it.
    _folder: Option<TempDir>,
}

impl Deref for TestServer {
    type Target = TestClient;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

/// Returns the settings of a service for a test, with these flags of the command line.
pub fn settings(flags: &[&str]) -> Config {
    let fixed = ["agentidp", "--port", "0", "--metrics-addr", "off"];
    let cost: &[&str] = if flags.contains(&"--bcrypt-cost") { &[] } else { &["--bcrypt-cost", "4"] };
    let mut config = Cli::parse_from([&fixed, cost, flags].concat()).serve.resolve().expect("settings");
    config.keys.private.get_or_insert_with(|| RSA_PEM.as_str().into());
    config
}

impl TestServer {
    /// Starts a service with the settings that most tests use.
    pub async fn start(wiring: Wiring) -> Self {
        Self::start_with(wiring, &[]).await
    }

    /// Starts a service with these flags of the command line.
    pub async fn start_with(wiring: Wiring, flags: &[&str]) -> Self {
        Self::start_from(wiring, settings(flags)).await
    }

    /// Starts a service with these settings on new stores.
    pub async fn start_from(wiring: Wiring, mut config: Config) -> Self {
        let database = match wiring {
            Wiring::Memory | Wiring::Sqlite => None,
            _ => Some(Database::migrated().await),
        };
        let folder = (wiring == Wiring::Sqlite).then(|| tempfile::tempdir().expect("a folder"));
        config.stores.pool_max = 4;
        config.stores.database = match &folder {
            Some(folder) => Some(format!("sqlite:{}", folder.path().join("agentidp.db").display()).into()),
            None => database.as_ref().map(|database| database.url(SERVES).into()),
        };
        if matches!(wiring, Wiring::PostgresAndRedis | Wiring::TwoInstances) {
            config.stores.redis = Some(redis_url().into());
        }
        let server = Self::launch(config, wiring == Wiring::TwoInstances).await;
        Self { database, _folder: folder, ..server }
    }

    /// Starts a service on the stores that the settings name.
    pub async fn start_on(config: Config) -> Self {
        Self::launch(config, false).await
    }

    async fn launch(mut config: Config, has_other: bool) -> Self {
        let clock = Arc::new(ManualClock::default());
        let service = Service::start_at(&config, clock.clone()).await.expect("a service");
        config.issuer.get_or_insert_with(|| service.issuer.to_string());
        let other = match has_other {
            true => Some(Service::start_at(&config, clock.clone()).await.expect("another")),
            false => None,
        };
        let administrator = match &service.administrator {
            Some(administrator) => Client::from(administrator),
            None => Client::from(&match service.app.bootstrap.first_administrator().await {
                Ok(administrator) => administrator,
                Err(_) => service.app.bootstrap.another_administrator().await.expect("an administrator"),
            }),
        };
        let urls = [Some(&service), other.as_ref()];
        let urls = urls.into_iter().flatten().map(|service| format!("http://{}", service.address));
        let client = TestClient::new(reqwest::Client::new(), urls.collect(), administrator);
        Self { service, other, client, clock, database: None, _folder: None }
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: i64) {
        self.clock.advance_millis(seconds * 1000);
    }

    /// Returns the issuer identifier.
    pub fn issuer(&self) -> String {
        self.service.issuer.to_string()
    }

    /// Returns the audit events that the query finds, newest first, after writing all buffered events.
    pub async fn events(&self, token: &str, query: &str) -> Vec<Value> {
        for service in [Some(&self.service), self.other.as_ref()].into_iter().flatten() {
            service.app.audit_buffer.flush().await.expect("delivered");
        }
        let end = Timestamp::from_millis(i64::MAX);
        self.service.app.audit_buffer.settle(end).await.expect("written");
        let answer = self.get(token, &format!("/api/v1/audit?limit=200{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["data"].as_array().expect("a list").clone()
    }
}
