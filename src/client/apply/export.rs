//! `agentidp export`: the objects of an organization as a manifest.

use std::collections::BTreeSet;

use clap::{ArgMatches, Command};
use serde_json::{Map, Value};

use super::current::Current;
use super::kinds::Kind;
use crate::connection::{Connection, Request};
use crate::failure::Failure;
use crate::output::{print, yaml};
use crate::{identity, organization};

/// Returns the command.
pub fn command() -> Command {
    identity::with_flags(organization::with_flag(
        Command::new("export").about("Write the objects of an organization as a manifest that `apply` reads"),
    ))
}

/// Runs the command.
pub async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (url, identity) = identity::of(matches)?;
    let connection = Connection::new(&url, identity)?.patient();
    connection.require(["agents:read", "issuers:read"]);
    let slug = match organization::of(&connection, matches).await? {
        None => String::new(),
        Some(id) => {
            let found = connection.call(&Request::get(format!("/api/v1/organizations/{id}"))).await?.body;
            found["slug"].as_str().unwrap_or_default().to_owned()
        }
    };
    let mut current = Current::read(&connection, &BTreeSet::from([slug.clone()]), true).await?;
    let is_agent = |kind: &Kind| *kind == Kind::Agent;
    let agents = current.objects.iter().filter(|((kind, ..), object)| is_agent(kind) && !is_gone(object));
    let agents = agents.map(|((_, slug, email), _)| (slug.clone(), email.clone())).collect();
    current.read_credentials(&connection, agents).await?;
    let mut objects: Vec<_> = current.objects.iter().filter(|(_, object)| !is_gone(object)).collect();
    objects.sort_by_key(|(key, _)| *key);
    let addresses = current.addresses();
    for ((kind, slug, _), object) in objects {
        let mut shown = Map::from_iter([("kind".to_owned(), kind.name().into())]);
        if !slug.is_empty() {
            shown.insert("organization".to_owned(), slug.clone().into());
        }
        for field in kind.references().iter().skip(1).chain(&kind.api_fields()) {
            let Some(value) = object.get(field.name).filter(|value| !value.is_null()) else { continue };
            let mut value = value.clone();
            if field.name == "mayAct"
                && let Value::Array(actors) = &mut value
            {
                for actor in actors {
                    let email = actor.as_str().and_then(|id| addresses.get(id));
                    if let Some(email) = email {
                        *actor = (*email).into();
                    }
                }
            }
            shown.insert(field.name.to_owned(), value);
        }
        print(&format!("---\n{}", yaml(&shown.into())))?;
    }
    Ok(())
}

fn is_gone(object: &Map<String, Value>) -> bool {
    object.get("status").is_some_and(|status| status == "decommissioned" || status == "revoked")
}
