//! Guarantees that hold while stores fail, links break and instances are killed.
//! They are tested on real processes.
//!
//! ```sh
//! cargo test --test faults -- [--seconds N] [--seed N] [RUN…]
//! ```
//!
//! Each run prints its seed and its figures, and leaves its history and the instances' logs in
//! `target/tmp/faults/RUN`. A run with a violation fails. Without `--seconds` each run is short. The runs
//! without a short time, such as those that measure time and would fail on a busy machine, then run only if
//! they are named.

mod atomic;
mod attack;
mod canary;
mod checker;
mod clocks;
mod cluster;
mod crowd;
mod faulty;
mod fleet;
mod history;
mod neighbours;
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
mod upgrade;
mod wire;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::Parser as _;
use report::{Report, Setting};

/// Time in seconds for a run that has no short time, unless `--seconds` is given.
const LONG_ENOUGH: u64 = 60;
/// How many violations of a run are printed; all are counted.
const PRINTED: usize = 10;

#[derive(clap::Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// Time that each run may take, in seconds; by default the run's own short time
    #[arg(long)]
    seconds: Option<u64>,
    /// Seed of all random choices; by default the current time
    #[arg(long)]
    seed: Option<u64>,
    /// Program of an older version, for `old-beside-new`
    #[arg(long)]
    older: Option<PathBuf>,
    /// Runs to execute, each by a part of its name; by default all
    runs: Vec<String>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Report> + 'a>>;

/// A run: its name, its short time in seconds, and its function.
/// A run without a short time runs only if it is named or `--seconds` is given.
type Run = (&'static str, Option<u64>, for<'a> fn(&'a Setting) -> Running<'a>);

const RUNS: [Run; 19] = [
    ("orders-nobody-thought-of", Some(5), |setting| Box::pin(simulation::run(setting))),
    ("redis-fails", Some(32), |setting| Box::pin(storm::redis(setting))),
    ("postgres-fails", Some(40), |setting| Box::pin(storm::postgres(setting))),
    ("instances-are-killed", Some(20), |setting| Box::pin(storm::instances(setting))),
    ("file-fails", Some(16), |setting| Box::pin(storm::file(setting))),
    ("all-or-nothing", Some(0), |setting| Box::pin(atomic::run(setting))),
    ("assertions-work-once", Some(10), |setting| Box::pin(once::assertions(setting))),
    ("quota-is-exact", Some(0), |setting| Box::pin(once::quota(setting))),
    ("rate-is-held", Some(0), |setting| Box::pin(once::rate(setting))),
    ("rolling-restart", Some(12), |setting| Box::pin(orderly::rolling_restart(setting))),
    ("clocks-are-wrong", Some(12), |setting| Box::pin(clocks::run(setting))),
    ("secrets-stay-secret", Some(9), |setting| Box::pin(canary::run(setting))),
    ("under-attack", None, |setting| Box::pin(attack::run(setting))),
    ("crowd", None, |setting| Box::pin(crowd::run(setting))),
    ("neighbours", None, |setting| Box::pin(neighbours::run(setting))),
    ("strangers-learn-nothing", None, |setting| Box::pin(strangers::run(setting))),
    ("soak", None, |setting| Box::pin(soak::run(setting))),
    ("old-beside-new", None, |setting| Box::pin(upgrade::run(setting))),
    ("joint-starts", Some(5), |setting| Box::pin(orderly::joint_starts(setting))),
];

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    checker::prove();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    let mut failed = false;
    for (name, short, run) in RUNS {
        let is_named = arguments.runs.iter().any(|wanted| name.contains(wanted.as_str()));
        let is_due = arguments.runs.is_empty() && (short.is_some() || arguments.seconds.is_some());
        let lacks = name == "old-beside-new" && arguments.older.is_none();
        if !is_named && (!is_due || lacks) {
            continue;
        }
        let setting = Setting {
            seed: arguments.seed.unwrap_or_else(seed),
            time: Duration::from_secs(arguments.seconds.or(short).unwrap_or(LONG_ENOUGH)),
            older: arguments.older.clone(),
            folder: target.join(name),
        };
        std::fs::create_dir_all(&setting.folder).expect("a folder");
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
