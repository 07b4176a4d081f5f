//! The process itself.

/// Lets nothing of this process's memory, which holds keys and secrets, be written to a core dump or read by a debugger of
/// another process.
pub fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let limited = setrlimit(Resource::Core, none);
        // The limit does not hold where cores are piped to a program.
        let refused = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        if let Err(error) = limited.and(refused) {
            tracing::warn!(%error, "cannot turn off core dumps");
        }
    }
}
