//! PostgreSQL and Redis for the tests: private, on Unix sockets of their own, started once a test program and
//! gone with it. Where a server cannot be started the tests fail.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use agentidp::adapters::postgres::{PgSettings, migrate};
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

/// The role that owns the tables, and the one that serves.
pub const OWNER: &str = "agentidp_owner";
pub const SERVES: &str = "agentidp";

/// A server, held by a shell that waits for the end of its input: when this process ends, however it does, the
/// shell stops the server and removes its folder.
struct Server {
    folder: PathBuf,
    _leash: Child,
}

impl Server {
    /// Runs a script that starts a server in `$folder`, and one that stops it.
    fn start(start: &str, stop: &str) -> Self {
        let script = format!(
            "trap '' INT HUP TERM\n\
             PATH=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1):$PATH\n\
             folder=$(mktemp -d /tmp/agentidp-test.XXXXXX) || exit 1\n\
             cd \"$folder\" && {{ {start}; }} >log 2>&1 && echo \"$folder\" && cat >/dev/null\n\
             {{ {stop}; }} >>log 2>&1; [ $? = 0 ] || cat log >&2; rm -rf \"$folder\""
        );
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| {
            use std::os::unix::fs::MetadataExt as _;
            process.uid() == 0
        });
        // PostgreSQL refuses to run as root.
        let mut command = if is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c", &script]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            command
        };
        let mut leash =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell can be started");
        let mut folder = String::new();
        let output = leash.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut folder).expect("the shell speaks");
        let folder = folder.trim_end();
        assert!(
            !folder.is_empty(),
            "a private server could not be started: are postgresql and redis-server installed?"
        );
        Self { folder: folder.into(), _leash: leash }
    }
}

static POSTGRES: LazyLock<Server> = LazyLock::new(|| {
    Server::start(
        "initdb --no-sync -A trust -U postgres -E UTF8 --locale=C -D data && \
         pg_ctl -w -D data -o \"-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off \
         -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB -c max_locks_per_transaction=256 \
         \" start",
        "pg_ctl -D data -m immediate stop",
    )
});

static REDIS: LazyLock<Server> = LazyLock::new(|| {
    Server::start(
        "redis-server --port 0 --unixsocket \"$folder/redis.sock\" --unixsocketperm 777 --save '' --appendonly no \
         --databases 4096 --daemonize yes --pidfile \"$folder/pid\" && chmod 755 \"$folder\" && \
         until redis-cli -s redis.sock ping; do sleep 0.05; done",
        "redis-cli -s redis.sock shutdown nosave",
    )
});

/// Databases that no test uses any more.
static LEFT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An empty database of one's own, with all tables.
pub struct Database {
    name: String,
}

impl Drop for Database {
    fn drop(&mut self) {
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.name));
    }
}

impl Database {
    /// A copy of a database that was migrated once.
    pub async fn migrated() -> Self {
        static TEMPLATE: OnceCell<Database> = OnceCell::const_new();
        let template = TEMPLATE
            .get_or_init(|| async {
                administer(&format!("CREATE ROLE {OWNER} LOGIN")).await;
                administer(&format!("CREATE ROLE {SERVES} LOGIN")).await;
                let template = Self::named("template_of_tests", &format!("OWNER {OWNER}")).await;
                migrate(&template.settings(OWNER), Some(SERVES)).await.expect("migrated");
                template
            })
            .await;
        Self::new(&format!("OWNER {OWNER} TEMPLATE {}", template.name)).await
    }

    /// A database with those properties.
    pub async fn new(properties: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let left = std::mem::take(&mut *LEFT.lock().unwrap_or_else(PoisonError::into_inner));
        for name in left {
            administer(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        Self::named(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)), properties).await
    }

    async fn named(name: &str, properties: &str) -> Self {
        administer(&format!("CREATE DATABASE {name} {properties}")).await;
        Self { name: name.to_owned() }
    }

    /// Its URL for that role.
    pub fn url(&self, role: &str) -> String {
        let folder = POSTGRES.folder.to_str().expect("text").replace('/', "%2F");
        format!("postgres://{role}@{folder}/{}", self.name)
    }

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

/// The URL of a Redis database that no other test uses.
pub fn redis_url() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let database = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("redis+unix://{}?db={database}", REDIS.folder.join("redis.sock").display())
}
