//! On PostgreSQL and Redis: private ones, with fsync on, on the machine that the service and the load share.
//!
//! Two services run on two databases of one server: one empty, one that `fill.sql` has filled. Rounds go to each in
//! turn. Processor time of the stores is that of all their processes.

use std::process::Command;
use std::time::Duration;

use crate::client::Client;
use crate::load::Connection;
use crate::measure::{Round, Signer, Spread, ratios, row, table};
use crate::service::{Service, cpu_of_tree, new_key};
use crate::{CONNECTIONS, MANY_CONNECTIONS, Outcome, ROUNDS, TOKENS, WARM_UP};

#[path = "../tests/servers/leash.rs"]
mod leash;

use leash::Server;

/// How full the full database is, where the environment says nothing else.
const AGENTS: &str = "1000000";
const EVENTS: &str = "10000000";

/// As many as the longest first page shows.
const PAGE: usize = 60;

const START: &str = "initdb --no-sync -A trust -U postgres -E UTF8 --locale=C -D data && \
    pg_ctl -w -D data -o \"-c listen_addresses='' -c unix_socket_directories='$folder' -c shared_buffers=512MB \
    -c max_wal_size=8GB -c max_connections=100\" start && \
    redis-server --port 0 --unixsocket \"$folder/redis.sock\" --unixsocketperm 777 --save '' --appendonly no \
    --daemonize yes --pidfile \"$folder/redis.pid\" && wait_until redis-cli -s redis.sock ping";
const STOP: &str = "redis-cli -s redis.sock shutdown nosave; pg_ctl -D data -m immediate stop";

/// A service on a database of its own.
struct Side {
    name: &'static str,
    service: Service,
}

struct Rounds {
    rounds: Vec<Round>,
    /// Processor time of the stores, in milliseconds a request.
    of_stores: Vec<f64>,
}

