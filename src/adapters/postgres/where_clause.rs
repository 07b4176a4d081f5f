//! What a list is asked for, as a condition.

use std::fmt::Write as _;

use tokio_postgres::types::Type;

use super::store::Parameter;

/// A condition that grows, with its parameters.
#[derive(Default)]
pub(super) struct WhereClause<'a> {
    pub condition: String,
    pub parameters: Vec<(Parameter<'a>, Type)>,
}

impl<'a> WhereClause<'a> {
    /// That a column equals a value.
    pub(super) fn add(&mut self, column: &str, value: Parameter<'a>, kind: Type) {
        self.add_as(&format!("{column} ="), value, kind);
    }

    /// That a column is one of a few words that never change: it stands in the text, so that a plan may go by it.
    pub(super) fn add_word(&mut self, column: &str, word: &'static str) {
        self.claim(&format!("{column} = '{word}'"));
    }

    /// That what is written holds of a value.
    pub(super) fn add_as(&mut self, claim: &str, value: Parameter<'a>, kind: Type) {
        self.parameters.push((value, kind));
        self.claim(&format!("{claim} ${}", self.parameters.len()));
    }

    fn claim(&mut self, claim: &str) {
        let word = if self.condition.is_empty() { "WHERE" } else { "AND" };
        write!(self.condition, "{word} {claim} ").expect("writing to a String cannot fail");
    }
}
