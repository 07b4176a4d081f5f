//! What the service costs, held against its limits: `cargo bench --bench figures`, on Linux.
//!
//! It starts the program itself and loads it from threads of this process: in memory; with `-- stores` on a private
//! PostgreSQL and Redis; with `-- targets` in short turns; with `-- compare` beside other servers; with `-- cold` where
//! nobody's secret is known yet; with `-- growth` as one thing after another grows.
//! Processor time is that of the service's process alone, where nothing else is said. What is bound by the machine is
//! told as a ratio to something measured in the same round: a token to one bare RSA signature, an introspection to an
//! answer of `/health`. Each figure is the median, with the lowest and the highest in brackets. A wrong answer voids the
//! run; a missed limit is told in the table.

mod client;
mod cold;
mod compare;
mod growth;
mod load;
mod measure;
mod memory;
mod peers;
mod plot;
mod private_stores;
mod process;
mod service;
mod stores;
mod targets;

use std::process::ExitCode;
use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

/// Many short rounds: the less time lies between a figure and its unit, the less the machine has changed.
const ROUNDS: usize = 9;
const WARM_UP: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 16;
const MANY_CONNECTIONS: usize = 64;
/// How many living tokens are introspected in turn.
const TOKENS: usize = 100;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if !words.iter().any(|word| word == "--bench") {
        println!("nothing is measured but by `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let measured = match words.iter().find(|word| *word != "--bench").map(String::as_str) {
        None => memory::measure(),
        Some("stores") => stores::measure(),
        Some("compare") => compare::measure(),
        Some("targets") => targets::measure(),
        Some("cold") => cold::measure(),
        Some("growth") => growth::measure(),
        Some(other) => Err(format!("{other} is none of stores, targets, compare, cold, growth").into()),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: void: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How large a measurement is: what the environment says, or this.
fn setting(name: &str, default: &str) -> String {
    std::env::vars().find(|(key, _)| key == name).map_or_else(|| default.to_owned(), |(_, value)| value)
}
