//! PostgreSQL and Redis that may be killed, stopped and started again.

use std::path::PathBuf;

use tokio_postgres::{Client, NoTls};

use crate::supervised::{Server, shell};

/// The role that owns the tables, and the one that serves.
pub const OWNER: &str = "agentidp_owner";
pub const SERVES: &str = "agentidp";

/// Both stores of one cluster, on Unix sockets of their own.
pub struct Stores(Server);

const START_POSTGRES: &str = "pg_ctl -w -D data -l server.log start";
const START_REDIS: &str = "redis-server --port 0 --unixsocket \"$folder/redis.sock\" --unixsocketperm 777 --save '' \
    --appendonly no --enable-debug-command local --daemonize yes --pidfile \"$folder/redis.pid\" --logfile redis.log && \
    wait_until redis-cli -s redis.sock ping";

impl Stores {
    /// Starts both, empty.
    pub async fn start() -> Self {
        let stores = Self(Server::start(
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

    /// The socket of PostgreSQL.
    pub fn postgres_socket(&self) -> PathBuf {
        self.0.folder.join(".s.PGSQL.5432")
    }

    /// The socket of Redis.
    pub fn redis_socket(&self) -> PathBuf {
        self.0.folder.join("redis.sock")
    }

    /// A connection of the superuser, past all proxies.
    pub async fn superuser(&self) -> Client {
        self.client("postgres", "agentidp").await
    }

    async fn client(&self, role: &str, database: &str) -> Client {
        let url = format!("host={} user={role} dbname={database}", self.0.folder.display());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("the private server");
        tokio::spawn(connection);
        client
    }

    /// Kills PostgreSQL, all of it, and starts it again.
    pub fn kill_postgres(&self) {
        self.run(
            "server=$(head -1 data/postmaster.pid); workers=$(pgrep -P $server); kill -9 $server $workers; \
             for one in $server $workers; do wait_until is_gone $one || exit 1; done",
        );
    }

    pub fn start_postgres(&self) {
        self.run(START_POSTGRES);
    }

    /// Stops PostgreSQL, all of it, where it stands.
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

    /// Lets Redis do these commands, one a line. It must not refuse any.
    pub fn redis(&self, commands: &str) {
        self.run(&format!(
            "printf '{commands}\\n' | redis-cli -s redis.sock >answers; cat answers; ! grep -E '^[A-Z]+ ' answers"
        ));
    }

    /// All that PostgreSQL holds, as text.
    pub fn dump_postgres(&self) -> Vec<u8> {
        self.run("pg_dump -h \"$folder\" -U postgres agentidp >dump.sql");
        std::fs::read(self.0.folder.join("dump.sql")).expect("dumped")
    }

    /// All that Redis holds, as it writes it to disk, uncompressed.
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
