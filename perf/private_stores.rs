//! A private PostgreSQL, with fsync on, and a private Redis, on the machine of the service and the load.

use std::process::Command;

use testing::SupervisedServer;

use crate::Outcome;

const START: &str = "initdb --no-sync -A trust -U postgres -E UTF8 --locale=C -D data && \
    pg_ctl -w -D data -o \"-c listen_addresses='' -c unix_socket_directories='$folder' -c shared_buffers=512MB \
    -c max_wal_size=8GB -c max_connections=100\" start && \
    redis-server --port 0 --unixsocket \"$folder/redis.sock\" --unixsocketperm 777 --save '' --appendonly no \
    --daemonize yes --pidfile \"$folder/redis.pid\" && wait_until redis-cli -s redis.sock ping";
const STOP: &str = "redis-cli -s redis.sock shutdown nosave; pg_ctl -D data -m immediate stop";

/// Both stores, which run until this is dropped.
pub struct PrivateStores {
    server: SupervisedServer,
    /// Process ID of the first process of each store.
    pub pids: Vec<u32>,
}

impl PrivateStores {
    /// Starts both stores.
    pub fn start() -> Outcome<Self> {
        let server = SupervisedServer::start(START, STOP);
        let pid = |file| -> Outcome<u32> {
            let text = std::fs::read_to_string(server.folder.join(file))?;
            Ok(text.lines().next().ok_or("no pid")?.trim().parse()?)
        };
        let pids = vec![pid("data/postmaster.pid")?, pid("redis.pid")?];
        Ok(Self { server, pids })
    }

    /// Creates a database and returns its URL.
    pub fn database(&self, name: &str) -> Outcome<String> {
        self.psql("postgres", &["-c", &format!("CREATE DATABASE {name}")])?;
        Ok(format!("postgres://postgres@{}/{name}", self.folder()?.replace('/', "%2F")))
    }

    /// Returns the URL of the Redis database with this number.
    pub fn redis(&self, number: u8) -> Outcome<String> {
        Ok(format!("redis+unix://{}/redis.sock?db={number}", self.folder()?))
    }

    /// Returns the path of Redis's socket.
    pub fn redis_socket(&self) -> Outcome<String> {
        Ok(format!("{}/redis.sock", self.folder()?))
    }

    fn psql(&self, database: &str, arguments: &[&str]) -> Outcome<()> {
        let mut command = Command::new("psql");
        command
            .args(["-q", "-o", "/dev/null", "-U", "postgres", "-d", database, "-h"])
            .arg(&self.server.folder);
        if command.args(arguments).status()?.success() { Ok(()) } else { Err("psql failed".into()) }
    }

    /// Fills a database with this many of each, using `fill.sql`.
    pub fn fill(&self, database: &str, organizations: usize, agents: usize, events: usize) -> Outcome<()> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/perf/fill.sql");
        let sizes = [("organizations", organizations), ("agents", agents), ("events", events)];
        let sizes = sizes.map(|(name, size)| format!("{name}={size}"));
        let [organizations, agents, events] = sizes.each_ref().map(String::as_str);
        self.psql(database, &["-v", organizations, "-v", agents, "-v", events, "-f", script])
    }

    /// Returns the rows of a query, one line each.
    pub fn rows(&self, database: &str, query: &str) -> Outcome<Vec<String>> {
        let mut command = Command::new("psql");
        command.args(["-q", "-A", "-t", "-U", "postgres", "-d", database, "-c", query, "-h"]);
        let output = command.arg(&self.server.folder).output()?;
        if !output.status.success() {
            return Err("psql failed".into());
        }
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    fn folder(&self) -> Outcome<&str> {
        Ok(self.server.folder.to_str().ok_or("no text")?)
    }
}
