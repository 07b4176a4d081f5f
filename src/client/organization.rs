//! The organization that a command is about.

use clap::{Arg, ArgMatches, Command};

use crate::connection::{Connection, Request};
use crate::failure::Failure;

/// Scope that addresses other organizations than the caller's.
pub const ADMIN: &str = "admin:orgs";

/// Adds the flag that names an organization.
pub fn with_flag(command: Command) -> Command {
    command.arg(
        Arg::new("organization")
            .long("organization")
            .value_name("ID|SLUG")
            .help("Organization, by default the caller's; requires `admin:orgs`"),
    )
}

/// Returns the ID of the organization that the flag names; `None` for the caller's own, if the service takes that by
/// default.
pub async fn of(connection: &Connection, matches: &ArgMatches) -> Result<Option<String>, Failure> {
    let Ok(Some(named)) = matches.try_get_one::<String>("organization") else {
        // A token that may see all organizations would list those of all.
        return match connection.has_given_token_with(ADMIN) {
            true => own(connection).await.map(Some),
            false => Ok(None),
        };
    };
    connection.require([ADMIN]);
    id_of(connection, named).await.map(Some)
}

/// Returns the ID of the caller's own organization.
pub async fn own(connection: &Connection) -> Result<String, Failure> {
    let usage = connection.call(&Request::get("/api/v1/usage")).await?.body;
    Ok(usage["organizationId"].as_str().unwrap_or_default().to_owned())
}

/// Returns the ID of the organization with this ID or slug.
pub async fn id_of(connection: &Connection, named: &str) -> Result<String, Failure> {
    if is_id(named) {
        return Ok(named.to_owned());
    }
    connection.require([ADMIN]);
    let query = vec![("slug".to_owned(), named.to_owned())];
    let found = connection.call(&Request { query, ..Request::get("/api/v1/organizations") }).await?.body;
    let id = found["data"][0]["organizationId"].as_str().map(str::to_owned);
    id.ok_or_else(|| {
        Failure::refused(format!("ORGANIZATION_NOT_FOUND: no organization has the slug {named:?}"))
    })
}

/// Returns whether a text has the form of an ID.
pub fn is_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns whether a text is the address of an agent, not its ID.
pub fn is_address(text: &str) -> bool {
    text.contains('@')
}
