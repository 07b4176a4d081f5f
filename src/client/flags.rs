//! Fields of the API as flags of the command line.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use jiff::civil::Date;
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde_json::{Map, Value};

use crate::document::{Field, Kind};
use crate::failure::Failure;
use crate::public_key;
use crate::system::{now_seconds, read_file, read_stdin};

/// Fields that have a flag of another name or meaning, or none: paging is done by the command, and an organization has its
/// own flag.
pub const HANDLED: [&str; 4] = ["organizationId", "page", "limit", "cursor"];

/// Fields that name agents, by ID or by email address. The resource of an audit event may be an agent.
pub const AGENTS: [&str; 4] = ["agentId", "clientId", "resourceId", "mayAct"];

/// Fields of the audit log that are instants in the past.
const PAST: [&str; 2] = ["fromDate", "toDate"];

/// Field that is a JWK, which is made of a key in PEM too.
const PUBLIC_KEY: &str = "publicKey";

/// Returns a name of the API in kebab case.
pub fn kebab(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            text.push('-');
        }
        text.push(if letter == '_' { '-' } else { letter.to_ascii_lowercase() });
    }
    text
}

/// Returns the name of the flag of a field. `--client-id` is the caller itself, so another client is an agent.
fn long(field: &Field) -> String {
    kebab(if field.name == "clientId" { "agentId" } else { field.name })
}

/// Returns the flag of a field.
pub fn flag(field: &Field) -> Arg {
    let description = match field.kind {
        Kind::List => with_commas(field.description),
        _ => field.description.replace('`', "'"),
    };
    let mut notes = Vec::new();
    match field.kind {
        Kind::List => notes.push("with commas between the values"),
        Kind::Json if field.name == PUBLIC_KEY => {
            notes.push("a JWK, or @FILE with a JWK or a public key in PEM");
        }
        Kind::Json => notes.push("JSON, or @FILE"),
        _ => {}
    }
    match field.name {
        name if PAST.contains(&name) => {
            notes.push("a time, a date (its start in UTC), or a duration before now such as 30m, 1h or 7d");
        }
        "resourceId" => notes.push("an ID, or the email address of an agent"),
        name if AGENTS.contains(&name) => notes.push("agents are named by ID or by email address"),
        _ => {}
    }
    if field.is_nullable && !field.description.contains("ull ") {
        notes.push("null removes it");
    }
    let notes = notes.join("; ");
    let help = match (description.as_str(), notes.as_str()) {
        ("", notes) => notes.to_owned(),
        (description, "") => description.to_owned(),
        (description, notes) => format!("{description} ({notes})"),
    };
    let arg = Arg::new(field.name).long(long(field)).required(field.is_required);
    let arg = match field.kind {
        Kind::Text if field.choices.is_empty() => arg.value_name("TEXT"),
        Kind::Text => arg.value_parser(PossibleValuesParser::new(field.choices.clone())).value_name("NAME"),
        Kind::Number => arg.value_parser(clap::value_parser!(i64)).value_name("NUMBER"),
        Kind::Flag => arg
            .value_parser(clap::value_parser!(bool))
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        Kind::List => arg.value_name("LIST"),
        Kind::Json => arg.value_name("JSON"),
    };
    if help.is_empty() { arg } else { arg.help(help) }
}

