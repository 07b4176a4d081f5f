//! `agentidp apply`: brings a service to the state that manifests describe.

mod current;
mod execute;
pub mod export;
mod kinds;
mod manifest;
mod plan;
mod schema;
mod yaml;

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::connection::Connection;
use crate::failure::{Exit, Failure};
use crate::output::print;
use crate::{confirm, identity, organization};
use current::Current;
use kinds::Kind;
use manifest::Entry;
use plan::{Change, Prune, Step};

/// The most differences that are printed one by one.
const MOST_SHOWN: usize = 1_000;

/// Returns the command.
pub fn command() -> Command {
    let command = Command::new("apply")
        .about("Bring the service to the state that manifests describe")
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .num_args(1..)
                .action(ArgAction::Append)
                .required_unless_present("schema")
                .help("Manifest in YAML or JSON; - reads standard input"),
        )
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .default_value("default")
                .help("Name that is stored as `managedBy` on the agents and issuers that are created"),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only print the differences; the exit code is 4 if there are any"),
        )
        .arg(
            Arg::new("prune")
                .long("prune")
                .value_name("HOW")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("suspend")
                .value_parser(["suspend", "decommission"])
                .help("Suspend the agents of this name, in the organizations that the manifests name, that the manifests no longer contain"),
        )
        .arg(
            Arg::new("schema")
                .long("schema")
                .action(ArgAction::SetTrue)
                .help("Print the JSON Schema of manifests, for editors"),
        );
    identity::with_flags(confirm::with_flag(command))
}

/// Runs the command.
pub async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    if matches.get_flag("schema") {
        return print(&format!("{:#}\n", schema::schema()));
    }
    let files: Vec<String> = matches.get_many::<String>("file").into_iter().flatten().cloned().collect();
    let name = matches.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    if !(1..=64).contains(&name.chars().count()) {
        return Err(Failure::misused("--name must be 1 to 64 characters"));
    }
    let prune = match matches.get_one::<String>("prune").map(String::as_str) {
        None => Prune::Keep,
        Some("decommission") => Prune::Decommission,
        Some(_) => Prune::Suspend,
    };
    let mut entries = manifest::read(&files)?;
    let (url, identity) = identity::of(matches)?;
    let connection = Connection::new(&url, identity)?.patient();
    let current = state(&connection, &mut entries).await?;
    let (steps, faults) = plan::plan(&entries, &current, name, prune);
    manifest::refuse(&faults)?;
    print(&difference(&steps))?;
    if steps.is_empty() {
        return Ok(());
    }
    if matches.get_flag("dry-run") {
        return Err(Failure::silent(Exit::Differs));
    }
    let lost = steps.iter().filter(|step| step.change == Change::Decommission).count();
    if lost > 0 {
        confirm::confirm(matches, &format!("{lost} agents are decommissioned, which is final"))?;
    }
    connection.require(["agents:write"]);
    if steps.iter().any(|step| step.kind == Kind::TrustedIssuer) {
        connection.require(["issuers:write"]);
    }
    execute::execute(&connection, &current, &steps).await
}

/// Reads the objects that the manifests are compared with. Objects of the caller's own organization get its slug if the
/// manifests name it by that as well.
async fn state(connection: &Connection, entries: &mut [Entry]) -> Result<Current, Failure> {
    let has = |kind: Kind| entries.iter().any(|entry| entry.kind == kind);
    let has_issuers = has(Kind::TrustedIssuer) || has(Kind::FederatedCredential);
    connection.require(["agents:read"]);
    if has_issuers {
        connection.require(["issuers:read"]);
    }
    let slug = |entry: &Entry| match entry.kind {
        Kind::Organization => entry.key.clone(),
        _ => entry.organization.clone(),
    };
    let slugs: BTreeSet<String> = entries.iter().map(slug).collect();
    if slugs.iter().any(|slug| !slug.is_empty()) {
        connection.require([organization::ADMIN]);
    }
    let mut current = Current::find(connection, &slugs).await?;
    if let Some(own) = current.name_own() {
        let is_own = |entry: &&mut Entry| entry.kind != Kind::Organization && entry.organization.is_empty();
        entries.iter_mut().filter(is_own).for_each(|entry| entry.organization.clone_from(&own));
        manifest::refuse(&manifest::repeated(entries))?;
    }
    current.read(connection, has_issuers).await?;
    let credentials = entries.iter().filter(|entry| entry.kind.is_credential());
    let agents = credentials.map(|entry| (entry.organization.clone(), kinds::address(entry.text("agent"))));
    current.read_credentials(connection, agents.collect()).await?;
    Ok(current)
}

/// Returns the differences as a text, with their number.
fn difference(steps: &[Step]) -> String {
    let shown: Vec<&Step> = steps.iter().filter(|step| !step.shown.is_empty()).collect();
    if shown.is_empty() {
        return "nothing to change\n".to_owned();
    }
    // Whatever is taken away is always shown.
    let (gone, others): (Vec<&Step>, Vec<&Step>) =
        shown.iter().partition(|step| step.shown[0].starts_with('-'));
    let lines = |steps: &[&Step]| -> String {
        steps.iter().flat_map(|step| &step.shown).map(|line| format!("{line}\n")).collect()
    };
    let mut text = lines(&others[..others.len().min(MOST_SHOWN)]);
    if others.len() > MOST_SHOWN {
        text += &format!("… and {} more\n", others.len() - MOST_SHOWN);
    }
    text += &lines(&gone);
    let count = |mark: char| shown.iter().filter(|step| step.shown[0].starts_with(mark)).count();
    text + &format!("{} added, {} changed, {} gone\n", count('+'), count('~'), count('-'))
}
