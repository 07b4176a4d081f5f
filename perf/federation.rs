//! Tokens by federated credentials: their cost, and the cost of a storm of unknown keys to other clients.
//!
//! The service runs in memory. The issuer is a server of this process, which counts how often its keys are fetched.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentidp::adapters::system::SystemClock;
use agentidp::ports::clock::Clock as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::client::{Client, form_request};
use crate::load::{Connection, Exchange, Load, Until};
use crate::measure::{Round, Signer, Spread, ratios, row};
use crate::process::Processes;
use crate::service::{Service, new_key};
use crate::{CONNECTIONS, Outcome, WARM_UP, setting};

/// Duration of a turn of a load that is repeated.
const TURN: Duration = Duration::from_millis(500);
/// Number of assertions that are new in each turn.
const NEW_ASSERTIONS: usize = 800;
/// Requests per second of the client that behaves well.
const CALM: f64 = 100.0;
/// Requests per second of the storm.
const STORM: f64 = 1_000.0;
/// Duration of a storm: the time in which keys are fetched at most once.
const STORM_TIME: Duration = Duration::from_secs(30);
/// `kid` of the issuer's key.
const KEY_ID: &str = "1";
const ASSERTION_TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

/// Measures the service and prints a table.
pub fn measure() -> Outcome<()> {
    let turns: usize = setting("TURNS", "20").parse()?;
    let issuer = Issuer::start()?;
    let key = new_key("rsa")?;
    // No address is refused for its failures, so that each request of the storm costs as much as it can.
    let settings =
        [("ISSUER_PRIVATE_NETWORKS", "127.0.0.0/8"), ("ADDRESS_REQUESTS_PER_MINUTE", "4000000000")];
    let service = Service::start_set(&key, &settings)?;
    let administrator = Client::without_limits(&service)?;
    let workload = Workload::new(&issuer, &administrator, &service)?;
    let signer = Signer::new(&key, &administrator.tokens(1)?[0])?;
    let processes = service.processes(&[]);
    println!("| figure, at {CONNECTIONS} connections | measured | target | |\n|---|---|---|---|");
    costs(&workload, &administrator, &signer, &processes, turns)?;
    storm(&workload, &processes)
}

/// Compares the CPU time of tokens with that of signatures.
fn costs(
    workload: &Workload<'_>,
    administrator: &Client,
    signer: &Signer,
    processes: &Processes,
    turns: usize,
) -> Outcome<()> {
    let mut connections = Connection::several(workload.address, CONNECTIONS)?;
    let by_secret = Load { name: "by a secret", exchanges: vec![administrator.token()] };
    let seen = Load { name: "seen before", exchanges: vec![workload.token()?] };
    for load in [&by_secret, &seen] {
        load.run(&mut connections, Until::End(WARM_UP))?;
    }
    let (mut signatures, mut costs) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for _ in 0..turns {
        let exchanges = (0..NEW_ASSERTIONS).map(|_| workload.token()).collect::<Outcome<_>>()?;
        let unseen = Load { name: "seen for the first time", exchanges };
        signatures.push(signer.cost(TURN)?);
        let loads = [(&by_secret, Until::End(TURN)), (&seen, Until::End(TURN)), (&unseen, Until::Done)];
        for ((load, until), costs) in loads.into_iter().zip(&mut costs) {
            costs.push(Round::of(processes, load, &mut connections, until)?.cost);
        }
    }
    for (name, costs, target) in [
        ("CPU of a token by a secret in signatures", &costs[0], None),
        ("CPU of a token by an assertion that was seen before", &costs[1], Some(1.25)),
        ("CPU of a token by an assertion that is new", &costs[2], Some(1.35)),
    ] {
        row(name, &ratios(costs, &signatures), 2, target);
    }
    Ok(())
}

