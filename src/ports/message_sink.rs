//! Consumer of one topic of the outbox.

use async_trait::async_trait;

use super::outbox::{Message, Topic};
use super::store_error::StoreError;

/// Delivers the messages of one topic.
#[async_trait]
pub trait MessageSink: Send + Sync {
    /// Returns the topic whose messages the sink delivers. No two sinks have the same topic.
    fn topic(&self) -> Topic;

    /// Delivers a message, at least once: delivering it again or late does no harm.
    ///
    /// Returns a [`StoreError`] if the message was not delivered; it is then delivered later.
    async fn deliver(&self, message: &Message) -> Result<(), StoreError>;
}
