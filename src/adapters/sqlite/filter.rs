//! Conditions of lists, and their pages.

use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};
use uuid::Uuid;

use super::database::Database;
use super::rows::column::signed;
use domain::page::PageRequest;
use ports::store_error::StoreError;

/// Conditions that rows must meet, with the values of their parameters.
#[derive(Clone, Default)]
pub struct Filter {
    conditions: String,
    values: Vec<Value>,
}

impl Filter {
    /// Adds a condition with one parameter, `?`.
    pub fn add(&mut self, condition: &str, value: impl Into<Value>) {
        self.add_fixed(condition);
        self.values.push(value.into());
    }

    /// Adds a condition with one parameter, `?`, which is an ID.
    pub fn add_id(&mut self, condition: &str, id: Uuid) {
        self.add(condition, id.as_bytes().to_vec());
    }

    /// Adds a condition without parameters.
    pub fn add_fixed(&mut self, condition: &str) {
        self.conditions += if self.conditions.is_empty() { " WHERE " } else { " AND " };
        self.conditions += condition;
    }

    /// Adds the value of a second parameter of the last condition.
    pub fn add_value(&mut self, value: impl Into<Value>) {
        self.values.push(value.into());
    }

    /// Returns the clause `WHERE`; empty without conditions.
    pub fn clause(&self) -> &str {
        &self.conditions
    }

    /// Returns the values of the parameters, in their order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }
}

impl Database {
    /// Returns the number that a query with this filter answers.
    pub fn count(&self, select: &str, filter: &Filter) -> Result<u64, StoreError> {
        let sql = format!("{select}{}", filter.clause());
        self.value::<i64>(&sql, params_from_iter(filter.values())).map(i64::unsigned_abs)
    }

    /// Returns one page of a table's rows that the filter matches, newest first.
    pub fn page<T>(
        &self,
        table: &str,
        id: &str,
        filter: &Filter,
        page: PageRequest,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.page_by(table, &format!("created_at DESC, {id} DESC"), filter, page, read)
    }

    /// Returns a page of a table in this order.
    pub fn page_by<T>(
        &self,
        table: &str,
        order: &str,
        filter: &Filter,
        page: PageRequest,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let sql = format!("SELECT * FROM {table}{} ORDER BY {order} LIMIT ? OFFSET ?", filter.clause());
        let bounds = [Value::from(page.limit), Value::from(signed(page.offset()))];
        self.all(&sql, params_from_iter(filter.values().chain(&bounds)), read)
    }
}
