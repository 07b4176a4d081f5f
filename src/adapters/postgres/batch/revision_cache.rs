//! Agents, organizations and trusted issuers, each cached until its revision changes.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio_postgres::Row;
use uuid::Uuid;

use super::batcher::BatchConnection;
use crate::pool::failure::inconsistent;
use crate::rows::codec::{self, AGENT, ORGANIZATION, column, instant, number};
use crate::rows::issuers::{self, ISSUER};
use domain::agent::Agent;
use domain::client::RegisteredClient;
use domain::issuer::TrustedIssuer;
use domain::organization::Organization;
use domain::size::{CREDENTIAL_SIZE, agent_size, issuer_size, organization_size};
use ports::store_error::StoreError;

/// Maximum size in bytes of a cache of agents, of organizations, or of clients.
///
/// Enough for about 50,000 agents of the usual size, or 6,000 of the largest.
const MAX_KEPT_BYTES: u64 = 32 * 1024 * 1024;
/// Cache of agents, organizations and trusted issuers, each valid until its revision changes.
#[derive(Clone)]
pub struct RevisionCache {
    agents: Cache<Uuid, Arc<Agent>>,
    organizations: Cache<Uuid, Arc<Organization>>,
    issuers: Cache<Uuid, Arc<TrustedIssuer>>,
}

/// Creates a cache of clients that are kept for this long.
pub fn cache_of_clients<Q>(kept_for: Duration) -> Cache<Q, RegisteredClient>
where
    Q: Hash + Eq + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(MAX_KEPT_BYTES)
        .weigher(|_: &Q, client| u32::try_from(bytes_of_client(client)).unwrap_or(u32::MAX))
        .time_to_live(kept_for)
        .build()
}

/// Creates a cache of at most [`MAX_KEPT_BYTES`], as counted by `bytes`.
fn bounded<T: Send + Sync + 'static>(bytes: fn(&T) -> usize) -> Cache<Uuid, Arc<T>> {
    let weigh = move |_: &Uuid, kept: &Arc<T>| u32::try_from(bytes(kept)).unwrap_or(u32::MAX);
    Cache::builder().max_capacity(MAX_KEPT_BYTES).weigher(weigh).build()
}

/// Returns the approximate size of a client, in bytes, with its agent and organization: other caches may have dropped
/// them.
fn bytes_of_client(client: &RegisteredClient) -> usize {
    let credentials = client.candidates.len() * CREDENTIAL_SIZE;
    let issuer = client.issuer.as_ref().map_or(0, |issuer| issuer_size(issuer));
    size_of::<RegisteredClient>()
        + agent_size(&client.agent)
        + organization_size(&client.organization)
        + credentials
        + issuer
}

/// Agent and organization of a row, with the row's place in the batch.
pub struct Found {
    pub place: usize,
    pub agent: Arc<Agent>,
    pub organization: Arc<Organization>,
}

impl RevisionCache {
    pub fn new() -> Self {
        Self {
            agents: bounded(agent_size),
            organizations: bounded(organization_size),
            issuers: bounded(issuer_size),
        }
    }

    /// Returns the trusted issuers of the rows, at the rows' revisions or newer. One that was deleted meanwhile is missing.
    pub async fn issuers(
        &self,
        connection: &mut BatchConnection,
        rows: &[Row],
    ) -> Result<HashMap<Uuid, Arc<TrustedIssuer>>, StoreError> {
        let mut issuers = BatchResult::default();
        let has_issuers = |row: &&Row| row.columns().iter().any(|one| one.name() == "trusted_issuer_id");
        if rows.first().filter(has_issuers).is_none() {
            return Ok(issuers.found);
        }
        for row in rows {
            let Some(issuer) = column::<Option<Uuid>>(row, "trusted_issuer_id")? else { continue };
            issuers.look(issuer, self.issuers.get(&issuer), |kept| {
                Ok((kept.revision, kept.updated_at)
                    == (number(row, "issuer_revision")?, instant(row, "issuer_updated_at")?))
            })?;
        }
        let issuer = |row: &Row| issuers::issuer(row).map(|issuer| (issuer.id.0, issuer));
        issuers.read_missing(connection, &issuers_by_id(), &self.issuers, issuer).await?;
        Ok(issuers.found)
    }

