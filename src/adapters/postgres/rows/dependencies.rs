//! Dependencies of tokens to be issued, apart from their clients, as database columns.

use uuid::Uuid;

use super::codec::{SqlTimestamp, signed};
use crate::pool::statement::Parameter;
use ports::token_store::{Signer, TokenIssue};

/// The dependencies of a batch as one vector per column, each with the place of its token, from 1.
#[derive(Default)]
pub struct DependencyColumns<'a> {
    agent_places: Vec<i64>,
    agents: Vec<Uuid>,
    agent_revisions: Vec<i64>,
    agent_changes: Vec<SqlTimestamp>,
    issuer_places: Vec<i64>,
    issuers: Vec<Uuid>,
    issuer_generations: Vec<i64>,
    issuer_revisions: Vec<Option<i64>>,
    issuer_changes: Vec<Option<SqlTimestamp>>,
    assertion_places: Vec<i64>,
    /// `None` for a proof of possession.
    signers: Vec<Option<Uuid>>,
    assertions: Vec<&'a [u8]>,
    assertion_untils: Vec<SqlTimestamp>,
    ancestor_places: Vec<i64>,
    ancestors: Vec<Uuid>,
    person_places: Vec<i64>,
    person_issuers: Vec<Uuid>,
    persons: Vec<&'a [u8]>,
    person_generations: Vec<i64>,
}

impl<'a> DependencyColumns<'a> {
    /// Collects the columns of these tokens.
    pub fn of(issues: impl Iterator<Item = &'a TokenIssue>) -> Self {
        let mut columns = Self::default();
        for (issue, place) in issues.zip(1..) {
            columns.add(place, issue);
        }
        columns
    }

    fn add(&mut self, place: i64, issue: &'a TokenIssue) {
        for on in &issue.depends_on {
            self.agent_places.push(place);
            self.agents.push(on.agent.0);
            self.agent_revisions.push(signed(on.revision));
            self.agent_changes.push(SqlTimestamp(on.changed_at));
        }
        for on in &issue.issuers {
            self.issuer_places.push(place);
            self.issuers.push(on.issuer.0);
            self.issuer_generations.push(signed(on.generation));
            self.issuer_revisions.push(on.decided_by.map(|(revision, _)| signed(revision)));
            self.issuer_changes.push(on.decided_by.map(|(_, at)| SqlTimestamp(at)));
        }
        for assertion in &issue.assertions {
            let signer = match assertion.signer {
                Signer::Client(_) => continue,
                Signer::Issuer(issuer) => Some(issuer.0),
                Signer::Key => None,
            };
            self.assertion_places.push(place);
            self.signers.push(signer);
            self.assertions.push(&assertion.digest);
            self.assertion_untils.push(SqlTimestamp(assertion.until));
        }
        for ancestor in &issue.ancestors {
            self.ancestor_places.push(place);
            self.ancestors.push(ancestor.0);
        }
        if let Some(person) = &issue.person {
            self.person_places.push(place);
            self.person_issuers.push(person.issuer.0);
            self.persons.push(&person.digest);
            self.person_generations.push(signed(person.generation));
        }
    }

    /// Returns whether no token has a dependency.
    pub fn is_empty(&self) -> bool {
        let places = [
            &self.agent_places,
            &self.issuer_places,
            &self.assertion_places,
            &self.ancestor_places,
            &self.person_places,
        ];
        places.into_iter().all(Vec::is_empty)
    }

    /// Returns the parameters in the order of the statement.
    pub fn parameters(&self) -> [Parameter<'_>; 19] {
        [
            &self.agent_places,
            &self.agents,
            &self.agent_revisions,
            &self.agent_changes,
            &self.issuer_places,
            &self.issuers,
            &self.issuer_generations,
            &self.issuer_revisions,
            &self.issuer_changes,
            &self.assertion_places,
            &self.signers,
            &self.assertions,
            &self.assertion_untils,
            &self.ancestor_places,
            &self.ancestors,
            &self.person_places,
            &self.person_issuers,
            &self.persons,
            &self.person_generations,
        ]
    }
}
