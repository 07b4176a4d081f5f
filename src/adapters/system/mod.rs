//! The machine: its clock, its random numbers, and the process.

#![warn(missing_docs)]

mod clock;
mod ids;
mod process;
mod process_metrics;
mod secrets;

pub use clock::SystemClock;
pub use ids::SystemIds;
pub use process::{TooLittle, check_limits, keep_memory_private};
pub use process_metrics::{PROCESS_METRICS, report_process};
pub use secrets::SystemSecrets;
