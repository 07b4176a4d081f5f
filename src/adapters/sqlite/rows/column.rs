//! Columns of a row.

use rusqlite::Row;
use rusqlite::types::FromSql;
use serde_json::Value;
use uuid::Uuid;

use crate::failure::inconsistent;
use domain::time::Timestamp;
use ports::store_error::StoreError;

/// Error of a column whose value no version of this service writes.
pub fn invalid(name: &str) -> StoreError {
    inconsistent(format!("{name} holds an invalid value"))
}

/// Reads a column.
pub fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, StoreError> {
    row.get(name).map_err(|error| inconsistent(format!("{name}: {error}")))
}

/// Reads a column that holds a number that is never negative.
pub fn number(row: &Row<'_>, name: &str) -> Result<u64, StoreError> {
    column::<i64>(row, name)?.try_into().map_err(|_| invalid(name))
}

/// Converts a number to the type of a column, saturating at its maximum.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads an instant.
pub fn instant(row: &Row<'_>, name: &str) -> Result<Timestamp, StoreError> {
    column(row, name).map(Timestamp::from_millis)
}

/// Reads an instant that may be null.
pub fn optional_instant(row: &Row<'_>, name: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(column::<Option<i64>>(row, name)?.map(Timestamp::from_millis))
}

/// Reads an ID that may be null.
pub fn optional_id(row: &Row<'_>, name: &str) -> Result<Option<Uuid>, StoreError> {
    column(row, name)
}

/// Reads a text, and parses its value.
pub fn parsed<T>(row: &Row<'_>, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
    let text = row.get_ref(name).map_err(|error| inconsistent(format!("{name}: {error}")))?;
    text.as_str().ok().and_then(parse).ok_or_else(|| invalid(name))
}

/// Reads a text that may be null, and parses its value.
pub fn parsed_if_any<T>(
    row: &Row<'_>,
    name: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    match column::<Option<String>>(row, name)? {
        None => Ok(None),
        Some(text) => parse(&text).map(Some).ok_or_else(|| invalid(name)),
    }
}

/// Reads a name of a table of names.
pub fn named<T: Copy>(row: &Row<'_>, name: &str, names: &[(&'static str, T)]) -> Result<T, StoreError> {
    parsed(row, name, |text| value_of(names, text))
}

/// Returns the value with this name; `None` if the name is unknown.
pub fn value_of<T: Copy>(names: &[(&'static str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Reads a list of texts, which is stored as JSON.
pub fn texts(row: &Row<'_>, name: &str) -> Result<Vec<String>, StoreError> {
    parsed(row, name, |text| serde_json::from_str(text).ok())
}

/// Converts a list of texts to JSON.
pub fn json_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    Value::from_iter(texts).to_string()
}

/// Reads bytes of a fixed length; `None` if they are null.
pub fn bytes<const LENGTH: usize>(row: &Row<'_>, name: &str) -> Result<Option<[u8; LENGTH]>, StoreError> {
    column(row, name)
}
