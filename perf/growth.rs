//! Cost of a request as one dimension of the service grows.
//!
//! The dimensions are agents, events, organizations, credentials, capabilities and connections. Only one grows at a
//! time, on its own database, with PostgreSQL and Redis.
//!
//! Set `ROUNDS` and `SECONDS` for a shorter run, `EVENTS` (maximum events) and `AGENTS` (maximum agents) for a
//! smaller one, and `ONLY` (part of its name) for one dimension. The charts are written to `docs/images`.

use std::path::Path;
use std::time::Duration;

use crate::client::{Client, health};
use crate::load::{Connection, Exchange, Load, Until};
use crate::measure::{Round, Spread};
use crate::plot::{Line, plot};
use crate::private_stores::PrivateStores;
use crate::service::{Service, new_key};
use crate::{CONNECTIONS, Outcome, TOKENS, WARM_UP, setting};

/// Default duration of a round, in seconds.
const SECONDS: &str = "4";
const DATABASE: &str = "grown";
/// Maximum number of agents that are read in turn.
const MOST_READ: usize = 30_000;
const ANY_AGENTS: &str = "SELECT agent_id FROM agents ORDER BY md5(agent_id::text) LIMIT";

/// A dimension that grows.
#[derive(Clone, Copy)]
enum Dimension {
    Agents,
    Events,
    Organizations,
    Credentials,
    Capabilities,
    Connections,
}

const DIMENSIONS: [Dimension; 6] = [
    Dimension::Agents,
    Dimension::Events,
    Dimension::Organizations,
    Dimension::Credentials,
    Dimension::Capabilities,
    Dimension::Connections,
];

impl Dimension {
    const fn name(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Events => "audit events",
            Self::Organizations => "organizations",
            Self::Credentials => "credentials of the agent",
            Self::Capabilities => "capabilities of the agent",
            Self::Connections => "connections",
        }
    }

    fn sizes(self) -> Outcome<Vec<usize>> {
        let most = |name, default: &str| -> Outcome<usize> { Ok(setting(name, default).parse()?) };
        Ok(match self {
            Self::Agents => up_to(most("AGENTS", "1000000")?, &[1, 1_000, 30_000, 1_000_000]),
            Self::Events => up_to(most("EVENTS", "10000000")?, &[1, 10_000, 1_000_000]),
            Self::Organizations => vec![1, 100, 10_000, 100_000],
            Self::Credentials => vec![1, 3, 10],
            Self::Capabilities => vec![2, 8, 32, 64],
            Self::Connections => vec![1, 4, 16, 64, 256, 512],
        })
    }
}

/// Returns the sizes below `most`, followed by `most`.
fn up_to(most: usize, sizes: &[usize]) -> Vec<usize> {
    sizes.iter().copied().filter(|size| *size < most).chain([most]).collect()
}

/// Measures each dimension, prints its table and draws its chart.
pub fn measure() -> Outcome<()> {
    let rounds: usize = setting("ROUNDS", "3").parse()?;
    let time = Duration::from_secs(setting("SECONDS", SECONDS).parse()?);
    let only = setting("ONLY", "");
    for dimension in DIMENSIONS.into_iter().filter(|dimension| dimension.name().contains(&only)) {
        // Each size has its own stores, without what a smaller size has left in memory or on disk.
        let mut results: Vec<(usize, Costs)> = Vec::new();
        for size in dimension.sizes()? {
            let place = Place::with(dimension, size)?;
            results.push((size, place.costs(rounds, time)?));
        }
        print(dimension, &results);
        draw(dimension, &results)?;
    }
    Ok(())
}

