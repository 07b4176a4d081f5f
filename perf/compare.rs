//! Comparison with other servers in one run: the same load on each in turn, in several rounds.
//!
//! Set `ROUNDS`, `SECONDS` (of a round), `CONNECTIONS` (default `1,16,64,256`) and `ONLY` (beginnings of the names of
//! loads, comma-separated) for a shorter run.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Client, health};
use crate::load::{Connection, Exchange, Load, Until};
use crate::measure::{Round, Signer, Spread};
use crate::peers::{ExpressStack, OidcProvider, SecretCheck};
use crate::private_stores::PrivateStores;
use crate::process::Processes;
use crate::service::{Service, new_key};
use crate::{Outcome, TOKENS, WARM_UP, setting};

/// Number of requests in a load whose requests can be sent only once each.
const ONCE: usize = 2000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Token,
    Introspection,
    Read,
    Revocation,
    Mix,
}

const KINDS: [Kind; 5] = [Kind::Token, Kind::Introspection, Kind::Read, Kind::Revocation, Kind::Mix];

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspection => "introspection",
            Self::Read => "bearer read",
            Self::Revocation => "revocation",
            Self::Mix => "mix: 80 % introspection, 15 % token, 5 % new agents",
        }
    }
}

enum Server {
    Ours(Client, Service),
    ExpressStack(Client, ExpressStack),
    Oidc(OidcProvider),
}

struct Subject {
    name: &'static str,
    server: Server,
    processes: Processes,
    registered: Vec<String>,
    /// Number of agents created on the server.
    agents: usize,
}

impl Subject {
    fn new(name: &'static str, server: Server, stores: &[u32]) -> Outcome<Self> {
        let processes = match &server {
            Server::Ours(_, service) => service.processes(stores),
            Server::ExpressStack(_, stack) => stack.peer.processes(),
            Server::Oidc(provider) => provider.peer.processes(),
        };
        let mut subject = Self { name, server, processes, registered: Vec::new(), agents: 0 };
        subject.registered = subject.tokens(TOKENS)?;
        Ok(subject)
    }

    fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Ours(_, service) => service.address,
            Server::ExpressStack(_, stack) => stack.peer.address,
            Server::Oidc(provider) => provider.peer.address,
        }
    }

    fn tokens(&self, number: usize) -> Outcome<Vec<String>> {
        match &self.server {
            Server::Ours(client, _) => client.tokens(number),
            Server::ExpressStack(_, stack) => stack.mint(number),
            Server::Oidc(provider) => provider.tokens(number),
        }
    }

    fn token(&self) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::ExpressStack(client, _) => client.token(),
            Server::Oidc(provider) => provider.token(),
        }
    }

    fn introspection(&self, token: &str) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::ExpressStack(client, _) => client.introspection(token),
            Server::Oidc(provider) => provider.introspection(token),
        }
    }

    fn revocation(&self, token: &str) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::ExpressStack(client, _) => client.revocation(token),
            Server::Oidc(provider) => provider.revocation(token),
        }
    }

    fn read(&self) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::ExpressStack(client, _) => client.read(),
            Server::Oidc(provider) => provider.read(),
        }
    }

    fn creation(&mut self) -> Exchange {
        self.agents += 1;
        match &self.server {
            Server::Ours(client, _) | Server::ExpressStack(client, _) => client.creation(self.agents),
            Server::Oidc(provider) => provider.creation(),
        }
    }

    fn load(&mut self, kind: Kind, time: Duration) -> Outcome<(Load, Until)> {
        let registered: Vec<_> = self.registered.iter().map(|token| self.introspection(token)).collect();
        let (exchanges, until) = match kind {
            Kind::Token => (vec![self.token()], Until::End(time)),
            Kind::Introspection => (registered, Until::End(time)),
            Kind::Read => (vec![self.read()], Until::End(time)),
            Kind::Revocation => {
                let tokens = self.tokens(ONCE)?;
                (tokens.iter().map(|token| self.revocation(token)).collect(), Until::Done)
            }
            Kind::Mix => {
                // Of every twenty requests, one creates an agent and three obtain tokens, evenly spread.
                let one = |place: usize| match place % 20 {
                    0 => self.creation(),
                    5 | 10 | 15 => self.token(),
                    _ => registered[place % registered.len()].clone(),
                };
                ((0..ONCE).map(one).collect(), Until::Done)
            }
        };
        Ok((Load { name: kind.name(), exchanges }, until))
    }

    fn round(&mut self, kind: Kind, connections: usize, time: Duration) -> Outcome<Round> {
        let (load, until) = self.load(kind, time)?;
        if let Until::End(_) = until {
            load.run(&mut Connection::several(self.address(), connections)?, Until::End(WARM_UP))?;
        }
        // New connections, because a server may close idle ones while the last of many answers arrive slowly.
        let mut connections = Connection::several(self.address(), connections)?;
        Round::of(&self.processes, &load, &mut connections, until).map_err(|error| {
            let (name, kind) = (self.name, kind.name());
            format!("{name}, {kind}: {error}").into()
        })
    }
}

/// Measurements of a load: the rounds of each subject at each number of connections.
type Results = Vec<Vec<Vec<Round>>>;

