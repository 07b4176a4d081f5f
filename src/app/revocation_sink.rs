//! Sink of revocations: the cache that instances share.

use std::sync::Arc;

use async_trait::async_trait;

use ports::message_sink::MessageSink;
use ports::outbox::{Message, Topic};
use ports::revocation_cache::RevocationCache;
use ports::store_error::StoreError;

/// Publishes revocations to the shared cache.
pub(super) struct RevocationSink(pub Arc<dyn RevocationCache>);

#[async_trait]
impl MessageSink for RevocationSink {
    fn topic(&self) -> Topic {
        Topic::Revocations
    }

    async fn deliver(&self, message: &Message) -> Result<(), StoreError> {
        let Message::Revocation(notice) = message;
        self.0.publish(notice).await
    }
}
