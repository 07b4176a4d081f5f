//! Lua scripts, called by hash, and sent in full only if Redis lacks them.

use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, FromValue};
use fred::util::redis_keyslot;

use super::client::{COMMANDS, Redis, unavailable};
use ports::store_error::StoreError;

/// A Lua script that uses one key, or several in one slot of a Cluster.
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
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, StoreError> {
        let with = |script: &str| {
            let head = [script.to_owned(), keys.len().to_string()];
            head.into_iter().chain(keys.iter().cloned()).chain(arguments.iter().cloned()).collect::<Vec<_>>()
        };
        let key = keys.first().map_or("", String::as_str);
        let call = COMMANDS.of("evalsha", redis.commands.custom(command("EVALSHA", key), with(&self.hash)));
        match call.await {
            // Redis was emptied or replaced. The script did not run, so nothing counts twice.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                let call =
                    COMMANDS.of("eval", redis.commands.custom(command("EVAL", key), with(self.source)));
                call.await.map_err(unavailable)
            }
            outcome => outcome.map_err(unavailable),
        }
    }
}

/// Creates a command that runs on the Cluster node that holds the key.
fn command(name: &'static str, key: &str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Custom(redis_keyslot(key.as_bytes())), false)
}
