//! Rows that nearly every request needs, kept in memory until they change.
//!
//! Only this process changes the file, and only by one thread. So a row that was read stays true until that thread
//! changes it. Before the thread stores a change, it removes the rows that change, and nothing that was read before is kept
//! any more. So once any question is answered by the new row, none is answered by the old one.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moka::sync::Cache;

use domain::agent::Agent;
use domain::credential::Credential;
use domain::id::{AgentId, IssuerId, OrganizationId, TokenId};
use domain::issuer::TrustedIssuer;
use domain::organization::Organization;
use domain::size::{CREDENTIAL_SIZE, agent_size, issuer_size, organization_size};
use ports::store_error::StoreError;

/// Maximum size in bytes of a cache of agents, of their credentials, of organizations or of issuers.
///
/// Enough for about 25,000 agents of the usual size, or 3,000 of the largest.
const MAX_KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum number of tokens of which it is known whether they were revoked, and of people. Each takes about 100 bytes.
const MAX_SMALL_ROWS: u64 = 50_000;

/// Unrevoked credentials of an agent, the oldest first.
pub type Credentials = Arc<[Arc<Credential>]>;
/// The issuer of a person, and the SHA-256 of the `sub`.
pub type PersonKey = (IssuerId, [u8; 32]);

/// Name of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// An agent.
    Agent(AgentId),
    /// The unrevoked credentials of an agent.
    Credentials(AgentId),
    /// An organization.
    Organization(OrganizationId),
    /// A trusted issuer.
    Issuer(IssuerId),
    /// The generation of a person.
    Person(PersonKey),
    /// Whether a token was revoked.
    Revocation(TokenId),
}

/// Rows of the file as they are stored.
pub struct RowCache {
    /// Agents by ID.
    pub agents: Cache<AgentId, Arc<Agent>>,
    /// Unrevoked credentials by their agent.
    pub credentials: Cache<AgentId, Credentials>,
    /// Organizations by ID.
    pub organizations: Cache<OrganizationId, Arc<Organization>>,
    /// Trusted issuers by ID.
    pub issuers: Cache<IssuerId, Arc<TrustedIssuer>>,
    /// Generations of people.
    pub people: Cache<PersonKey, u64>,
    /// Whether a token was revoked, by its ID.
    pub revocations: Cache<TokenId, bool>,
    /// Counts the beginnings and the ends of changes to such rows: it is odd during a change.
    changes: Mutex<u64>,
}

impl Default for RowCache {
    fn default() -> Self {
        Self {
            agents: bounded(|agent: &Arc<Agent>| agent_size(agent)),
            credentials: bounded(|credentials: &Credentials| (1 + credentials.len()) * CREDENTIAL_SIZE),
            organizations: bounded(|organization: &Arc<Organization>| organization_size(organization)),
            issuers: bounded(|issuer: &Arc<TrustedIssuer>| issuer_size(issuer)),
            people: Cache::new(MAX_SMALL_ROWS),
            revocations: Cache::new(MAX_SMALL_ROWS),
            changes: Mutex::new(0),
        }
    }
}

/// Creates a cache of at most [`MAX_KEPT_BYTES`], as counted by `size`.
fn bounded<K, V>(size: fn(&V) -> usize) -> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let weigh = move |_: &K, kept: &V| u32::try_from(size(kept)).unwrap_or(u32::MAX);
    Cache::builder().max_capacity(MAX_KEPT_BYTES).weigher(weigh).build()
}

impl RowCache {
    fn remove(&self, key: &RowKey) {
        match key {
            RowKey::Agent(id) => self.agents.invalidate(id),
            RowKey::Credentials(id) => self.credentials.invalidate(id),
            RowKey::Organization(id) => self.organizations.invalidate(id),
            RowKey::Issuer(id) => self.issuers.invalidate(id),
            RowKey::Person(key) => self.people.invalidate(key),
            RowKey::Revocation(id) => self.revocations.invalidate(id),
        }
    }

