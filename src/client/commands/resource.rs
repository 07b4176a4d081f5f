//! Commands on resources, built from the table and from the OpenAPI document.

use clap::{Arg, ArgMatches, Command};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Map, Value};

use crate::connection::{Connection, Request};
use crate::document::{Operation, operation};
use crate::failure::Failure;
use crate::flags::{AGENTS, HANDLED, flag, kebab, object};
use crate::organization::is_address;
use crate::output::{Columns, cell, format, note, show, show_to_reader};
use crate::table::{Resource, Verb};
use crate::{confirm, identity, organization, output, pages};

/// The most entries of a page of agents, and of a page of audit events.
const PAGE: (u32, u32) = (100, 200);
/// Fields that only one type of credential has, each with that type.
const TYPES: [(&str, &str); 2] = [("publicKey", "public_key"), ("issuerId", "federated")];

/// Returns the command of a resource.
pub fn command(resource: &'static Resource) -> Command {
    if let [verb @ Verb { name: "", .. }] = resource.verbs {
        return verb_command(resource, verb, Command::new(resource.name).about(resource.about));
    }
    let verbs = resource.verbs.iter().map(|verb| {
        let about = match verb.sets {
            Some((_, "active")) => "Make active again what was suspended".to_owned(),
            Some(_) => "Suspend it, which revokes tokens that rest on it for good".to_owned(),
            None => operation(verb.operation).summary.to_owned(),
        };
        verb_command(resource, verb, Command::new(verb.name).about(about))
    });
    Command::new(resource.name).about(resource.about).subcommand_required(true).subcommands(verbs)
}

fn verb_command(resource: &Resource, verb: &Verb, command: Command) -> Command {
    let operation = operation(verb.operation);
    let mut command = command;
    if !operation.description.is_empty() && verb.sets.is_none() {
        // The terminal breaks the lines.
        let paragraphs = operation.description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        let text = paragraphs.collect::<Vec<_>>().join("\n\n");
        command = command.after_help(text.replace('`', "'"));
    }
    for parameter in &operation.path_parameters {
        let help = match *parameter {
            "agentId" => "ID or email address of the agent",
            "organizationId" => "ID or slug of the organization",
            _ => "ID",
        };
        let name = kebab(parameter).to_uppercase();
        command = command.arg(Arg::new(*parameter).required(true).value_name(name).help(help));
    }
    let given = operation.query.iter().chain(operation.body.iter().flatten());
    let given = given.filter(|field| !HANDLED.contains(&field.name) && verb.sets.is_none());
    command = command.args(given.map(flag));
    if is_list(&operation) {
        command = pages::with_flag(command);
    }
    if verb.asks.is_some() {
        command = confirm::with_flag(command);
    }
    if resource.name != "orgs" {
        command = organization::with_flag(command);
    }
    let has_secret = resource.name == "credentials" && matches!(verb.name, "create" | "rotate");
    output::with_flag(identity::with_flags(command), has_secret)
}

/// Returns whether the answer is a page of a list.
fn is_list(operation: &Operation) -> bool {
    operation.query.iter().any(|field| field.name == "limit")
}

/// Runs a command of a resource.
pub async fn run(resource: &'static Resource, matches: &ArgMatches) -> Result<(), Failure> {
    let (verb, matches) = match matches.subcommand() {
        Some((name, matches)) => (resource.verbs.iter().find(|verb| verb.name == name), matches),
        None => (resource.verbs.first(), matches),
    };
    let verb = verb.ok_or_else(|| Failure::misused("no such command"))?;
    let operation = operation(verb.operation);
    if let Some(consequence) = verb.asks {
        let ids = operation.path_parameters.iter().filter_map(|id| matches.get_one::<String>(id));
        let ids = ids.cloned().collect::<Vec<_>>().join(" ");
        confirm::confirm(matches, &format!("{} {} {ids} {consequence}", resource.name, verb.name))?;
    }
    let mut body = match verb.sets {
        Some((field, value)) => Some(Map::from_iter([(field.to_owned(), Value::from(value))])),
        None => operation.body.as_ref().map(|fields| object(fields, matches)).transpose()?,
    };
    if verb.name == "update" && body.as_ref().is_some_and(Map::is_empty) {
        return Err(Failure::misused("nothing to update; --help lists the fields"));
    }
    if verb.operation == "createCredential"
        && let Some(body) = &mut body
        && let Some((_, kind)) = TYPES.iter().find(|(field, _)| body.contains_key(*field))
    {
        body.entry("type").or_insert((*kind).into());
    }
    let query = object(&operation.query, matches)?;
    let (url, identity) = identity::of(matches)?;
    let connection = Connection::new(&url, identity)?;
    let agent = matches.try_get_one::<String>("agentId").ok().flatten();
    let is_own = resource.name == "credentials" && agent.is_some_and(|id| connection.is_caller(id));
    // This scope is sufficient for the caller's own credentials. An administrator may have only the other one.
    if !is_own || !connection.require_if_possible(["credentials:write"]).await {
        connection.require(operation.scopes.iter().copied());
    }
    let request = request(&connection, &operation, matches, body, query).await?;
    let format = format(matches);
    let columns = Columns { id: resource.id, table: resource.columns, wide: resource.wide };
    if is_list(&operation) {
        let size = if resource.name == "audit" { PAGE.1 } else { PAGE.0 };
        let entries = pages::asked(&connection, &request, size, matches).await?;
        return show(format, &Value::from(entries), columns);
    }
    let kind = request.body.as_ref().and_then(|body| body["type"].as_str());
    if format == "secret" && kind.is_some_and(|kind| kind != "client_secret") {
        return Err(Failure::misused("-o secret: such a credential has no secret; nothing was done"));
    }
    let answer = connection.call(&request).await?.body;
    if answer.is_null() {
        note("done");
        return Ok(());
    }
    let is_read = show_to_reader(format, &answer, columns)?;
    match is_read || answer["clientSecret"].is_null() {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "the secret of the credential {} is lost, because nothing reads standard output; rotate or revoke it",
            cell(&answer["credentialId"])
        ))),
    }
}

