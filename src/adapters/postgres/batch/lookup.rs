//! Batched lookups that every request needs: token status and client identity.
//!
//! The database returns only the revisions of agents and organizations. An agent or organization of a given revision
//! never changes, so it is cached, and read again only when the revision differs. That something is active follows from the
//! revision that the database returns each time. Only a client that is about to get a token is cached whole, for a minute:
//! the statement that issues the token finds out whether it still is so.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio_postgres::Row;
use uuid::Uuid;

use super::batcher::{BatchConnection, BatchHandler, Batcher, Batchers, Pending, Statements};
use super::revision_cache::{Found, RevisionCache, cache_of_clients};
use super::token_status::TokenStatusBatch;
use crate::pool::connect::Connector;
use crate::pool::failure::{copy_for_waiter, unavailable};
use crate::rows::codec::{self, column};
use domain::agent::Agent;
use domain::client::RegisteredClient;
use domain::id::AgentId;
use domain::secret::Fingerprint;
use domain::token::{Claims, TokenStatus};
use ports::credential_store::{Freshness, PresentedKind};
use ports::store_error::StoreError;

/// How long a client may be answered as [`Freshness::Recent`].
const RECENT: Duration = Duration::from_secs(60);

const FIND_CLIENT: &str = "\
-- credential_store.find_client
SELECT asked.place, a.agent_id, a.revision AS agent_revision, a.updated_at AS agent_updated_at,
    o.organization_id, o.revision AS organization_revision, o.updated_at AS organization_updated_at,
    c.credential_id, c.public_key, c.issuer_id, c.subject, c.claims, c.fingerprint, c.secret_hash, c.secret_digest,
    c.previous_fingerprint, c.previous_hash, c.previous_until, c.created_at, c.expires_at, c.revoked_at, c.revision,
    u.last_used_at
FROM unnest($1::uuid[], $2::bytea[]) WITH ORDINALITY AS asked (agent_id, fingerprint, place)
JOIN agents a ON a.agent_id = asked.agent_id
JOIN organizations o ON o.organization_id = a.organization_id
LEFT JOIN LATERAL (
    SELECT * FROM credentials WHERE agent_id = asked.agent_id AND fingerprint = asked.fingerprint
        AND fingerprint IS NOT NULL
    UNION ALL
    SELECT * FROM credentials WHERE agent_id = asked.agent_id AND previous_fingerprint = asked.fingerprint
        AND previous_fingerprint IS NOT NULL
    UNION ALL
    SELECT * FROM credentials WHERE agent_id = asked.agent_id AND asked.fingerprint IS NULL
        AND public_key IS NOT NULL AND revoked_at IS NULL
) AS c ON true
LEFT JOIN credential_uses u ON u.credential_id = c.credential_id";

const FIND_FEDERATED: &str = "\
-- credential_store.find_federated_client
SELECT asked.place, a.agent_id, a.revision AS agent_revision, a.updated_at AS agent_updated_at,
    o.organization_id, o.revision AS organization_revision, o.updated_at AS organization_updated_at,
    i.issuer_id AS trusted_issuer_id, i.revision AS issuer_revision, i.updated_at AS issuer_updated_at,
    c.credential_id, c.public_key, c.issuer_id, c.subject, c.claims, c.created_at, c.expires_at, c.revoked_at, c.revision,
    u.last_used_at
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS asked (agent_id, issuer, place)
JOIN agents a ON a.agent_id = asked.agent_id
JOIN organizations o ON o.organization_id = a.organization_id
LEFT JOIN trusted_issuers i ON i.organization_id = a.organization_id AND i.issuer = asked.issuer
LEFT JOIN credentials c ON c.agent_id = a.agent_id AND c.issuer_id = i.issuer_id AND c.revoked_at IS NULL
LEFT JOIN credential_uses u ON u.credential_id = c.credential_id";

const IS_WRITABLE: &str = "\
-- store_health.check
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS is_writable";

