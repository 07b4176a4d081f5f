//! What every store may answer: that it could not do its work.

/// Whatever lies beneath a store's failure. For the log, never for a caller.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A store could not do its work, or whoever asked may no longer ask for it. What else a store *refuses* is never here.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Away or overloaded, and certain that nothing was changed.
    #[error("{store} is unavailable")]
    Unavailable {
        store: &'static str,
        #[source]
        source: Cause,
    },
    /// The connection went between the commit and its answer: the change may or may not be there.
    #[error("{store} did not confirm the change")]
    InDoubt {
        store: &'static str,
        #[source]
        source: Cause,
    },
    /// Whoever asked for the change was stopped in the meantime, or has less than it came with. Nothing was changed.
    #[error("the caller's authorization was revoked while the change was in progress")]
    NoLongerAllowed,
    /// It holds, or said, what no version of ours writes or expects. A bug; never a caller's fault.
    #[error("{store} is inconsistent: {what}")]
    Inconsistent { store: &'static str, what: String },
}

/// An error and all that lies beneath it, in one sentence: for the log.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
