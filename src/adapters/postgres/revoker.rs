//! Commits revocations in groups, as the issuer does tokens: one writer, one statement a batch.
//!
//! Run twice the statement does nothing more the second time. So where an answer was lost it is asked for again, and
//! nobody looks for the fate of the first.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::connect::Connector;
use super::events::{EventColumns, INSERT_EVENTS};
use super::failure::{in_doubt, is_one_rows_fault, same};
use super::lane::{Lane, Lanes, Line, Waiting, Worker};
use super::store::{Failure, Parameter};
use crate::domain::audit::NewAuditEvent;
use crate::domain::time::Timestamp;
use crate::ports::store_error::StoreError;
use crate::ports::token_store::Revocation;

/// A token that is revoked twice in a batch has one event. All go in one order, so that no two instances wait for each
/// other.
static REVOKE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "\
-- token_store.revoke
WITH revoked AS (
    INSERT INTO token_revocations (token_id, organization_id, remembered_until)
    SELECT token_id, organization_id, remembered_until
    FROM unnest($12::uuid[], $2::uuid[], $13::timestamptz[]) AS asked (token_id, organization_id, remembered_until)
    ORDER BY token_id
    ON CONFLICT ON CONSTRAINT token_revocations_pkey DO NOTHING
    RETURNING token_id, remembered_until
), told AS (
    INSERT INTO outbox (kind, subject_id, remembered_until)
    SELECT 'token', token_id, remembered_until FROM revoked
)
{INSERT_EVENTS}
JOIN (SELECT DISTINCT ON (token_id) token_id, event_id
    FROM unnest($1::uuid[], $12::uuid[]) AS asked (event_id, token_id)) AS first USING (event_id)
JOIN revoked USING (token_id)"
    )
});

/// For how long a batch is tried again whose answer was lost.
const PATIENCE: Duration = Duration::from_millis(3_500);

type Outcome = Result<(), StoreError>;
type Asked = (Revocation, NewAuditEvent);

/// The way to the writer.
pub(super) struct Revoker(Lane<Asked, Outcome>);

impl Revoker {
    pub(super) fn new(connector: &Connector, lanes: &Lanes) -> Self {
        Self(Lane::new(connector, lanes, &REVOKE, Writer))
    }

    /// Revokes a token, once that and its event are on disk.
    pub(super) async fn revoke(&self, revocation: Revocation, event: NewAuditEvent) -> Outcome {
        self.0.ask((revocation, event)).await?
    }
}

struct Writer;

impl Worker<Asked, Outcome> for Writer {
    async fn serve(&mut self, line: &mut Line, batch: Vec<Waiting<Asked, Outcome>>) {
        let asked: Vec<&Asked> = batch.iter().map(|(asked, _)| asked).collect();
        let outcome = write(line, &asked).await;
        if let Err(Failure::Said(error)) = &outcome
            && is_one_rows_fault(error)
            && batch.len() > 1
        {
            for (asked, reply) in batch {
                // Whoever does not wait any more needs no answer.
                let _ = reply.send(write(line, &[&asked]).await.map_err(StoreError::from));
            }
            return;
        }
        let outcome = outcome.map_err(StoreError::from);
        for (_, reply) in batch {
            let _ = reply.send(outcome.as_ref().copied().map_err(same));
        }
    }
}

async fn write(line: &mut Line, asked: &[&Asked]) -> Result<(), Failure> {
    let tokens: Vec<Uuid> = asked.iter().map(|(revocation, _)| revocation.token.0).collect();
    let untils: Vec<Timestamp> = asked.iter().map(|(revocation, _)| revocation.until).collect();
    let events =
        EventColumns::of(asked.iter().map(|(revocation, event)| (Some(revocation.organization), event)));
    let mut parameters = events.parameters().to_vec();
    parameters.extend([&tokens as Parameter<'_>, &untils]);
    let ends = Instant::now() + PATIENCE;
    let mut is_sent = false;
    loop {
        match line.run(&parameters).await {
            Ok(_) => return Ok(()),
            Err(Failure::Lost(_)) if Instant::now() < ends => is_sent = true,
            Err(Failure::NotAsked(_)) if is_sent && Instant::now() < ends => line.rested().await,
            Err(failure) if is_sent => return Err(Failure::Lost(in_doubt(failure.told()))),
            Err(failure) => return Err(failure),
        }
    }
}
