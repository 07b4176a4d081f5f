//! PostgreSQL and Redis servers that may be killed, suspended and started again.

use std::path::PathBuf;

use testing::{OWNER, SERVES, SupervisedServer, shell};
use tokio_postgres::{Client, NoTls};

/// Both stores of one cluster, on their own Unix sockets.
pub struct Stores(SupervisedServer);

const START_POSTGRES: &str = "pg_ctl -w -D data -l server.log start";
const START_REDIS: &str = "redis-server --port 0 --unixsocket \"$folder/redis.sock\" --unixsocketperm 777 --save '' \
    --appendonly no --enable-debug-command local --daemonize yes --pidfile \"$folder/redis.pid\" --logfile redis.log && \
    wait_until redis-cli -s redis.sock ping";

impl Stores {
    /// Starts both stores, empty.
    pub async fn start() -> Self {
        let stores = Self(SupervisedServer::start(
            &format!(
                "initdb --no-sync -A trust -U postgres -E UTF8 --locale=C -D data && \
                 printf \"listen_addresses=''\\nunix_socket_directories='$folder'\\nfsync=off\\nmax_connections=200\\n\" \
                 >>data/postgresql.conf && {START_POSTGRES} && {START_REDIS}"
            ),
            "pkill -CONT -F redis.pid; kill -9 $(cat redis.pid); \
             pkill -CONT -P $(head -1 data/postmaster.pid); pkill -CONT -F data/postmaster.pid; \
             pg_ctl -D data -m immediate stop",
        ));
        let superuser = stores.client("postgres", "postgres").await;
        for sql in [
            format!("CREATE ROLE {OWNER} LOGIN"),
            format!("CREATE ROLE {SERVES} LOGIN"),
            format!("CREATE DATABASE agentidp OWNER {OWNER}"),
        ] {
            superuser.batch_execute(&sql).await.expect("made");
        }
        stores
    }

    /// Returns the socket of PostgreSQL.
    pub fn postgres_socket(&self) -> PathBuf {
        self.0.folder.join(".s.PGSQL.5432")
    }

    /// Returns the socket of Redis.
    pub fn redis_socket(&self) -> PathBuf {
        self.0.folder.join("redis.sock")
    }

    /// Returns the URL of the database for that role, bypassing all proxies.
    pub fn url(&self, role: &str) -> String {
        let folder = self.0.folder.to_str().expect("text").replace('/', "%2F");
        format!("postgres://{role}@{folder}/agentidp")
    }

    /// Opens a connection as the superuser, bypassing all proxies.
    pub async fn superuser(&self) -> Client {
        self.client("postgres", "agentidp").await
    }

    async fn client(&self, role: &str, database: &str) -> Client {
        let url = format!("host={} user={role} dbname={database}", self.0.folder.display());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("the private server");
        tokio::spawn(connection);
        client
    }

    /// Kills all processes of PostgreSQL, and waits until they are gone.
    pub fn kill_postgres(&self) {
        self.run(
            "server=$(head -1 data/postmaster.pid); workers=$(pgrep -P $server); kill -9 $server $workers; \
             for one in $server $workers; do wait_until is_gone $one || exit 1; done",
        );
    }

    pub fn start_postgres(&self) {
        self.run(START_POSTGRES);
    }

    /// Suspends all processes of PostgreSQL.
    pub fn freeze_postgres(&self) {
        self.run("server=$(head -1 data/postmaster.pid); kill -STOP $server $(pgrep -P $server)");
    }

    pub fn thaw_postgres(&self) {
        self.run("server=$(head -1 data/postmaster.pid); kill -CONT $server $(pgrep -P $server)");
    }

    pub fn kill_redis(&self) {
        self.run("kill -9 $(cat redis.pid) && wait_until is_gone $(cat redis.pid)");
    }

    pub fn start_redis(&self) {
        self.run(START_REDIS);
    }

    pub fn freeze_redis(&self) {
        self.run("kill -STOP $(cat redis.pid)");
    }

    pub fn thaw_redis(&self) {
        self.run("kill -CONT $(cat redis.pid)");
    }

    /// Runs these Redis commands, one per line. Panics if Redis refuses any.
    pub fn redis(&self, commands: &str) {
        self.run(&format!(
            "printf '{commands}\\n' | redis-cli -s redis.sock >answers; cat answers; ! grep -E '^[A-Z]+ ' answers"
        ));
    }

    /// Returns everything that PostgreSQL holds, as text.
    pub fn dump_postgres(&self) -> Vec<u8> {
        self.run("pg_dump -h \"$folder\" -U postgres agentidp >dump.sql");
        std::fs::read(self.0.folder.join("dump.sql")).expect("dumped")
    }

    /// Returns everything that Redis holds, as an uncompressed dump.
    pub fn dump_redis(&self) -> Vec<u8> {
        self.redis("CONFIG SET rdbcompression no\\nSAVE");
        self.run("chmod a+r dump.rdb");
        std::fs::read(self.0.folder.join("dump.rdb")).expect("dumped")
    }

    /// Runs a command in the servers' folder.
    fn run(&self, command: &str) {
        let script = format!("folder=$PWD; {{ {command}; }} >>log 2>&1 </dev/null");
        let status = shell(&script).current_dir(&self.0.folder).status().expect("a shell");
        assert!(status.success(), "{command}");
    }
}
