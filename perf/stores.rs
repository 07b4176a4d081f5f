//! Figures on a private PostgreSQL, with fsync on, and a private Redis.
//!
//! Both run on the machine of the service and the load. Two services run on two databases of one server: one empty,
//! one filled by `fill.sql`. Rounds alternate between the two services. The CPU time of the stores is that of all
//! their processes.

use crate::client::{Client, health};
use crate::load::{Connection, Load, Until};
use crate::measure::{LOAD, Round, Signer, Spread, ratios, row, table};
use crate::private_stores::PrivateStores;
use crate::service::{Service, call, new_key};
use crate::{CONNECTIONS, MANY_CONNECTIONS, Outcome, ROUNDS, TOKENS, WARM_UP, setting};

/// Default number of agents in the full database.
const AGENTS: &str = "1000000";
/// Default number of audit events in the full database.
const EVENTS: &str = "10000000";
const ORGANIZATIONS: usize = 100;

/// Number of agents created: as many as the longest first page shows.
const PAGE: usize = 60;

/// A service on its own database.
struct Side {
    name: &'static str,
    service: Service,
}

/// Measures the service on both databases and prints its figures.
pub fn measure() -> Outcome<()> {
    let stores = PrivateStores::start()?;
    let key = new_key("rsa")?;
    let empty = Side::start(&stores, &key, "empty", 1)?;
    let full = Side::start(&stores, &key, "full", 2)?;
    let (agents, events) = (setting("AGENTS", AGENTS).parse()?, setting("EVENTS", EVENTS).parse()?);
    stores.fill("full_database", ORGANIZATIONS, agents, events)?;

    let sides = [&empty, &full];
    let mut loads = Vec::new();
    let mut tokens = Vec::new();
    for side in sides {
        let client = Client::without_limits(&side.service)?;
        for place in 0..PAGE {
            call(side.service.address, &client.creation(place).request, 201)?;
        }
        tokens = client.tokens(TOKENS)?;
        let list = |name, path| Load { name, exchanges: vec![client.list(path)] };
        loads.push(vec![
            Load { name: "POST /api/v1/token", exchanges: vec![client.token()] },
            Load { name: "POST /api/v1/token/introspect", exchanges: client.introspections(&tokens) },
            health(),
            list("GET /api/v1/agents", "/api/v1/agents"),
            list("GET /api/v1/audit", "/api/v1/audit"),
            list("GET /api/v1/audit?action=", "/api/v1/audit?action=agent.created"),
        ]);
    }
    let signer = Signer::new(&key, &tokens[0])?;

    let mut signatures = Vec::new();
    let mut results: Vec<Vec<Vec<Round>>> =
        loads.iter().map(|loads| loads.iter().map(|_| Vec::new()).collect()).collect();
    for _ in 0..ROUNDS {
        signatures.push(signer.cost(WARM_UP)?);
        for place in 0..loads[0].len() {
            for (side, (loads, results)) in sides.iter().zip(loads.iter().zip(&mut results)) {
                results[place].push(side.round(&stores, &loads[place], CONNECTIONS)?);
            }
        }
    }
    let mut slowest = Vec::new();
    for load in &loads[0][..2] {
        let round = empty.round(&stores, load, MANY_CONNECTIONS)?;
        slowest.push((load.name, round.latest / round.middle));
    }
    let loaded = empty.service.processes(&[]).resident()?;

    println!("{agents} agents and {events} events in the full database.\n");
    for (side, (loads, results)) in sides.iter().zip(loads.iter().zip(&results)) {
        println!("On the {} database:\n", side.name);
        table(CONNECTIONS, loads.iter().zip(results).map(|(load, results)| (load.name, &results[..])));
        println!();
    }
    println!("One bare RSA-2048 signature: {:.4} ms.\n", Spread::of(signatures.iter().copied()));
    println!("| Figure | Measured | Limit | |");
    println!("|---|---|---|---|");
    let cost = |place: usize| results[0][place].iter().map(|round| round.cost).collect::<Vec<_>>();
    row("CPU of a token / CPU of a bare signature", &ratios(&cost(0), &signatures), 2, Some(1.5));
    let of_stores: Vec<_> = results[0][0].iter().map(|round| round.cost_of_stores).collect();
    let stores_of_token = ratios(&of_stores, &signatures);
    row("CPU of the stores a token / CPU of a bare signature", &stores_of_token, 2, Some(1.0));
    row("CPU of an introspection / CPU of `/health`", &ratios(&cost(1), &cost(2)), 2, Some(4.0));
    for (name, ratio) in slowest {
        let name = format!("slowest / median, `{name}`, {MANY_CONNECTIONS} connections");
        row(&name, &Spread::of([ratio]), 1, Some(10.0));
    }
    for (place, load) in loads[0].iter().enumerate().filter(|(_, load)| load.name != "GET /health") {
        let middles = |side: usize| results[side][place].iter().map(|round| round.middle).collect::<Vec<_>>();
        row(&format!("p50 full / empty, `{}`", load.name), &ratios(&middles(1), &middles(0)), 2, Some(1.3));
    }
    let name = format!("resident after {MANY_CONNECTIONS} connections (MB)");
    row(&name, &Spread::of([loaded]), 1, Some(100.0));
    Ok(())
}

impl Side {
    fn start(stores: &PrivateStores, key: &str, name: &'static str, redis: u8) -> Outcome<Self> {
        let database = stores.database(&format!("{name}_database"))?;
        Ok(Self { name, service: Service::start_on(key, &database, &stores.redis(redis)?)? })
    }

    fn round(&self, stores: &PrivateStores, load: &Load, connections: usize) -> Outcome<Round> {
        let mut connections = Connection::several(self.service.address, connections)?;
        load.run(&mut connections, Until::End(WARM_UP))?;
        Round::of(&self.service.processes(&stores.pids), load, &mut connections, Until::End(LOAD))
    }
}
