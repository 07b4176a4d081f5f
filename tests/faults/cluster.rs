//! Real instances of the service on real stores, with a proxy between each pair.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentidp::adapters::crypto::generate_pem;
use agentidp::adapters::system::SystemClock;
use agentidp::cli::Cli;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::time::Timestamp;
use agentidp::ports::clock::Clock;
use agentidp::wiring::Service;
use clap::Parser as _;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use testing::{Client, OWNER, SERVES, TestClient, free_address};
use tokio::process::{Child, Command};

use crate::history::History;
use crate::proxy::Proxy;
use crate::stores::Stores;

/// How long the cluster waits for an instance to become ready or to end.
const LONG: Duration = Duration::from_secs(60);
/// How long a request waits for an answer. The service promises one in less.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const PROGRAM: &str = env!("CARGO_BIN_EXE_agentidp");

/// Password that both PostgreSQL roles send. The private server accepts any.
const PASSWORD: &str = "correct-horse-battery";

static KEY: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::P256).expect("a key"));

/// The stores and the instances that use them.
pub struct Cluster {
    pub stores: Stores,
    /// The file that the only instance uses instead of the stores.
    pub file: Option<PathBuf>,
    pub instances: Vec<Instance>,
    pub http: reqwest::Client,
    /// Calls the first instance while no fault is active.
    pub calm: TestClient,
    /// Number of instances, from the first on, that a fleet sends requests to.
    pub open: AtomicUsize,
    /// Requests sent to the instances; written to `folder` when the cluster is dropped.
    pub history: History,
    folder: PathBuf,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.history.write(&self.folder.join("history.jsonl"));
    }
}

/// An instance of the service, as a process of its own or within this one.
pub struct Instance {
    pub url: String,
    pub postgres: Proxy,
    pub redis: Proxy,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    pub log: PathBuf,
    process: Mutex<Option<Process>>,
}

enum Process {
    Own(Child),
    Within(Box<Service>),
}

/// A clock that is wrong by a number of seconds, and can jump.
pub struct WrongClock(AtomicI64);

impl WrongClock {
    pub const fn by(offset: i64) -> Self {
        Self(AtomicI64::new(offset))
    }

    /// Sets by how many seconds the clock is wrong from now on.
    pub fn set(&self, offset: i64) {
        self.0.store(offset, Ordering::Release);
    }
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::Acquire))
    }
}

impl Cluster {
    /// Starts this many processes on new stores, with these additional settings. Their logs are written to
    /// `folder`.
    pub async fn start(instances: usize, settings: &[(&'static str, &str)], folder: &Path) -> Self {
        let stores = Stores::start().await;
        let mut all = Vec::new();
        for number in 0..instances {
            let instance = Instance::new(&stores, PROGRAM.as_ref(), settings, folder, number).await;
            instance.start();
            all.push(instance);
        }
        Self::with(stores, all, None, folder).await
    }

    /// Starts one process on a file in `folder`. The stores have no part in it.
    pub async fn start_on_file(folder: &Path) -> Self {
        let stores = Stores::start().await;
        let mut instance = Instance::new(&stores, PROGRAM.as_ref(), &[], folder, 0).await;
        instance.environment.retain(|(name, _)| !matches!(*name, "MIGRATION_DATABASE_URL" | "REDIS_URL"));
        let file = folder.join("agentidp.db");
        for suffix in ["", "-wal", "-shm"] {
            // The data of an earlier run does not belong to this one.
            let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
        }
        instance.environment.push(("DATABASE_URL", format!("sqlite:{}", file.display())));
        // Only while nothing serves the file.
        let administrator = bootstrap(&instance).await;
        instance.start();
        let mut cluster = Self::with(stores, vec![instance], Some(administrator), folder).await;
        cluster.file = Some(file);
        cluster
    }

    /// Starts a process of an older version.
    /// A process of this version is prepared, to be started later.
    pub async fn start_older(older: &Path, folder: &Path) -> Self {
        let stores = Stores::start().await;
        let first = Instance::new(&stores, older, &[], folder, 0).await;
        let next = Instance::new(&stores, PROGRAM.as_ref(), &[], folder, 1).await;
        first.start();
        let mut cluster = Self::with(stores, vec![first], None, folder).await;
        cluster.instances.push(next);
        cluster
    }

    /// Starts one instance per clock, within this process.
    pub async fn start_by(clocks: &[Arc<WrongClock>], folder: &Path) -> Self {
        let stores = Stores::start().await;
        let mut all = Vec::new();
        for (number, clock) in clocks.iter().enumerate() {
            let instance = Instance::new(&stores, PROGRAM.as_ref(), &[], folder, number).await;
            instance.start_within(clock.clone()).await;
            all.push(instance);
        }
        Self::with(stores, all, None, folder).await
    }

    /// Waits until the instances are ready. Creates an administrator if none is given.
    async fn with(
        stores: Stores,
        instances: Vec<Instance>,
        administrator: Option<Client>,
        folder: &Path,
    ) -> Self {
        let http = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build().expect("a client");
        let history = History::begin();
        for (number, instance) in instances.iter().enumerate() {
            until_whole(&http, instance).await;
            history.other("start", number, Duration::ZERO, 200);
        }
        let administrator = match administrator {
            Some(administrator) => administrator,
            None => bootstrap(&instances[0]).await,
        };
        let open = AtomicUsize::new(instances.len());
        let calm = TestClient::new(http.clone(), vec![instances[0].url.clone()], administrator);
        calm.unlimited_admin_token().await;
        Self { stores, file: None, instances, http, calm, open, history, folder: folder.to_owned() }
    }

    pub fn url(&self, instance: usize, path: &str) -> String {
        format!("{}{path}", self.instances[instance].url)
    }

    /// Returns a request to an instance for a token of that client.
    pub fn ask_token(&self, instance: usize, client: &Client) -> RequestBuilder {
        let request = self.http.post(self.url(instance, "/api/v1/token"));
        request.basic_auth(&client.id, Some(&client.secret)).form(&[("grant_type", "client_credentials")])
    }

    /// Returns the status of the answer, or 0 if none came.
    /// The history records the request under `name`.
    pub async fn status(&self, name: &'static str, instance: usize, request: RequestBuilder) -> u16 {
        let start = self.history.now();
        let status = request.send().await.map_or(0, |answer| answer.status().as_u16());
        self.history.other(name, instance, start, status);
        status
    }

    /// Waits until the instance reports all its stores as available.
    /// Returns how long that took.
    pub async fn until_whole(&self, instance: usize) -> Duration {
        until_whole(&self.http, &self.instances[instance]).await
    }
}

async fn until_whole(http: &reqwest::Client, instance: &Instance) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = http.get(format!("{}/health/ready", instance.url)).send().await;
        if let Ok(answer) = answer
            && answer.status() == StatusCode::OK
            && answer.json::<Value>().await.is_ok_and(|body| body["status"] == "ok")
        {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < LONG, "it does not come back: see {}", instance.log.display());
        tokio::task::yield_now().await;
    }
}