/// CPU time of each load at a size: the service's and the stores', in milliseconds per request.
///
/// The last load is `GET /health`, whose cost depends on the machine only.
type Costs = Vec<(&'static str, Spread, Spread)>;

/// A service of which one dimension has grown.
struct Place {
    stores: PrivateStores,
    service: Service,
    client: Client,
    /// Reads of arbitrary agents if the agents have grown, otherwise of the client's own.
    reads: Vec<Exchange>,
    connections: usize,
}

impl Place {
    fn with(dimension: Dimension, size: usize) -> Outcome<Self> {
        let stores = PrivateStores::start()?;
        let service = Service::start_on(&new_key("rsa")?, &stores.database(DATABASE)?, &stores.redis(1)?)?;
        let (mut agents, mut organizations, mut events, mut connections) = (1, 1, 1, CONNECTIONS);
        match dimension {
            Dimension::Agents => agents = size,
            Dimension::Events => (agents, events) = (1_000, size),
            Dimension::Organizations => (agents, organizations) = (size, size),
            Dimension::Connections => connections = size,
            Dimension::Credentials | Dimension::Capabilities => {}
        }
        stores.fill(DATABASE, organizations, agents, events)?;
        let mut client = Client::without_limits(&service)?;
        match dimension {
            Dimension::Credentials => {
                for _ in 1..size {
                    client.make_credential()?;
                }
            }
            Dimension::Capabilities => {
                // The loads need the first two capabilities.
                let needed = ["agents:read", "tokens:read"].map(str::to_owned).into_iter();
                let others = (0..).map(|number| format!("documents-{number}:read"));
                client = client.colleague(&needed.chain(others).take(size).collect::<Vec<_>>())?;
            }
            _ => {}
        }
        let reads = match dimension {
            Dimension::Agents => {
                let agents = stores.rows(DATABASE, &format!("{ANY_AGENTS} {MOST_READ}"))?;
                agents.iter().map(|agent| client.read_of(agent)).collect()
            }
            _ => vec![client.read()],
        };
        Ok(Self { stores, service, client, reads, connections })
    }

    fn costs(&self, rounds: usize, time: Duration) -> Outcome<Costs> {
        let tokens = self.client.tokens(TOKENS)?;
        let loads = [
            Load { name: "token", exchanges: vec![self.client.token()] },
            Load { name: "introspection", exchanges: self.client.introspections(&tokens) },
            Load { name: "read of an agent", exchanges: self.reads.clone() },
            health(),
        ];
        let processes = self.service.processes(&self.stores.pids);
        let mut results = Vec::new();
        for load in &loads {
            let mut connections = Connection::several(self.service.address, self.connections)?;
            load.run(&mut connections, Until::End(WARM_UP))?;
            let rounds: Outcome<Vec<Round>> = (0..rounds)
                .map(|_| Round::of(&processes, load, &mut connections, Until::End(time)))
                .collect();
            let rounds = rounds?;
            let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
            results.push((load.name, of(|round| round.cost), of(|round| round.cost_of_stores)));
        }
        Ok(results)
    }
}

/// Returns the CPU time of a load in the service and the stores together.
fn whole(costs: &Costs, load: usize) -> f64 {
    costs[load].1.median + costs[load].2.median
}

fn print(dimension: Dimension, results: &[(usize, Costs)]) {
    println!("### {}\n", dimension.name());
    println!(
        "| {} | load | CPU of the service (ms) | of the stores (ms) |\n|--:|---|--:|--:|",
        dimension.name()
    );
    for (size, loads) in results {
        for (load, service, stores) in loads {
            println!("| {size} | {load} | {service:.3} | {stores:.3} |");
        }
    }
    let (first, last) = (&results[0], &results[results.len() - 1]);
    let health = first.1.len() - 1;
    for load in 0..health {
        let in_health = |costs: &Costs| whole(costs, load) / whole(costs, health);
        let times = in_health(&last.1) / in_health(&first.1);
        let tens = (last.0 as f64 / first.0 as f64).log10();
        println!(
            "\n{}: {times:.2} times from {} to {}, {:+.1} % a power of ten, held against `/health`",
            first.1[load].0,
            first.0,
            last.0,
            (times.powf(1.0 / tens) - 1.0) * 100.0
        );
    }
    println!();
}

fn draw(dimension: Dimension, results: &[(usize, Costs)]) -> Outcome<()> {
    let line = |place: usize| Line {
        name: results[0].1[place].0,
        points: results.iter().map(|(size, costs)| (*size as f64, whole(costs, place))).collect(),
    };
    let lines: Vec<Line> = (0..results[0].1.len()).map(line).collect();
    let title = format!("CPU of a request (service and stores, ms) by {}", dimension.name());
    let svg = plot(&title, dimension.name(), &lines);
    let name = dimension.name().split(' ').find(|word| *word != "audit").unwrap_or("what");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/images/growth-{name}.svg"));
    Ok(std::fs::write(file, svg)?)
}
