//! Generations: numbers that only rise, and revoke the tokens of lower ones.

use super::time::Timestamp;

/// Returns the generation that revokes all tokens issued under `before`, at this instant.
///
/// It is the number of milliseconds since the epoch, and in any case more than `before`.
///
/// A counter would resume from its value in a backup: after a restore, the next revocation would reach a
/// generation that tokens from before the restore carry, and make them active again. Nothing is revoked a
/// thousand times a second, so no generation is ahead of the clock.
pub fn generation_after(before: u64, at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or_default().max(before + 1)
}