/// Batchers for token status and for clients.
pub struct LookupBatch {
    statuses: TokenStatusBatch,
    clients: Batcher<ClientQuestion, Answer<RegisteredClient>>,
    recent: Cache<ClientQuestion, RegisteredClient>,
}

/// A question about a client.
#[derive(Clone, PartialEq, Eq, Hash)]
enum ClientQuestion {
    /// The client, with its secrets that have this fingerprint.
    Secret(AgentId, Fingerprint),
    /// The client, with its keys.
    Keys(AgentId),
    /// The client, with the trusted issuer of this `iss` and its credentials of that issuer.
    Federated(AgentId, Arc<str>),
    /// The client, without credentials.
    Identity(AgentId),
    /// No client: only whether the server answers and accepts writes.
    Health,
}

impl ClientQuestion {
    fn agent(&self) -> Uuid {
        match self {
            Self::Secret(agent, _)
            | Self::Keys(agent)
            | Self::Federated(agent, _)
            | Self::Identity(agent) => agent.0,
            Self::Health => Uuid::nil(),
        }
    }

    /// Returns the fingerprint of the requested credentials; `None` for keys.
    ///
    /// An empty slice requests no credentials, because no fingerprint is empty.
    fn fingerprint(&self) -> Option<&[u8]> {
        match self {
            Self::Secret(_, fingerprint) => Some(&fingerprint.0),
            Self::Keys(_) => None,
            Self::Federated(..) | Self::Identity(_) | Self::Health => Some(&[]),
        }
    }

    fn issuer(&self) -> Option<&str> {
        match self {
            Self::Federated(_, issuer) => Some(issuer),
            _ => None,
        }
    }
}

/// Answer to a question about one thing; `None` if it is unknown.
pub(super) type Answer<T> = Result<Option<T>, StoreError>;

impl LookupBatch {
    pub fn new(connector: &Connector, batchers: &Batchers) -> Self {
        let kept = RevisionCache::new();
        Self {
            statuses: TokenStatusBatch::new(connector, batchers, kept.clone()),
            clients: Batcher::new(
                connector,
                batchers,
                Statements::new(FIND_CLIENT, FIND_FEDERATED),
                Clients(kept),
            ),
            recent: cache_of_clients(RECENT),
        }
    }

    /// Returns the current status of the token with these claims and of its agent.
    ///
    /// `None` if the agent is unknown.
    pub async fn status(&self, claims: &Claims) -> Answer<TokenStatus> {
        self.statuses.status(claims).await
    }

    /// Returns the agent with this ID; `None` if the agent is unknown.
    pub async fn agent(&self, id: AgentId) -> Answer<Arc<Agent>> {
        self.statuses.agent(id).await
    }

    /// Returns the client with this ID; `None` if the client is unknown.
    ///
    /// The client comes with the credentials that may match what it presents.
    pub async fn client(
        &self,
        agent: AgentId,
        kind: PresentedKind,
        freshness: Freshness,
    ) -> Answer<RegisteredClient> {
        let question = match kind {
            PresentedKind::Secret(fingerprint) => ClientQuestion::Secret(agent, fingerprint),
            PresentedKind::Key => ClientQuestion::Keys(agent),
            PresentedKind::Federated(issuer) => ClientQuestion::Federated(agent, issuer),
            PresentedKind::None => ClientQuestion::Identity(agent),
        };
        if freshness == Freshness::Recent
            && let Some(client) = self.recent.get(&question)
        {
            return Ok(Some(RegisteredClient { is_current: false, ..client }));
        }
        let found = self.clients.ask(question.clone()).await??;
        match &found {
            // A client without a credential that fits is not kept, so that guesses take no room.
            Some(client) if freshness == Freshness::Recent && !client.candidates.is_empty() => {
                self.recent.insert(question, client.clone());
            }
            // The caller may be about to refuse the client, which it cannot do by a recent answer.
            _ => self.recent.invalidate(&question),
        }
        Ok(found)
    }

