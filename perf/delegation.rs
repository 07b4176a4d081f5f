//! Exchanged and bound tokens: their cost compared with that of plain ones, and how it grows with the depth of a chain and with
//! the number of descendants of a token that is revoked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agentidp::adapters::system::SystemClock;
use agentidp::ports::clock::Clock as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testing::{ProofKey, proof_claims};

use crate::client::{Client, token_request_of};
use crate::load::{Connection, Exchange, Load, Until, request};
use crate::measure::{Round, Spread, cost_on_all_cores, ratios, row};
use crate::private_stores::PrivateStores;
use crate::process::Processes;
use crate::service::{Service, call, new_key};
use crate::{CONNECTIONS, Outcome, WARM_UP, setting};

/// Duration of a turn of a load.
const TURN: Duration = Duration::from_millis(500);
/// Number of agents of the longest chain, with the first one.
const AGENTS: usize = 6;
/// Number of requests with a proof of their own in each turn.
const PROOFS: usize = 4_000;
/// Numbers of descendants of a token that is revoked.
const DESCENDANTS: [usize; 3] = [10, 1_000, 100_000];
/// Number of revocations of tokens with the same number of descendants.
const REVOCATIONS: usize = 9;
const SETTINGS: [(&str, &str); 1] = [("MAX_DELEGATION_DEPTH", "5")];

/// Measures the service, in memory and on a private PostgreSQL and Redis, and prints tables.
pub fn measure() -> Outcome<()> {
    let turns: usize = setting("TURNS", "20").parse()?;
    let key = new_key("rsa")?;
    println!("In memory.\n");
    let service = Service::start_set(&key, &SETTINGS)?;
    measure_of(&service, &service.processes(&[]), turns)?;
    drop(service);
    println!("\nOn PostgreSQL and Redis; the CPU is that of the service.\n");
    let stores = PrivateStores::start()?;
    let (database, redis) = (stores.database("ours")?, stores.redis(1)?);
    let service = Service::start_on_set(&key, &database, &redis, &SETTINGS)?;
    measure_of(&service, &service.processes(&stores.pids), turns)
}

fn measure_of(service: &Service, processes: &Processes, turns: usize) -> Outcome<()> {
    let administrator = Client::without_limits(service)?;
    let family = Family::new(service.address, &administrator)?;
    println!("| figure, at {CONNECTIONS} connections | measured | target | |\n|---|---|---|---|");
    costs(&family, &administrator, processes, turns)?;
    proofs(&family, processes, turns)?;
    println!("\n| depth | exchange (ms CPU) | introspection (ms CPU) |\n|--:|--:|--:|");
    by_depth(&family, &administrator, processes)?;
    println!("\n| descendants | revocation (ms) | introspection of one of them (ms CPU) |\n|--:|--:|--:|");
    by_descendants(&family, &administrator, processes)
}

/// Compares exchanges with tokens by client credentials, and introspections by depth.
fn costs(family: &Family, administrator: &Client, processes: &Processes, turns: usize) -> Outcome<()> {
    let plain = Load { name: "client credentials", exchanges: vec![family.agents[0].token()] };
    let chain = family.chain()?;
    let exchange = Load { name: "exchange", exchanges: vec![family.agents[1].exchange(&chain[0])] };
    let shallow = Load { name: "depth 0", exchanges: vec![administrator.introspection(&chain[0])] };
    let deep = Load { name: "depth 5", exchanges: vec![administrator.introspection(&chain[AGENTS - 1])] };
    let loads = [&plain, &exchange, &shallow, &deep];
    let mut connections = Connection::several(family.address, CONNECTIONS)?;
    for load in loads {
        load.run(&mut connections, Until::End(WARM_UP))?;
    }
    let mut costs = [const { Vec::new() }; 4];
    for _ in 0..turns {
        for (load, costs) in loads.into_iter().zip(&mut costs) {
            costs.push(Round::of(processes, load, &mut connections, Until::End(TURN))?.cost);
        }
    }
    let [plain, exchange, shallow, deep] = costs;
    row("CPU of an exchange / of a token by client credentials", &ratios(&exchange, &plain), 2, Some(1.15));
    row("CPU of an introspection at depth 5 / at depth 0", &ratios(&deep, &shallow), 2, Some(1.5));
    Ok(())
}

