//! Private PostgreSQL and Redis servers for the tests.
//! They listen on Unix sockets, are started once per test program and end with it. Tests fail if a server
//! cannot be started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use agentidp::adapters::postgres::{PgSettings, migrate};
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

use crate::SupervisedServer;

/// Role that owns the tables.
pub const OWNER: &str = "agentidp_owner";
/// Role that the service connects with.
pub const SERVES: &str = "agentidp";

static POSTGRES: LazyLock<SupervisedServer> = LazyLock::new(|| {
    SupervisedServer::start(
        "initdb --no-sync -A trust -U postgres -E UTF8 --locale=C -D data && \
         pg_ctl -w -D data -o \"-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off \
         -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB -c max_locks_per_transaction=256 \
         -c log_line_prefix='%d ' \
         \" start",
        "pg_ctl -D data -m immediate stop",
    )
});

static REDIS: LazyLock<SupervisedServer> = LazyLock::new(|| {
    SupervisedServer::start(
        "redis-server --port 0 --unixsocket \"$folder/redis.sock\" --unixsocketperm 777 --save '' --appendonly no \
         --databases 256 --daemonize yes --pidfile \"$folder/pid\" && \
         wait_until redis-cli -s redis.sock ping",
        "redis-cli -s redis.sock shutdown nosave",
    )
});

/// Databases whose tests have finished; they are dropped before the next one is created.
static LEFT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A database of one test.
pub struct Database {
    name: String,
}

impl Drop for Database {
    fn drop(&mut self) {
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.name));
    }
}

impl Database {
    /// Creates a copy of a database that was migrated once.
    pub async fn migrated() -> Self {
        static TEMPLATE: OnceCell<Database> = OnceCell::const_new();
        let template = TEMPLATE
            .get_or_init(|| async {
                let template = Self::empty().await;
                migrate(&template.settings(OWNER), Some(SERVES)).await.expect("migrated");
                template
            })
            .await;
        Self::of(&format!("TEMPLATE {}", template.name)).await
    }

    /// Creates a database without tables in this encoding.
    pub async fn encoded(encoding: &str) -> Self {
        Self::of(&format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")).await
    }

    /// Creates a database without tables.
    pub async fn empty() -> Self {
        Self::of("TEMPLATE template1").await
    }

    async fn of(options: &str) -> Self {
        static ROLES: OnceCell<()> = OnceCell::const_new();
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let roles = format!("CREATE ROLE {OWNER} LOGIN; CREATE ROLE {SERVES} LOGIN");
        ROLES.get_or_init(|| async { administer(&roles).await }).await;
        let left = std::mem::take(&mut *LEFT.lock().unwrap_or_else(PoisonError::into_inner));
        for name in left {
            administer(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        administer(&format!("CREATE DATABASE {name} OWNER {OWNER} {options}")).await;
        Self { name }
    }

    /// Returns the URL of the database for that role.
    pub fn url(&self, role: &str) -> String {
        let folder = POSTGRES.folder.to_str().expect("text").replace('/', "%2F");
        format!("postgres://{role}@{folder}/{}", self.name)
    }

    /// Opens a connection with that role.
    pub async fn client(&self, role: &str) -> tokio_postgres::Client {
        let host = POSTGRES.folder.display();
        let url = format!("host={host} user={role} dbname={}", self.name);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("the private server");
        tokio::spawn(connection);
        client
    }

    /// Returns the connection settings for that role.
    pub fn settings(&self, role: &str) -> PgSettings {
        PgSettings::parse(&SecretString::from(self.url(role))).expect("a URL")
    }
}

/// Runs a statement as the superuser.
async fn administer(sql: &str) {
    let url = format!("host={} user=postgres dbname=postgres", POSTGRES.folder.display());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("the private server");
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Returns the URL of a Redis database that no other test uses.
pub fn redis_url() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let database = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("redis+unix://{}?db={database}", REDIS.folder.join("redis.sock").display())
}
