//! `agentidp status`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::connection::{Connection, Request};
use crate::failure::{Exit, Failure};
use crate::identity;
use crate::output::{self, cell, format, print, yaml};

/// Returns the command.
pub fn command() -> Command {
    let ready = Arg::new("ready")
        .long("ready")
        .action(ArgAction::SetTrue)
        .help("Print nothing; the exit code is 0 if the service is ready, and 1 otherwise");
    output::with_flag(
        identity::with_flags(
            Command::new("status").about("Show health, version, keys and stores of the service, and whether it accepts the caller's identity").arg(ready),
        ),
        false,
    )
}

/// Runs the command.
pub async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    if matches.get_flag("ready") {
        let connection = Connection::new(&identity::url(matches)?, None)?;
        let ready = connection.send(&Request::get("/health/ready"), None).await;
        return match ready.is_ok_and(|answer| answer.status.is_success()) {
            true => Ok(()),
            false => Err(Failure::silent(Exit::Refused)),
        };
    }
    let (url, identity) = identity::of(matches)?;
    let is_given = identity.is_some();
    let connection = Connection::new(&url, identity)?;
    let read = async |path: &str| connection.send(&Request::get(path), None).await.map(|answer| answer.body);
    let ready = read("/health/ready").await?;
    let health = read("/health").await?;
    let metadata = read("/.well-known/oauth-authorization-server").await?;
    let document = read("/openapi.json").await?;
    let keys = read("/.well-known/jwks.json").await?;
    let keys = keys["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let keys: Vec<Value> =
        keys.iter().map(|key| json!(format!("{} {}", cell(&key["kid"]), cell(&key["alg"])))).collect();
    if !ready["status"].is_string() || !metadata["issuer"].is_string() {
        return Err(Failure::unreachable(format!("{url} is not the URL of AgentIdP")));
    }
    let client = match is_given {
        true => connection.client().await.map(Some),
        false => Ok(None),
    };
    let mut state = json!({
        "url": url,
        "status": ready["status"],
        "health": health["status"],
        "version": document["info"]["version"],
        "issuer": metadata["issuer"],
        "keys": keys,
        "stores": ready["components"],
        "client": env!("CARGO_PKG_VERSION"),
        "identity": client.as_ref().ok().cloned().flatten(),
    });
    if let Value::Object(fields) = &mut state {
        fields.retain(|_, value| !value.is_null());
    }
    match format(matches) {
        "json" => print(&output::json(&state))?,
        "yaml" => print(&yaml(&state))?,
        "name" => print(&format!("{}\n", cell(&state["status"])))?,
        _ => {
            match &client {
                Ok(Some(_)) => {}
                Ok(None) => state["identity"] = "none is given, so none was checked".into(),
                Err(Failure { exit: Exit::Refused, is_temporary: false, .. }) => {
                    state["identity"] = "refused".into();
                }
                Err(_) => state["identity"] = "not checked".into(),
            }
            let fields = state.as_object().into_iter().flatten();
            print(&fields.map(|(name, value)| format!("{name:<8} {}\n", cell(value))).collect::<String>())?;
        }
    }
    client.map(drop)
}
