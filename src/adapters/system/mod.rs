//! The machine itself: its clock, and its random numbers.

mod clock;
mod ids;
mod secrets;

pub use clock::SystemClock;
pub use ids::SystemIds;
pub use secrets::SystemSecrets;
