//! `WHERE` clauses for list queries.

use std::fmt::Write as _;

use tokio_postgres::types::Type;

use crate::pool::statement::Parameter;

/// A `WHERE` clause under construction, with its parameters.
#[derive(Default)]
pub struct WhereClause<'a> {
    /// The clause, including the word `WHERE`; empty without conditions.
    pub condition: String,
    /// The values of `$1`, `$2` and so on, with their types.
    pub parameters: Vec<(Parameter<'a>, Type)>,
}

impl<'a> WhereClause<'a> {
    /// Requires that a column equals a value.
    pub fn add(&mut self, column: &str, value: Parameter<'a>, kind: Type) {
        self.add_as(&format!("{column} ="), value, kind);
    }

    /// Requires that a column equals a word of a small, fixed set.
    ///
    /// The word is part of the SQL text, so that a plan can depend on it.
    pub fn add_word(&mut self, column: &str, word: &'static str) {
        self.claim(&format!("{column} = '{word}'"));
    }

    /// Requires a condition that ends with a value, whose placeholder is appended.
    pub fn add_as(&mut self, claim: &str, value: Parameter<'a>, kind: Type) {
        self.parameters.push((value, kind));
        self.claim(&format!("{claim} ${}", self.parameters.len()));
    }

    fn claim(&mut self, claim: &str) {
        let word = if self.condition.is_empty() { "WHERE" } else { "AND" };
        write!(self.condition, "{word} {claim} ").expect("writing to a String cannot fail");
    }
}
