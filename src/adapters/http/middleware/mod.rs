//! Steps that all requests share, each on its own. The [`pipeline`](super::pipeline) puts them together.

pub mod answers;
pub mod body;
pub mod cors;
pub mod detach_on_drop;
pub mod failure_log;
pub mod forwarded;
pub mod metrics;
pub mod request_log;
