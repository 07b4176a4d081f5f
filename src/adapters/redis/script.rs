//! Lua scripts, called by hash, and sent in full only if Redis lacks them.

use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, FromValue};
use fred::util::redis_keyslot;

use super::client::{Redis, unavailable};
use ports::store_error::StoreError;

/// A Lua script that uses one key.
pub(super) struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(source: &'static str) -> Self {
        let hash = fred::util::sha1_hash(source);
        Self { source, hash }
    }

    /// Runs the script, and returns its result.
    pub(super) async fn run<T: FromValue>(
        &self,
        redis: &Redis,
        key: String,
        arguments: [String; 2],
    ) -> Result<T, StoreError> {
        let [first, second] = arguments;
        let with = |script: &str| {
            vec![script.to_owned(), "1".to_owned(), key.clone(), first.clone(), second.clone()]
        };
        match redis.commands.custom(command("EVALSHA", &key), with(&self.hash)).await {
            // Redis was emptied or replaced. The script did not run, so nothing counts twice.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                redis.commands.custom(command("EVAL", &key), with(self.source)).await.map_err(unavailable)
            }
            outcome => outcome.map_err(unavailable),
        }
    }
}

/// Creates a command that runs on the Cluster node that holds the key.
fn command(name: &'static str, key: &str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Custom(redis_keyslot(key.as_bytes())), false)
}
