//! The program as a process of its own, and its scrapes.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;
use testing::{Client, Database, RSA_PEM, SERVES, TestClient, free_address};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const LONG: Duration = Duration::from_secs(120);

/// Returns the program with these arguments, and without the settings of this process.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentidp"));
    command.args(arguments).env_clear().kill_on_drop(true).env("BCRYPT_COST", "4");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Creates the first administrator of a database.
pub async fn bootstrap(database: &Database) -> Client {
    let output = command(&["bootstrap"]).env("DATABASE_URL", database.url(SERVES)).output().await;
    let text = String::from_utf8(output.expect("it runs").stdout).expect("text");
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("{label} in {text}")).trim().to_owned()
    };
    Client { id: after("client_id:"), secret: after("client_secret:"), credential: String::new() }
}

/// A running program.
pub struct Program {
    /// Calls the service.
    pub client: TestClient,
    /// Address of the metrics.
    pub metrics: SocketAddr,
    process: Child,
    /// The rest of standard output, which the program need not write to.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts the program with these settings.
    pub async fn start(administrator: &Client, environment: &[(&str, &str)]) -> Self {
        let (address, metrics) = (free_address(), free_address());
        let mut command = command(&["serve"]);
        command.env("HOST", address.ip().to_string()).env("PORT", address.port().to_string());
        command.env("METRICS_ADDR", metrics.to_string()).env("LOG_FORMAT", "json").env("RUST_LOG", "warn");
        command.env("JWT_PRIVATE_KEY", RSA_PEM.as_str()).envs(environment.iter().copied());
        let mut process = command.spawn().expect("it runs");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let line = tokio::time::timeout(LONG, output.next_line()).await.expect("in time").expect("text");
        let Some(line) = line else {
            let ended = process.wait_with_output().await.expect("it ran");
            panic!("it does not start: {}", String::from_utf8_lossy(&ended.stderr));
        };
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let administrator = match (&ready["clientId"], &ready["clientSecret"]) {
            (Value::String(id), Value::String(secret)) => {
                Client { id: id.clone(), secret: secret.clone(), credential: String::new() }
            }
            _ => administrator.clone(),
        };
        let urls = vec![format!("http://{address}")];
        let client = TestClient::new(reqwest::Client::new(), urls, administrator);
        Self { client, metrics, process, _output: output }
    }

    /// Starts the program in memory, where it creates its administrator itself.
    pub async fn in_memory(environment: &[(&str, &str)]) -> Self {
        let unknown = Client { id: String::new(), secret: String::new(), credential: String::new() };
        Self::start(&unknown, environment).await
    }

    /// Ends the program in order, and returns the lines of its log, which `RUST_LOG` and a pipe have let through.
    pub async fn end(self) -> Vec<Value> {
        let id = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").arg(&id).status().await.expect("kill runs").success());
        let output = tokio::time::timeout(LONG, self.process.wait_with_output()).await.expect("in time");
        let log = String::from_utf8(output.expect("it ends").stderr).expect("text");
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// Returns the metrics of now.
    pub async fn scrape(&self) -> Scrape {
        let answer = reqwest::get(format!("http://{}/metrics", self.metrics)).await.expect("an answer");
        Scrape(answer.text().await.expect("text"))
    }
}

/// Metrics in Prometheus' text format.
pub struct Scrape(pub String);

impl Scrape {
    /// Returns the sum of the series with this name and all of these labels; `None` if there is no such series.
    pub fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let mut sum = None;
        for line in self.0.lines() {
            let (series, value) = line.rsplit_once(' ').unwrap_or_default();
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            if found == name && labels.iter().all(|label| rest.contains(label)) {
                sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>().expect("a number"));
            }
        }
        sum
    }

    /// Returns the names of all metrics, without the suffixes of a histogram.
    pub fn names(&self) -> Vec<String> {
        let types = Regex::new(r"(?m)^# TYPE (\S+) ").expect("an expression");
        types.captures_iter(&self.0).map(|found| found[1].to_owned()).collect()
    }
}

/// Repeats a scrape until it is as wanted. Panics if that takes more than two minutes.
pub async fn until(program: &Program, is_wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let scraping = async {
        loop {
            let scrape = program.scrape().await;
            if is_wanted(&scrape) {
                return scrape;
            }
        }
    };
    tokio::time::timeout(LONG, scraping).await.expect("in time")
}
