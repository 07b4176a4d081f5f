//! Cost of the service, compared with its limits: `cargo bench --bench figures`, on Linux.
//!
//! The benchmark starts the program itself and sends load from threads of this process. By default the service runs
//! in memory. An argument selects another measurement:
//!
//! * `-- stores`: on a private PostgreSQL and Redis;
//! * `-- file`: on one SQLite file, and on PostgreSQL and Redis;
//! * `-- targets`: in short turns;
//! * `-- compare`: in comparison with other servers;
//! * `-- cold`: with no secrets cached yet;
//! * `-- federation`: with agents that authenticate by a trusted issuer;
//! * `-- delegation`: with tokens that act for others or are bound to a key;
//! * `-- growth`: while one dimension after another grows.
//!
//! CPU time is that of the service's process alone, unless stated otherwise. Figures that depend on the machine are
//! ratios to a unit measured in the same round: a token to one raw RSA signature, an introspection to an answer of
//! `/health`. Each figure is the median, with the lowest and the highest in brackets. A wrong answer voids the run; a
//! missed limit is marked in the table.

mod client;
mod cold;
mod compare;
mod delegation;
mod federation;
mod file;
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

/// Number of rounds.
///
/// Many short rounds are used, because the machine changes less if less time passes between a figure and its unit.
const ROUNDS: usize = 9;
const WARM_UP: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 16;
const MANY_CONNECTIONS: usize = 64;
/// Number of active tokens that are introspected in turn.
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
        Some("file") => file::measure(),
        Some("compare") => compare::measure(),
        Some("targets") => targets::measure(),
        Some("cold") => cold::measure(),
        Some("federation") => federation::measure(),
        Some("delegation") => delegation::measure(),
        Some("growth") => growth::measure(),
        Some(other) => {
            let known = "stores, file, targets, compare, cold, federation, delegation, growth";
            Err(format!("{other} is not one of {known}").into())
        }
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: void: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns a setting from the environment, or its default.
fn setting(name: &str, default: &str) -> String {
    std::env::vars().find(|(key, _)| key == name).map_or_else(|| default.to_owned(), |(_, value)| value)
}
