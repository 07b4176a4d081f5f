//! Time that must pass, and random numbers that are repeatable by their seed.

use std::time::Duration;

/// Lets time pass, for the duration of a fault or the delay of a link.
#[expect(clippy::disallowed_methods, reason = "here time is what is tested, not what is waited for")]
pub async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Random numbers from a seed, by `SplitMix64`.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns an independent generator for another worker.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }
}
