//! The service as a separate process, and its metrics.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::load::{Connection, request};
use crate::process::{Process, Processes};

const PROGRAM: &str = env!("CARGO_BIN_EXE_agentidp");
const LONGEST_START: Duration = Duration::from_secs(10);

/// A service process that runs until it is dropped.
pub struct Service {
    child: Process,
    /// Address on which the service listens.
    pub address: SocketAddr,
    metrics: SocketAddr,
    /// Client ID of the first administrator; empty after [`restart_on`](Self::restart_on).
    pub client_id: String,
    /// Client secret of the first administrator; empty after [`restart_on`](Self::restart_on).
    pub client_secret: String,
    /// Time from the start of the process to the first answer that it is ready.
    pub ready_after: Duration,
}

impl Service {
    /// Starts the service with this signing key, in memory, and waits until it is ready.
    pub fn start(key: &str) -> Outcome<Self> {
        Self::start_with(key, &[])
    }

    /// Starts the service with this signing key on these stores, with a first administrator.
    pub fn start_on(key: &str, database: &str, redis: &str) -> Outcome<Self> {
        Self::start_on_set(key, database, redis, &[])
    }

    /// Same as [`start_on`](Self::start_on), with these settings.
    pub fn start_on_set(key: &str, database: &str, redis: &str, settings: &[(&str, &str)]) -> Outcome<Self> {
        let output = Command::new(PROGRAM)
            .arg("bootstrap")
            .env_clear()
            .env("DATABASE_URL", database)
            .stderr(Stdio::null())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let value = |label: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(label));
            value.map(|value| value.trim().to_owned()).ok_or("no administrator was created")
        };
        let (client_id, client_secret) = (value("client_id:")?, value("client_secret:")?);
        let stores = [("DATABASE_URL", database), ("REDIS_URL", redis)];
        Ok(Self { client_id, client_secret, ..Self::start_all(key, &stores, settings)? })
    }

    /// Starts the service with this signing key on stores that have an administrator.
    pub fn restart_on(key: &str, database: &str, redis: &str) -> Outcome<Self> {
        Self::start_with(key, &[("DATABASE_URL", database), ("REDIS_URL", redis)])
    }

    /// Starts the service with this signing key and these settings, in memory.
    pub fn start_set(key: &str, settings: &[(&str, &str)]) -> Outcome<Self> {
        Self::start_all(key, &[], settings)
    }

    fn start_with(key: &str, stores: &[(&str, &str)]) -> Outcome<Self> {
        Self::start_all(key, stores, &[])
    }

    fn start_all(key: &str, stores: &[(&str, &str)], settings: &[(&str, &str)]) -> Outcome<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let both = (free()?, free()?);
        let (address, metrics) = (both.0.local_addr()?, both.1.local_addr()?);
        drop(both);
        let began = Instant::now();
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .env("PORT", address.port().to_string())
            .env("METRICS_ADDR", metrics.to_string())
            .env("BCRYPT_COST", "10")
            .env("JWT_PRIVATE_KEY", key)
            .envs(stores.iter().chain(settings).copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Process)?;
        let is_ready = || call(address, &request("GET /health/ready", &[], ""), 200).is_ok();
        while !is_ready() {
            if began.elapsed() > LONGEST_START {
                return Err("the service does not become ready".into());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let ready_after = began.elapsed();
        if !stores.is_empty() {
            let (client_id, client_secret) = Default::default();
            return Ok(Self { child, address, metrics, client_id, client_secret, ready_after });
        }
        let mut lines = BufReader::new(child.0.stdout.take().ok_or("no output")?).lines();
        let mut next = |label: &str| -> Outcome<String> {
            for line in lines.by_ref() {
                if let Some(value) = line?.strip_prefix(label) {
                    return Ok(value.trim().to_owned());
                }
            }
            Err(format!("the service ended before it said its {label}").into())
        };
        let client_id = next("client_id:")?;
        let client_secret = next("client_secret:")?;
        Ok(Self { child, address, metrics, client_id, client_secret, ready_after })
    }

    /// Returns the service's process, and those of the stores that it uses.
    pub fn processes(&self, stores: &[u32]) -> Processes {
        Processes { server: self.child.0.id(), stores: stores.to_vec() }
    }

    /// Returns how often bcrypt has run, to hash or to verify.
    pub fn bcrypt_runs(&self) -> Outcome<u64> {
        let text = String::from_utf8(call(self.metrics, &request("GET /metrics", &[], ""), 200)?)?;
        let count =
            text.lines().find_map(|line| line.strip_prefix("agentidp_bcrypt_duration_seconds_count "));
        Ok(count.ok_or("bcrypt is not counted")?.parse()?)
    }
}

/// Sends a request and returns the body of the answer.
///
/// Returns an error if the answer has another status.
pub fn call(address: SocketAddr, request: &[u8], status: u16) -> Outcome<Vec<u8>> {
    let mut connection = Connection::open(address)?;
    let answer = connection.exchange(request)?;
    if answer.status == status {
        return Ok(answer.body.to_vec());
    }
    let body = String::from_utf8_lossy(answer.body);
    Err(format!("expected {status}, was answered {} {body}", answer.status).into())
}

/// Creates the tables of a database.
pub fn migrate(database: &str) -> Outcome<()> {
    let status =
        Command::new(PROGRAM).arg("migrate").env_clear().env("DATABASE_URL", database).output()?.status;
    if status.success() { Ok(()) } else { Err("no tables were created".into()) }
}

/// Generates a signing key of this type, as PEM.
pub fn new_key(kind: &str) -> Outcome<String> {
    let output =
        Command::new(PROGRAM).args(["keys", "generate", "--type", kind]).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err("no key was made".into())
    }
}
