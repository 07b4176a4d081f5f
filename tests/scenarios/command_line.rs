//! The program itself: its settings, its commands and its signals.

use std::process::{Output, Stdio};
use std::time::Duration;

use agentidp::adapters::crypto::{KeySet, generate_pem};
use agentidp::cli::Cli;
use agentidp::domain::jwk::KeyType;
use agentidp::wiring::{Service, StartError};
use clap::Parser as _;
use serde_json::Value;
use testing::RSA_PEM;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub const LONG: Duration = Duration::from_secs(120);

pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentidp"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(arguments: &[&str]) -> Output {
    tokio::time::timeout(LONG, program(arguments).output()).await.expect("in time").expect("it runs")
}

/// Returns the single line that the program prints on an invalid setting.
/// The program exits with code 2.
async fn complaint(mut command: Command) -> String {
    let output = tokio::time::timeout(LONG, command.output()).await.expect("in time").expect("it runs");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}

/// A running service whose first lines of output have been read.
pub struct Running {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    pub address: String,
    pub curl: String,
    /// All lines until the address.
    welcome: String,
}

pub async fn serve(arguments: &[&str], environment: &[(&str, &str)]) -> Running {
    let port: &[&str] = if arguments.contains(&"--port") { &[] } else { &["--port", "0"] };
    let mut command = program(&[arguments, port, &["--bcrypt-cost", "4"]].concat());
    command.env("METRICS_ADDR", "off").envs(environment.iter().copied()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (mut curl, mut welcome) = (String::new(), String::new());
    let reading = async {
        while let Some(line) = out.next_line().await.expect("text") {
            welcome += &line;
            if line.starts_with("curl ") {
                curl = line;
            } else if let Some((_, url)) = line.split_once("Explore the API: ") {
                return url.trim_end_matches("/docs").to_owned();
            }
        }
        panic!("it ended")
    };
    let address = tokio::time::timeout(LONG, reading).await.expect("in time");
    Running { child, out, address, curl, welcome }
}

impl Running {
    /// Ends the program as the system would, without any chance to finish.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }

    pub fn pid(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    async fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid()]).status().await;
        assert!(status.expect("kill runs").success());
    }

    pub async fn key_ids(&self) -> Vec<String> {
        let keys = reqwest::get(format!("{}/.well-known/jwks.json", self.address)).await.expect("an answer");
        let keys: Value = keys.json().await.expect("JSON");
        let keys = keys["keys"].as_array().expect("a list").clone();
        keys.iter().map(|key| key["kid"].as_str().expect("an id").to_owned()).collect()
    }
}

#[tokio::test]
async fn the_start_says_where_the_console_is_unless_it_is_off() {
    let on = serve(&[], &[]).await;
    assert!(on.welcome.contains(&format!("Open the console: {}/console", on.address)), "{}", on.welcome);
    let off = serve(&["--console", "off"], &[]).await;
    assert!(!off.welcome.contains("console"), "{}", off.welcome);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let (port, address) = (address.port().to_string(), address.to_string());
    let line = complaint(program(&["--port", &port, "--metrics-addr", "off"])).await;
    assert!(line.ends_with("; choose another with --port\n"), "{line}");
    let line = complaint(program(&["--port", "0", "--metrics-addr", &address])).await;
    assert!(line.ends_with("; choose another with --metrics-addr\n"), "{line}");
}

