//! Cost of requests, in units of what bounds them: signatures or answers of `/health`.
//!
//! A token signed with RSA is measured in raw signatures, all else in answers of `/health`. Each figure is measured
//! right next to its unit, in many short turns, because the machine changes within seconds. Set `TURNS` for a shorter
//! run.

use std::time::Duration;

use crate::client::{Client, health};
use crate::load::{Connection, Load, Until};
use crate::measure::{Round, Signer, Spread, ratios, row};
use crate::private_stores::PrivateStores;
use crate::process::Processes;
use crate::service::{Service, new_key};
use crate::{CONNECTIONS, Outcome, TOKENS, WARM_UP, setting};

const TURN: Duration = Duration::from_millis(500);
/// Fraction of the maximum rate at which p99 is compared with p50.
const CALM: f64 = 0.7;
const CALM_ROUNDS: usize = 5;
const CALM_ROUND: Duration = Duration::from_secs(3);

/// Maximum cost of a token in signatures, and of introspections and bearer reads in `/health` answers.
struct Targets {
    token: f64,
    read: f64,
}

/// Measures the service in memory, on a file and on its stores, and prints a table.
pub fn measure() -> Outcome<()> {
    let turns: usize = setting("TURNS", "20").parse()?;
    let stores = PrivateStores::start()?;
    let key = new_key("rsa")?;
    println!("| figure, at {CONNECTIONS} connections | measured | target | |\n|---|---|---|---|");
    let in_memory = Subject::new(Service::start(&key)?, &[])?;
    in_memory.measure("in memory", &key, turns, &Targets { token: 1.1, read: 2.0 })?;
    let folder = tempfile::tempdir()?;
    let file = format!("sqlite:{}", folder.path().join("agentidp.db").display());
    let on_file = Subject::new(Service::start_on(&key, &file, "")?, &[])?;
    on_file.measure("one file", &key, turns, &Targets { token: 1.3, read: 2.5 })?;
    let service = Service::start_on(&key, &stores.database("targets")?, &stores.redis(1)?)?;
    let on_stores = Subject::new(service, &stores.pids)?;
    on_stores.measure("PostgreSQL and Redis", &key, turns, &Targets { token: 1.35, read: 3.0 })?;
    for (name, kind) in [("ES256", "p256"), ("EdDSA", "ed25519")] {
        let subject = Subject::new(Service::start(&new_key(kind)?)?, &[])?;
        let costs = subject.costs(&[&subject.token(), &health()], turns, || Ok(()))?;
        row(
            &format!("CPU of a token by {name} in `/health`, in memory"),
            &ratios(&costs[0], &costs[1]),
            2,
            Some(4.0),
        );
    }
    Ok(())
}

/// A service under load.
struct Subject {
    service: Service,
    processes: Processes,
    client: Client,
}

impl Subject {
    fn new(service: Service, stores: &[u32]) -> Outcome<Self> {
        Ok(Self { processes: service.processes(stores), client: Client::without_limits(&service)?, service })
    }

    fn token(&self) -> Load {
        Load { name: "token", exchanges: vec![self.client.token()] }
    }

    fn measure(&self, place: &str, key: &str, turns: usize, targets: &Targets) -> Outcome<()> {
        let tokens = self.client.tokens(TOKENS)?;
        let signer = Signer::new(key, &tokens[0])?;
        let introspection = Load { name: "introspection", exchanges: self.client.introspections(&tokens) };
        let read = Load { name: "bearer read", exchanges: vec![self.client.read()] };

        let mut signatures = Vec::new();
        let loads = [&self.token(), &introspection, &read, &health()];
        let costs = self.costs(&loads, turns, || {
            signatures.push(signer.cost(TURN)?);
            Ok(())
        })?;
        let title = format!("CPU of a token in signatures, {place}");
        row(&title, &ratios(&costs[0], &signatures), 2, Some(targets.token));
        for (load, costs_of) in loads[1..3].iter().zip(&costs[1..]) {
            let title = format!("CPU of one {} in `/health`, {place}", load.name);
            row(&title, &ratios(costs_of, &costs[3]), 2, Some(targets.read));
        }
        for load in &loads[..2] {
            let title = format!("p99 / p50 at 70 % of the rate, {}, {place}", load.name);
            row(&title, &self.lateness(load)?, 1, Some(5.0));
        }
        Ok(())
    }

    /// Returns the CPU time per request of each load, in each turn.
    ///
    /// `before` runs at the beginning of each turn.
    fn costs(
        &self,
        loads: &[&Load],
        turns: usize,
        mut before: impl FnMut() -> Outcome<()>,
    ) -> Outcome<Vec<Vec<f64>>> {
        let mut connections = Connection::several(self.service.address, CONNECTIONS)?;
        for load in loads {
            load.run(&mut connections, Until::End(WARM_UP))?;
        }
        let mut costs = vec![Vec::new(); loads.len()];
        for _ in 0..turns {
            before()?;
            for (load, costs) in loads.iter().zip(&mut costs) {
                costs.push(Round::of(&self.processes, load, &mut connections, Until::End(TURN))?.cost);
            }
        }
        Ok(costs)
    }

    /// Returns p99 relative to p50, while the service is below its maximum rate.
    fn lateness(&self, load: &Load) -> Outcome<Spread> {
        let mut connections = Connection::several(self.service.address, CONNECTIONS)?;
        let mut shares = Vec::new();
        for _ in 0..CALM_ROUNDS {
            let rate = Round::of(&self.processes, load, &mut connections, Until::End(CALM_ROUND))?.rate;
            let paced = Until::Paced(CALM_ROUND, CALM * rate);
            let round = Round::of(&self.processes, load, &mut connections, paced)?;
            shares.push(round.late / round.middle);
        }
        Ok(Spread::of(shares))
    }
}
