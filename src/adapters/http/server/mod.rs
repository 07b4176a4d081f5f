//! The listeners: connections, their limits, their deadlines and their graceful shutdown.

mod accept;
mod connection_deadline;
mod front;
mod metrics;

pub use accept::{serve, serve_connection};
pub use front::Front;
pub use metrics::{Scrape, serve as serve_metrics};