#[tokio::test]
async fn wrong_settings_stop_the_start_with_one_clear_line() {
    for (flags, words) in [
        (&["--port", "x"][..], "--port"),
        (&["--bcrypt-cost", "20"], "bcrypt-cost"),
        (&["--unknown"], "--unknown"),
        (&["unknown"], "unknown"),
        (&["--jwt-private-key", "x"], "JWT_PRIVATE_KEY"),
        (&["--jwt-private-key-file", "/nowhere"], "JWT_PRIVATE_KEY_FILE"),
        (&["--jwt-private-key", "x", "--jwt-private-key-file", "/nowhere"], "both set"),
        (&["--jwt-verify-keys", "-----BEGIN x"], "JWT_VERIFY_KEYS"),
        (&["--jwt-verify-keys", "garbage"], "JWT_VERIFY_KEYS"),
        (&["--redis-url", "http://h"], "REDIS_URL"),
        (&["--database-url", "mysql://h/d", "--jwt-private-key", "x"], "DATABASE_URL"),
        (&["--database-url", "postgres://h/d"], "JWT_PRIVATE_KEY is needed"),
        (&["--migration-database-url", "postgres://h/d"], "DATABASE_URL"),
        (
            &["migrate", "--database-url", "mysql://h/d"],
            "DATABASE_URL must be a URL that begins with postgres",
        ),
        (&["migrate", "--migration-database-url", "mysql://h/d"], "MIGRATION_DATABASE_URL must be"),
        (&["migrate", "--redis-url-file", "/nowhere"], "DATABASE_URL"),
        (&["bootstrap", "--redis-url-file", "/nowhere"], "bootstrap needs a database"),
        (&["--metrics-addr", "192.0.2.1:1", "--port", "0"], "METRICS_ADDR"),
        (&["--host", "192.0.2.1"], "HOST"),
        (&["migrate"], "DATABASE_URL"),
        (&["bootstrap"], "DATABASE_URL"),
    ] {
        let line = complaint(program(flags)).await;
        assert!(line.contains(words), "{flags:?}: {line}");
    }
    let mut by_environment = program(&[]);
    by_environment.env("TOKEN_TTL_SECONDS", "5");
    assert!(complaint(by_environment).await.contains("token-ttl-seconds"));
}

#[tokio::test]
async fn secrets_are_not_repeated_when_they_are_wrong() {
    for flags in [["--jwt-private-key", "hunter2"], ["--database-url", "postgres://u:hunter2@h/d"]] {
        assert!(!complaint(program(&flags)).await.contains("hunter2"));
    }
    let mut help = program(&["--help"]);
    help.env("JWT_PRIVATE_KEY", "hunter2").env("DATABASE_URL", "hunter2");
    let help = help.output().await.expect("it runs");
    let text = String::from_utf8(help.stdout).expect("text");
    assert!(help.status.success() && !text.contains("hunter2"));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in [
        "PORT",
        "HOST",
        "METRICS_ADDR",
        "DATABASE_URL",
        "MIGRATION_DATABASE_URL",
        "REDIS_URL",
        "DB_POOL_MAX",
        "STORE_WAIT_SECONDS",
        "ISSUER_URL",
        "JWT_PRIVATE_KEY",
        "JWT_VERIFY_KEYS",
        "TOKEN_TTL_SECONDS",
        "BCRYPT_COST",
        "CORS_ORIGIN",
        "TRUSTED_PROXIES",
        "ADDRESS_REQUESTS_PER_MINUTE",
        "CLIENT_ASSERTION_AUDIENCE",
        "ISSUER_PRIVATE_NETWORKS",
        "ISSUER_CA_FILE",
        "LOG_FORMAT",
        "DRAIN_SECONDS",
        "JWT_PRIVATE_KEY_FILE",
    ] {
        assert!(text.contains(&format!("[env: {setting}")), "{setting}");
    }
}

#[tokio::test]
async fn keys_and_the_document_are_printed() {
    for kind in ["rsa", "p256", "ed25519"] {
        let output = run(&["keys", "generate", "--type", kind]).await;
        let pem = String::from_utf8(output.stdout).expect("text");
        KeySet::from_pem(&pem, "").expect("a key that can be used");
    }
    let document = run(&["openapi", "--format", "json"]).await.stdout;
    assert_eq!(document, include_bytes!("../../openapi/openapi.json"));
}