/// Compares calls with a bound token and a proof each with calls with a bearer token.
fn proofs(family: &Family, processes: &Processes, turns: usize) -> Outcome<()> {
    let agent = &family.agents[0];
    let key = ProofKey::es256();
    let bound = agent.bound(&key, family.address)?;
    let bearer = token_of(&call(family.address, &agent.token().request, 200)?)?;
    let path = format!("/api/v1/agents/{}", agent.id);
    let read = |headers: &[(&str, &str)]| Exchange::ok(request(&format!("GET {path}"), headers, ""), "{");
    let plain =
        Load { name: "bearer", exchanges: vec![read(&[("Authorization", &format!("Bearer {bearer}"))])] };
    let mut connections = Connection::several(family.address, CONNECTIONS)?;
    let (mut more, mut verifications) = (Vec::new(), Vec::new());
    for turn in 0..=turns {
        let exchanges = (0..PROOFS)
            .map(|_| {
                let proof = proof(&key, family.address, "GET", &path, Some(&bound));
                read(&[("Authorization", &format!("DPoP {bound}")), ("DPoP", &proof)])
            })
            .collect();
        let proven = Load { name: "DPoP", exchanges };
        let without = Round::of(processes, &plain, &mut connections, Until::End(TURN))?.cost;
        let with = Round::of(processes, &proven, &mut connections, Until::Done)?.cost;
        // The first turn warms up.
        if turn > 0 {
            more.push((with - without) * 1e3);
            verifications.push(cost_of_verification(&key, TURN)? * 1e3);
        }
    }
    row(
        "CPU of one ES256 verification, on all cores (µs)",
        &Spread::of(verifications.iter().copied()),
        0,
        None,
    );
    row("CPU that DPoP adds to a call / that of one verification", &ratios(&more, &verifications), 2, None);
    row("CPU of a call with DPoP - with a bearer token (µs, ES256)", &Spread::of(more), 0, Some(60.0));
    Ok(())
}

fn by_depth(family: &Family, administrator: &Client, processes: &Processes) -> Outcome<()> {
    let chain = family.chain()?;
    let mut connections = Connection::several(family.address, CONNECTIONS)?;
    for (depth, token) in chain.iter().enumerate() {
        let exchange = match depth {
            0 => family.agents[0].token(),
            _ => family.agents[depth].exchange(&chain[depth - 1]),
        };
        let mut cost = |exchange| -> Outcome<Spread> {
            let load = Load { name: "by depth", exchanges: vec![exchange] };
            let turns = (0..REVOCATIONS)
                .map(|_| Ok(Round::of(processes, &load, &mut connections, Until::End(TURN / 2))?.cost));
            Ok(Spread::of(turns.collect::<Outcome<Vec<_>>>()?))
        };
        let (exchange, introspection) = (cost(exchange)?, cost(administrator.introspection(token))?);
        println!("| {depth} | {exchange:.3} | {introspection:.3} |");
    }
    Ok(())
}