    fn changes(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cache as one connection uses it.
pub struct CachedRows {
    cache: Arc<RowCache>,
    /// Number of changes when the transaction of a reader began; `None` in the writer, which keeps nothing that it reads.
    seen: Cell<Option<u64>>,
    /// Rows that the current transaction of the writer changes.
    changed: RefCell<HashSet<RowKey>>,
}

impl CachedRows {
    /// Uses this cache.
    pub fn of(cache: Arc<RowCache>) -> Self {
        Self { cache, seen: Cell::default(), changed: RefCell::default() }
    }

    /// Marks the beginning of a reader's transaction, which has not read anything yet.
    pub fn begin_reading(&self) {
        self.seen.set(Some(*self.cache.changes()));
    }

    /// Marks a row that the writer is about to change, or may have changed.
    pub fn mark_changed(&self, key: RowKey) {
        self.changed.borrow_mut().insert(key);
    }

    /// Stores the changes of the writer's transaction, whose rows are not kept meanwhile.
    pub fn store<T>(&self, store: impl FnOnce() -> T) -> T {
        let changed = self.changed.take();
        if changed.is_empty() {
            return store();
        }
        *self.cache.changes() += 1;
        changed.iter().for_each(|key| self.cache.remove(key));
        let stored = store();
        *self.cache.changes() += 1;
        stored
    }

    /// Returns what is kept, or what is read and is from then on kept; `None` if there is no such row.
    pub fn get<K, V>(
        &self,
        key: RowKey,
        id: K,
        rows: impl Fn(&RowCache) -> &Cache<K, V>,
        read: impl FnOnce() -> Result<Option<V>, StoreError>,
    ) -> Result<Option<V>, StoreError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let rows = rows(&self.cache);
        if !self.changed.borrow().contains(&key)
            && let Some(kept) = rows.get(&id)
        {
            return Ok(Some(kept));
        }
        let found = read()?;
        if let (Some(found), Some(seen)) = (&found, self.seen.get()) {
            let changes = self.cache.changes();
            if *changes == seen && seen.is_multiple_of(2) {
                rows.insert(id, found.clone());
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [TokenId; 2] = [TokenId(uuid::Uuid::from_u128(1)), TokenId(uuid::Uuid::from_u128(2))];

    fn connections() -> (CachedRows, CachedRows) {
        let cache = Arc::default();
        (CachedRows::of(Arc::clone(&cache)), CachedRows::of(cache))
    }

    /// Asks whether a token was revoked. `read` is called if that is not kept.
    fn ask(rows: &CachedRows, token: TokenId, read: impl FnOnce() -> bool) -> bool {
        let key = RowKey::Revocation(token);
        let found = rows.get(key, token, |cache| &cache.revocations, || Ok(Some(read())));
        found.expect("read").expect("found")
    }

    fn change(writer: &CachedRows, token: TokenId) {
        writer.mark_changed(RowKey::Revocation(token));
        writer.store(|| ());
    }

    #[test]
    fn a_row_is_read_once_until_it_changes() {
        let (reader, writer) = connections();
        reader.begin_reading();
        for token in TOKENS {
            assert!(!ask(&reader, token, || false));
            assert!(!ask(&reader, token, || panic!("it is kept")));
        }
        change(&writer, TOKENS[0]);
        reader.begin_reading();
        assert!(ask(&reader, TOKENS[0], || true));
        assert!(!ask(&reader, TOKENS[1], || panic!("it is kept")));
    }

    #[test]
    fn a_row_that_was_read_before_a_change_is_not_kept_after_it() {
        let (reader, writer) = connections();
        reader.begin_reading();
        let seen_before = ask(&reader, TOKENS[0], || {
            change(&writer, TOKENS[0]);
            false
        });
        assert!(!seen_before);
        reader.begin_reading();
        assert!(ask(&reader, TOKENS[0], || true));
    }

    #[test]
    fn nothing_is_kept_while_a_change_is_being_stored() {
        let (reader, writer) = connections();
        reader.begin_reading();
        ask(&reader, TOKENS[0], || false);
        writer.mark_changed(RowKey::Revocation(TOKENS[0]));
        writer.store(|| {
            reader.begin_reading();
            assert!(!ask(&reader, TOKENS[0], || false));
            assert!(ask(&reader, TOKENS[0], || true), "the second question is answered by the file");
        });
        // This transaction began during the change, and may not have seen it.
        assert!(!ask(&reader, TOKENS[1], || false));
        assert!(ask(&reader, TOKENS[1], || true));
    }

    #[test]
    fn the_writer_reads_what_it_has_changed_from_the_file() {
        let (reader, writer) = connections();
        reader.begin_reading();
        ask(&reader, TOKENS[0], || false);
        assert!(!ask(&writer, TOKENS[0], || panic!("it is kept")));
        writer.mark_changed(RowKey::Revocation(TOKENS[0]));
        assert!(ask(&writer, TOKENS[0], || true));
        // A refused change leaves the row as it is for the others.
        assert!(!ask(&reader, TOKENS[0], || panic!("it is kept")));
        assert!(!ask(&writer, TOKENS[1], || false));
        assert!(ask(&writer, TOKENS[1], || true), "the writer keeps nothing that is not stored yet");
    }
}
