//! Transactions: a change with its audit events, committed entirely or not at all.

use std::time::Duration;

use deadpool_postgres::Object;
use instruments::{QUERIES, name_of_statement};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_postgres::{Error, Row};

use super::pool::failure::{Timeout, failed, in_doubt, is_read_only, is_server_error, unavailable};
use super::pool::statement::{Parameter, STATEMENT};
use super::rows::codec::{SqlTimestamp, column, signed};
use super::rows::events::{EventColumns, INSERT_EVENTS};
use super::rows::issuers::rests_on;
use super::store::Postgres;
use domain::audit::{AuditEvent, Authority};
use domain::id::{AgentId, OrganizationId};
use domain::names::name_of;
use domain::scope::ManagementScope;
use domain::time::Timestamp;
use domain::token::{RevocationNotice, RevocationTarget};
use ports::error_chain::error_chain;
use ports::outbox::Topic;
use ports::store_error::StoreError;
use ports::write::{CallerRevoked, Write};
use shares::Place;

/// Time limit of a transaction, not including its commit.
const CHANGE: Duration = Duration::from_secs(3);
/// Time limit for resolving the outcome of a commit whose answer was lost.
const SETTLE: Duration = Duration::from_millis(1_500);

const TRANSACTION_STATUS: &str = "\
-- change.settle
SELECT pg_xact_status($1::text::xid8) AS fate";

const NOTIFY: &str = "\
-- change.notify
INSERT INTO outbox (topic, kind, subject_id, generation, remembered_until) VALUES ($1, $2, $3, $4, $5)";

/// Serializes changes that could remove the last administrator.
const LOCK_ADMINISTRATORS: &str = "\
-- change.lock_administrators
SELECT pg_advisory_xact_lock(hashtextextended('agentidp administrators', 0))";

const HAS_ADMINISTRATOR: &str = "\
-- change.has_administrator
SELECT EXISTS (
    SELECT FROM agents a JOIN organizations o USING (organization_id)
    WHERE a.status = 'active' AND a.capabilities @> ARRAY['admin:orgs'] AND o.status = 'active'
        AND ($1::uuid IS NULL OR a.agent_id = $1)
        AND EXISTS (SELECT FROM credentials c LEFT JOIN trusted_issuers i USING (issuer_id)
            WHERE c.agent_id = a.agent_id AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > $2)
                AND (c.issuer_id IS NULL OR i.status = 'active'))
) AS has";

/// Whether the caller's authority still holds.
///
/// Checked under the gate (advisory lock) of the caller's organization, so that no other transaction can suspend or
/// change the caller from then on. A revocation of only the caller's token takes no gate: it may be answered while a
/// change that was checked just before is still being stored.
const AUTHORITY_HOLDS: &str = "\
-- change.authority_holds
SELECT EXISTS (
    SELECT FROM agents a JOIN organizations o USING (organization_id)
    WHERE a.agent_id = $1 AND a.status = 'active' AND o.status = 'active'
        AND a.generation + o.generation = $2 AND a.capabilities @> $3
        AND NOT EXISTS (SELECT FROM token_revocations WHERE token_id = $4)
        AND ($5::text IS NULL OR issuers_hold($5))
) AS holds";

/// Returns the gate of an organization, the same value as the SQL function `organization_gate`.
pub fn gate(OrganizationId(id): OrganizationId) -> i32 {
    let [.., a, b, c, d] = *id.as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

/// A transaction in progress. Dropped before [`commit`](Self::commit), it is rolled back.
pub struct Transaction<'a> {
    store: &'a Postgres,
    /// `None` once the transaction has ended or the connection is lost.
    connection: Option<Object>,
    /// The organization's place in the pool, held until the transaction ends.
    place: Option<Place>,
    /// The transaction's ID; `None` until events are recorded.
    transaction: Option<String>,
    ends: Instant,
}

