//! Figures on one SQLite file, compared with PostgreSQL and Redis.
//!
//! Three services run: on an empty file, on a filled one, and on an empty PostgreSQL and Redis. Rounds alternate between
//! them. The CPU time of the file is that of the service, which contains SQLite.

use std::path::Path;

use tempfile::TempDir;
use testing::fill_file;

use crate::client::{Client, health};
use crate::load::{Connection, Load, Until};
use crate::measure::{LOAD, Round, Spread, ratios, row, table};
use crate::private_stores::PrivateStores;
use crate::service::{Service, call, migrate, new_key};
use crate::{CONNECTIONS, MANY_CONNECTIONS, Outcome, ROUNDS, TOKENS, WARM_UP, setting};

/// Default number of agents in the full file.
const AGENTS: &str = "1000000";
/// Default number of audit events in the full file.
const EVENTS: &str = "10000000";
/// Number of agents created: as many as the longest first page shows.
const PAGE: usize = 60;

struct Side {
    name: &'static str,
    service: Service,
    stores: Vec<u32>,
}

/// Measures the service on the three stores and prints its figures.
pub fn measure() -> Outcome<()> {
    let folder = TempDir::new()?;
    let key = new_key("rsa")?;
    let stores = PrivateStores::start()?;
    let (agents, events): (usize, usize) =
        (setting("AGENTS", AGENTS).parse()?, setting("EVENTS", EVENTS).parse()?);
    let full = folder.path().join("full.db");
    migrate(&url_of(&full))?;
    fill_file(&full, agents, events)?;
    let size = std::fs::metadata(&full)?.len();
    let sides = [
        on_file(&key, "empty file", &folder.path().join("empty.db"))?,
        on_file(&key, "full file", &full)?,
        Side {
            name: "PostgreSQL and Redis",
            service: Service::start_on(&key, &stores.database("ours")?, &stores.redis(1)?)?,
            stores: stores.pids.clone(),
        },
    ];
    let idle = sides[0].service.processes(&[]).resident()?;

    let mut loads = Vec::new();
    for side in &sides {
        let client = Client::without_limits(&side.service)?;
        for place in 0..PAGE {
            call(side.service.address, &client.creation(place).request, 201)?;
        }
        let tokens = client.tokens(TOKENS)?;
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
    let mut results: Vec<Vec<Vec<Round>>> =
        loads.iter().map(|loads| loads.iter().map(|_| Vec::new()).collect()).collect();
    for _ in 0..ROUNDS {
        for place in 0..loads[0].len() {
            for (side, (loads, results)) in sides.iter().zip(loads.iter().zip(&mut results)) {
                results[place].push(side.round(&loads[place], CONNECTIONS)?);
            }
        }
    }
    let mut slowest = Vec::new();
    for load in &loads[0][..2] {
        let round = sides[0].round(load, MANY_CONNECTIONS)?;
        slowest.push((load.name, round));
    }

    println!("{agents} agents and {events} events in the full file, of {} MB.\n", size / 1_000_000);
    for (side, (loads, results)) in sides.iter().zip(loads.iter().zip(&results)) {
        println!("On the {}:\n", side.name);
        table(CONNECTIONS, loads.iter().zip(results).map(|(load, results)| (load.name, &results[..])));
        println!();
    }
    let many = slowest.iter().map(|(name, round)| (*name, std::slice::from_ref(round)));
    println!("On the empty file:\n");
    table(MANY_CONNECTIONS, many);
    println!();
    println!("| Figure | Measured | Limit | |");
    println!("|---|---|---|---|");
    let cost = |side: usize, place: usize| -> Vec<f64> {
        results[side][place].iter().map(|round| round.cost + round.cost_of_stores).collect()
    };
    for (place, load) in loads[0].iter().enumerate() {
        let name = format!("CPU with the file / with PostgreSQL and Redis, `{}`", load.name);
        row(&name, &ratios(&cost(0, place), &cost(2, place)), 2, None);
    }
    for (place, load) in loads[0].iter().enumerate().filter(|(_, load)| load.name != "GET /health") {
        let middles = |side: usize| results[side][place].iter().map(|round| round.middle).collect::<Vec<_>>();
        row(&format!("p50 full / empty, `{}`", load.name), &ratios(&middles(1), &middles(0)), 2, Some(1.3));
    }
    row("resident when idle (MB)", &Spread::of([idle]), 1, Some(40.0));
    let loaded = sides[1].service.processes(&[]).resident()?;
    row("resident after the load, full file (MB)", &Spread::of([loaded]), 1, None);
    Ok(())
}

fn on_file(key: &str, name: &'static str, path: &Path) -> Outcome<Side> {
    Ok(Side { name, service: Service::start_on(key, &url_of(path), "")?, stores: Vec::new() })
}

fn url_of(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Fills a file that no service has open.
impl Side {
    fn round(&self, load: &Load, connections: usize) -> Outcome<Round> {
        let mut connections = Connection::several(self.service.address, connections)?;
        load.run(&mut connections, Until::End(WARM_UP))?;
        Round::of(&self.service.processes(&self.stores), load, &mut connections, Until::End(LOAD))
    }
}
