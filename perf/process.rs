//! CPU time and memory of processes, as reported by the kernel.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::Outcome;

/// A server is idle if it has used at most one tick within this time.
const QUIET: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_millis(10);
/// Maximum wait for a server to become idle.
const LONGEST_WORK: Duration = Duration::from_secs(20);

/// A process that is killed when dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has already ended need not be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processes of a server and of its stores.
#[derive(Clone)]
pub struct Processes {
    /// Process ID of the server's first process.
    pub server: u32,
    /// Process ID of the first process of each store.
    pub stores: Vec<u32>,
}

/// CPU time used by a server and by its stores.
#[derive(Clone, Copy)]
pub struct Used {
    /// CPU time of the server's processes.
    pub by_server: Duration,
    /// CPU time of the stores' processes.
    pub by_stores: Duration,
}

impl Processes {
    /// Returns the CPU time used so far.
    pub fn used(&self) -> Outcome<Used> {
        let by_stores: Outcome<Duration> = self.stores.iter().map(|pid| cpu_of_tree(*pid)).sum();
        Ok(Used { by_server: cpu_of_tree(self.server)?, by_stores: by_stores? })
    }

    /// Same as [`used`](Self::used), once the processes are idle.
    ///
    /// Work that a server does after its answer is part of the request's cost.
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

    /// Returns the resident memory of the server's processes, in MB.
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

/// Returns the CPU time of this thread.
pub fn used_here() -> Outcome<Duration> {
    Ok(TICK * ticks("/proc/thread-self/stat", 2)?)
}

/// Returns the CPU time of a process and all its children.
///
/// Children that have ended and were waited for are included.
fn cpu_of_tree(pid: u32) -> Outcome<Duration> {
    let mut used = ticks(&format!("/proc/{pid}/stat"), 4)?;
    for child in children(pid)? {
        // A process may end while the loop runs.
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

/// Sums the first `number` of utime, stime, cutime and cstime in a `stat` file (proc(5)).
///
/// The sum is in ticks of 10 ms.
fn ticks(path: &str, number: usize) -> Outcome<u32> {
    let stat = std::fs::read_to_string(path)?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(number).map(str::parse::<u32>);
    Ok(ticks.sum::<Result<u32, _>>()?)
}
