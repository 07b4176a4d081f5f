//! What the service costs, held against its limits: `cargo bench --bench figures`, on Linux.
//!
//! It starts the program itself, in memory, and loads it from threads of this process. Processor time is
//! that of the service's process alone. What is bound by the machine is told as a ratio to something measured
//! in the same round: a token to one bare RSA signature, an introspection to an answer of `/health`. Each
//! figure is the median, with the lowest and the highest in brackets. A wrong answer voids the run; a missed
//! limit is told in the table.

mod load;
mod service;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use load::{Connection, Load, request};
use service::{Service, call, cpu, new_key};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const STARTS: usize = 9;
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(1);
const LOAD: Duration = Duration::from_secs(5);
const SIGNING: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 16;
const MANY_CONNECTIONS: usize = 64;
/// How many living tokens are introspected in turn.
const TOKENS: usize = 100;
const WRONG_SECRETS: usize = 200;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn main() -> ExitCode {
    if std::env::args().all(|argument| argument != "--bench") {
        println!("nothing is measured but by `cargo bench`");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: void: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Outcome<()> {
    let key = new_key()?;
    let (mut ready, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let service = Service::start(&key)?;
        ready.push(service.ready_after.as_secs_f64() * 1e3);
        idle.push(service.resident()?);
    }
    let service = Service::start(&key)?;
    let client = Client::new(&service)?;
    client.lift_limits()?;
    let bcrypt_runs = client.bcrypt_runs_of_wrong_secrets()?;
    let tokens = (0..TOKENS).map(|_| client.token()).collect::<Outcome<Vec<_>>>()?;
    let loads = client.loads(&tokens);
    let signer = Signer::new(&key, &tokens[0])?;

    let mut connections = Connection::several(service.address, CONNECTIONS)?;
    let mut rounds = [const { Vec::new() }; 3];
    let mut signatures = Vec::new();
    for _ in 0..ROUNDS {
        signatures.push(signer.cost()?);
        for (load, rounds) in loads.iter().zip(&mut rounds) {
            load.run(&mut connections, WARM_UP)?;
            rounds.push(Round::of(&service, load, &mut connections)?);
        }
    }
    drop(connections);
    let mut connections = Connection::several(service.address, MANY_CONNECTIONS)?;
    loads[0].run(&mut connections, LOAD)?;
    let loaded = service.resident()?;

    let costs = rounds.each_ref().map(|rounds| rounds.iter().map(|round| round.cost).collect::<Vec<_>>());
    println!("| Load at {CONNECTIONS} connections | Requests/s | p50 (ms) | p99 (ms) | CPU (ms/request) |");
    println!("|---|---|---|---|---|");
    for (load, rounds) in loads.iter().zip(&rounds) {
        let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
        let (rate, middle, late) = (of(|r| r.rate), of(|r| r.middle), of(|r| r.late));
        let cost = of(|r| r.cost);
        println!("| `{}` | {rate:.0} | {middle:.2} | {late:.2} | {cost:.4} |", load.name);
    }
    println!("| one bare RSA-2048 signature | | | | {:.4} |\n", Spread::of(signatures.iter().copied()));

    println!("| Figure | Measured | Limit | |");
    println!("|---|---|---|---|");
    row("CPU of a token / CPU of a bare signature", &ratios(&costs[0], &signatures), 2, Some(1.2));
    row("CPU of an introspection / CPU of `/health`", &ratios(&costs[1], &costs[2]), 2, Some(3.0));
    let runs = Spread::of([bcrypt_runs]);
    row(&format!("bcrypt runs of {WRONG_SECRETS} wrong secrets"), &runs, 0, Some(0.0));
    row("start to ready, the key given (ms)", &Spread::of(ready), 0, Some(100.0));
    row("resident when idle (MB)", &Spread::of(idle), 1, Some(30.0));
    let name = format!("resident after tokens at {MANY_CONNECTIONS} connections (MB)");
    row(&name, &Spread::of([loaded]), 1, None);
    Ok(())
}

fn row(name: &str, figure: &Spread, digits: usize, limit: Option<f64>) {
    let verdict = match limit {
        None => "",
        Some(limit) if figure.median <= limit => "held",
        Some(_) => "missed",
    };
    let limit = limit.map_or(String::new(), |limit| limit.to_string());
    println!("| {name} | {figure:.digits$} | {limit} | {verdict} |");
}

fn ratios(costs: &[f64], units: &[f64]) -> Spread {
    Spread::of(costs.iter().zip(units).map(|(cost, unit)| cost / unit))
}

/// The first administrator, as a client.
struct Client<'a> {
    service: &'a Service,
    token_request: Vec<u8>,
    bearer: String,
}

impl<'a> Client<'a> {
    fn new(service: &'a Service) -> Outcome<Self> {
        let token_request = token_request(&service.client_id, &service.client_secret);
        let mut client = Self { service, token_request, bearer: String::new() };
        client.bearer = format!("Bearer {}", client.token()?);
        Ok(client)
    }

    fn token(&self) -> Outcome<String> {
        let answer = call(self.service.address, &self.token_request, 200)?;
        let token = serde_json::from_slice::<Value>(&answer)?;
        Ok(token["access_token"].as_str().ok_or("no token")?.to_owned())
    }

    fn lift_limits(&self) -> Outcome<()> {
        let headers = [("Authorization", self.bearer.as_str()), JSON];
        let list = request("GET /api/v1/organizations", &headers[..1], "");
        let list = serde_json::from_slice::<Value>(&call(self.service.address, &list, 200)?)?;
        let id = list["data"][0]["organizationId"].as_str().ok_or("no organization")?;
        let limits = r#"{"limits":{"requestsPerMinute":null,"maxTokensPerMonth":null}}"#;
        let change = request(&format!("PATCH /api/v1/organizations/{id}"), &headers, limits);
        call(self.service.address, &change, 200).map(drop)
    }

    fn loads(&self, tokens: &[String]) -> [Load; 3] {
        let headers = [("Authorization", self.bearer.as_str()), FORM];
        let introspection =
            |token| request("POST /api/v1/token/introspect", &headers, &format!("token={token}"));
        [
            Load {
                name: "POST /api/v1/token",
                requests: vec![self.token_request.clone()],
                right: br#"{"access_token":"#,
            },
            Load {
                name: "POST /api/v1/token/introspect",
                requests: tokens.iter().map(introspection).collect(),
                right: br#"{"active":true"#,
            },
            Load {
                name: "GET /health",
                requests: vec![request("GET /health", &[], "")],
                right: br#"{"status":"ok""#,
            },
        ]
    }

    fn bcrypt_runs_of_wrong_secrets(&self) -> Outcome<f64> {
        self.make_credential()?;
        let before = self.service.bcrypt_runs()?;
        if before.0 == 0 {
            return Err("the hash of a new secret is not counted".into());
        }
        let mut connection = Connection::open(self.service.address)?;
        for number in 0..WRONG_SECRETS {
            let text = format!("aidp_sk_{number:048x}");
            let secret = format!("{text}{:08x}", crc32fast::hash(text.as_bytes()));
            let answer = connection.exchange(&token_request(&self.service.client_id, &secret))?;
            if answer.status != 401 {
                return Err(format!("a wrong secret: answered {}", answer.status).into());
            }
        }
        let after = self.service.bcrypt_runs()?;
        Ok((after.0 + after.1 - before.0 - before.1) as f64)
    }

    fn make_credential(&self) -> Outcome<()> {
        let line = format!("POST /api/v1/agents/{}/credentials", self.service.client_id);
        let make = request(&line, &[("Authorization", self.bearer.as_str()), JSON], "{}");
        call(self.service.address, &make, 201).map(drop)
    }
}

fn token_request(id: &str, secret: &str) -> Vec<u8> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    request("POST /api/v1/token", &[("Authorization", &basic), FORM], "grant_type=client_credentials")
}

