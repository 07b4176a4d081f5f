//! The clock of a service.

use std::sync::Arc;

use crate::ports::clock::Clock;

/// Clock that rate windows and revocation notices follow.
#[derive(Clone)]
pub(super) enum ClockSource {
    /// The system clock, and Redis's own clock for rate windows in Redis.
    System(Arc<dyn Clock>),
    /// A test's clock, everywhere.
    Injected(Arc<dyn Clock>),
}

impl ClockSource {
    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        let (Self::System(clock) | Self::Injected(clock)) = self;
        clock
    }
}
