//! `agentidp token`.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use crate::connection::{Connection, Request};
use crate::failure::Failure;
use crate::flags::argument;
use crate::identity;
use crate::jwt;
use crate::organization::{self, is_id};
use crate::output::{self, Columns, format, note, print, safe, show};
use crate::system::now_seconds;

use super::resource::segment;

const TREE: Columns = Columns {
    id: "jti",
    table: &["jti", "depth", "agentId", "subject", "scope", "active", "expiresAt"],
    wide: &["parent", "resource", "issuedAt"],
};
const CLAIMS: Columns = Columns {
    id: "jti",
    table: &["active", "scope", "client_id", "sub", "act", "aud", "exp"],
    wide: &["iss", "iat", "jti", "organization_id"],
};
/// Beginning of the types of tokens (RFC 8693 section 3).
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:";

/// Returns the command.
pub fn command() -> Command {
    let token =
        || Arg::new("token").required(true).value_name("TOKEN").help("Token; - reads it from standard input");
    let text =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("TEXT").help(help);
    let with_target = |command: Command| {
        command
            .arg(text("scope", "Scopes, separated by spaces; by default those that are no management scopes"))
            .arg(text("resource", "Resource server that the token is for (RFC 8707)"))
            .arg(text("audience", "Audience that the token is for, by name"))
    };
    let full = |command| output::with_flag(identity::with_flags(command), false);
    Command::new("token")
        .about("Get, introspect, revoke, decode and exchange tokens")
        .subcommand_required(true)
        .subcommand(full(with_target(
            Command::new("get").about("Get a token, and print it alone; -o json prints the whole answer"),
        )))
        .subcommand(full(
            Command::new("introspect").about("Ask the service whether a token is active").arg(token()),
        ))
        .subcommand(identity::with_flags(organization::with_flag(
            Command::new("revoke")
                .about("Revoke a token, given as itself or by its ID, and all tokens obtained by it")
                .arg(token()),
        )))
        .subcommand(output::with_flag(
            Command::new("inspect")
                .about("Decode a token without the service, and describe it; the signature is not verified")
                .arg(token()),
            false,
        ))
        .subcommand(full(with_target(
            Command::new("exchange")
                .about("Exchange a token for one by which this client acts for its subject (RFC 8693)")
                .arg(token())
                .arg(text(
                    "subject-token-type",
                    "Type of the token: access_token (the default), jwt, id_token, or the whole URN",
                ))
                .arg(text("actor-token", "Token of the party that acts; - reads it from standard input"))
                .arg(text("actor-token-type", "Type of the actor token, by the same names")),
        )))
        .subcommand(full(organization::with_flag(
            Command::new("tree").about("Show a token, and all tokens obtained by exchanging it").arg(token()),
        )))
}

/// Runs the command.
pub async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, matches)) = matches.subcommand() else { return Err(Failure::misused("no such command")) };
    let token = match matches.try_get_one::<String>("token") {
        Ok(Some(token)) => argument(token)?,
        _ => String::new(),
    };
    if name == "inspect" {
        return inspect(&token, matches);
    }
    if matches!(name, "revoke" | "tree") && !is_id(&token) && decoded(&token).is_err() {
        return Err(Failure::misused(
            "this is neither a token, a JWT of three parts with dots between them, nor the ID of one, a UUID",
        ));
    }
    let (url, identity) = identity::of(matches)?;
    let connection = Connection::new(&url, identity)?;
    match name {
        "get" => print_token(&connection.issue("client_credentials", target(matches)).await?, matches),
        "exchange" => {
            let given = |name: &str| matches.get_one::<String>(name).cloned();
            let kind = |name: &str| match given(name) {
                Some(kind) if kind.contains(':') => kind,
                kind => format!("{TOKEN_TYPE}{}", kind.as_deref().unwrap_or("access_token")),
            };
            let mut form = target(matches);
            form.push(("subject_token", token));
            form.push(("subject_token_type", kind("subject-token-type")));
            if let Some(actor) = given("actor-token") {
                form.push(("actor_token", argument(&actor)?));
                form.push(("actor_token_type", kind("actor-token-type")));
            }
            const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
            print_token(&connection.issue(GRANT, form).await?, matches)
        }
        "introspect" => {
            connection.require(["tokens:read"]);
            let request =
                Request { form: Some(vec![("token", token)]), ..Request::post("/api/v1/token/introspect") };
            let answer = connection.call(&request).await?.body;
            match format(matches) {
                format @ ("table" | "wide") => show(format, &readable(answer), CLAIMS),
                format => show(format, &answer, CLAIMS),
            }
        }
        "revoke" => {
            organization::of(&connection, matches).await?;
            // Any client may revoke its own tokens; a refusal names the scope for those of others.
            if is_id(&token) {
                connection.require(["agents:write"]);
            }
            let request = match is_id(&token) {
                true => Request::post(format!("/api/v1/tokens/{token}/revoke")),
                false => {
                    Request { form: Some(vec![("token", token)]), ..Request::post("/api/v1/token/revoke") }
                }
            };
            connection.call(&request).await?;
            note("done");
            Ok(())
        }
        _ => {
            organization::of(&connection, matches).await?;
            connection.require(["audit:read"]);
            let id = match is_id(&token) {
                true => token,
                false => decoded(&token)?["claims"]["jti"].as_str().unwrap_or_default().to_owned(),
            };
            let answer =
                connection.call(&Request::get(format!("/api/v1/tokens/{}/tree", segment(&id)))).await?;
            match format(matches) {
                "json" | "yaml" => show(format(matches), &answer.body, TREE),
                format => show(format, &answer.body["tokens"], TREE),
            }
        }
    }
}

