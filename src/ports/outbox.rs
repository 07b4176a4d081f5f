//! Transactional outbox: messages that a change causes, by topic.

use async_trait::async_trait;

use super::store_error::StoreError;
use domain::time::Timestamp;
use domain::token::RevocationNotice;

/// Keeps messages from the change that causes them until they are delivered.
///
/// A store adds a message in the transaction of the change, so that no crash can separate the two. A message is
/// removed only after it was delivered, so it may be delivered more than once. An expired message is
/// removed by [`Retention::purge`](super::retention::Retention::purge).
///
/// Sequences rise in the order of writing. A change that commits late adds messages below others that are already
/// delivered, so consumers remove what they delivered, and keep no position.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Returns the messages of a topic that are not delivered yet, at most `limit`, in the order of their sequence.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    async fn pending(&self, topic: Topic, limit: u32) -> Result<Vec<Pending>, StoreError>;

    /// Removes messages.
    ///
    /// Returns a [`StoreError`] if the store failed.
    async fn remove(&self, sequences: &[Sequence]) -> Result<(), StoreError>;
}

/// Consumers that a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Revocations, for the cache that instances share.
    Revocations,
}

impl Topic {
    /// Every topic with its stored name.
    pub const ALL: [(&'static str, Self); 1] = [("revocations", Self::Revocations)];
}

/// Content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Something was revoked.
    Revocation(RevocationNotice),
}

impl Message {
    /// Returns the topic of the message.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Revocation(_) => Topic::Revocations,
        }
    }

    /// Returns the instant from which the message need not be delivered.
    pub const fn until(&self) -> Timestamp {
        match self {
            Self::Revocation(notice) => notice.until,
        }
    }
}

/// Place of a message in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(pub i64);

/// A message that is not delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Place of the message.
    pub sequence: Sequence,
    /// The message itself.
    pub message: Message,
}
