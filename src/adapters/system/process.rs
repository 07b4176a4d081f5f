//! Limits and memory of this process.

use std::sync::{Arc, RwLock};

/// Address space that a service needs apart from its threads, in bytes.
#[cfg(target_os = "linux")]
const MIN_MEMORY: u64 = 128 * 1024 * 1024;
/// Address space that each thread needs, in bytes: its stack, and the memory that it allocates from.
#[cfg(target_os = "linux")]
const MEMORY_OF_THREAD: u64 = 12 * 1024 * 1024;

/// Checks that the limits of this process leave room for a service.
///
/// Later, a thread that cannot be started or memory that cannot be allocated would end the process without a word of
/// what to do.
pub fn check_limits() -> Result<(), TooLittle> {
    // One each for requests and for bcrypt, and some that wait for the operating system.
    let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from) + 4;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, getrlimit};
        let needed = MIN_MEMORY + MEMORY_OF_THREAD * u64::try_from(threads).unwrap_or(u64::MAX);
        if getrlimit(Resource::As).current.is_some_and(|most| most < needed) {
            return Err(TooLittle::Memory { kilobytes: needed / 1024 });
        }
    }
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write();
    let mut started = Vec::new();
    for _ in 0..threads {
        let gate = gate.clone();
        let thread = std::thread::Builder::new().spawn(move || drop(gate.read()));
        started.push(thread.map_err(|source| TooLittle::Threads { threads, source })?);
    }
    drop(closed);
    for thread in started {
        // It does nothing that could panic.
        let _ = thread.join();
    }
    Ok(())
}

/// A limit that is too low for a service.
#[derive(Debug, thiserror::Error)]
pub enum TooLittle {
    /// The address space is limited to less than it takes.
    #[error("the limit of memory is too low; raise it (ulimit -v) to {kilobytes} or more")]
    Memory {
        /// The limit that it takes at least, in KB.
        kilobytes: u64,
    },
    /// Not all threads can be started.
    #[error("{threads} threads cannot be started; raise the limits of processes (ulimit -u) and of memory")]
    Threads {
        /// The number of threads that it takes.
        threads: usize,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// Protects the memory of this process, which holds keys and secrets.
///
/// On Linux, the memory is not written to core dumps, and debuggers of other processes cannot read it.
pub fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let limited = setrlimit(Resource::Core, none);
        // The limit alone is not enough: it has no effect if core dumps are piped to a program.
        let refused = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        if let Err(error) = limited.and(refused) {
            tracing::warn!(%error, "cannot turn off core dumps");
        }
    }
}