#[tokio::test]
async fn the_printed_curl_gets_a_token() {
    let running = serve(&[], &[]).await;
    let output = Command::new("sh").args(["-c", &running.curl]).output().await.expect("curl runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["token_type"], "Bearer", "{answer}");
}

#[tokio::test]
async fn a_wrong_secret_costs_no_bcrypt() {
    let free = std::net::TcpListener::bind("127.77.0.1:0").expect("a port").local_addr().expect("an address");
    let metrics = free.to_string();
    let running = serve(&["--metrics-addr", &metrics], &[]).await;
    let count = async || {
        let text = reqwest::get(format!("http://{metrics}/metrics")).await.expect("an answer").text().await;
        let text = text.expect("text");
        let count =
            text.lines().find_map(|line| line.strip_prefix("agentidp_bcrypt_duration_seconds_count "));
        count.and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    assert_eq!(count().await, 1, "the first administrator's secret");
    let id =
        running.curl.split('\'').nth(1).and_then(|pair| pair.split(':').next()).expect("an id").to_owned();
    let wrong = agentidp::domain::secret::ClientSecret::from_random([7; 24]);
    for secret in [wrong.expose(), "x"] {
        let request = reqwest::Client::new().post(format!("{}/api/v1/token", running.address));
        let request = request.basic_auth(&id, Some(secret)).form(&[("grant_type", "client_credentials")]);
        assert_eq!(request.send().await.expect("an answer").status(), 401);
    }
    assert_eq!(count().await, 1);
    let unknown = reqwest::get(format!("{}/api/v1/agents/x/y/z", running.address)).await;
    assert_eq!(unknown.expect("an answer").status(), 404);
    let reading = reqwest::get(format!("http://{metrics}/metrics")).await.expect("an answer").text().await;
    let text = reading.expect("text");
    for line in [
        r#"agentidp_http_requests_total{method="POST",path="/api/v1/token",status="401"} 2"#,
        r#"agentidp_http_requests_total{method="GET",path="other",status="404"} 1"#,
        r#"agentidp_http_requests_total{method="GET",path="/api/v1/agents/{agentId}",status="200"} 0"#,
        r#"agentidp_http_request_duration_seconds_count{method="POST",path="/api/v1/token"} 2"#,
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing in {text}");
    }
    let elsewhere = reqwest::get(format!("{}/metrics", running.address)).await.expect("an answer");
    assert_eq!(elsewhere.status(), 404, "only on its own listener");
}

#[tokio::test]
async fn a_signal_to_end_is_obeyed_in_order_and_a_second_one_at_once() {
    for signal in ["TERM", "INT"] {
        let mut running = serve(&["serve"], &[]).await;
        running.signal(signal).await;
        let status =
            tokio::time::timeout(LONG, running.child.wait()).await.expect("in time").expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(running.out.next_line().await.expect("text").as_deref(), Some(""));
    }
    let mut draining = serve(&["--drain-seconds", "3600"], &[]).await;
    draining.signal("TERM").await;
    let ready = format!("{}/health/ready", draining.address);
    let reading = async {
        while reqwest::get(&ready).await.expect("it serves on").status() != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("not ready any more");
    let health = reqwest::get(format!("{}/health", draining.address)).await.expect("it serves on");
    assert_eq!(health.status(), 200);
    draining.signal("TERM").await;
    let status = tokio::time::timeout(LONG, draining.child.wait()).await.expect("at once").expect("it ends");
    assert_eq!(status.code(), Some(1), "not in order, and it says so");
}

#[tokio::test]
async fn an_issuer_that_no_client_can_reach_is_warned_of_with_the_setting_that_helps() {
    for (arguments, is_warned) in [
        (&["--host", "0.0.0.0"][..], true),
        (&["--host", "::"], true),
        (&["--host", "0.0.0.0", "--issuer-url", "https://idp.example.com"], false),
        (&["--host", "localhost"], false),
    ] {
        let own = ["--port", "0", "--bcrypt-cost", "4", "--metrics-addr", "off"];
        let mut child = program(&[arguments, &own].concat()).spawn().expect("it runs");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut text = String::new();
        let reading = async {
            while !text.contains("ready") {
                text += &log.next_line().await.expect("text").expect("it is ready before it ends");
            }
        };
        tokio::time::timeout(LONG, reading).await.expect("in time");
        assert_eq!(text.contains("set ISSUER_URL"), is_warned, "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn a_hangup_loads_the_keys_anew_and_the_retired_key_is_accepted_while_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (private, public) = (folder.path().join("key.pem"), folder.path().join("retired.pem"));
    let next = generate_pem(KeyType::P256).expect("a key");
    std::fs::write(&private, &next).expect("written");
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let environment = [("JWT_PRIVATE_KEY_FILE", path(&private)), ("JWT_VERIFY_KEYS_FILE", path(&public))];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let publish_own = async || {
        let own = Command::new("openssl").args(["pkey", "-pubout", "-in", &path(&private)]).output().await;
        std::fs::write(&public, own.expect("openssl runs").stdout).expect("written");
    };
    publish_own().await;
    let running = serve(&[], &environment).await;
    let before = running.key_ids().await;
    let output = Command::new("sh").args(["-c", &running.curl]).output().await.expect("curl runs");
    let token: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let agents = reqwest::Client::new().get(format!("{}/api/v1/agents", running.address));
    let agents = agents.bearer_auth(token["access_token"].as_str().expect("a token"));
    let status = async || agents.try_clone().expect("no body").send().await.expect("an answer").status();
    assert_eq!(status().await, 200);

    let reloaded = async |expected: usize| {
        running.signal("HUP").await;
        let wait = async {
            loop {
                let ids = running.key_ids().await;
                if ids.len() == expected && ids != before {
                    return ids;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("loaded")
    };
    std::fs::write(&private, RSA_PEM.as_str()).expect("written");
    let ids = reloaded(2).await;
    assert_eq!(ids[1], before[0], "the present key first, then the retired");
    assert_eq!(status().await, 200, "a token of the retired key");
    publish_own().await;
    reloaded(1).await;
    assert_eq!(status().await, 401, "a token of a key that is named no more");
}

/// A shutdown must end before a supervisor's timeout.
/// Supervisors wait for 30 s, then kill the process, which would leave buffers unwritten and pools open.
#[tokio::test]
async fn an_orderly_end_waits_for_no_caller_that_sends_or_reads_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let mut running = serve(&[], &[]).await;
    let address = running.address.trim_start_matches("http://").to_owned();
    let mut open = Vec::new();
    for part in [
        // Large responses that are not read, larger in total than all buffers on their way.
        "GET /docs HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40),
        // A body that is never completed.
        "POST /api/v1/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant".to_owned(),
        // A head that is never completed.
        "GET /health HTTP/1.1\r\nHost: a\r\nX: ".to_owned(),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("a connection");
        stream.write_all(part.as_bytes()).await.expect("sent");
        open.push(stream);
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.child.id().expect("it runs")));
    let core = limits
        .expect("it runs")
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .map(str::to_owned);
    let core = core.expect("a limit");
    assert_eq!(
        core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "its memory holds keys"
    );
    // Everything sent so far has arrived once a later request is answered.
    reqwest::get(format!("{}/health", running.address)).await.expect("an answer");
    running.signal("TERM").await;
    let ended = tokio::time::timeout(Duration::from_secs(25), running.child.wait()).await;
    let status = ended.expect("less than it would be given").expect("it ended");
    assert_eq!(status.code(), Some(0), "in order");
    drop(open);
}

#[tokio::test]
async fn keys_are_read_as_usual_tools_write_them() {
    let openssl = async |script: &str| {
        let output = Command::new("bash").args(["-c", &format!("set -eo pipefail; {script}")]).output();
        let output = output.await.expect("it runs");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    for script in [
        "openssl ecparam -name prime256v1 -genkey",
        "openssl ecparam -name prime256v1 -genkey -noout",
        "openssl ecparam -name prime256v1 -genkey | sed 's/$/\\r/'",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "openssl genpkey -algorithm ed25519",
        "openssl genpkey -algorithm ed25519 -text",
        "openssl genrsa 2048",
        "openssl genrsa -traditional 2048",
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/stdout -subj /CN=x",
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.$$ -out cert.$$ -subj /CN=x && \
         openssl pkcs12 -export -inkey key.$$ -in cert.$$ -passout pass:x | openssl pkcs12 -nodes -passin pass:x; rm key.$$ cert.$$",
    ] {
        let pem = openssl(&format!("cd /tmp; {script} 2>/dev/null")).await;
        KeySet::from_pem(&pem, "").unwrap_or_else(|error| panic!("{script}: {error}\n{pem}"));
    }
    for script in [
        "openssl genpkey -algorithm ed25519 -aes256 -pass pass:x",
        "openssl ecparam -name prime256v1 -genkey | openssl ec -aes256 -passout pass:x",
        "openssl genrsa -traditional -aes256 -passout pass:x 2048",
    ] {
        let error =
            KeySet::from_pem(&openssl(&format!("{script} 2>/dev/null")).await, "").err().expect("refused");
        assert!(
            error.to_string().contains("the private key is encrypted; decrypt it first"),
            "{script}: {error}"
        );
    }
    for (script, words) in [
        ("for _ in 1 2; do openssl genpkey -algorithm ed25519; done", "more than one"),
        ("openssl genpkey -algorithm ed25519 | openssl pkey -pubout", "contains no private key"),
        ("openssl ecparam -name secp384r1 -genkey", "is not RSA of 2048 to 4096 bits, P-256 or Ed25519"),
        ("echo hunter2", "is not PEM"),
    ] {
        let error =
            KeySet::from_pem(&openssl(&format!("{script} 2>/dev/null")).await, "").err().expect("refused");
        assert!(error.to_string().contains(words), "{script}: {error}");
    }
}

/// Returns the names of all environment variables that `serve` reads.
fn variables() -> Vec<String> {
    let command = <Cli as clap::CommandFactory>::command();
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    let names: Vec<_> = names.map(|name| name.to_str().expect("text").to_owned()).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Starts the service with these variables, and returns its welcome.
async fn welcome(environment: &[(String, &str)]) -> Value {
    let mut command = program(&["--log-format", "json"]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let line = tokio::time::timeout(LONG, out.next_line()).await.expect("in time").expect("text");
    match line {
        Some(line) => serde_json::from_str(&line).expect("JSON"),
        None => panic!("{}", String::from_utf8_lossy(&child.wait_with_output().await.expect("ended").stderr)),
    }
}

#[tokio::test]
async fn an_empty_variable_is_not_set_and_white_space_is_dropped() {
    let named = |name: &str, value| (name.to_owned(), value);
    for empty in ["", " ", "\n", "\t \r\n"] {
        let mut environment: Vec<_> = variables().into_iter().map(|name| (name, empty)).collect();
        environment.retain(|(name, _)| !matches!(name.as_str(), "PORT" | "METRICS_ADDR" | "LOG_FORMAT"));
        environment.extend([
            named("PORT", " 0\n"),
            named("METRICS_ADDR", "off\r\n"),
            named("LOG_FORMAT", ""),
        ]);
        welcome(&environment).await;
    }
    let pem = generate_pem(KeyType::Ed25519).expect("a key");
    let padded = format!("\n  {pem}\n\n ");
    let issuer = " https://id.example.com/agents \n";
    let environment = [
        named("PORT", "0"),
        named("METRICS_ADDR", " off "),
        named("HOST", "localhost\n"),
        named("ISSUER_URL", issuer),
        named("JWT_PRIVATE_KEY", &padded),
        named("BCRYPT_COST", " 4\n"),
        named("CORS_ORIGIN", " https://a.example , https://b.example\n"),
        named("TRUSTED_PROXIES", "\n10.0.0.0/8\n"),
    ];
    let welcome = welcome(&environment).await;
    assert_eq!(welcome["issuer"], issuer.trim());
}

#[tokio::test]
async fn a_command_reads_only_its_own_settings() {
    for arguments in [&["openapi"][..], &["keys", "generate"]] {
        let mut command = program(arguments);
        command.envs(variables().into_iter().map(|name| (name, "wrong")));
        let output = tokio::time::timeout(LONG, command.output()).await.expect("in time").expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut command = program(&["migrate"]);
    command.env("PORT", "wrong").env("JWT_PRIVATE_KEY", "wrong").env("ISSUER_URL", "wrong");
    assert!(complaint(command).await.contains("DATABASE_URL"));
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    for command in ["openapi", "openapi --format json", "keys generate", "--help"] {
        let script = format!("set -o pipefail; \"$0\" {command} | head -1 >/dev/null");
        let output = Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_agentidp")]).output();
        let output = tokio::time::timeout(LONG, output).await.expect("in time").expect("it runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn a_closed_output_does_not_end_the_service() {
    for closed in [">&-", "2>&-", ">&- 2>&-", ">/dev/full", "2>/dev/full"] {
        let port = testing::free_address();
        let script =
            format!("exec \"$0\" --host {} --port {} --bcrypt-cost 4 {closed}", port.ip(), port.port());
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_agentidp")]).env_clear();
        command.env("METRICS_ADDR", "off").kill_on_drop(true).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        let ready = async {
            while !reqwest::get(format!("http://{port}/health/ready"))
                .await
                .is_ok_and(|answer| answer.status() == 200)
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, ready).await.expect("ready");
        // A refusal writes a line to the log.
        let refused = reqwest::Client::new().get(format!("http://{port}/api/v1/agents")).bearer_auth("x");
        assert_eq!(refused.send().await.expect("an answer").status(), 401, "{closed}");
        assert_eq!(child.try_wait().expect("known"), None, "{closed}");
    }
}

#[tokio::test]
async fn with_json_as_the_format_of_the_log_every_line_of_both_outputs_is_json() {
    let mut command = program(&["--port", "0", "--bcrypt-cost", "4"]);
    command.envs([("METRICS_ADDR", "off"), ("LOG_FORMAT", "json")]);
    let mut child = command.spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let first = tokio::time::timeout(LONG, out.next_line()).await.expect("in time").expect("text");
    let welcome: Value = serde_json::from_str(&first.expect("a line")).expect("JSON");
    assert!(
        welcome["clientSecret"].as_str().is_some_and(|secret| secret.starts_with("aidp_sk_")),
        "{welcome}"
    );
    let url = welcome["docs"].as_str().expect("a URL").replace("/docs", "/api/v1/token");
    let request = reqwest::Client::new().post(url).form(&[("grant_type", "client_credentials")]);
    let id = welcome["clientId"].as_str().expect("an id");
    let answer = request.basic_auth(id, welcome["clientSecret"].as_str()).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let process = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().await.expect("kill runs").success());
    let output =
        tokio::time::timeout(LONG, child.wait_with_output()).await.expect("in time").expect("it ends");
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).expect("text");
    assert!(log.lines().count() >= 3, "{log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
    assert_eq!(out.next_line().await.expect("text"), None, "one line only");

    for arguments in [&["--port", "x"][..], &["--unknown"], &["--jwt-private-key", "x"], &["migrate"]] {
        let mut command = program(arguments);
        let output = command.env("LOG_FORMAT", "json").output().await.expect("it runs");
        let text = String::from_utf8(output.stderr).expect("text");
        let line: Value = serde_json::from_str(text.trim_end()).expect("one line of JSON");
        assert_eq!(line["level"], "ERROR", "{arguments:?}");
        assert!(line["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}");
    }
}

/// A connection that stays idle is closed at the time set, which a test can wait for.
#[tokio::test]
async fn an_idle_connection_is_closed_after_the_time_that_is_set() {
    use tokio::io::AsyncReadExt as _;
    let running = serve(&["--idle-timeout-seconds", "1"], &[]).await;
    let address = running.address.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    // Less than the default.
    let closed = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 1])).await;
    assert_eq!(closed.expect("closed").expect("read"), 0);
}

/// The line has what an operator needs to find the request, and no secret.
#[tokio::test]
async fn the_log_says_why_a_client_was_refused_under_the_id_of_the_request() {
    let mut command = program(&["--port", "0", "--bcrypt-cost", "4", "--metrics-addr", "off"]);
    let mut child = command.spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let reading = async {
        let mut client = String::new();
        while let Some(line) = out.next_line().await.expect("text") {
            if let Some(id) = line.strip_prefix("client_id:") {
                client = id.trim().to_owned();
            } else if let Some((_, url)) = line.split_once("Explore the API: ") {
                let request = reqwest::Client::new().post(url.replace("/docs", "/api/v1/token"));
                let request = request.header("X-Request-Id", "asked-by-a-test");
                let form = [("grant_type", "client_credentials")];
                let answer = request.basic_auth(&client, Some("hunter2")).form(&form).send().await;
                assert_eq!(answer.expect("an answer").status(), 401);
                break;
            }
        }
        while let Some(line) = log.next_line().await.expect("text") {
            if line.contains("asked-by-a-test") {
                return (client, line);
            }
        }
        panic!("it ended")
    };
    let (client, line) = tokio::time::timeout(LONG, reading).await.expect("in time");
    for part in ["INFO", "answered", "status=401", "reason=\"secret\"", &client, "address=127.0.0.1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("hunter2"), "{line}");
}

/// The contents that `cp` leaves for a moment, or a full disk permanently.
#[tokio::test]
async fn a_key_file_that_is_empty_or_cut_off_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (private, public) = (folder.path().join("key.pem"), folder.path().join("retired.pem"));
    let own = generate_pem(KeyType::Ed25519).expect("a key");
    std::fs::write(&private, &own).expect("written");
    let output = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).output().await;
    let retired = String::from_utf8(output.expect("openssl runs").stdout).expect("text");
    let next = generate_pem(KeyType::P256).expect("a key");
    std::fs::write(&private, &next).expect("written");
    std::fs::write(&public, &retired).expect("written");
    let flags = ["agentidp", "--port=0", "--metrics-addr=off", "--bcrypt-cost=4"];
    let mut args = Cli::parse_from(flags).serve;
    args.jwt_private_key_file = Some(private.clone());
    args.jwt_verify_keys_file = Some(public.clone());
    let config = args.resolve().expect("settings");
    let service = Service::start(&config).await.expect("a service");
    let reload = || -> Result<(), StartError> {
        service.reload(&args.secrets()).into_iter().try_for_each(|(_, outcome)| outcome.map(drop))
    };
    let keys = async || {
        let keys = reqwest::get(format!("http://{}/.well-known/jwks.json", service.address)).await;
        keys.expect("an answer").json::<Value>().await.expect("JSON")["keys"].clone()
    };
    let before = keys().await;
    assert_eq!(before.as_array().expect("a list").len(), 2);
    for (file, whole) in [(&private, &next), (&public, &retired)] {
        let half = &whole[..whole.len() / 2];
        for cut in ["", "\n", " ", half, &whole[..whole.trim_end().len() - 1]] {
            std::fs::write(file, cut).expect("written");
            reload().expect_err(cut);
            assert_eq!(keys().await, before, "{cut:?}");
        }
        std::fs::write(file, whole).expect("written");
    }
    reload().expect("whole again");
    assert_eq!(keys().await, before);
    service.end().await;
}

#[tokio::test]
async fn who_gives_it_too_little_memory_is_told_in_one_line_how_much_it_takes() {
    let start = async |kilobytes: u64| {
        let script = format!(r#"ulimit -v {kilobytes}; exec "$0" --port 0 --bcrypt-cost 4"#);
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_agentidp")]).env_clear().env("METRICS_ADDR", "off");
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it runs")
    };
    let refused = tokio::time::timeout(LONG, start(90_000).await.wait_with_output()).await.expect("in time");
    let refused = refused.expect("it ends");
    let text = String::from_utf8(refused.stderr).expect("text");
    assert_eq!((refused.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    let (_, enough) = text.split_once("(ulimit -v) to ").expect("what to do");
    let enough = enough.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");

    let mut child = start(enough).await;
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let reading = async {
        while let Some(line) = out.next_line().await.expect("text") {
            if line.contains("Explore the API") {
                return;
            }
        }
        panic!("it ended although it has what it asked for");
    };
    tokio::time::timeout(LONG, reading).await.expect("in time");
}

#[tokio::test]
async fn who_gives_it_few_files_is_told_how_many_connections_that_leaves() {
    let mut command = Command::new("sh");
    let script = r#"ulimit -n 300; exec "$0" --port 0 --bcrypt-cost 4"#;
    command.args(["-c", script, env!("CARGO_BIN_EXE_agentidp")]).env_clear().env("METRICS_ADDR", "off");
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let reading = async {
        while let Some(line) = log.next_line().await.expect("text") {
            if line.contains("at most 34 concurrent connections") && line.contains("ulimit -n) to 8458") {
                return;
            }
        }
        panic!("it ended and did not print it")
    };
    tokio::time::timeout(LONG, reading).await.expect("in time");
}