    /// Returns the agent and the organization of each row, at the row's revisions or newer.
    pub async fn resolve(
        &self,
        connection: &mut BatchConnection,
        rows: &[Row],
    ) -> Result<Vec<Found>, StoreError> {
        let mut agents = BatchResult::default();
        let mut organizations = BatchResult::default();
        let mut placed = Vec::with_capacity(rows.len());
        for row in rows {
            let agent: Uuid = column(row, "agent_id")?;
            let organization: Uuid = column(row, "organization_id")?;
            agents.look(agent, self.agents.get(&agent), |kept| {
                Ok((kept.revision, kept.updated_at)
                    == (number(row, "agent_revision")?, instant(row, "agent_updated_at")?))
            })?;
            organizations.look(organization, self.organizations.get(&organization), |kept| {
                Ok((kept.revision, kept.updated_at)
                    == (number(row, "organization_revision")?, instant(row, "organization_updated_at")?))
            })?;
            placed.push((column::<i64>(row, "place")?, agent, organization));
        }
        let agent = |row: &Row| codec::agent(row).map(|agent| (agent.id.0, agent));
        agents.read_missing(connection, &agents_by_id(), &self.agents, agent).await?;
        let organization = |row: &Row| codec::organization(row).map(|known| (known.id.0, known));
        organizations
            .read_missing(connection, &organizations_by_id(), &self.organizations, organization)
            .await?;
        let gone = || inconsistent("an agent or organization disappeared while it was read");
        placed
            .into_iter()
            .map(|(place, agent, organization)| {
                Ok(Found {
                    // Ordinality counts from 1.
                    place: usize::try_from(place - 1).map_err(|_| gone())?,
                    agent: agents.found.get(&agent).ok_or_else(gone)?.clone(),
                    organization: organizations.found.get(&organization).ok_or_else(gone)?.clone(),
                })
            })
            .collect()
    }
}

/// Entries of a batch that are known already, and IDs that must still be read.
struct BatchResult<T> {
    found: HashMap<Uuid, Arc<T>>,
    missing: HashSet<Uuid>,
}

impl<T> Default for BatchResult<T> {
    fn default() -> Self {
        Self { found: HashMap::new(), missing: HashSet::new() }
    }
}

impl<T: Send + Sync + 'static> BatchResult<T> {
    fn look(
        &mut self,
        id: Uuid,
        kept: Option<Arc<T>>,
        is_current: impl FnOnce(&T) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        match kept {
            Some(kept) if is_current(&kept)? => {
                self.found.insert(id, kept);
            }
            _ => {
                self.missing.insert(id);
            }
        }
        Ok(())
    }

    /// Reads the missing entries and caches them.
    async fn read_missing(
        &mut self,
        connection: &mut BatchConnection,
        sql: &str,
        kept: &Cache<Uuid, Arc<T>>,
        decode: impl Fn(&Row) -> Result<(Uuid, T), StoreError>,
    ) -> Result<(), StoreError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<Uuid> = self.missing.drain().collect();
        for row in connection.read_other(sql, &[&missing]).await? {
            let (id, read) = decode(&row)?;
            let read = Arc::new(read);
            kept.insert(id, read.clone());
            self.found.insert(id, read);
        }
        Ok(())
    }
}

fn agents_by_id() -> String {
    format!("-- lookup.agents\nSELECT {AGENT} FROM agents WHERE agent_id = ANY ($1)")
}

fn organizations_by_id() -> String {
    format!(
        "-- lookup.organizations\nSELECT {ORGANIZATION} FROM organizations WHERE organization_id = ANY ($1)"
    )
}

fn issuers_by_id() -> String {
    format!("-- lookup.issuers\nSELECT {ISSUER} FROM trusted_issuers WHERE issuer_id = ANY ($1)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_by_its_bytes_however_large_each_is() {
        for size in [100_usize, 10_000, 1_000_000] {
            let cache = bounded(|text: &String| text.len());
            let kept = Arc::new("x".repeat(size));
            for number in 0..2 * MAX_KEPT_BYTES / size as u64 {
                cache.insert(Uuid::from_u128(number.into()), kept.clone());
            }
            cache.run_pending_tasks();
            let bytes = cache.weighted_size();
            assert!(bytes <= MAX_KEPT_BYTES && bytes > MAX_KEPT_BYTES / 4, "{bytes} of {size} each");
        }
    }
}
