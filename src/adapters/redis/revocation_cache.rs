//! Revocation cache in Redis.

use std::sync::Arc;

use async_trait::async_trait;
use fred::interfaces::KeysInterface as _;
use fred::types::Expiration;

use super::client::{Redis, unavailable};
use super::script::Script;
use crate::domain::id::{AgentId, OrganizationId};
use crate::domain::time::Timestamp;
use crate::domain::token::{Claims, RevocationNotice, RevocationTarget};
use crate::ports::clock::Clock;
use crate::ports::revocation_cache::{MonthlyUsage, RevocationCache};
use crate::ports::store_error::StoreError;

/// Revocation cache that all instances share.
pub struct RedisRevocationCache {
    redis: Arc<Redis>,
    raise: Script,
    clock: Arc<dyn Clock>,
}

impl RedisRevocationCache {
    /// Creates a cache that derives the lifetime of notices from this clock.
    pub fn new(redis: Arc<Redis>, clock: Arc<dyn Clock>) -> Self {
        Self { redis, raise: Script::new(include_str!("raise.lua")), clock }
    }

    async fn raise(&self, name: &str, to: u64, until: Timestamp) -> Result<(), StoreError> {
        let life = self.life(until).to_string();
        self.raise.run::<i64>(&self.redis, self.redis.key(name), [to.to_string(), life]).await.map(drop)
    }

    /// Returns the remaining lifetime of a notice, in milliseconds, at least 1.
    fn life(&self, until: Timestamp) -> i64 {
        (until.as_millis() - self.clock.now().as_millis()).max(1)
    }
}

#[async_trait]
impl RevocationCache for RedisRevocationCache {
    async fn publish(&self, notice: &RevocationNotice) -> Result<(), StoreError> {
        match notice.target {
            RevocationTarget::Token(id) => {
                let life = Some(Expiration::PX(self.life(notice.until)));
                let set = self.redis.commands.set::<(), _, _>(
                    self.redis.key(&format!("revoked:{id}")),
                    1,
                    life,
                    None,
                    false,
                );
                set.await.map_err(unavailable)
            }
            RevocationTarget::Agent(AgentId(id), generation)
            | RevocationTarget::Organization(OrganizationId(id), generation) => {
                self.raise(&format!("gen:{id}"), generation, notice.until).await
            }
        }
    }

    async fn is_revoked(&self, claims: &Claims) -> Result<bool, StoreError> {
        let get = |name: String| self.redis.commands.get::<Option<String>, _>(self.redis.key(&name));
        let (revoked, agent, organization) = tokio::try_join!(
            get(format!("revoked:{}", claims.id)),
            get(format!("gen:{}", claims.agent)),
            get(format!("gen:{}", claims.organization)),
        )
        .map_err(unavailable)?;
        // An unknown or malformed generation counts as 0: generations only rise, so the true sum is at least this.
        let known = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        let generation = known(agent).saturating_add(known(organization));
        Ok(revoked.is_some() || claims.generation < generation)
    }

    async fn show_usage(&self, usage: &MonthlyUsage) -> Result<(), StoreError> {
        let MonthlyUsage { client, month, tokens } = usage;
        let (year, month_of_year) = month.year_and_month();
        self.raise(&format!("monthly:{client}:{year}:{month_of_year}"), *tokens, month.end()).await
    }
}