pub fn measure() -> Outcome<()> {
    let stores = Server::start(START, STOP);
    let key = new_key()?;
    let empty = Side::start(&stores, &key, "empty", 1)?;
    let full = Side::start(&stores, &key, "full", 2)?;
    let (agents, events) = (size("AGENTS", AGENTS), size("EVENTS", EVENTS));
    fill(&stores, &agents, &events)?;

    let pids = [pid(&stores, "data/postmaster.pid")?, pid(&stores, "redis.pid")?];
    let sides = [&empty, &full];
    let mut clients = Vec::new();
    let mut loads = Vec::new();
    for side in sides {
        let client = Client::new(&side.service)?;
        client.lift_limits()?;
        client.make_agents(PAGE)?;
        let tokens = (0..TOKENS).map(|_| client.token()).collect::<Outcome<Vec<_>>>()?;
        let [token, introspection, health] = client.loads(&tokens);
        loads.push(vec![
            token,
            introspection,
            health,
            client.list("GET /api/v1/agents", "/api/v1/agents"),
            client.list("GET /api/v1/audit", "/api/v1/audit"),
            client.list("GET /api/v1/audit?action=", "/api/v1/audit?action=agent.created"),
        ]);
        clients.push((client, tokens));
    }
    let signer = Signer::new(&key, &clients[0].1[0])?;

    let mut signatures = Vec::new();
    let mut told: Vec<Vec<Rounds>> = loads
        .iter()
        .map(|loads| loads.iter().map(|_| Rounds { rounds: Vec::new(), of_stores: Vec::new() }).collect())
        .collect();
    for _ in 0..ROUNDS {
        signatures.push(signer.cost()?);
        for place in 0..loads[0].len() {
            for (side, (loads, told)) in sides.iter().zip(loads.iter().zip(&mut told)) {
                let mut connections = Connection::several(side.service.address, CONNECTIONS)?;
                loads[place].run(&mut connections, WARM_UP)?;
                let before = of_stores(&pids)?;
                let round = Round::of(&side.service, &loads[place], &mut connections)?;
                let used = of_stores(&pids)? - before;
                told[place].of_stores.push(used.as_secs_f64() * 1e3 / round.requests);
                told[place].rounds.push(round);
            }
        }
    }
    let mut slowest = Vec::new();
    for load in &loads[0][..2] {
        let mut connections = Connection::several(empty.service.address, MANY_CONNECTIONS)?;
        load.run(&mut connections, WARM_UP)?;
        let round = Round::of(&empty.service, load, &mut connections)?;
        slowest.push((load.name, round.latest / round.middle));
    }
    let loaded = empty.service.resident()?;

    println!("{agents} agents and {events} events in the full database.\n");
    for (side, (loads, told)) in sides.iter().zip(loads.iter().zip(&told)) {
        println!("On the {} database:\n", side.name);
        table(CONNECTIONS, loads.iter().zip(told).map(|(load, told)| (load.name, &told.rounds[..])));
        println!();
    }
    println!("One bare RSA-2048 signature: {:.4} ms.\n", Spread::of(signatures.iter().copied()));
    println!("| Figure | Measured | Limit | |");
    println!("|---|---|---|---|");
    let cost = |place: usize| told[0][place].rounds.iter().map(|round| round.cost).collect::<Vec<_>>();
    row("CPU of a token / CPU of a bare signature", &ratios(&cost(0), &signatures), 2, Some(1.5));
    let stores_of_token = ratios(&told[0][0].of_stores, &signatures);
    row("CPU of the stores a token / CPU of a bare signature", &stores_of_token, 2, Some(1.0));
    row("CPU of an introspection / CPU of `/health`", &ratios(&cost(1), &cost(2)), 2, Some(4.0));
    for (name, ratio) in slowest {
        let name = format!("slowest / median, `{name}`, {MANY_CONNECTIONS} connections");
        row(&name, &Spread::of([ratio]), 1, Some(10.0));
    }
    for (place, load) in loads[0].iter().enumerate().filter(|(_, load)| load.name != "GET /health") {
        let middles =
            |side: usize| told[side][place].rounds.iter().map(|round| round.middle).collect::<Vec<_>>();
        row(&format!("p50 full / empty, `{}`", load.name), &ratios(&middles(1), &middles(0)), 2, Some(1.3));
    }
    let name = format!("resident after {MANY_CONNECTIONS} connections (MB)");
    row(&name, &Spread::of([loaded]), 1, Some(100.0));
    Ok(())
}

impl Side {
    fn start(stores: &Server, key: &str, name: &'static str, redis: u8) -> Outcome<Self> {
        psql(stores, "postgres", &["-c", &format!("CREATE DATABASE {name}_database")])?;
        let folder = stores.folder.to_str().ok_or("no text")?;
        let database = format!("postgres://postgres@{}/{name}_database", folder.replace('/', "%2F"));
        let redis = format!("redis+unix://{folder}/redis.sock?db={redis}");
        Ok(Self { name, service: Service::start_on(key, &database, &redis)? })
    }
}

fn size(name: &str, default: &str) -> String {
    std::env::vars().find(|(key, _)| key == name).map_or_else(|| default.to_owned(), |(_, value)| value)
}

fn fill(stores: &Server, agents: &str, events: &str) -> Outcome<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/fill.sql");
    let (agents, events) = (format!("agents={agents}"), format!("events={events}"));
    psql(stores, "full_database", &["-v", &agents, "-v", &events, "-f", script])
}

fn psql(stores: &Server, database: &str, arguments: &[&str]) -> Outcome<()> {
    let mut command = Command::new("psql");
    command.args(["-q", "-o", "/dev/null", "-U", "postgres", "-d", database, "-h"]).arg(&stores.folder);
    if command.args(arguments).status()?.success() { Ok(()) } else { Err("psql failed".into()) }
}

fn pid(stores: &Server, file: &str) -> Outcome<u32> {
    let text = std::fs::read_to_string(stores.folder.join(file))?;
    Ok(text.lines().next().ok_or("no pid")?.trim().parse()?)
}

fn of_stores(pids: &[u32]) -> Outcome<Duration> {
    pids.iter().map(|pid| cpu_of_tree(*pid)).sum()
}
