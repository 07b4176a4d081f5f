//! Group commit of revocations: one writer, one statement per batch, as in [`token_issue`](super::token_issue).
//!
//! The statement is idempotent. If an answer was lost, the statement is retried, and the outcome of the first attempt
//! is not looked up.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::batcher::{BatchConnection, BatchHandler, Batcher, Batchers, Pending};
use crate::pool::connect::Connector;
use crate::pool::failure::{copy_for_waiter, in_doubt, is_row_error};
use crate::pool::statement::{Parameter, QueryError};
use crate::rows::codec::SqlTimestamp;
use crate::rows::events::{EventColumns, INSERT_EVENTS};
use domain::audit::AuditEvent;
use domain::names::name_of;
use ports::outbox::Topic;
use ports::store_error::StoreError;
use ports::token_store::Revocation;

/// Stores revocations with their events, in one order, so that instances cannot deadlock.
///
/// A token that is revoked twice in a batch has one event.
static REVOKE: LazyLock<String> = LazyLock::new(|| {
    let topic = name_of(&Topic::ALL, &Topic::Revocations);
    format!(
        "\
-- token_store.revoke
WITH revoked AS (
    INSERT INTO token_revocations (token_id, organization_id, remembered_until)
    SELECT token_id, organization_id, remembered_until
    FROM unnest($13::uuid[], $2::uuid[], $14::timestamptz[]) AS asked (token_id, organization_id, remembered_until)
    ORDER BY token_id
    ON CONFLICT ON CONSTRAINT token_revocations_pkey DO NOTHING
    RETURNING token_id, remembered_until
), written AS (
    INSERT INTO outbox (topic, kind, subject_id, remembered_until)
    SELECT '{topic}', 'token', token_id, remembered_until FROM revoked
)
{INSERT_EVENTS}
JOIN (SELECT DISTINCT ON (token_id) token_id, event_id
    FROM unnest($1::uuid[], $13::uuid[]) AS asked (event_id, token_id)) AS first USING (event_id)
JOIN revoked USING (token_id)"
    )
});

/// How long a batch whose answer was lost is retried.
const TIMEOUT: Duration = Duration::from_millis(3_500);

type Outcome = Result<(), StoreError>;
type Asked = (Revocation, AuditEvent);

/// Handle that submits revocations to the writer.
pub struct RevocationBatch(Batcher<Asked, Outcome>);

impl RevocationBatch {
    pub fn new(connector: &Connector, batchers: &Batchers) -> Self {
        Self(Batcher::new(connector, batchers, REVOKE.as_str(), Writer))
    }

    /// Revokes a token, and returns once the revocation and its event are on disk.
    pub async fn revoke(&self, revocation: Revocation, event: AuditEvent) -> Outcome {
        self.0.ask((revocation, event)).await?
    }
}

struct Writer;

impl BatchHandler<Asked, Outcome> for Writer {
    async fn serve(&mut self, connection: &mut BatchConnection, batch: Vec<Pending<Asked, Outcome>>) {
        let asked: Vec<&Asked> = batch.iter().map(|(asked, _)| asked).collect();
        let outcome = write(connection, &asked).await;
        if let Err(QueryError::Rejected(error)) = &outcome
            && is_row_error(error)
            && batch.len() > 1
        {
            for (asked, reply) in batch {
                // A caller that no longer waits needs no answer.
                let _ = reply.send(write(connection, &[&asked]).await.map_err(StoreError::from));
            }
            return;
        }
        let outcome = outcome.map_err(StoreError::from);
        for (_, reply) in batch {
            let _ = reply.send(outcome.as_ref().copied().map_err(copy_for_waiter));
        }
    }
}

async fn write(connection: &mut BatchConnection, asked: &[&Asked]) -> Result<(), QueryError> {
    let tokens: Vec<Uuid> = asked.iter().map(|(revocation, _)| revocation.token.0).collect();
    let untils: Vec<SqlTimestamp> =
        asked.iter().map(|(revocation, _)| SqlTimestamp(revocation.until)).collect();
    let events =
        EventColumns::of(asked.iter().map(|(revocation, event)| (Some(revocation.organization), event)));
    let mut parameters = events.parameters().to_vec();
    parameters.extend([&tokens as Parameter<'_>, &untils]);
    let ends = Instant::now() + TIMEOUT;
    let mut is_sent = false;
    loop {
        match connection.run(&parameters).await {
            Ok(_) => return Ok(()),
            Err(QueryError::ConnectionLost(_)) if Instant::now() < ends => is_sent = true,
            Err(QueryError::NotSent(_)) if is_sent && Instant::now() < ends => connection.until_retry().await,
            Err(failure) if is_sent => {
                return Err(QueryError::ConnectionLost(in_doubt(failure.into_source())));
            }
            Err(failure) => return Err(failure),
        }
    }
}
