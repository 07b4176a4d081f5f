//! Revocation cache in Redis.

use std::sync::Arc;

use async_trait::async_trait;
use fred::interfaces::KeysInterface as _;
use fred::types::Expiration;
use futures_util::future::try_join_all;

use super::client::{COMMANDS, Redis, unavailable};
use super::raised_number::RaisedNumbers;
use domain::id::{AgentId, IssuerId, OrganizationId, PersonId};
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
                COMMANDS.of("set", set).await.map_err(unavailable)
            }
            RevocationTarget::Agent(AgentId(id), generation)
            | RevocationTarget::Organization(OrganizationId(id), generation)
            | RevocationTarget::Issuer(IssuerId(id), generation)
            | RevocationTarget::Person(PersonId(id), generation) => {
                self.numbers.raise(&format!("gen:{id}"), generation, notice.until).await
            }
        }
    }

    async fn is_revoked(&self, claims: &Claims) -> Result<bool, StoreError> {
        let get = |name: String| {
            COMMANDS.of("get", self.redis.commands.get::<Option<String>, _>(self.redis.key(&name)))
        };
        // An unknown or malformed generation counts as 0: generations only rise, so the true sum is at least this.
        let known = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        let generations = |ids: Vec<String>| try_join_all(ids.into_iter().map(|id| get(format!("gen:{id}"))));
        let delegation = claims.delegation.as_deref();
        let agents = delegation.map(|delegation| &delegation.agents).into_iter().flatten();
        let agents: Vec<_> = agents.map(|(agent, generation)| (agent.to_string(), *generation)).collect();
        let person = claims.person().map(|person| [person.id(), PersonId::everyone_of(person.issuer)]);
        let tokens = std::iter::once(&claims.id).chain(claims.parents());
        let (revoked, organization, agent, agents_now, issuers, person_now) = tokio::try_join!(
            try_join_all(tokens.map(|token| get(format!("revoked:{token}")))),
            get(format!("gen:{}", claims.organization)),
            get(format!("gen:{}", claims.agent)),
            generations(agents.iter().map(|(id, _)| id.clone()).collect()),
            generations(claims.issuers.iter().map(|rests_on| rests_on.issuer.to_string()).collect()),
            generations(person.iter().flatten().map(ToString::to_string).collect()),
        )
        .map_err(unavailable)?;
        let organization = known(organization);
        let is_agent_revoked = std::iter::once((claims.generation, agent))
            .chain(agents.iter().map(|(_, generation)| *generation).zip(agents_now))
            .any(|(generation, latest)| generation < known(latest).saturating_add(organization));
        let mut issuers = claims.issuers.iter().zip(issuers);
        let is_issuer_revoked = issuers.any(|(rests_on, latest)| rests_on.generation < known(latest));
        let person_now = person_now.into_iter().map(known).fold(0, u64::saturating_add);
        let is_person_revoked = claims.person().is_some_and(|person| person.generation < person_now);
        Ok(revoked.iter().any(Option::is_some) || is_agent_revoked || is_issuer_revoked || is_person_revoked)
    }
}