impl Postgres {
    /// Begins a transaction that will record these events.
    ///
    /// Returns [`CallerRevoked`] if the caller's authority no longer holds.
    pub async fn begin(
        &self,
        write: Write<'_>,
    ) -> Result<Result<Transaction<'_>, CallerRevoked>, StoreError> {
        self.begin_at("BEGIN", None, false, write).await
    }

    /// Same as [`begin`](Self::begin), after waiting for `lock`.
    ///
    /// The lock comes first, so that the transaction blocks no gate while it waits for the lock.
    pub async fn begin_after(
        &self,
        lock: &str,
        write: Write<'_>,
    ) -> Result<Result<Transaction<'_>, CallerRevoked>, StoreError> {
        self.begin_at(&format!("BEGIN; {lock}"), None, false, write).await
    }

    /// Begins a transaction under the organization's exclusive advisory lock; issuance takes it shared.
    ///
    /// PostgreSQL queues advisory locks fairly, so issuers cannot starve this writer as they would on the row lock. A
    /// transaction that revokes tokens (`is_revocation`) has reserved connections.
    pub async fn begin_exclusive(
        &self,
        organization: OrganizationId,
        is_revocation: bool,
        write: Write<'_>,
    ) -> Result<Result<Transaction<'_>, CallerRevoked>, StoreError> {
        self.begin_at("BEGIN", Some(organization), is_revocation, write).await
    }

    async fn begin_at(
        &self,
        begin: &str,
        changed: Option<OrganizationId>,
        is_revocation: bool,
        write: Write<'_>,
    ) -> Result<Result<Transaction<'_>, CallerRevoked>, StoreError> {
        let authority = write.authority;
        let own = changed.map(gate);
        let callers =
            authority.map(|authority| gate(authority.organization)).filter(|gate| Some(*gate) != own);
        let mut gates = Vec::from_iter(own.map(|gate| (gate, "pg_advisory_xact_lock")));
        gates.extend(callers.map(|gate| (gate, "pg_advisory_xact_lock_shared")));
        // Every transaction that waits for two gates takes them in this order.
        gates.sort_unstable();
        let locks: String =
            gates.into_iter().map(|(gate, lock)| format!("; SELECT {lock}(1, {gate})")).collect();
        let whose = authority.map(|authority| authority.organization).or(changed);
        let place = self.place(whose, is_revocation).await?;
        for event in write.events {
            self.ensure_partition(event.at).await?;
        }
        let mut change = self.begin_with(&format!("{begin}{locks}"), is_revocation).await?;
        change.place = place;
        match authority {
            Some(authority) if !change.holds(authority).await? => Ok(Err(CallerRevoked)),
            _ => Ok(Ok(change)),
        }
    }

    /// Begins a transaction with these statements, without a check of any authority.
    async fn begin_with(&self, sql: &str, is_revocation: bool) -> Result<Transaction<'_>, StoreError> {
        let ends = Instant::now() + CHANGE;
        let begin = async || {
            let connection = Some(self.connection_for(is_revocation, ends).await?);
            let mut change = Transaction { store: self, connection, place: None, transaction: None, ends };
            let outcome =
                timeout_at(ends, QUERIES.of("change.begin", change.connection()?.batch_execute(sql))).await;
            change.judge(outcome)?;
            Ok(change)
        };
        match begin().await {
            // Nothing was requested yet, so another connection serves as well: this one may have been lost long ago.
            Err(StoreError::Unavailable { .. }) => begin().await,
            outcome => outcome,
        }
    }
}