/// Returns a description of a list in which the lists are written as the command line takes them, not as JSON.
fn with_commas(description: &str) -> String {
    let parts = description.split('`').map(|part| match serde_json::from_str::<Vec<String>>(part) {
        Ok(list) => list.join(","),
        Err(_) => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("'")
}

/// Returns the value of a field that the command line gives; `None` if it gives no value.
///
/// Returns [`Failure`] if a JSON value is not JSON, or if a file cannot be read.
pub fn value(field: &Field, matches: &ArgMatches) -> Result<Option<Value>, Failure> {
    Ok(match field.kind {
        Kind::Number => matches.get_one::<i64>(field.name).map(|number| Value::from(*number)),
        Kind::Flag => matches.get_one::<bool>(field.name).map(|flag| Value::from(*flag)),
        _ => match matches.get_one::<String>(field.name) {
            None => None,
            Some(text) if text == "null" && field.is_nullable => Some(Value::Null),
            Some(text) => Some(parsed(field, text)?),
        },
    })
}

fn parsed(field: &Field, text: &str) -> Result<Value, Failure> {
    let name = long(field);
    match field.kind {
        Kind::List => {
            if text.trim_start().starts_with('[') {
                let list: Result<Vec<String>, _> = serde_json::from_str(text);
                return list.map(Value::from).map_err(|error| {
                    Failure::misused(format!(
                        "--{name} must be values with commas between them, or a JSON array of texts: {error}"
                    ))
                });
            }
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Ok(words.map(Value::from).collect())
        }
        Kind::Json => {
            let (text, source) = match text.strip_prefix('@') {
                Some(path) => (read_file(path)?, path.to_owned()),
                None => (text.to_owned(), format!("--{name}")),
            };
            if field.name == PUBLIC_KEY {
                return public_key::jwk(&text, &source);
            }
            serde_json::from_str(&text).map_err(|error| {
                Failure::misused(format!(
                    "--{name} must be JSON, or @ and the path of a file with JSON: {error}"
                ))
            })
        }
        _ if PAST.contains(&field.name) => past(text, now_seconds()).ok_or_else(|| {
            Failure::misused(format!(
                "--{name} must be a time such as 2026-11-29T08:00:00Z, a date such as 2026-11-29, or a duration before now such as 30m, 1h or 7d"
            ))
        }),
        _ => Ok(Value::from(argument(text)?)),
    }
}

/// Returns an instant, also as the start of a day in UTC or as a duration before now; `None` if the text is neither.
fn past(text: &str, now: u64) -> Option<Value> {
    if text.parse::<Timestamp>().is_ok() {
        return Some(text.into());
    }
    if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
        return Some(format!("{date}T00:00:00Z").into());
    }
    let duration = text.parse::<Span>().ok()?.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let now = Timestamp::from_second(i64::try_from(now).ok()?).ok()?;
    Some(now.checked_sub(duration.abs()).ok()?.to_string().into())
}

/// Returns an argument, which is read from standard input if it is `-`.
pub fn argument(text: &str) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    Ok(read_stdin()?.trim().to_owned())
}

/// Returns the fields that the command line gives, as an object.
pub fn object(fields: &[Field], matches: &ArgMatches) -> Result<Map<String, Value>, Failure> {
    let mut object = Map::new();
    for field in fields.iter().filter(|field| !HANDLED.contains(&field.name)) {
        // A flag that the command sets itself is not one of its arguments.
        if matches.try_contains_id(field.name).is_err() {
            continue;
        }
        if let Some(value) = value(field, matches)? {
            object.insert(field.name.to_owned(), value);
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_in_the_past_is_a_time_a_date_or_a_duration_before_now() {
        // 2026-11-29T12:00:00Z
        const NOW: u64 = 1_795_953_600;
        for (text, expected) in [
            ("2026-11-29T08:00:00+01:00", Some("2026-11-29T08:00:00+01:00")),
            ("2026-11-29", Some("2026-11-29T00:00:00Z")),
            ("1h", Some("2026-11-29T11:00:00Z")),
            ("30m", Some("2026-11-29T11:30:00Z")),
            ("7d", Some("2026-11-22T12:00:00Z")),
            ("7d ago", Some("2026-11-22T12:00:00Z")),
            ("-1h", Some("2026-11-29T11:00:00Z")),
            ("2026-11-29T08:00", None),
            ("yesterday", None),
            ("", None),
            ("7", None),
            ("99999999d", None),
        ] {
            assert_eq!(past(text, NOW), expected.map(Value::from), "{text}");
        }
    }
}
