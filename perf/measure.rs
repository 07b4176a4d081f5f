//! Measurements and their output.

use std::fmt;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Outcome;
use crate::load::{Connection, Load, Until};
use crate::process::{Processes, used_here};

/// Duration of a round.
pub const LOAD: Duration = Duration::from_secs(2);

/// Results of one round of a load. Times are in milliseconds.
pub struct Round {
    /// Requests per second.
    pub rate: f64,
    /// Median latency.
    pub middle: f64,
    /// 99th percentile of the latency.
    pub late: f64,
    /// Maximum latency.
    pub latest: f64,
    /// CPU time of the server per request.
    pub cost: f64,
    /// CPU time of the stores per request.
    pub cost_of_stores: f64,
}

impl Round {
    /// Runs a load and measures it.
    pub fn of(
        processes: &Processes,
        load: &Load,
        connections: &mut [Connection],
        until: Until,
    ) -> Outcome<Self> {
        let (before, began) = (processes.used()?, Instant::now());
        let times = load.run(connections, until)?;
        let took = began.elapsed();
        let after = processes.used_when_quiet()?;
        let number = times.len() as f64;
        let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100].as_secs_f64() * 1e3;
        let share = |used: Duration| used.as_secs_f64() * 1e3 / number;
        Ok(Self {
            rate: number / took.as_secs_f64(),
            middle: at(50),
            late: at(99),
            latest: at(100),
            cost: share(after.by_server - before.by_server),
            cost_of_stores: share(after.by_stores - before.by_stores),
        })
    }
}

/// Signs what the service signs, with the same key, and does nothing else.
pub struct Signer {
    key: RsaKeyPair,
    message: Vec<u8>,
}

impl Signer {
    /// Creates a signer from the service's private key (PEM) and one of its tokens.
    pub fn new(pem: &str, token: &str) -> Outcome<Self> {
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64)?)?;
        let (message, _) = token.rsplit_once('.').ok_or("no JWT")?;
        Ok(Self { key, message: message.into() })
    }

    /// Returns the CPU time of one signature while all cores sign, in milliseconds.
    pub fn cost(&self, time: Duration) -> Outcome<f64> {
        cost_on_all_cores(time, || {
            let mut signature = vec![0; self.key.public_modulus_len()];
            Ok(self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &self.message, &mut signature)?)
        })
    }
}

/// Returns the CPU time of an operation, in milliseconds.
///
/// All cores repeat it for the given time, because two threads that share a physical core each take longer than one alone,
/// and a service under load uses all cores.
pub fn cost_on_all_cores(time: Duration, operation: impl Fn() -> Outcome<()> + Sync) -> Outcome<f64> {
    let cores = std::thread::available_parallelism()?.get();
    let repeat = || {
        let (before, end) = (used_here()?, Instant::now() + time);
        let mut number = 0.0;
        while Instant::now() < end {
            operation()?;
            number += 1.0;
        }
        Outcome::Ok((used_here()? - before, number))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(repeat)).collect();
        let (mut used, mut number) = (Duration::ZERO, 0.0);
        for thread in threads {
            let (by_one, operations) = thread.join().expect("an operation does not panic")?;
            used += by_one;
            number += operations;
        }
        Ok(used.as_secs_f64() * 1e3 / number)
    })
}

/// Prints a table of loads, one row each.
pub fn table<'a>(connections: usize, loads: impl IntoIterator<Item = (&'a str, &'a [Round])>) {
    println!("| Load at {connections} connections | Requests/s | p50 (ms) | p99 (ms) | CPU (ms/request) |");
    println!("|---|---|---|---|---|");
    for (name, rounds) in loads {
        let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
        let (rate, middle, late) = (of(|r| r.rate), of(|r| r.middle), of(|r| r.late));
        println!("| `{name}` | {rate:.0} | {middle:.2} | {late:.2} | {:.4} |", of(|r| r.cost));
    }
}

/// Median and range of some figures.
pub struct Spread {
    /// The median.
    pub median: f64,
    lowest: f64,
    highest: f64,
    is_one: bool,
}

impl Spread {
    /// Computes the median and range of these figures, of which there must be at least one.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len() - 1;
        let median = f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]);
        Self { median, lowest: sorted[0], highest: sorted[last], is_one: last == 0 }
    }
}

impl Spread {
    /// Returns the distance from lowest to highest, as a fraction of the median.
    pub fn apart(&self) -> f64 {
        (self.highest - self.lowest) / self.median
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        write!(f, "{:.digits$}", self.median)?;
        if self.is_one {
            return Ok(());
        }
        write!(f, " ({:.digits$}–{:.digits$})", self.lowest, self.highest)
    }
}

/// Prints a figure with its limit.
pub fn row(name: &str, figure: &Spread, digits: usize, limit: Option<f64>) {
    let verdict = match limit {
        None => "",
        Some(limit) if figure.median <= limit => "held",
        Some(_) => "missed",
    };
    let limit = limit.map_or(String::new(), |limit| limit.to_string());
    println!("| {name} | {figure:.digits$} | {limit} | {verdict} |");
}

/// Returns the costs in units of what was measured in the same round.
pub fn ratios(costs: &[f64], units: &[f64]) -> Spread {
    Spread::of(costs.iter().zip(units).map(|(cost, unit)| cost / unit))
}
