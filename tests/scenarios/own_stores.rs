//! Stores that a test may stop and start again.

use testing::{SupervisedServer, shell};
use tokio_postgres::NoTls;

/// Stores that a test may stop and start again, protected by a password.
pub struct OwnStores(SupervisedServer);

pub const PASSWORD: &str = "hunter2";

impl OwnStores {
    pub fn start() -> Self {
        Self(SupervisedServer::start(
            &format!(
                "echo {PASSWORD} >password && \
                 initdb --no-sync -A scram-sha-256 --pwfile=password -U postgres -E UTF8 --locale=C -D data && \
                 printf \"listen_addresses=''\\nunix_socket_directories='$folder'\\nfsync=off\\n\" >>data/postgresql.conf && \
                 {START_POSTGRES} && {START_REDIS}"
            ),
            "pg_ctl -D data -m immediate stop; kill $(cat redis.pid); wait_until is_gone $(cat redis.pid)",
        ))
    }

    pub fn database_url(&self, password: &str) -> String {
        let folder = self.0.folder.to_str().expect("text").replace('/', "%2F");
        format!("postgres://postgres:{password}@{folder}/postgres")
    }

    /// Opens a connection to PostgreSQL.
    pub async fn client(&self, password: &str) -> tokio_postgres::Client {
        let config = format!("host={} user=postgres password={password}", self.0.folder.display());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("the private server");
        tokio::spawn(connection);
        client
    }

    pub fn redis_url(&self, password: &str) -> String {
        format!("redis+unix://:{password}@here{}/redis.sock", self.0.folder.display())
    }

    pub fn stop_postgres(&self) {
        self.run("pg_ctl -D data -m immediate stop");
    }

    pub fn start_postgres(&self) {
        self.run(START_POSTGRES);
    }

    pub fn stop_redis(&self) {
        self.run("kill -9 $(cat redis.pid); while kill -0 $(cat redis.pid); do sleep 0.02; done");
    }

    pub fn start_redis(&self) {
        self.run(START_REDIS);
    }

    /// Runs a command in the servers' folder.
    fn run(&self, command: &str) {
        let script = format!("folder=$PWD; {{ {command}; }} >>log 2>&1 </dev/null");
        let status = shell(&script).current_dir(&self.0.folder).status().expect("a shell");
        assert!(status.success(), "{command}");
    }

    /// Returns the value that Redis holds under that key.
    /// The value is empty if there is no such key.
    pub async fn redis_value(&self, key: &str) -> String {
        self.redis_command(&["get", key])
    }

    /// Returns the reply of Redis to that command.
    pub fn redis_command(&self, words: &[&str]) -> String {
        self.redis_command_by(PASSWORD, words)
    }

    /// Returns the reply of Redis, whose password is now this one, to that command.
    pub fn redis_command_by(&self, password: &str, words: &[&str]) -> String {
        let mut command = std::process::Command::new("redis-cli");
        command.arg("-s").arg(self.0.folder.join("redis.sock")).args(["--no-auth-warning", "-a", password]);
        let output = command.args(words).output();
        String::from_utf8(output.expect("redis-cli").stdout).expect("text").trim().to_owned()
    }
}

const START_POSTGRES: &str = "pg_ctl -w -D data -l server.log start";
const START_REDIS: &str = "redis-server --port 0 --unixsocket \"$folder/redis.sock\" --unixsocketperm 777 --save '' \
    --appendonly no --requirepass hunter2 --daemonize yes --pidfile \"$folder/redis.pid\" && \
    wait_until redis-cli -s redis.sock -a hunter2 ping";