    /// Checks that the server answers and accepts writes.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.clients.ask(ClientQuestion::Health).await?.map(drop)
    }
}

struct Clients(RevisionCache);

impl BatchHandler<ClientQuestion, Answer<RegisteredClient>> for Clients {
    async fn serve(
        &mut self,
        connection: &mut BatchConnection,
        batch: Vec<Pending<ClientQuestion, Answer<RegisteredClient>>>,
    ) {
        let (checks, batch): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|(question, _)| matches!(question, ClientQuestion::Health));
        if !checks.is_empty() {
            let outcome = is_writable(connection).await;
            for (_, reply) in checks {
                let _ = reply.send(outcome.as_ref().map(|()| None).map_err(copy_for_waiter));
            }
        }
        let (federated, others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|(question, _)| matches!(question, ClientQuestion::Federated(..)));
        if !others.is_empty() {
            let agents: Vec<Uuid> = others.iter().map(|(question, _)| question.agent()).collect();
            let fingerprints: Vec<Option<&[u8]>> =
                others.iter().map(|(question, _)| question.fingerprint()).collect();
            let rows = connection.read(&[&agents, &fingerprints]).await;
            let found = self.clients(connection, rows, others.len()).await;
            answer(found, others);
        }
        if !federated.is_empty() {
            let agents: Vec<Uuid> = federated.iter().map(|(question, _)| question.agent()).collect();
            let issuers: Vec<Option<&str>> =
                federated.iter().map(|(question, _)| question.issuer()).collect();
            let rows = connection.read_full(&[&agents, &issuers]).await;
            let found = self.clients(connection, rows, federated.len()).await;
            answer(found, federated);
        }
    }
}

impl Clients {
    /// Returns the client of each of `count` questions.
    async fn clients(
        &self,
        connection: &mut BatchConnection,
        rows: Result<Vec<Row>, StoreError>,
        count: usize,
    ) -> Result<Vec<Option<RegisteredClient>>, StoreError> {
        let rows = rows?;
        let issuers = self.0.issuers(connection, &rows).await?;
        let mut clients: Vec<Option<RegisteredClient>> = vec![None; count];
        for (row, found) in rows.iter().zip(self.0.resolve(connection, &rows).await?) {
            let Found { place, agent, organization } = found;
            let Some(client) = clients.get_mut(place) else { continue };
            let client = client.get_or_insert_with(|| RegisteredClient {
                agent,
                organization,
                candidates: Vec::new(),
                issuer: None,
                is_current: true,
            });
            if !issuers.is_empty() {
                let id = column::<Option<Uuid>>(row, "trusted_issuer_id")?;
                client.issuer = id.and_then(|id| issuers.get(&id)).cloned();
            }
            if column::<Option<Uuid>>(row, "credential_id")?.is_some() {
                client.candidates.push(Arc::new(codec::credential(row)?));
            }
        }
        Ok(clients)
    }
}

async fn is_writable(connection: &mut BatchConnection) -> Result<(), StoreError> {
    let rows = match connection.read_other(IS_WRITABLE, &[]).await {
        // Retried once, because the connection may have been lost long ago.
        Err(StoreError::Unavailable { .. }) => connection.read_other(IS_WRITABLE, &[]).await?,
        outcome => outcome?,
    };
    match column(&rows[0], "is_writable")? {
        true => Ok(()),
        false => Err(unavailable("it is read-only")),
    }
}

/// Sends each question of the batch its result, or a copy of the error.
pub(super) fn answer<Q, T>(outcome: Result<Vec<Option<T>>, StoreError>, batch: Vec<Pending<Q, Answer<T>>>) {
    match outcome {
        Ok(found) => {
            for (found, (_, reply)) in found.into_iter().zip(batch) {
                // A caller that no longer waits needs no answer.
                let _ = reply.send(Ok(found));
            }
        }
        Err(error) => {
            for (_, reply) in batch {
                let _ = reply.send(Err(copy_for_waiter(&error)));
            }
        }
    }
}