/// Revokes tokens with many descendants, one ancestor after the other.
fn by_descendants(family: &Family, administrator: &Client, processes: &Processes) -> Outcome<()> {
    let mut connections = Connection::several(family.address, CONNECTIONS)?;
    let [first, second, ..] = &family.agents[..] else { return Err("too few agents".into()) };
    for descendants in DESCENDANTS {
        let mut ancestors = family.tokens_of(first)?;
        while ancestors.len() < REVOCATIONS {
            let last = ancestors.last().ok_or("no token")?;
            let narrowed = call(family.address, &first.exchange(last).request, 200)?;
            ancestors.push(token_of(&narrowed)?);
        }
        let exchange = second.exchange(ancestors.last().ok_or("no token")?);
        let descendant = token_of(&call(family.address, &exchange.request, 200)?)?;
        let exchanges = vec![exchange; descendants - 1];
        Load { name: "descendants", exchanges }.run(&mut connections, Until::Done)?;
        let load = Load { name: "one of them", exchanges: vec![administrator.introspection(&descendant)] };
        let cost = Round::of(processes, &load, &mut connections, Until::End(TURN))?.cost;
        let mut took = Vec::new();
        for ancestor in ancestors.iter().rev() {
            let began = Instant::now();
            call(family.address, &administrator.revocation(ancestor).request, 200)?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        println!("| {descendants} | {:.2} | {cost:.3} |", Spread::of(took));
    }
    Ok(())
}

/// Agents of which each may act for the one before it.
struct Family {
    address: SocketAddr,
    agents: Vec<Agent>,
}

struct Agent {
    id: String,
    secret: String,
}

impl Family {
    fn new(address: SocketAddr, administrator: &Client) -> Outcome<Self> {
        let mut agents: Vec<Agent> = Vec::new();
        for place in (0..AGENTS).rev() {
            let actors: Vec<&str> = agents.first().iter().map(|agent| agent.id.as_str()).collect();
            let body = json!({
                "email": format!("member-{place}@example.com"), "agentType": "custom", "version": "1.0.0",
                "capabilities": ["documents:read", "agents:read"], "owner": "bench", "deploymentEnv": "staging",
                "mayAct": actors, "redelegation": true,
            });
            let agent = administrator.create("/api/v1/agents", &body)?;
            let id = agent["agentId"].as_str().ok_or("no agent")?.to_owned();
            let path = format!("/api/v1/agents/{id}/credentials");
            let secret = administrator.create(&path, &json!({}))?["clientSecret"].clone();
            agents.insert(0, Agent { id, secret: secret.as_str().ok_or("no secret")?.to_owned() });
        }
        Ok(Self { address, agents })
    }

    /// Returns a token of the first agent, and the tokens of the others, each exchanged from the one before it.
    fn chain(&self) -> Outcome<Vec<String>> {
        let mut tokens = Vec::<String>::new();
        for agent in &self.agents {
            let exchange = match tokens.last() {
                None => agent.plain(),
                Some(last) => agent.exchange(last),
            };
            tokens.push(token_of(&call(self.address, &exchange.request, 200)?)?);
        }
        Ok(tokens)
    }

    fn tokens_of(&self, agent: &Agent) -> Outcome<Vec<String>> {
        Ok(vec![token_of(&call(self.address, &agent.plain().request, 200)?)?])
    }
}

impl Agent {
    fn request(&self, form: &str) -> Exchange {
        let request = token_request_of("/api/v1/token", &self.id, &self.secret, form);
        Exchange::ok(request, r#"{"access_token":"#)
    }

    /// Request of a token for reading agents.
    fn token(&self) -> Exchange {
        self.request("grant_type=client_credentials&scope=agents%3Aread")
    }

    /// Request of a token that can be exchanged.
    fn plain(&self) -> Exchange {
        self.request("grant_type=client_credentials")
    }

    /// Exchange of a token of this service.
    fn exchange(&self, token: &str) -> Exchange {
        self.request(&format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
             &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&subject_token={token}"
        ))
    }

    /// Obtains a token that is bound to the key.
    fn bound(&self, key: &ProofKey, address: SocketAddr) -> Outcome<String> {
        let proof = proof(key, address, "POST", "/api/v1/token", None);
        let form = "grant_type=client_credentials&scope=agents%3Aread&client_id=";
        let body = format!("{form}{}&client_secret={}", self.id, self.secret);
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("DPoP", &proof)];
        token_of(&call(address, &request("POST /api/v1/token", &headers, &body), 200)?)
    }
}

fn token_of(answer: &[u8]) -> Outcome<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    Ok(answer["access_token"].as_str().ok_or("no token")?.to_owned())
}

/// Returns a proof of possession for a request of now.
fn proof(key: &ProofKey, address: SocketAddr, method: &str, path: &str, token: Option<&str>) -> String {
    let mut claims = proof_claims(&format!("http://{address}"), method, path, token);
    claims["iat"] = json!(SystemClock.now().as_seconds());
    key.sign(&key.header(), &claims)
}

/// Returns the CPU time of the verification of one signature by ES256, in milliseconds, while all cores verify.
fn cost_of_verification(key: &ProofKey, time: Duration) -> Outcome<f64> {
    let proof = key.proof("http://localhost", "GET", "/", None);
    let (message, signature) = proof.rsplit_once('.').ok_or("no JWT")?;
    let (message, signature) = (message.as_bytes(), URL_SAFE_NO_PAD.decode(signature)?);
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key.jwk[name].as_str().unwrap_or_default());
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)?;
    cost_on_all_cores(time, || Ok(public.verify_sig(message, &signature)?))
}
