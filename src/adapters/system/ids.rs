//! Ids from the machine's clock and its generator.

use uuid::Uuid;

use crate::ports::ids::Ids;

/// Makes UUIDv7.
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place where ids are made")]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}