/// Runs the comparison and prints its tables.
pub fn measure() -> Outcome<()> {
    let rounds: usize = setting("ROUNDS", "3").parse()?;
    let time = Duration::from_secs(setting("SECONDS", "5").parse()?);
    let connections = setting("CONNECTIONS", "1,16,64,256");
    let connections: Vec<&str> = connections.split(',').collect();
    let only = setting("ONLY", "");
    let is_wanted = |kind: &Kind| only.split(',').any(|name| kind.name().starts_with(name));
    let kinds: Vec<Kind> = KINDS.into_iter().filter(is_wanted).collect();

    let stores = PrivateStores::start()?;
    let key = new_key("rsa")?;
    let ours = |name, service: Service, pids: &[u32]| {
        Subject::new(name, Server::Ours(Client::without_limits(&service)?, service), pids)
    };
    let stack = |name, database, check| {
        let stack = ExpressStack::start(&stores, &key, database, check)?;
        Subject::new(
            name,
            Server::ExpressStack(Client::new(stack.peer.address, &stack.id, &stack.secret)?, stack),
            &[],
        )
    };
    let on_stores = Service::start_on(&key, &stores.database("ours")?, &stores.redis(1)?)?;
    let mut subjects = vec![
        ours("AgentIdP, in memory", Service::start(&key)?, &[])?,
        ours("AgentIdP, PostgreSQL and Redis", on_stores, &stores.pids)?,
        stack("the Express stack, 2 processes", "express", SecretCheck::EachTime)?,
        stack("… bcrypt remembered", "express_remembered", SecretCheck::Once)?,
        Subject::new("node-oidc-provider, in memory", Server::Oidc(OidcProvider::in_memory(&key)?), &[])?,
        Subject::new("… Redis, 2 processes", Server::Oidc(OidcProvider::on_redis(&stores, &key)?), &[])?,
    ];
    let signer = Signer::new(&key, &subjects[0].registered[0])?;

    let (mut signatures, mut answers) = (Vec::new(), Vec::new());
    let of_subjects = || connections.iter().map(|_| Vec::new()).collect();
    let mut results: Vec<Results> =
        kinds.iter().map(|_| subjects.iter().map(|_| of_subjects()).collect()).collect();
    for number in 1..=rounds {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        eprintln!("round {number}, load average {}", load.split(' ').next().unwrap_or_default());
        signatures.push(signer.cost(WARM_UP)?);
        answers.push(health_of(&subjects[0], time)?);
        for (kind, results) in kinds.iter().zip(&mut results) {
            for (place, connections) in connections.iter().enumerate() {
                for (subject, results) in subjects.iter_mut().zip(&mut *results) {
                    results[place].push(subject.round(*kind, connections.parse()?, time)?);
                }
            }
        }
    }

    let (signature, answer) = (Spread::of(signatures), Spread::of(answers));
    println!(
        "Medians of {rounds} rounds, {} s each; in brackets how far the rates lie apart.",
        time.as_secs()
    );
    println!("One bare RSA-2048 signature: {signature:.4} ms.");
    println!("One answer of `GET /health`: {answer:.4} ms.\n");
    for (kind, results) in kinds.iter().zip(&results) {
        let (unit, cost) = match kind {
            Kind::Token => ("signatures", signature.median),
            _ => ("`/health`", answer.median),
        };
        table(*kind, &subjects, results, &connections, unit, cost);
    }
    compare_with_peers(&kinds, &subjects, &results, &connections);
    Ok(())
}

fn health_of(subject: &Subject, time: Duration) -> Outcome<f64> {
    let mut connections = Connection::several(subject.address(), crate::CONNECTIONS)?;
    health().run(&mut connections, Until::End(WARM_UP))?;
    Ok(Round::of(&subject.processes, &health(), &mut connections, Until::End(time))?.cost)
}

fn table(
    kind: Kind,
    subjects: &[Subject],
    results: &Results,
    connections: &[&str],
    unit: &str,
    unit_cost: f64,
) {
    println!("### {}, at {} connections\n", kind.name(), connections.join(" · "));
    println!(
        "| server | requests/s | p50 (ms) | p99 (ms) | CPU (ms/request) | in {unit} | CPU of stores | MB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (subject, results) in subjects.iter().zip(results) {
        let each = |digits: usize, figure: fn(&Round) -> f64, unit: f64| {
            let medians = results.iter().map(|rounds| Spread::of(rounds.iter().map(figure)).median / unit);
            medians.map(|median| format!("{median:.digits$}")).collect::<Vec<_>>().join(" · ")
        };
        let apart = results.iter().map(|rounds| Spread::of(rounds.iter().map(|round| round.rate)).apart());
        println!(
            "| {} | {} (±{:.0} %) | {} | {} | {} | {} | {} | {:.0} |",
            subject.name,
            each(0, |round| round.rate, 1.0),
            apart.fold(0.0, f64::max) * 50.0,
            each(2, |round| round.middle, 1.0),
            each(2, |round| round.late, 1.0),
            each(3, |round| round.cost, 1.0),
            each(2, |round| round.cost, unit_cost),
            each(3, |round| round.cost_of_stores, 1.0),
            subject.processes.resident().unwrap_or_default(),
        );
    }
    println!();
}

/// Prints the request rate as a multiple of each peer's.
///
/// The service runs on PostgreSQL and Redis; a peer may keep everything in memory.
fn compare_with_peers(kinds: &[Kind], subjects: &[Subject], results: &[Results], connections: &[&str]) {
    println!("| times the rate of a peer, at {} connections | | |\n|---|---|---|", connections.join(" · "));
    for (kind, results) in kinds.iter().zip(results) {
        for (subject, peer) in subjects.iter().zip(results).skip(2) {
            let rate = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.rate)).median;
            let times: Vec<_> =
                results[1].iter().zip(peer).map(|(ours, peer)| rate(ours) / rate(peer)).collect();
            let least = times.iter().copied().fold(f64::INFINITY, f64::min);
            let verdict = if least > 1.0 { "ahead" } else { "behind" };
            let times = times.iter().map(|times| format!("{times:.1}")).collect::<Vec<_>>().join(" · ");
            println!("| {}, {} | {times} | {verdict} |", subject.name, kind.name());
        }
    }
}
