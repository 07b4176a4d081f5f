//! The service beside other servers, in one run: the same load on each in turn, several rounds of all.
//!
//! `ROUNDS`, `SECONDS` (of a round) and `CONNECTIONS` (`1,16,64,256`) make a shorter run of it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Client, health};
use crate::load::{Connection, Exchange, Load, Until};
use crate::measure::{Round, Signer, Spread, ratios, row};
use crate::peers::{OidcProvider, SecretCheck, Seed};
use crate::private_stores::PrivateStores;
use crate::process::Processes;
use crate::service::{Service, new_key};
use crate::{Outcome, TOKENS, WARM_UP, setting};

/// How many requests a load of one use each has.
const ONCE: usize = 2000;
/// The share of its greatest rate at which the late answers are held against the middle one.
const CALM: f64 = 0.7;
/// Where the ratios are taken.
const USUAL: &str = "16";

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
    Seed(Client, Seed),
    Oidc(OidcProvider),
}

struct Subject {
    name: &'static str,
    server: Server,
    processes: Processes,
    living: Vec<String>,
    /// How many agents it has been given.
    agents: usize,
}

impl Subject {
    fn new(name: &'static str, server: Server, stores: &[u32]) -> Outcome<Self> {
        let processes = match &server {
            Server::Ours(_, service) => service.processes(stores),
            Server::Seed(_, seed) => seed.peer.processes(),
            Server::Oidc(provider) => provider.peer.processes(),
        };
        let mut subject = Self { name, server, processes, living: Vec::new(), agents: 0 };
        subject.living = subject.tokens(TOKENS)?;
        Ok(subject)
    }

    fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Ours(_, service) => service.address,
            Server::Seed(_, seed) => seed.peer.address,
            Server::Oidc(provider) => provider.peer.address,
        }
    }

    fn tokens(&self, number: usize) -> Outcome<Vec<String>> {
        match &self.server {
            Server::Ours(client, _) => client.tokens(number),
            Server::Seed(_, seed) => seed.mint(number),
            Server::Oidc(provider) => provider.tokens(number),
        }
    }

    fn token(&self) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::Seed(client, _) => client.token(),
            Server::Oidc(provider) => provider.token(),
        }
    }

    fn introspection(&self, token: &str) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::Seed(client, _) => client.introspection(token),
            Server::Oidc(provider) => provider.introspection(token),
        }
    }

    fn revocation(&self, token: &str) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::Seed(client, _) => client.revocation(token),
            Server::Oidc(provider) => provider.revocation(token),
        }
    }

    fn read(&self) -> Exchange {
        match &self.server {
            Server::Ours(client, _) | Server::Seed(client, _) => client.read(),
            Server::Oidc(provider) => provider.read(),
        }
    }

    fn creation(&mut self) -> Exchange {
        self.agents += 1;
        match &self.server {
            Server::Ours(client, _) | Server::Seed(client, _) => client.creation(self.agents),
            Server::Oidc(provider) => provider.creation(),
        }
    }

    fn load(&mut self, kind: Kind, time: Duration) -> Outcome<(Load, Until)> {
        let living: Vec<_> = self.living.iter().map(|token| self.introspection(token)).collect();
        let (exchanges, until) = match kind {
            Kind::Token => (vec![self.token()], Until::End(time)),
            Kind::Introspection => (living, Until::End(time)),
            Kind::Read => (vec![self.read()], Until::End(time)),
            Kind::Revocation => {
                let tokens = self.tokens(ONCE)?;
                (tokens.iter().map(|token| self.revocation(token)).collect(), Until::Done)
            }
            Kind::Mix => {
                // Of each twenty one is a new agent and three are tokens, spread evenly.
                let one = |place: usize| match place % 20 {
                    0 => self.creation(),
                    5 | 10 | 15 => self.token(),
                    _ => living[place % living.len()].clone(),
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
        // New ones: while the last answers of many come slowly, a server may close those that have had theirs.
        let mut connections = Connection::several(self.address(), connections)?;
        Round::of(&self.processes, &load, &mut connections, until).map_err(|error| {
            let (name, kind) = (self.name, kind.name());
            format!("{name}, {kind}: {error}").into()
        })
    }
}

/// What was measured of a load: the rounds of each subject at each number of connections.
type Told = Vec<Vec<Vec<Round>>>;

/// How often a round measures what the targets are held against.
const TURNS: usize = 3;
const TURN: Duration = Duration::from_secs(2);
/// What the targets of a server are about.
const HELD: [Kind; 3] = [Kind::Token, Kind::Introspection, Kind::Read];

/// What a server's requests cost in processor time, each time beside the units that they are held against.
#[derive(Default)]
struct Costs {
    signature: Vec<f64>,
    health: Vec<f64>,
    requests: [Vec<f64>; 3],
}

impl Costs {
    fn take_turn(&mut self, subject: &mut Subject, signer: &Signer) -> Outcome<()> {
        self.signature.push(signer.cost()?);
        for (kind, costs) in HELD.into_iter().zip(&mut self.requests) {
            costs.push(subject.round(kind, USUAL.parse()?, TURN)?.cost);
        }
        self.health.push(health_of(subject, USUAL.parse()?, TURN)?);
        Ok(())
    }
}

pub fn measure() -> Outcome<()> {
    let rounds: usize = setting("ROUNDS", "3").parse()?;
    let time = Duration::from_secs(setting("SECONDS", "5").parse()?);
    let connections = setting("CONNECTIONS", "1,16,64,256");
    let connections: Vec<&str> = connections.split(',').collect();
    let usual = connections.iter().position(|number| *number == USUAL).ok_or("16 connections are needed")?;

    let stores = PrivateStores::start()?;
    let key = new_key("rsa")?;
    let ours = |name, service: Service, pids: &[u32]| {
        Subject::new(name, Server::Ours(Client::without_limits(&service)?, service), pids)
    };
    let seed = |name, database, check| {
        let seed = Seed::start(&stores, &key, database, check)?;
        Subject::new(name, Server::Seed(Client::new(seed.peer.address, &seed.id, &seed.secret)?, seed), &[])
    };
    let on_stores = Service::start_on(&key, &stores.database("ours")?, &stores.redis(1)?)?;
    let mut subjects = vec![
        ours("AgentIdP, in memory", Service::start(&key)?, &[])?,
        ours("AgentIdP, PostgreSQL and Redis", on_stores, &stores.pids)?,
        seed("the seed's stack, 2 processes", "seed", SecretCheck::EachTime)?,
        seed("… bcrypt remembered", "seed_remembered", SecretCheck::Once)?,
        Subject::new("node-oidc-provider, in memory", Server::Oidc(OidcProvider::in_memory(&key)?), &[])?,
        Subject::new("… Redis, 2 processes", Server::Oidc(OidcProvider::on_redis(&stores, &key)?), &[])?,
    ];
    let mut es256 = ours("AgentIdP, ES256", Service::start(&new_key("p256")?)?, &[])?;
    let mut eddsa = ours("AgentIdP, EdDSA", Service::start(&new_key("ed25519")?)?, &[])?;
    let signer = Signer::new(&key, &subjects[0].living[0])?;

    let mut costs = [Costs::default(), Costs::default()];
    let (mut of_es256, mut of_eddsa) = (Vec::new(), Vec::new());
    let of_subjects = || connections.iter().map(|_| Vec::new()).collect();
    let mut told: Vec<Told> =
        KINDS.iter().map(|_| subjects.iter().map(|_| of_subjects()).collect()).collect();
    for number in 1..=rounds {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        eprintln!("round {number}, load average {}", load.split(' ').next().unwrap_or_default());
        for _ in 0..TURNS {
            for (subject, costs) in subjects.iter_mut().zip(&mut costs) {
                costs.take_turn(subject, &signer)?;
            }
            of_es256.push(es256.round(Kind::Token, USUAL.parse()?, TURN)?.cost);
            of_eddsa.push(eddsa.round(Kind::Token, USUAL.parse()?, TURN)?.cost);
        }
        for (kind, told) in KINDS.iter().zip(&mut told) {
            for (place, connections) in connections.iter().enumerate() {
                for (subject, told) in subjects.iter_mut().zip(&mut *told) {
                    told[place].push(subject.round(*kind, connections.parse()?, time)?);
                }
            }
        }
    }

    println!(
        "Medians of {rounds} rounds, {} s each; in brackets how far the rates lie apart.",
        time.as_secs()
    );
    println!("One bare RSA-2048 signature: {:.4} ms.", Spread::of(costs[0].signature.iter().copied()));
    println!("One answer of `GET /health`: {:.4} ms.\n", Spread::of(costs[0].health.iter().copied()));
    for (kind, told) in KINDS.iter().zip(&told) {
        table(*kind, &subjects, told, &connections, &costs[0]);
    }
    targets(&subjects, &costs);
    for (name, tokens) in [("ES256", &of_es256), ("EdDSA", &of_eddsa)] {
        let title = format!("CPU of one token by {name} in `/health`, in memory");
        row(&title, &ratios(tokens, &costs[0].health), 2, Some(4.0));
    }
    beside_peers(&subjects, &told);
    let mut calm = Vec::new();
    for (place, subject) in subjects.iter_mut().take(2).enumerate() {
        for (kind, told) in [Kind::Token, Kind::Introspection].into_iter().zip(&told) {
            let rate = Spread::of(told[place][usual].iter().map(|round| round.rate)).median;
            let shares: Outcome<Vec<_>> =
                (0..rounds).map(|_| calm_round(subject, kind, rate, time)).collect();
            calm.push((subject.name, kind, Spread::of(shares?)));
        }
    }
    for (name, kind, shares) in calm {
        row(&format!("p99 / p50 at 70 % of the rate, {}, {name}", kind.name()), &shares, 1, Some(5.0));
    }
    Ok(())
}

fn health_of(subject: &Subject, connections: usize, time: Duration) -> Outcome<f64> {
    let mut connections = Connection::several(subject.address(), connections)?;
    health().run(&mut connections, Until::End(WARM_UP))?;
    Ok(Round::of(&subject.processes, &health(), &mut connections, Until::End(time))?.cost)
}

/// The late answers over the middle one, while it is not asked all that it can answer.
fn calm_round(subject: &mut Subject, kind: Kind, rate: f64, time: Duration) -> Outcome<f64> {
    let (load, _) = subject.load(kind, time)?;
    let mut connections = Connection::several(subject.address(), USUAL.parse()?)?;
    let round = Round::of(&subject.processes, &load, &mut connections, Until::Paced(time, CALM * rate))?;
    Ok(round.late / round.middle)
}

fn table(kind: Kind, subjects: &[Subject], told: &Told, connections: &[&str], costs: &Costs) {
    let (unit, cost) = match kind {
        Kind::Token => ("signatures", &costs.signature),
        _ => ("`/health`", &costs.health),
    };
    let unit_cost = Spread::of(cost.iter().copied()).median;
    println!("### {}, at {} connections\n", kind.name(), connections.join(" · "));
    println!(
        "| server | requests/s | p50 (ms) | p99 (ms) | CPU (ms/request) | in {unit} | CPU of stores | MB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (subject, told) in subjects.iter().zip(told) {
        let each = |digits: usize, figure: fn(&Round) -> f64, unit: f64| {
            let medians = told.iter().map(|rounds| Spread::of(rounds.iter().map(figure)).median / unit);
            medians.map(|median| format!("{median:.digits$}")).collect::<Vec<_>>().join(" · ")
        };
        let apart = told.iter().map(|rounds| Spread::of(rounds.iter().map(|round| round.rate)).apart());
        println!(
            "| {} | {} (±{:.0} %) | {} | {} | {} | {} | {} | {:.0} |",
            subject.name,
            each(0, |round| round.rate, 1.0),
            apart.fold(0.0, f64::max) * 50.0,
            each(2, |round| round.middle, 1.0),
            each(2, |round| round.late, 1.0),
            each(3, |round| round.cost, 1.0),
            each(1, |round| round.cost, unit_cost),
            each(3, |round| round.cost_of_stores, 1.0),
            subject.processes.resident().unwrap_or_default(),
        );
    }
    println!();
}

fn targets(subjects: &[Subject], costs: &[Costs]) {
    println!("| figure, at {USUAL} connections | measured | target | |\n|---|---|---|---|");
    for ((subject, costs), limits) in subjects.iter().zip(costs).zip([[1.1, 2.0, 2.0], [1.35, 3.0, 3.0]]) {
        let figures = HELD.into_iter().zip(&costs.requests).zip(limits);
        for ((kind, requests), limit) in figures {
            let (unit, units) = match kind {
                Kind::Token => ("signatures", &costs.signature),
                _ => ("`/health`", &costs.health),
            };
            let title = format!("CPU of one {} in {unit}, {}", kind.name(), subject.name);
            row(&title, &ratios(requests, units), 2, Some(limit));
        }
    }
}

/// How many times as many requests as each peer, over PostgreSQL and Redis, beside a peer that may keep everything in
/// memory.
fn beside_peers(subjects: &[Subject], told: &[Told]) {
    for (kind, told) in KINDS.iter().zip(told) {
        for (subject, peer) in subjects.iter().zip(told).skip(2) {
            let rate = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.rate)).median;
            let times: Vec<_> =
                told[1].iter().zip(peer).map(|(ours, peer)| rate(ours) / rate(peer)).collect();
            let least = times.iter().copied().fold(f64::INFINITY, f64::min);
            let verdict = if least > 1.0 { "ahead" } else { "behind" };
            let times = times.iter().map(|times| format!("{times:.1}")).collect::<Vec<_>>().join(" · ");
            println!(
                "| rate on stores / rate of {}, {} | {times} | 1 | {verdict} |",
                subject.name,
                kind.name()
            );
        }
    }
}
