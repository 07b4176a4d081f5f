//! IDs from the system clock and the random number generator.

use uuid::Uuid;

use ports::ids::Ids;

/// Generates UUIDv7 IDs.
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place where ids are made")]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}
