//! What the service promises while stores fail, links break and instances are killed: shown on real processes.
//!
//! ```sh
//! cargo test --test faults -- [--seconds N] [--seed N] [RUN…]
//! ```
//!
//! Each run prints its seed and its figures, and leaves its history and the instances' logs in
//! `target/faults/RUN`. It fails where there is a violation. Without `--seconds` each is short.

mod arena;
mod atomic;
mod attack;
mod canary;
mod checker;
mod clocks;
mod faulty;
mod fleet;
mod history;
#[path = "../servers/leash.rs"]
mod leash;
mod nemesis;
mod once;
mod orderly;
mod pace;
mod proxy;
mod report;
mod simulation;
mod soak;
mod stores;
mod storm;
mod strangers;
mod wire;

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::Parser as _;
use report::{Report, Setting};

/// How many violations are printed of a run; all are counted.
const PRINTED: usize = 10;

#[derive(clap::Parser)]
struct Arguments {
    /// How long each run may go on for, in seconds; without it as long as its own short time
    #[arg(long)]
    seconds: Option<u64>,
    /// The seed of all that is left to chance; without it one of the time
    #[arg(long)]
    seed: Option<u64>,
    /// The runs; without any all of them
    runs: Vec<String>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Report> + 'a>>;

/// A run: its name, its short time in seconds, and what it does.
type Run = (&'static str, u64, for<'a> fn(&'a Setting) -> Running<'a>);

const RUNS: [Run; 14] = [
    ("orders-nobody-thought-of", 5, |setting| Box::pin(simulation::run(setting))),
    ("redis-fails", 32, |setting| Box::pin(storm::redis(setting))),
    ("postgres-fails", 40, |setting| Box::pin(storm::postgres(setting))),
    ("instances-are-killed", 20, |setting| Box::pin(storm::instances(setting))),
    ("all-or-nothing", 0, |setting| Box::pin(atomic::run(setting))),
    ("assertions-work-once", 10, |setting| Box::pin(once::assertions(setting))),
    ("quota-is-exact", 0, |setting| Box::pin(once::quota(setting))),
    ("rolling-restart", 12, |setting| Box::pin(orderly::rolling_restart(setting))),
    ("clocks-are-wrong", 12, |setting| Box::pin(clocks::run(setting))),
    ("secrets-stay-secret", 9, |setting| Box::pin(canary::run(setting))),
    ("under-attack", 26, |setting| Box::pin(attack::run(setting))),
    ("strangers-learn-nothing", 14, |setting| Box::pin(strangers::run(setting))),
    ("soak", 10, |setting| Box::pin(soak::run(setting))),
    ("joint-starts", 5, |setting| Box::pin(orderly::joint_starts(setting))),
];

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    checker::prove();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    let mut failed = false;
    for (name, short, run) in RUNS {
        if !arguments.runs.is_empty() && !arguments.runs.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let setting = Setting {
            seed: arguments.seed.unwrap_or_else(seed),
            time: Duration::from_secs(arguments.seconds.unwrap_or(short)),
            folder: target.join(name),
        };
        println!("{name}: --seed {}", setting.seed);
        let begun = Instant::now();
        let report = run(&setting).await;
        println!("    {} s", begun.elapsed().as_secs());
        for (figure, value) in &report.figures {
            println!("    {figure}: {value}");
        }
        for violation in report.violations.iter().take(PRINTED) {
            println!("    VIOLATION {violation}");
        }
        if !report.violations.is_empty() {
            println!("    its history and logs: {}", setting.folder.display());
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[expect(clippy::disallowed_methods, reason = "a seed that is printed may be of any time")]
fn seed() -> u64 {
    let time = std::time::SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    time.as_secs()
}