async fn request(
    connection: &Connection,
    operation: &Operation,
    matches: &ArgMatches,
    mut body: Option<Map<String, Value>>,
    mut query: Map<String, Value>,
) -> Result<Request, Failure> {
    let organization = organization::of(connection, matches).await?;
    let mut path = operation.path.to_owned();
    for parameter in &operation.path_parameters {
        let given = matches.get_one::<String>(parameter).map(String::as_str).unwrap_or_default();
        let id = match *parameter {
            "agentId" if is_address(given) => agent_id(connection, given, organization.as_deref()).await?,
            "organizationId" => organization::id_of(connection, given).await?,
            _ => given.to_owned(),
        };
        path = path.replace(&format!("{{{parameter}}}"), &segment(&id));
    }
    for named in agents(&mut query).into_iter().chain(body.as_mut().map(agents).into_iter().flatten()) {
        *named = agent_id(connection, &cell(named), organization.as_deref()).await?.into();
    }
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut query: Vec<_> = query.into_iter().map(|(name, value)| (name, text(value))).collect();
    if let Some(id) = organization {
        if operation.query.iter().any(|field| field.name == "organizationId") {
            query.push(("organizationId".to_owned(), id));
        } else if operation.body.iter().flatten().any(|field| field.name == "organizationId") {
            body.get_or_insert_default().insert("organizationId".to_owned(), id.into());
        }
    }
    let method = Method::from_bytes(operation.method.as_bytes()).ok();
    Ok(Request { method, path, query, body: body.map(Value::Object), form: None })
}

/// Returns the values of an object that name agents by address: `mayAct` of the people of an issuer too.
fn agents(object: &mut Map<String, Value>) -> Vec<&mut Value> {
    let mut found = Vec::new();
    for (name, value) in object {
        if name == "subjects" {
            found.extend(value.as_object_mut().map(agents).into_iter().flatten());
        } else if AGENTS.contains(&name.as_str()) {
            match value.is_array() {
                true => found.extend(value.as_array_mut().into_iter().flatten()),
                false => found.push(value),
            }
        }
    }
    found.retain(|value| value.as_str().is_some_and(is_address));
    found
}

/// Returns the ID of the agent with this address.
async fn agent_id(
    connection: &Connection,
    email: &str,
    organization: Option<&str>,
) -> Result<String, Failure> {
    connection.require(["agents:read"]);
    let mut query = vec![("email".to_owned(), email.to_owned())];
    query.extend(organization.map(|id| ("organizationId".to_owned(), id.to_owned())));
    let found = connection.call(&Request { query, ..Request::get("/api/v1/agents") }).await?.body;
    let found = found["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    match found {
        [one] => Ok(one["agentId"].as_str().unwrap_or_default().to_owned()),
        [] => Err(Failure::refused(format!("AGENT_NOT_FOUND: no agent has the address {email:?}"))),
        _ => {
            Err(Failure::misused(format!("{email} is an agent in several organizations; add --organization")))
        }
    }
}

/// Characters of a path that are not encoded (RFC 3986 section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Returns a text as one segment of a path.
pub fn segment(text: &str) -> String {
    // A segment of dots only would be resolved as a path.
    match text.trim_matches('.') {
        "" => "-".to_owned(),
        _ => utf8_percent_encode(text, UNRESERVED).to_string(),
    }
}
