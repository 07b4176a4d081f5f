//! Cold start: many agents obtain their first token from a process that knows none of their secrets.

use std::net::SocketAddr;

use crate::client::Client;
use crate::load::{Connection, Exchange, Load, Until};
use crate::measure::Round;
use crate::peers::{ExpressStack, SecretCheck};
use crate::private_stores::PrivateStores;
use crate::process::Processes;
use crate::service::{Service, new_key};
use crate::{CONNECTIONS, Outcome, setting};

/// Measures the service and the Express stack, and prints a table.
pub fn measure() -> Outcome<()> {
    let agents: usize = setting("AGENTS", "1000").parse()?;
    let stores = PrivateStores::start()?;
    let key = new_key("rsa")?;

    let (database, redis) = (stores.database("ours")?, stores.redis(1)?);
    let warm = Service::start_on(&key, &database, &redis)?;
    let client = Client::without_limits(&warm)?;
    let newcomers = newcomers(&client, agents)?;
    drop(warm);
    // The restarted service finds digests of the secrets in the store.
    let cold = Service::restart_on(&key, &database, &redis)?;
    let ours = first_tokens(newcomers.clone(), cold.address, &cold.processes(&stores.pids))?;
    drop(cold);
    // With another signing key it cannot use them.
    let cold = Service::restart_on(&new_key("rsa")?, &database, &redis)?;
    let by_new_key = first_tokens(newcomers, cold.address, &cold.processes(&stores.pids))?;
    drop(cold);

    let stack = ExpressStack::start(&stores, &key, "express", SecretCheck::EachTime)?;
    let client = Client::new(stack.peer.address, &stack.id, &stack.secret)?;
    let newcomers = self::newcomers(&client, agents)?;
    let theirs = first_tokens(newcomers, stack.peer.address, &stack.peer.processes())?;

    println!("First tokens of {agents} agents at {CONNECTIONS} connections, bcrypt at cost 10.\n");
    println!("| server | all after (s) | tokens/s | p50 (ms) | p99 (ms) | CPU (ms/request) |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (name, round) in [
        ("AgentIdP, PostgreSQL and Redis", ours),
        ("AgentIdP with another signing key", by_new_key),
        ("the Express stack, 2 processes", theirs),
    ] {
        let all = agents as f64 / round.rate;
        let Round { rate, middle, late, cost, .. } = round;
        println!("| {name} | {all:.1} | {rate:.1} | {middle:.0} | {late:.0} | {cost:.1} |");
    }
    Ok(())
}

/// Creates agents with a secret each, and returns their first token requests.
fn newcomers(client: &Client, number: usize) -> Outcome<Vec<Exchange>> {
    std::thread::scope(|scope| {
        let make = |hand| {
            let places = (hand..number).step_by(CONNECTIONS);
            scope.spawn(move || places.map(|place| client.newcomer(place)).collect::<Outcome<Vec<_>>>())
        };
        let hands: Vec<_> = (0..CONNECTIONS).map(make).collect();
        let mut newcomers = Vec::new();
        for hand in hands {
            newcomers.append(&mut hand.join().expect("a hand does not panic")?);
        }
        Ok(newcomers)
    })
}

fn first_tokens(newcomers: Vec<Exchange>, address: SocketAddr, processes: &Processes) -> Outcome<Round> {
    let load = Load { name: "a first token", exchanges: newcomers };
    Round::of(processes, &load, &mut Connection::several(address, CONNECTIONS)?, Until::Done)
}