impl Transaction<'_> {
    /// Runs a statement and returns its rows.
    pub async fn query(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        let connection = self.connection()?;
        let ask = async {
            let statement = connection.prepare_cached(sql).await?;
            connection.query(&statement, parameters).await
        };
        let outcome = timeout_at(self.ends, QUERIES.of(name_of_statement(sql), ask)).await;
        self.judge(outcome)
    }

    /// Runs a statement and returns the number of rows that it changed.
    pub async fn execute(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, StoreError> {
        let connection = self.connection()?;
        let ask = async {
            let statement = connection.prepare_cached(sql).await?;
            connection.execute(&statement, parameters).await
        };
        let outcome = timeout_at(self.ends, QUERIES.of(name_of_statement(sql), ask)).await;
        self.judge(outcome)
    }

    fn connection(&self) -> Result<&Object, StoreError> {
        self.connection.as_ref().ok_or_else(|| unavailable("the transaction has ended"))
    }

    /// Interprets the outcome of a statement.
    ///
    /// A connection that does not answer is closed, and the server rolls back.
    fn judge<T>(&mut self, outcome: Result<Result<T, Error>, Elapsed>) -> Result<T, StoreError> {
        match outcome {
            Ok(Err(error)) if is_read_only(&error) => {
                if let Some(connection) = self.connection.take() {
                    self.store.forget(connection);
                }
                Err(unavailable(error))
            }
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => {
                drop(self.connection.take().map(Object::take));
                Err(unavailable(Timeout(CHANGE)))
            }
        }
    }

    async fn holds(&mut self, authority: &Authority) -> Result<bool, StoreError> {
        let scopes: Vec<&str> = authority.scopes.iter().map(ManagementScope::as_str).collect();
        let token = authority.token.map(|token| token.0);
        let issuers = rests_on(&authority.issuers);
        let parameters: [Parameter<'_>; 5] =
            [&authority.agent.0, &signed(authority.generation), &scopes, &token, &issuers];
        let rows = self.query(AUTHORITY_HOLDS, &parameters).await?;
        column(&rows[0], "holds")
    }

    /// Blocks other changes that could remove the last administrator, until this transaction ends.
    pub async fn lock_administrators(&mut self) -> Result<(), StoreError> {
        self.query(LOCK_ADMINISTRATORS, &[]).await.map(drop)
    }

    /// Whether this agent, or any agent if `None`, could administer at `now`.
    pub async fn has_administrator(
        &mut self,
        agent: Option<AgentId>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = self.query(HAS_ADMINISTRATOR, &[&agent.map(|id| id.0), &SqlTimestamp(now)]).await?;
        column(&rows[0], "has")
    }

    /// Adds a notice to the outbox.
    pub async fn notify(&mut self, notice: &RevocationNotice) -> Result<(), StoreError> {
        let (kind, subject, generation) = match notice.target {
            RevocationTarget::Token(id) => ("token", id.0, None),
            RevocationTarget::Agent(id, generation) => ("agent", id.0, Some(signed(generation))),
            RevocationTarget::Organization(id, generation) => {
                ("organization", id.0, Some(signed(generation)))
            }
            RevocationTarget::Issuer(id, generation) => ("issuer", id.0, Some(signed(generation))),
            RevocationTarget::Person(id, generation) => ("person", id.0, Some(signed(generation))),
        };
        let topic = name_of(&Topic::ALL, &Topic::Revocations);
        self.execute(NOTIFY, &[&topic, &kind, &subject, &generation, &SqlTimestamp(notice.until)])
            .await
            .map(drop)
    }

    /// Records the events of the transaction.
    pub async fn record(
        &mut self,
        organization: OrganizationId,
        events: &[AuditEvent],
    ) -> Result<(), StoreError> {
        let columns = EventColumns::of(events.iter().map(|event| (Some(organization), event)));
        let sql = format!(
            "-- change.record\nWITH recorded AS ({INSERT_EVENTS}) SELECT pg_current_xact_id()::text AS transaction"
        );
        let rows = self.query(&sql, &columns.parameters()).await?;
        self.transaction = Some(column(&rows[0], "transaction")?);
        Ok(())
    }

    /// Commits the transaction. If the answer was lost, the outcome is looked up.
    ///
    /// Returns [`StoreError::InDoubt`] if the outcome stays unknown.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let Some(connection) = self.connection.take() else {
            return Err(unavailable("the transaction has ended"));
        };
        let commit = QUERIES.of("change.commit", connection.batch_execute("COMMIT"));
        match timeout(STATEMENT, commit).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_server_error(&error) => Err(failed(error)),
            Ok(Err(error)) => {
                drop(Object::take(connection));
                self.resolve_in_doubt(error_chain(&error)).await
            }
            Err(_) => {
                drop(Object::take(connection));
                self.resolve_in_doubt(Timeout(STATEMENT).to_string()).await
            }
        }
    }

    /// Looks up the outcome of the transaction on another connection.
    async fn resolve_in_doubt(&self, cause: String) -> Result<(), StoreError> {
        let Some(transaction) = &self.transaction else { return Err(in_doubt(cause)) };
        let look = async {
            let mut pause = interval(Duration::from_millis(20));
            pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pause.tick().await;
                // The server may be restarting, or still be busy with the commit.
                let Ok(rows) = self.store.read(TRANSACTION_STATUS, &[transaction]).await else { continue };
                match column::<Option<&str>>(&rows[0], "fate")? {
                    Some("committed") => return Ok(()),
                    Some("aborted") => return Err(unavailable(cause.clone())),
                    _ => {}
                }
            }
        };
        match timeout(SETTLE, look).await {
            Ok(outcome) => outcome,
            Err(_) => Err(in_doubt(cause.clone())),
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let (Some(connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) else { return };
        let place = self.place.take();
        runtime.spawn(async move {
            let _place = place;
            if !matches!(timeout(STATEMENT, connection.batch_execute("ROLLBACK")).await, Ok(Ok(()))) {
                drop(Object::take(connection));
            }
        });
    }
}
