//! Transactional outbox in PostgreSQL.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::pool::failure::inconsistent;
use super::rows::codec::{column, instant, number};
use super::store::Postgres;
use domain::id::{AgentId, IssuerId, OrganizationId, PersonId, TokenId};
use domain::names::name_of;
use domain::token::{RevocationNotice, RevocationTarget};
use ports::outbox::{Message, Outbox, Pending, Sequence, Topic};
use ports::store_error::StoreError;

const PENDING: &str = "\
-- outbox.pending
SELECT notice_id, kind, subject_id, generation, remembered_until FROM outbox
WHERE topic = $1 ORDER BY notice_id LIMIT $2";

const REMOVE: &str = "\
-- outbox.remove
DELETE FROM outbox WHERE notice_id = ANY ($1)";

#[async_trait]
impl Outbox for Postgres {
    async fn pending(&self, topic: Topic, limit: u32) -> Result<Vec<Pending>, StoreError> {
        let name = name_of(&Topic::ALL, &topic);
        let rows = self.read(PENDING, &[&name, &i64::from(limit)]).await?;
        rows.iter().map(|row| pending(topic, row)).collect()
    }

    async fn remove(&self, sequences: &[Sequence]) -> Result<(), StoreError> {
        let sequences: Vec<i64> = sequences.iter().map(|sequence| sequence.0).collect();
        self.run(REMOVE, &[&sequences]).await.map(drop)
    }
}

fn pending(topic: Topic, row: &Row) -> Result<Pending, StoreError> {
    let message = match topic {
        Topic::Revocations => Message::Revocation(revocation(row)?),
    };
    Ok(Pending { sequence: Sequence(column(row, "notice_id")?), message })
}

fn revocation(row: &Row) -> Result<RevocationNotice, StoreError> {
    let subject = column(row, "subject_id")?;
    let target = match column(row, "kind")? {
        "token" => RevocationTarget::Token(TokenId(subject)),
        "agent" => RevocationTarget::Agent(AgentId(subject), number(row, "generation")?),
        "organization" => RevocationTarget::Organization(OrganizationId(subject), number(row, "generation")?),
        "issuer" => RevocationTarget::Issuer(IssuerId(subject), number(row, "generation")?),
        "person" => RevocationTarget::Person(PersonId(subject), number(row, "generation")?),
        other => return Err(inconsistent(format!("a notice of kind {other}"))),
    };
    Ok(RevocationNotice { target, until: instant(row, "remembered_until")? })
}
