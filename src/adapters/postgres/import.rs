//! Takes over all data of another durable store, in one transaction.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::pool::connect::Connector;
use super::pool::failure::{failed, in_doubt, inconsistent, is_server_error};
use super::pool::settings::PgSettings;
use super::rows::codec::SqlTimestamp;
use domain::time::Timestamp;
use ports::store_error::StoreError;
use stored_json::tables::{Column, Kind, TABLES, Table};

/// A transaction that fills empty tables. Dropped before [`commit`](Self::commit), it leaves nothing.
pub struct Import {
    client: Client,
    months: BTreeSet<String>,
}

/// Error of [`Import::begin`].
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is data already.
    #[error("the table {0} has rows; copy into an empty database")]
    NotEmpty(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Import {
    /// Refuses a database with rows in any of these tables, as far as they exist. Nothing is changed.
    ///
    /// Returns [`ImportError::NotEmpty`] if a table has rows.
    pub async fn check_empty(settings: &PgSettings) -> Result<(), ImportError> {
        let client = Connector(settings.without_timeouts()).open_in_time().await?;
        for table in &TABLES {
            let exists = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table.name]).await;
            if exists.map_err(failed)?.get(0) {
                let sql = format!("SELECT EXISTS (SELECT FROM {})", table.name);
                if client.query_one(&sql, &[]).await.map_err(failed)?.get(0) {
                    return Err(ImportError::NotEmpty(table.name));
                }
            }
        }
        Ok(())
    }

    /// Begins. The tables exist and are up to date, and the role owns them.
    ///
    /// Returns [`ImportError::NotEmpty`] if a table has rows.
    pub async fn begin(settings: &PgSettings) -> Result<Self, ImportError> {
        let client = Connector(settings.without_timeouts()).open_in_time().await?;
        let import = Self { client, months: BTreeSet::new() };
        import.client.batch_execute("BEGIN").await.map_err(failed)?;
        for table in &TABLES {
            // No instance can write meanwhile.
            let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", table.name);
            import.client.batch_execute(&lock).await.map_err(failed)?;
            if import.count(table).await? > 0 {
                return Err(ImportError::NotEmpty(table.name));
            }
        }
        Ok(import)
    }

    /// Inserts rows of a table.
    ///
    /// Returns a [`StoreError`] if one does not fit.
    pub async fn insert(&mut self, table: &Table, rows: &[Value]) -> Result<(), StoreError> {
        if table.name == "audit_events" {
            self.make_partitions(rows).await?;
        }
        let columns: Vec<String> = table.columns.iter().map(|(name, _)| quoted(name)).collect();
        let values: Vec<String> = table.columns.iter().map(value_of).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {}",
            table.name,
            columns.join(", "),
            values.join(", "),
            records_of(table)
        );
        let json = Value::from(rows).to_string();
        self.client.execute(&sql, &[&json]).await.map_err(failed)?;
        Ok(())
    }

    /// Returns how many of these rows are in the table, equal in every column.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    pub async fn count_equal(&self, table: &Table, rows: &[Value]) -> Result<u64, StoreError> {
        let is_equal = |(place, column): (usize, &Column)| {
            let (name, kind) = column;
            let (stored, wanted) = (format!("t.{}", quoted(name)), value_of(column));
            match kind {
                _ if place < table.key => format!("{stored} = {wanted}"),
                Kind::Json => format!("{stored}::text IS NOT DISTINCT FROM {wanted}::text"),
                _ => format!("{stored} IS NOT DISTINCT FROM {wanted}"),
            }
        };
        let conditions: Vec<String> = table.columns.iter().enumerate().map(is_equal).collect();
        let sql = format!(
            "SELECT count(*) FROM {} WHERE EXISTS (SELECT FROM {} t WHERE {})",
            records_of(table),
            table.name,
            conditions.join(" AND ")
        );
        self.number(&sql, &[&Value::from(rows).to_string()]).await
    }

    /// Returns how many rows the table has.
    ///
    /// Returns a [`StoreError`] if the store cannot answer.
    pub async fn count(&self, table: &Table) -> Result<u64, StoreError> {
        self.number(&format!("SELECT count(*) FROM {}", table.name), &[]).await
    }

    /// Stores everything.
    ///
    /// Returns [`StoreError::InDoubt`] if the answer was lost.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.client.batch_execute("COMMIT").await {
            Err(error) if is_server_error(&error) => Err(failed(error)),
            Err(error) => Err(in_doubt(error)),
            Ok(()) => {
                // The plans of the first requests would be those of empty tables, until PostgreSQL looks by itself.
                if let Err(error) = self.client.batch_execute("ANALYZE").await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "ANALYZE failed");
                }
                Ok(())
            }
        }
    }

    async fn number(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let count: i64 = self.client.query_one(sql, parameters).await.map_err(failed)?.get(0);
        Ok(count.unsigned_abs())
    }

    /// Creates the partitions of these events that are missing.
    async fn make_partitions(&mut self, events: &[Value]) -> Result<(), StoreError> {
        for event in events {
            let at = event["occurred_at"].as_i64().ok_or_else(|| inconsistent("an event without a time"))?;
            let at = Timestamp::from_millis(at);
            if self.months.insert(at.month().to_string()) {
                // The other function refuses months that are long past.
                let sql =
                    "SELECT make_audit_partition(date_trunc('month', $1::timestamptz AT TIME ZONE 'UTC'))";
                self.client.execute(sql, &[&SqlTimestamp(at)]).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Returns the rows of the parameter as a relation `r`.
fn records_of(table: &Table) -> String {
    let definition = |(name, kind): &Column| {
        let sql_type = match kind {
            Kind::Id => "uuid",
            Kind::Text | Kind::Bytes => "text",
            Kind::Number | Kind::Instant => "bigint",
            Kind::Flag => "boolean",
            Kind::Json => "json",
            Kind::Texts | Kind::Words => "text[]",
            Kind::Address => "inet",
            Kind::Date => "date",
        };
        format!("{} {sql_type}", quoted(name))
    };
    let definitions: Vec<String> = table.columns.iter().map(definition).collect();
    format!("json_to_recordset($1::text::json) AS r ({})", definitions.join(", "))
}

/// Returns the value of a column of the relation `r`.
fn value_of((name, kind): &Column) -> String {
    let value = format!("r.{}", quoted(name));
    match kind {
        // In days and milliseconds, because the product of an interval is computed with 53 bits.
        Kind::Instant => format!(
            "(timestamp 'epoch' + {value} / 86400000 * interval '1 day' \
             + {value} % 86400000 * interval '1 millisecond') AT TIME ZONE 'UTC'"
        ),
        Kind::Bytes => format!("decode({value}, 'hex')"),
        _ => value,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
