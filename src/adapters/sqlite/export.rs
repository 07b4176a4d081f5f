//! All rows of the file, for moving them to another store.

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::database::Database;
use super::failure::inconsistent;
use super::file_lock::{FileLock, resolved};
use super::rows::column::column;
use super::schema::{self, OpenError};
use ports::store_error::StoreError;
use stored_json::tables::{Column, Kind, Table};

/// A file that no instance serves, open for reading.
pub struct Export {
    database: Database,
    _lock: FileLock,
}

impl Export {
    /// Opens a file, and brings its tables up to date. Blocks the thread.
    ///
    /// Returns [`OpenError`] if an instance serves the file, if no file has this path, or if it is not one of ours.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.exists() {
            let reason = "there is no such file".to_owned();
            return Err(OpenError::Failed { path: path.to_owned(), reason });
        }
        let (database, lock) = schema::open(&resolved(path))?;
        Ok(Self { database, _lock: lock })
    }

    /// Calls `take` with the rows of a table, in parts of at most `size`, until it breaks off. Blocks the thread.
    ///
    /// Returns a [`StoreError`] if the file cannot be read.
    pub fn read(
        &self,
        table: &Table,
        size: usize,
        mut take: impl FnMut(Vec<Value>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut part = Vec::new();
        let mut flow = ControlFlow::Continue(());
        self.database.each(&select(table), (), |row| {
            part.push(object(row, table.columns)?);
            if part.len() == size {
                flow = take(std::mem::take(&mut part));
            }
            Ok(flow)
        })?;
        if flow.is_continue() && !part.is_empty() {
            // The last part: nothing follows that could be broken off.
            let _ = take(part);
        }
        Ok(())
    }
}

/// Returns the query of a table's rows, for tables that this store divides otherwise too.
fn select(table: &Table) -> String {
    let from = match table.name {
        "credential_uses" => "credentials WHERE last_used_at IS NOT NULL",
        "audit_tallies" => "(SELECT *, 0 AS granted FROM audit_tallies)",
        "assertion_replay" => {
            "(SELECT signer AS agent_id, digest, remembered_until FROM assertion_replay WHERE signer_kind = 'client')"
        }
        "issuer_replay" => {
            "(SELECT signer AS issuer_id, digest, remembered_until FROM assertion_replay WHERE signer_kind = 'issuer')"
        }
        "proof_replay" => "(SELECT digest, remembered_until FROM assertion_replay WHERE signer_kind = 'key')",
        "monthly_tokens" => {
            "(SELECT agent_id, month || '-01' AS month, organization_id, tokens, 0 AS granted FROM monthly_tokens)"
        }
        "outbox" => "outbox ORDER BY notice_id",
        name => name,
    };
    let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    format!("SELECT {} FROM {from}", columns.join(", "))
}

fn object(row: &Row<'_>, columns: &[Column]) -> Result<Value, StoreError> {
    let members = columns.iter().map(|(name, kind)| Ok(((*name).to_owned(), member(row, name, *kind)?)));
    Ok(Value::Object(members.collect::<Result<Map<_, _>, StoreError>>()?))
}

fn member(row: &Row<'_>, name: &str, kind: Kind) -> Result<Value, StoreError> {
    let raw = row.get_ref(name).map_err(|error| inconsistent(format!("{name}: {error}")))?;
    if raw == ValueRef::Null {
        return Ok(Value::Null);
    }
    let text = || column::<String>(row, name);
    Ok(match kind {
        Kind::Id => column::<Uuid>(row, name)?.to_string().into(),
        Kind::Text | Kind::Address | Kind::Date => text()?.into(),
        Kind::Number | Kind::Instant => column::<i64>(row, name)?.into(),
        Kind::Flag => column::<bool>(row, name)?.into(),
        Kind::Json | Kind::Texts => serde_json::from_str(&text()?)
            .map_err(|error| inconsistent(format!("{name} is not JSON: {error}")))?,
        Kind::Words => text()?.split(' ').collect(),
        Kind::Bytes => {
            let bytes: Vec<u8> = column(row, name)?;
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
    })
}
