//! The field `mayAct`: agents that may act for a subject.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use serde_json::Value;

use crate::extract::values::{distinct, list_of_strings};
use crate::extract::{Field, Fields};
use domain::id::AgentId;
use domain::may_act::{ALL, MAX_ACTORS, MayAct};

/// `["*"]`, or a list of at least `LEAST` agent IDs.
pub struct Actors<const LEAST: usize>(pub MayAct);

/// No agent.
pub const NO_ACTORS: Actors<0> = Actors(MayAct::NONE);

impl<const LEAST: usize> Field for Actors<LEAST> {
    fn schema() -> MetaSchemaRef {
        let entry = MetaSchema {
            pattern: Some("^(\\*|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$".to_owned()),
            ..MetaSchema::new("string")
        };
        list_of_strings(entry, (LEAST > 0).then_some(LEAST), MAX_ACTORS)
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let parse = |text: &str| match text {
            ALL => Ok(None),
            id => AgentId::parse(id).map(Some).ok_or("must be an agent ID, or \"*\" alone"),
        };
        let Some(entries) = distinct(fields, name, LEAST..=MAX_ACTORS, parse)? else { return Some(None) };
        let is_all = entries.contains(&None);
        if is_all && entries.len() > 1 {
            fields.field_error(name, "must be \"*\" alone, or agent IDs");
        }
        let listed = entries.into_iter().flatten().collect();
        Some(Some(Self(if is_all { MayAct::All } else { MayAct::Only(listed) })))
    }
}

impl<const LEAST: usize> From<Actors<LEAST>> for Value {
    fn from(actors: Actors<LEAST>) -> Self {
        actors.0.names().into()
    }
}
