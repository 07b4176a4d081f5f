//! Protection of the memory of this process.

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
