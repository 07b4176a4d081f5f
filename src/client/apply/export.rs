//! `agentidp export`: the objects of an organization as a manifest.

use std::collections::BTreeSet;

use clap::{ArgMatches, Command};
use serde_json::{Map, Value};

use super::current::Current;
use super::kinds::{Kind, actors};
use crate::connection::{Connection, Request};
use crate::failure::Failure;
use crate::output::{print, yaml};
use crate::system::now_seconds;
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
    let mut current = Current::find(&connection, &BTreeSet::from([slug])).await?;
    current.read(&connection, true).await?;
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
            if let Some(value) = object.get(field.name).filter(|value| !value.is_null()) {
                shown.insert(field.name.to_owned(), value.clone());
            }
        }
        let naming = if *kind == Kind::TrustedIssuer { "subjects" } else { "mayAct" };
        if let Some(actors) = actors(&mut shown, naming) {
            actors.retain_mut(|actor| match actor.as_str().map(|id| addresses.get(id)) {
                Some(Some(Some(email))) => {
                    *actor = (*email).into();
                    true
                }
                // Only `*` is no ID. An agent that is gone can act for none, and cannot be named again.
                _ => *actor == "*",
            });
        }
        print(&format!("---\n{}", yaml(&shown.into())))?;
    }
    Ok(())
}

/// Returns whether an object is of no more use: decommissioned, revoked or expired.
fn is_gone(object: &Map<String, Value>) -> bool {
    let expires_at = object.get("expiresAt").and_then(Value::as_str);
    let expires_at = expires_at.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    object.get("status").is_some_and(|status| status == "decommissioned" || status == "revoked")
        || expires_at.is_some_and(|at| at.as_second() <= now_seconds().cast_signed())
}
