//! What the service costs, held against its limits: `cargo bench --bench figures`, on Linux.
//!
//! It starts the program itself, in memory (or, with `-- stores`, on a private PostgreSQL and Redis), and loads it
//! from threads of this process. Processor time is that of the service's process alone, where nothing else is said. What is bound by the machine is told as a ratio to something measured
//! in the same round: a token to one bare RSA signature, an introspection to an answer of `/health`. Each
//! figure is the median, with the lowest and the highest in brackets. A wrong answer voids the run; a missed
//! limit is told in the table.

mod client;
mod load;
mod measure;
mod memory;
mod service;
mod stores;

use std::process::ExitCode;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 16;
const MANY_CONNECTIONS: usize = 64;
/// How many living tokens are introspected in turn.
const TOKENS: usize = 100;

fn main() -> ExitCode {
    if std::env::args().all(|argument| argument != "--bench") {
        println!("nothing is measured but by `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let with_stores = std::env::args().any(|argument| argument == "stores");
    match if with_stores { stores::measure() } else { memory::measure() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: void: {error}");
            ExitCode::FAILURE
        }
    }
}