/// What one round of a load came to. Times are in milliseconds.
struct Round {
    rate: f64,
    middle: f64,
    late: f64,
    cost: f64,
}

impl Round {
    fn of(service: &Service, load: &Load, connections: &mut [Connection]) -> Outcome<Self> {
        let (before, began) = (service.cpu()?, Instant::now());
        let times = load.run(connections, LOAD)?;
        let (used, took) = (service.cpu()? - before, began.elapsed());
        let number = times.len() as f64;
        let at = |hundredths: usize| times[times.len() * hundredths / 100].as_secs_f64() * 1e3;
        Ok(Self {
            rate: number / took.as_secs_f64(),
            middle: at(50),
            late: at(99),
            cost: used.as_secs_f64() * 1e3 / number,
        })
    }
}

/// Signs what the service signs, with its key, and nothing else.
struct Signer {
    key: RsaKeyPair,
    message: Vec<u8>,
}

impl Signer {
    fn new(pem: &str, token: &str) -> Outcome<Self> {
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64)?)?;
        let (message, _) = token.rsplit_once('.').ok_or("no JWT")?;
        Ok(Self { key, message: message.into() })
    }

    /// The processor time of one signature, in milliseconds.
    fn cost(&self) -> Outcome<f64> {
        let random = SystemRandom::new();
        let mut signature = vec![0; self.key.public_modulus_len()];
        let (before, end) = (cpu("/proc/thread-self/stat")?, Instant::now() + SIGNING);
        let mut number = 0.0;
        while Instant::now() < end {
            self.key.sign(&RSA_PKCS1_SHA256, &random, &self.message, &mut signature)?;
            number += 1.0;
        }
        let used = cpu("/proc/thread-self/stat")? - before;
        Ok(used.as_secs_f64() * 1e3 / number)
    }
}

/// The median of some figures, and how far they lie apart.
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
    is_one: bool,
}

impl Spread {
    fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len() - 1;
        Self { median: sorted[sorted.len() / 2], lowest: sorted[0], highest: sorted[last], is_one: last == 0 }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        write!(f, "{:.digits$}", self.median)?;
        if self.is_one {
            return Ok(());
        }
        write!(f, " ({:.digits$}–{:.digits$})", self.lowest, self.highest)
    }
}
