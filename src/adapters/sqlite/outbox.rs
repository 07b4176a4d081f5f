//! Transactional outbox in SQLite.

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::database::Database;
use super::failure::inconsistent;
use super::rows::column::{column, instant, number, signed};
use super::store::Sqlite;
use domain::id::{AgentId, IssuerId, OrganizationId, PersonId, TokenId};
use domain::names::name_of;
use domain::token::{RevocationNotice, RevocationTarget};
use ports::outbox::{Message, Outbox, Pending, Sequence, Topic};
use ports::store_error::StoreError;

#[async_trait]
impl Outbox for Sqlite {
    async fn pending(&self, topic: Topic, limit: u32) -> Result<Vec<Pending>, StoreError> {
        let sql = "SELECT * FROM outbox WHERE topic = ?1 ORDER BY notice_id LIMIT ?2";
        self.look_up("outbox.pending", move |database| {
            let name = name_of(&Topic::ALL, &topic);
            database.all(sql, params![name, limit], |row| pending(topic, row))
        })
        .await
    }

    async fn remove(&self, sequences: &[Sequence]) -> Result<(), StoreError> {
        let sequences = sequences.to_vec();
        self.change("outbox.remove", move |database| {
            sequences.iter().try_for_each(|sequence| {
                database.execute("DELETE FROM outbox WHERE notice_id = ?1", [sequence.0]).map(drop)
            })
        })
        .await
    }
}

fn pending(topic: Topic, row: &Row<'_>) -> Result<Pending, StoreError> {
    let message = match topic {
        Topic::Revocations => Message::Revocation(revocation(row)?),
    };
    Ok(Pending { sequence: Sequence(column(row, "notice_id")?), message })
}

fn revocation(row: &Row<'_>) -> Result<RevocationNotice, StoreError> {
    let subject = column(row, "subject_id")?;
    let kind: String = column(row, "kind")?;
    let target = match kind.as_str() {
        "token" => RevocationTarget::Token(TokenId(subject)),
        "agent" => RevocationTarget::Agent(AgentId(subject), number(row, "generation")?),
        "organization" => RevocationTarget::Organization(OrganizationId(subject), number(row, "generation")?),
        "issuer" => RevocationTarget::Issuer(IssuerId(subject), number(row, "generation")?),
        "person" => RevocationTarget::Person(PersonId(subject), number(row, "generation")?),
        other => return Err(inconsistent(format!("a notice of kind {other}"))),
    };
    Ok(RevocationNotice { target, until: instant(row, "remembered_until")? })
}

impl Database {
    /// Adds a revocation notice to the outbox.
    pub fn notify(&self, notice: &RevocationNotice) -> Result<(), StoreError> {
        const NOTIFY: &str = "\
INSERT INTO outbox (topic, kind, subject_id, generation, remembered_until) VALUES (?1, ?2, ?3, ?4, ?5)";
        let topic = name_of(&Topic::ALL, &Message::Revocation(*notice).topic());
        let (kind, subject, generation) = match notice.target {
            RevocationTarget::Token(id) => ("token", id.0, None),
            RevocationTarget::Agent(id, generation) => ("agent", id.0, Some(generation)),
            RevocationTarget::Organization(id, generation) => ("organization", id.0, Some(generation)),
            RevocationTarget::Issuer(id, generation) => ("issuer", id.0, Some(generation)),
            RevocationTarget::Person(id, generation) => ("person", id.0, Some(generation)),
        };
        let until = notice.until.as_millis();
        self.execute(NOTIFY, params![topic, kind, subject, generation.map(signed), until]).map(drop)
    }
}
