//! What the kernel says of processes.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::Outcome;

/// A server that has used no more than a tick within that time is done.
const QUIET: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_millis(10);
/// The longest that is waited for that.
const LONGEST_WORK: Duration = Duration::from_secs(20);

/// A process that ends when it is dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server consists of.
#[derive(Clone)]
pub struct Processes {
    pub server: u32,
    /// The first process of each store.
    pub stores: Vec<u32>,
}

/// Processor time.
#[derive(Clone, Copy)]
pub struct Used {
    pub by_server: Duration,
    pub by_stores: Duration,
}

impl Processes {
    pub fn used(&self) -> Outcome<Used> {
        let by_stores: Outcome<Duration> = self.stores.iter().map(|pid| cpu_of_tree(*pid)).sum();
        Ok(Used { by_server: cpu_of_tree(self.server)?, by_stores: by_stores? })
    }

    /// The same once nothing is left to do: what a server does after its answer is a part of what it costs.
    pub fn used_when_quiet(&self) -> Outcome<Used> {
        let (began, mut before) = (Instant::now(), self.used()?);
        loop {
            std::thread::park_timeout(QUIET);
            let now = self.used()?;
            let work = now.by_server + now.by_stores - before.by_server - before.by_stores;
            if work <= TICK || began.elapsed() > LONGEST_WORK {
                return Ok(now);
            }
            before = now;
        }
    }

    /// The memory that the server's processes have, in MB.
    pub fn resident(&self) -> Outcome<f64> {
        let of = |pid: &u32| -> Outcome<f64> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
            let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
            Ok(kibibytes * 1024.0 / 1e6)
        };
        let children = children(self.server)?;
        std::iter::once(&self.server).chain(&children).map(of).sum()
    }
}

/// The processor time of this thread.
pub fn used_here() -> Outcome<Duration> {
    Ok(TICK * ticks("/proc/thread-self/stat", 2)?)
}

/// The processor time of a process and all its children, those included that have ended and were waited for.
fn cpu_of_tree(pid: u32) -> Outcome<Duration> {
    let mut used = ticks(&format!("/proc/{pid}/stat"), 4)?;
    for child in children(pid)? {
        // A process may end while one looks.
        used += ticks(&format!("/proc/{child}/stat"), 2).unwrap_or_default();
    }
    Ok(TICK * used)
}

fn children(pid: u32) -> Outcome<Vec<u32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        if fields.split_whitespace().nth(1) == Some(&pid.to_string()) {
            children.push(child);
        }
    }
    Ok(children)
}

/// The sum of so many of utime, stime, cutime and cstime in that `stat` file (proc(5)), in ticks of 10 ms.
fn ticks(path: &str, number: usize) -> Outcome<u32> {
    let stat = std::fs::read_to_string(path)?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(number).map(str::parse::<u32>);
    Ok(ticks.sum::<Result<u32, _>>()?)
}
