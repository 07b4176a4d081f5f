//! Lists that come in pages.

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use crate::connection::{Connection, Request};
use crate::failure::Failure;

/// ID of the flag `--limit`, which is not the limit of a page.
const MOST: &str = "most";

/// Adds the flag that limits how many entries of a list are read.
pub fn with_flag(command: Command) -> Command {
    command.arg(
        Arg::new(MOST)
            .long("limit")
            .value_name("NUMBER")
            .value_parser(clap::value_parser!(u32).range(1..))
            .help("The most entries to read, from the first on; all by default"),
    )
}

/// Returns the first entries of a list, the number that the command line gives, or all of them.
pub async fn asked(
    connection: &Connection,
    request: &Request,
    size: u32,
    matches: &ArgMatches,
) -> Result<Vec<Value>, Failure> {
    let most = matches.get_one::<u32>(MOST).copied().unwrap_or(u32::MAX);
    first(connection, request, size.min(most), most as usize).await
}

/// Returns everything in a list, by page numbers or by cursors, whichever its answers have.
pub async fn all(connection: &Connection, request: &Request, size: u32) -> Result<Vec<Value>, Failure> {
    first(connection, request, size, usize::MAX).await
}

/// Returns the first entries of a list, at most this number, in pages of this size.
async fn first(
    connection: &Connection,
    request: &Request,
    size: u32,
    most: usize,
) -> Result<Vec<Value>, Failure> {
    let mut found: Vec<Value> = Vec::new();
    let mut next: Option<(&str, String)> = None;
    loop {
        let mut page = request.clone();
        page.query.push(("limit".to_owned(), size.to_string()));
        page.query.extend(next.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let body = connection.call(&page).await?.body;
        let data = body["data"].as_array().cloned().unwrap_or_default();
        let is_last = data.len() < size as usize;
        found.extend(data);
        if found.len() >= most {
            found.truncate(most);
            return Ok(found);
        }
        next = match (&body["nextCursor"], body["page"].as_u64()) {
            (Value::String(cursor), _) if next.as_ref().is_some_and(|(_, before)| before == cursor) => {
                return Err(Failure::unreachable("the service returns the same page again and again"));
            }
            (Value::String(cursor), _) => Some(("cursor", cursor.clone())),
            (_, Some(number)) if !is_last => Some(("page", (number + 1).to_string())),
            _ => return Ok(found),
        };
    }
}
