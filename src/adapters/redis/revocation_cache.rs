//! Revocation cache in Redis.

use std::sync::Arc;

use async_trait::async_trait;
use fred::interfaces::KeysInterface as _;
use fred::types::Expiration;
use futures_util::future::try_join_all;

use super::client::{Redis, unavailable};
use super::raised_number::RaisedNumbers;
use domain::id::{AgentId, IssuerId, OrganizationId};
use domain::token::{Claims, RevocationNotice, RevocationTarget};
use ports::clock::Clock;
use ports::revocation_cache::RevocationCache;
use ports::store_error::StoreError;

/// Revocation cache that all instances share.
pub struct RedisRevocationCache {
    redis: Arc<Redis>,
    numbers: RaisedNumbers,
}

impl RedisRevocationCache {
    /// Creates a cache that derives the lifetime of notices from this clock.
    pub fn new(redis: Arc<Redis>, clock: Arc<dyn Clock>) -> Self {
        Self { numbers: RaisedNumbers::new(redis.clone(), clock), redis }
    }
}

#[async_trait]
impl RevocationCache for RedisRevocationCache {
    async fn publish(&self, notice: &RevocationNotice) -> Result<(), StoreError> {
        match notice.target {
            RevocationTarget::Token(id) => {
                let life = Some(Expiration::PX(self.numbers.life_millis(notice.until)));
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
            | RevocationTarget::Organization(OrganizationId(id), generation)
            | RevocationTarget::Issuer(IssuerId(id), generation) => {
                self.numbers.raise(&format!("gen:{id}"), generation, notice.until).await
            }
        }
    }

    async fn is_revoked(&self, claims: &Claims) -> Result<bool, StoreError> {
        let get = |name: String| self.redis.commands.get::<Option<String>, _>(self.redis.key(&name));
        // An unknown or malformed generation counts as 0: generations only rise, so the true sum is at least this.
        let known = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        let issuers = claims.issuers.iter().map(|rests_on| get(format!("gen:{}", rests_on.issuer)));
        let (revoked, agent, organization, issuers) = tokio::try_join!(
            get(format!("revoked:{}", claims.id)),
            get(format!("gen:{}", claims.agent)),
            get(format!("gen:{}", claims.organization)),
            try_join_all(issuers),
        )
        .map_err(unavailable)?;
        let generation = known(agent).saturating_add(known(organization));
        let mut issuers = claims.issuers.iter().zip(issuers);
        let is_issuer_revoked = issuers.any(|(rests_on, latest)| rests_on.generation < known(latest));
        Ok(revoked.is_some() || claims.generation < generation || is_issuer_revoked)
    }
}
