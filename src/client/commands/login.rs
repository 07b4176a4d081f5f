//! `agentidp login` and `agentidp profiles`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::identity::{self, Identity};
use crate::output::{self, Columns, format, note, show};
use crate::profile::{self, DEFAULT, Profile};

/// Returns the command `login`.
pub fn login_command() -> Command {
    identity::with_flags(
        Command::new("login")
            .about("Store the URL of a service and an identity as a profile, once they have been verified")
            .after_help(
                "On a terminal, login asks for what the environment does not set. Elsewhere it takes --url or AGENTIDP_URL, \
                 --client-id or AGENTIDP_CLIENT_ID, and --client-secret-file, --private-key or the secret of the environment.",
            ),
    )
    .mut_arg("profile", |arg| arg.help("Name of the profile to store; by default `default`"))
}

/// Returns the command `profiles`.
pub fn profiles_command() -> Command {
    output::with_flag(
        Command::new("profiles").about("List the stored profiles, without their secrets"),
        false,
    )
}

/// Runs the command `login`.
pub async fn login(matches: &ArgMatches) -> Result<(), Failure> {
    let name = matches.get_one::<String>("profile").map_or(DEFAULT, String::as_str);
    let mut url = matches.get_one::<String>("url").cloned();
    let mut identity = match identity::given(matches) {
        Err(failure) if !std::io::stdin().is_terminal() => return Err(failure),
        found => found.ok().flatten(),
    };
    if std::io::stdin().is_terminal() {
        url = Some(match url {
            Some(url) => url,
            None => asked(&format!("URL of the service, such as {}", identity::DEFAULT_URL))?,
        });
        if identity.is_none() {
            let client_id = identity::client_id("the client ID", asked("Client ID")?)?;
            let secret = rpassword::prompt_password("Client secret: ")
                .map_err(|error| Failure::misused(format!("the secret cannot be read: {error}")))?;
            identity = Some(Identity::Secret { client_id, secret: secret.trim().into() });
        }
    }
    let url = url
        .ok_or_else(|| Failure::misused("login needs --url or AGENTIDP_URL when it is not on a terminal"))?;
    let (client_id, client_secret, private_key) = match &identity {
        Some(Identity::Secret { client_id, secret }) => (client_id.clone(), Some(secret.clone()), None),
        Some(Identity::Key { client_id, file }) => {
            let file = std::path::absolute(file).map_err(|error| Failure::misused(error.to_string()))?;
            (client_id.clone(), None, Some(file))
        }
        _ => {
            return Err(Failure::misused(
                "login needs AGENTIDP_CLIENT_ID or --client-id, and the client's secret or --private-key",
            ));
        }
    };
    Connection::new(&url, identity)?.token().await?;
    let path = profile::store(name, &Profile { url, client_id, client_secret, private_key })?;
    note(&format!("the profile {name:?} is stored in {}", path.display()));
    Ok(())
}

fn asked(what: &str) -> Result<String, Failure> {
    let mut out = std::io::stderr();
    // If the question cannot be written, the answer is empty.
    let _ = write!(out, "{what}: ").and_then(|()| out.flush());
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read.is_ok() && !line.trim().is_empty() {
        true => Ok(line.trim().to_owned()),
        false => Err(Failure::misused("nothing was stored")),
    }
}

/// Runs the command `profiles`.
pub fn profiles(matches: &ArgMatches) -> Result<(), Failure> {
    let row = |(name, profile): (String, Profile)| {
        let by = if profile.client_secret.is_some() { "client_secret" } else { "private_key" };
        json!({ "name": name, "url": profile.url, "clientId": profile.client_id, "authentication": by })
    };
    let rows: Vec<Value> = profile::all()?.into_iter().map(row).collect();
    let columns = Columns { id: "name", table: &["name", "url", "clientId", "authentication"], wide: &[] };
    show(format(matches), &rows.into(), columns)
}
