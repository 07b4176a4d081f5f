//! The caller's identity: from the environment, else from a profile.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use secrecy::SecretString;

use crate::failure::Failure;
use crate::organization::is_address;
use crate::profile::{self, DEFAULT, Profile};
use crate::system::{read_file, variable};

/// URL of the service if no other is given.
pub const DEFAULT_URL: &str = "http://127.0.0.1:3000";

/// Variable with the ID of the caller's client.
const CLIENT_ID: &str = "AGENTIDP_CLIENT_ID";

/// How the caller proves its identity.
#[derive(Clone)]
pub enum Identity {
    /// A token that the caller already has.
    Token(SecretString),
    /// A client secret.
    Secret {
        /// `client_id` of the caller.
        client_id: String,
        /// Its secret.
        secret: SecretString,
    },
    /// A private key.
    Key {
        /// `client_id` of the caller.
        client_id: String,
        /// File of the key.
        file: PathBuf,
    },
}

/// Adds the flags that name a service and an identity.
pub fn with_flags(command: Command) -> Command {
    command
        .arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .env("AGENTIDP_URL")
                .help("URL of the service; by default that of the profile, else http://127.0.0.1:3000. SSL_CERT_FILE names the certificates of a private authority"),
        )
        .arg(
            Arg::new("profile")
                .long("profile")
                .value_name("NAME")
                .help("Profile made by `agentidp login`, which is then used instead of the environment"),
        )
        .arg(
            Arg::new("private-key")
                .long("private-key")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Private key (PEM) of the client AGENTIDP_CLIENT_ID, instead of a secret"),
        )
}

/// Returns the URL of the service, and the caller's identity if there is one.
pub fn of(matches: &ArgMatches) -> Result<(String, Option<Identity>), Failure> {
    let named = matches.get_one::<String>("profile");
    let from_environment = match named {
        Some(_) => None,
        None => environment(matches)?,
    };
    if named.is_some() && matches.contains_id("private-key") {
        return Err(Failure::misused("--private-key has no effect with --profile; leave one of them out"));
    }
    let given = matches.get_one::<String>("url").cloned();
    // A broken file of profiles matters only to a command that needs it.
    let profile = match (&from_environment, &given, named) {
        (_, _, Some(name)) => Some(profile::find(name)?.ok_or_else(|| {
            Failure::misused(format!("there is no profile {name:?}; agentidp profiles lists them"))
        })?),
        (Some(_), Some(_), None) => None,
        _ => profile::find(DEFAULT)?,
    };
    let url = given.or_else(|| profile.as_ref().map(|profile| profile.url.clone()));
    let identity = from_environment.or_else(|| profile.as_ref().and_then(of_profile));
    Ok((url.unwrap_or_else(|| DEFAULT_URL.to_owned()), identity))
}

/// Returns the URL of the service, for a command that needs no identity.
pub fn url(matches: &ArgMatches) -> Result<String, Failure> {
    if let Some(url) = matches.get_one::<String>("url") {
        return Ok(url.clone());
    }
    let name = matches.get_one::<String>("profile").map_or(DEFAULT, String::as_str);
    Ok(profile::find(name)?.map_or_else(|| DEFAULT_URL.to_owned(), |profile| profile.url))
}

/// Returns the identity of a profile.
pub fn of_profile(profile: &Profile) -> Option<Identity> {
    let client_id = profile.client_id.clone();
    match (&profile.client_secret, &profile.private_key) {
        (Some(secret), _) => Some(Identity::Secret { client_id, secret: secret.clone() }),
        (None, Some(file)) => Some(Identity::Key { client_id, file: file.clone() }),
        (None, None) => None,
    }
}

/// Returns a client ID, which this setting names. Returns [`Failure`] if it is an address, because an agent cannot find its
/// ID by that without a token.
pub fn client_id(setting: &str, text: String) -> Result<String, Failure> {
    match is_address(&text) {
        false => Ok(text),
        true => Err(Failure::misused(format!(
            "{setting} must be the agent's ID, not its address; an administrator finds it by: agentidp agents get ADDRESS -o name"
        ))),
    }
}

/// Returns the identity that the environment names; `None` if it names no identity.
///
/// Returns [`Failure`] if it names only a part of one, or two.
pub fn environment(matches: &ArgMatches) -> Result<Option<Identity>, Failure> {
    let file = matches.get_one::<PathBuf>("private-key").cloned();
    let secret: Option<SecretString> =
        match (variable("AGENTIDP_CLIENT_SECRET"), variable("AGENTIDP_CLIENT_SECRET_FILE")) {
            (Some(_), Some(_)) => {
                return Err(Failure::misused(
                    "AGENTIDP_CLIENT_SECRET and AGENTIDP_CLIENT_SECRET_FILE are both set; unset one",
                ));
            }
            (Some(secret), None) => Some(secret.into()),
            (None, Some(path)) => Some(read_file(path)?.trim().into()),
            (None, None) => None,
        };
    let client_id = variable(CLIENT_ID).map(|id| client_id(CLIENT_ID, id)).transpose()?;
    match (client_id, secret, file, variable("AGENTIDP_TOKEN")) {
        (Some(_), _, _, Some(_)) => {
            Err(Failure::misused("AGENTIDP_TOKEN and AGENTIDP_CLIENT_ID are both set; unset one"))
        }
        (Some(client_id), _, Some(file), _) => Ok(Some(Identity::Key { client_id, file })),
        (Some(client_id), Some(secret), None, _) => Ok(Some(Identity::Secret { client_id, secret })),
        (None, Some(_), _, _) => {
            Err(Failure::misused("a client secret is set, but AGENTIDP_CLIENT_ID is not"))
        }
        (None, None, Some(_), _) => Err(Failure::misused("--private-key needs AGENTIDP_CLIENT_ID")),
        (_, None, None, Some(token)) => Ok(Some(Identity::Token(token.into()))),
        (Some(_), None, None, None) => Err(Failure::misused(
            "AGENTIDP_CLIENT_ID is set; set AGENTIDP_CLIENT_SECRET, AGENTIDP_CLIENT_SECRET_FILE or --private-key too",
        )),
        (None, None, None, None) => Ok(None),
    }
}
