//! The error common to all stores.

/// Underlying cause of a store's failure. For the log, never for a caller.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Failure of a store. A *refusal* of a store is a variant of the method's own error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or overloaded, and it is certain that nothing was changed.
    #[error("{store} is unavailable")]
    Unavailable {
        /// Name of the store.
        store: &'static str,
        /// Underlying cause, for the log.
        #[source]
        source: Cause,
    },
    /// The connection was lost between the commit and its response.
    ///
    /// The change may or may not be stored.
    #[error("{store} did not confirm the change")]
    InDoubt {
        /// Name of the store.
        store: &'static str,
        /// Underlying cause, for the log.
        #[source]
        source: Cause,
    },
    /// The store contains or returned something that no version of this service writes or expects.
    ///
    /// A bug, never the caller's fault.
    #[error("{store} is inconsistent: {what}")]
    Inconsistent {
        /// Name of the store.
        store: &'static str,
        /// The unexpected content or answer.
        what: String,
    },
}
