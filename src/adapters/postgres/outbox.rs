//! Outbox of revocation notices in PostgreSQL.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::pool::failure::inconsistent;
use super::rows::codec::{column, instant, number};
use super::store::Postgres;
use domain::id::{AgentId, OrganizationId, TokenId};
use domain::token::{RevocationNotice, RevocationTarget};
use ports::outbox::{NoticeId, Outbox, PendingNotice};
use ports::store_error::StoreError;

const PENDING: &str = "\
-- outbox.pending
SELECT notice_id, kind, subject_id, generation, remembered_until FROM outbox ORDER BY notice_id LIMIT $1";

const REMOVE: &str = "\
-- outbox.remove
DELETE FROM outbox WHERE notice_id = ANY ($1)";

#[async_trait]
impl Outbox for Postgres {
    async fn pending(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError> {
        let rows = self.read(PENDING, &[&i64::from(limit)]).await?;
        rows.iter().map(pending_notice).collect()
    }

    async fn remove(&self, ids: &[NoticeId]) -> Result<(), StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.run(REMOVE, &[&ids]).await.map(drop)
    }
}

fn pending_notice(row: &Row) -> Result<PendingNotice, StoreError> {
    let subject = column(row, "subject_id")?;
    let target = match column(row, "kind")? {
        "token" => RevocationTarget::Token(TokenId(subject)),
        "agent" => RevocationTarget::Agent(AgentId(subject), number(row, "generation")?),
        "organization" => RevocationTarget::Organization(OrganizationId(subject), number(row, "generation")?),
        other => return Err(inconsistent(format!("a notice of kind {other}"))),
    };
    Ok(PendingNotice {
        id: NoticeId(column(row, "notice_id")?),
        notice: RevocationNotice { target, until: instant(row, "remembered_until")? },
    })
}