/// Compares the latency of one client in a storm of assertions with an unknown `kid` with that of a calm time.
fn storm(workload: &Workload<'_>, processes: &Processes) -> Outcome<()> {
    let well_behaved = Load { name: "well behaved", exchanges: vec![workload.token()?] };
    let mut own = Connection::several(workload.address, 4)?;
    let calm = Round::of(processes, &well_behaved, &mut own, Until::Paced(STORM_TIME / 3, CALM))?;
    let unknown = workload.refused("unknown")?;
    let storm = Load { name: "unknown key", exchanges: vec![unknown] };
    let mut others = Connection::several(workload.address, CONNECTIONS)?;
    let before = workload.issuer.fetches();
    let (stormy, stormed) = std::thread::scope(|scope| {
        let storm = scope.spawn(|| storm.run(&mut others, Until::Paced(STORM_TIME, STORM)));
        let stormy = Round::of(processes, &well_behaved, &mut own, Until::Paced(STORM_TIME, CALM));
        (stormy, storm.join().expect("a sender does not panic"))
    });
    let (stormy, stormed) = (stormy?, stormed?.len());
    let fetches = workload.issuer.fetches() - before;
    let rate = stormed as f64 / STORM_TIME.as_secs_f64();
    row(&format!("fetches in 30 s at {rate:.0} unknown keys/s"), &Spread::of([fetches as f64]), 0, Some(1.0));
    row(
        "p99 of another client in the storm / before it",
        &Spread::of([stormy.late / calm.late]),
        2,
        Some(3.0),
    );
    println!("\np99 before the storm {:.2} ms, in it {:.2} ms", calm.late, stormy.late);
    Ok(())
}

/// An issuer with one RSA key, which it serves over HTTP.
struct Issuer {
    url: String,
    key: RsaKeyPair,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    fn start() -> Outcome<Self> {
        let pem = new_key("rsa")?;
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64)?)?;
        let mut jwk = testing::public_jwk(&pem);
        jwk["kid"] = json!(KEY_ID);
        let keys = json!({ "keys": [jwk] }).to_string();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = fetches.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                // A connection that breaks is one that the service has given up.
                let _ = answer(stream, &keys);
            }
        });
        Ok(Self { url, key, fetches })
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn sign(&self, key_id: &str, claims: &Value) -> Outcome<String> {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key_id });
        let message = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Answers one request with the keys.
fn answer(mut stream: TcpStream, keys: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    let length = keys.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{keys}")
}

/// An agent that authenticates by the issuer.
struct Workload<'a> {
    issuer: &'a Issuer,
    address: SocketAddr,
    audience: String,
    agent: String,
    issued: AtomicUsize,
}

impl<'a> Workload<'a> {
    fn new(issuer: &'a Issuer, administrator: &Client, service: &Service) -> Outcome<Self> {
        let keys = json!({ "type": "jwks_uri", "uri": format!("{}/jwks", issuer.url) });
        let body = json!({ "name": "Bench", "issuer": issuer.url, "keys": keys });
        let trusted = administrator.create("/api/v1/issuers", &body)?;
        let agent = administrator.registered("workload@example.com")?;
        let credential =
            json!({ "type": "federated", "issuerId": trusted["issuerId"], "subject": "workload" });
        administrator.create(&format!("/api/v1/agents/{agent}/credentials"), &credential)?;
        let audience = format!("http://{}", service.address);
        Ok(Self { issuer, address: service.address, audience, agent, issued: AtomicUsize::new(0) })
    }

    fn assertion(&self, key_id: &str) -> Outcome<String> {
        let now = SystemClock.now().as_seconds();
        let id = self.issued.fetch_add(1, Ordering::SeqCst);
        let claims = json!({
            "iss": self.issuer.url, "sub": "workload", "aud": self.audience, "iat": now, "exp": now + 3_600,
            "jti": id.to_string(),
        });
        self.issuer.sign(key_id, &claims)
    }

    /// Returns a token request with a new assertion.
    fn token(&self) -> Outcome<Exchange> {
        Ok(Exchange::ok(self.request(KEY_ID)?, r#"{"access_token":"#))
    }

    /// Returns a token request with a new assertion by an unknown key.
    fn refused(&self, key_id: &str) -> Outcome<Exchange> {
        Ok(Exchange { request: self.request(key_id)?, status: 401, right: "{" })
    }

    fn request(&self, key_id: &str) -> Outcome<Vec<u8>> {
        let assertion = self.assertion(key_id)?;
        let agent = &self.agent;
        Ok(form_request(
            "/api/v1/token",
            &format!(
                "grant_type=client_credentials&client_id={agent}&client_assertion_type={ASSERTION_TYPE}\
                 &client_assertion={assertion}"
            ),
        ))
    }
}