fn target(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let given = |name: &'static str| matches.get_one::<String>(name).map(|value| (name, value.clone()));
    ["scope", "resource", "audience"].into_iter().filter_map(given).collect()
}

/// Prints the token alone, or the whole answer if a format was chosen.
fn print_token(answer: &Value, matches: &ArgMatches) -> Result<(), Failure> {
    match matches.get_one::<String>("output") {
        Some(format) => show(
            format,
            answer,
            Columns {
                id: "access_token",
                table: &["token_type", "expires_in", "scope", "access_token"],
                wide: &[],
            },
        ),
        None => print(&format!("{}\n", answer["access_token"].as_str().unwrap_or_default())),
    }
}

/// Returns the header and the claims of a token.
fn decoded(token: &str) -> Result<Value, Failure> {
    let wrong =
        || Failure::misused("this is not a JWT: it must have three parts in base64url, separated by dots");
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts[..] else { return Err(wrong()) };
    let read = |part| jwt::object(part).ok_or_else(wrong);
    Ok(json!({ "header": read(header)?, "claims": read(claims)? }))
}

fn inspect(token: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let token = decoded(token)?;
    match matches.get_one::<String>("output").map(String::as_str) {
        None | Some("table" | "wide") => print(&described(&token, now_seconds())),
        Some(format) => show(format, &token, Columns { id: "header", table: &[], wide: &[] }),
    }
}

/// Returns the parties that act, the latest first: `sub` of `act`, and of the one in that (RFC 8693 section 4.1).
fn actors(claims: &Value) -> Vec<&str> {
    let mut acting = Vec::new();
    let mut actor = &claims["act"];
    while let Some(sub) = actor["sub"].as_str() {
        acting.push(sub);
        actor = &actor["act"];
    }
    acting
}

/// Returns an instant as a time; the number itself if it is too large for one.
fn shown(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// Returns claims as a person reads them: instants as times, and the IDs of those who act.
fn readable(mut claims: Value) -> Value {
    let acting = actors(&claims).join(",");
    if !acting.is_empty() {
        claims["act"] = acting.into();
    }
    for claim in ["exp", "iat"] {
        if let Some(seconds) = claims[claim].as_i64() {
            claims[claim] = shown(seconds).into();
        }
    }
    claims
}

/// Describes a token in sentences.
fn described(token: &Value, now: u64) -> String {
    let (header, claims) = (&token["header"], &token["claims"]);
    let text = |value: &Value| match value {
        Value::Null => "(not named)".to_owned(),
        Value::String(text) => safe(text),
        other => safe(&other.to_string()),
    };
    let kind = match header["typ"].as_str() {
        Some("at+jwt") => "An access token (RFC 9068)",
        Some("dpop+jwt") => "A proof of possession (DPoP, RFC 9449)",
        _ if claims["iss"].is_string() && claims["iss"] == claims["sub"] => "A client assertion (RFC 7523)",
        _ => "A JWT",
    };
    let mut lines = vec![format!("{kind}, issued by {}.", text(&claims["iss"]))];
    lines.push(format!("Subject: {}", text(&claims["sub"])));
    let acting: Vec<String> = actors(claims).into_iter().map(safe).collect();
    match acting.split_first() {
        Some((first, [])) => lines.push(format!("{first} acts for the subject.")),
        Some((first, before)) => {
            lines.push(format!("{first} acts for the subject; before it: {}.", before.join(", ")));
        }
        None => lines.push("The subject acts for itself.".to_owned()),
    }
    for (name, claim) in [
        ("Audience", "aud"),
        ("Scope", "scope"),
        ("Client", "client_id"),
        ("Organization", "organization_id"),
        ("Token ID", "jti"),
    ] {
        if !claims[claim].is_null() {
            lines.push(format!("{name}: {}", text(&claims[claim])));
        }
    }
    if claims["cnf"]["jkt"].is_string() {
        lines.push("It is bound to a key: its holder must prove possession (DPoP).".to_owned());
    }
    let instant = |claim: &str| claims[claim].as_f64().map(|seconds| seconds as i64);
    if let Some(from) = instant("iat") {
        lines.push(format!("Issued at {}.", shown(from)));
    }
    lines.push(match instant("exp") {
        None => "It does not expire.".to_owned(),
        Some(end) if end <= i64::try_from(now).unwrap_or(i64::MAX) => {
            format!("It expired at {}.", shown(end))
        }
        Some(end) => format!("It expires at {}.", shown(end)),
    });
    lines.push(
        "The signature was not verified, and the token may be revoked: `token introspect` asks the service."
            .to_owned(),
    );
    lines.join("\n") + "\n"
}
