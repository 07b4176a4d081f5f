//! Figures in memory: the core without external stores.

use crate::client::{Client, WRONG_SECRETS, health};
use crate::load::{Connection, Load, Until};
use crate::measure::{LOAD, Round, Signer, Spread, ratios, row, table};
use crate::service::{Service, new_key};
use crate::{CONNECTIONS, MANY_CONNECTIONS, Outcome, ROUNDS, TOKENS, WARM_UP};

const STARTS: usize = 9;

/// Measures the service in memory and prints its figures.
pub fn measure() -> Outcome<()> {
    let key = new_key("rsa")?;
    let (mut ready, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let service = Service::start(&key)?;
        ready.push(service.ready_after.as_secs_f64() * 1e3);
        idle.push(service.processes(&[]).resident()?);
    }
    let service = Service::start(&key)?;
    let processes = service.processes(&[]);
    let client = Client::without_limits(&service)?;
    let bcrypt_runs = client.bcrypt_runs_of_wrong_secrets(&service)?;
    let tokens = client.tokens(TOKENS)?;
    let loads = [
        Load { name: "POST /api/v1/token", exchanges: vec![client.token()] },
        Load { name: "POST /api/v1/token/introspect", exchanges: client.introspections(&tokens) },
        health(),
    ];
    let signer = Signer::new(&key, &tokens[0])?;

    let mut connections = Connection::several(service.address, CONNECTIONS)?;
    let mut rounds = [const { Vec::new() }; 3];
    let mut signatures = Vec::new();
    for _ in 0..ROUNDS {
        signatures.push(signer.cost(WARM_UP)?);
        for (load, rounds) in loads.iter().zip(&mut rounds) {
            load.run(&mut connections, Until::End(WARM_UP))?;
            rounds.push(Round::of(&processes, load, &mut connections, Until::End(LOAD))?);
        }
    }
    drop(connections);
    let mut connections = Connection::several(service.address, MANY_CONNECTIONS)?;
    loads[0].run(&mut connections, Until::End(LOAD))?;
    let loaded = processes.resident()?;

    let costs = rounds.each_ref().map(|rounds| rounds.iter().map(|round| round.cost).collect::<Vec<_>>());
    table(CONNECTIONS, loads.iter().zip(&rounds).map(|(load, rounds)| (load.name, &rounds[..])));
    println!("| one bare RSA-2048 signature | | | | {:.4} |\n", Spread::of(signatures.iter().copied()));

    println!("| Figure | Measured | Limit | |");
    println!("|---|---|---|---|");
    row("CPU of a token / CPU of a bare signature", &ratios(&costs[0], &signatures), 2, Some(1.2));
    row("CPU of an introspection / CPU of `/health`", &ratios(&costs[1], &costs[2]), 2, Some(3.0));
    let runs = Spread::of([bcrypt_runs]);
    row(&format!("bcrypt runs of {WRONG_SECRETS} wrong secrets"), &runs, 0, Some(0.0));
    row("start to ready, the key given (ms)", &Spread::of(ready), 0, Some(100.0));
    row("resident when idle (MB)", &Spread::of(idle), 1, Some(30.0));
    let name = format!("resident after tokens at {MANY_CONNECTIONS} connections (MB)");
    row(&name, &Spread::of([loaded]), 1, None);
    Ok(())
}