impl Instance {
    async fn new(
        stores: &Stores,
        program: &Path,
        settings: &[(&'static str, &str)],
        folder: &Path,
        number: usize,
    ) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let log = folder.join(format!("instance-{number}.log"));
        // The log of an earlier run does not belong to this one.
        let _ = std::fs::remove_file(&log);
        let postgres = Proxy::to(stores.postgres_socket()).await;
        let redis = Proxy::to(stores.redis_socket()).await;
        let address = free_address();
        let database = |role: &str| {
            format!("postgres://{role}:{PASSWORD}@127.0.0.1:{}/agentidp?sslmode=disable", postgres.port)
        };
        let mut environment = vec![
            ("MAX_DELEGATION_DEPTH", "5".to_owned()),
            ("HOST", address.ip().to_string()),
            ("PORT", address.port().to_string()),
            ("METRICS_ADDR", "off".to_owned()),
            ("ISSUER_URL", "http://agentidp.test".to_owned()),
            ("BCRYPT_COST", "4".to_owned()),
            ("JWT_PRIVATE_KEY", KEY.clone()),
            ("ADDRESS_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("DATABASE_URL", database(SERVES)),
            ("MIGRATION_DATABASE_URL", database(OWNER)),
            ("REDIS_URL", format!("redis://127.0.0.1:{}", redis.port)),
        ];
        environment.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let url = format!("http://{address}");
        Self {
            url,
            postgres,
            redis,
            program: program.to_owned(),
            environment,
            log,
            process: Mutex::default(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let log = std::fs::File::options().create(true).append(true).open(&self.log).expect("a log");
        // With a limit of file sizes, a write is to fail like on a full disk, and not to end the process.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(&self.program);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Starts a process for this instance.
    pub fn start(&self) {
        let child = self.command(&["serve"]).spawn().expect("it starts");
        *self.process() = Some(Process::Own(child));
    }

    async fn start_within(&self, clock: Arc<WrongClock>) {
        let flag =
            |(name, value): &(&str, String)| format!("--{}={value}", name.to_lowercase().replace('_', "-"));
        let flags = ["agentidp".to_owned()].into_iter().chain(self.environment.iter().map(flag));
        let config = Cli::parse_from(flags).serve.resolve().expect("settings");
        let service = Service::start_at(&config, clock).await.expect("a service");
        *self.process() = Some(Process::Within(Box::new(service)));
    }

    /// Kills the process without letting it shut down.
    pub async fn kill(&self) {
        let process = self.process().take();
        match process {
            Some(Process::Own(mut child)) => child.kill().await.expect("killed"),
            _ => panic!("it has no process of its own"),
        }
    }

    /// Limits the size of all files that the process writes to, in bytes.
    pub async fn limit_files(&self, limit: &str) {
        let arguments = [format!("--pid={}", self.id()), format!("--fsize={limit}:unlimited")];
        let status = Command::new("prlimit").args(arguments).status().await.expect("prlimit runs");
        assert!(status.success());
    }

    /// Makes the instance shut down, and waits until it has ended.
    pub async fn end(&self) {
        let process = self.process().take();
        let mut child = match process.expect("it runs") {
            Process::Within(service) => return service.end().await,
            Process::Own(child) => child,
        };
        let id = child.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
        assert!(status.success());
        let status = tokio::time::timeout(LONG, child.wait()).await.expect("in time").expect("it ended");
        assert_eq!(status.code(), Some(0), "an orderly end");
    }

    /// Returns the ID of the process.
    pub fn id(&self) -> u32 {
        match &*self.process() {
            Some(Process::Own(child)) => child.id().expect("it runs"),
            _ => panic!("it has no process of its own"),
        }
    }

    /// Returns the secrets among the settings, which an instance must not reveal.
    pub fn secrets() -> Vec<(String, String)> {
        // Each line of the key by itself, because a log might contain the lines separately.
        let key = KEY.lines().filter(|line| !line.starts_with('-'));
        key.chain([PASSWORD]).map(|secret| ("a setting".to_owned(), secret.to_owned())).collect()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the first administrator.
async fn bootstrap(instance: &Instance) -> Client {
    let output = instance.command(&["bootstrap"]).stdout(Stdio::piped()).output().await.expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let value = |label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        line.expect("it is printed").trim().to_owned()
    };
    Client { id: value("client_id:"), secret: value("client_secret:"), credential: String::new() }
}
