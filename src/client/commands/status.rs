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
            Command::new("status").about("Show health, version, keys and stores of the service").arg(ready),
        ),
        false,
    )
}

/// Runs the command.
pub async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let url = identity::url(matches)?;
    let connection = Connection::new(&url, None)?;
    let read = async |path: &str| connection.send(&Request::get(path), None).await.map(|answer| answer.body);
    if matches.get_flag("ready") {
        let ready = connection.send(&Request::get("/health/ready"), None).await;
        return match ready.is_ok_and(|answer| answer.status.is_success()) {
            true => Ok(()),
            false => Err(Failure::silent(Exit::Refused)),
        };
    }
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
    let mut state = json!({
        "url": url,
        "status": ready["status"],
        "health": health["status"],
        "version": document["info"]["version"],
        "issuer": metadata["issuer"],
        "keys": keys,
        "stores": ready["components"],
        "client": env!("CARGO_PKG_VERSION"),
    });
    if let Value::Object(fields) = &mut state {
        fields.retain(|_, value| !value.is_null());
    }
    match format(matches) {
        "json" => print(&output::json(&state)),
        "yaml" => print(&yaml(&state)),
        "name" => print(&format!("{}\n", cell(&state["status"]))),
        _ => {
            let fields = state.as_object().into_iter().flatten();
            print(&fields.map(|(name, value)| format!("{name:<8} {}\n", cell(value))).collect::<String>())
        }
    }
}
