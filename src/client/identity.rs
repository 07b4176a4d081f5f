//! The caller's identity: from flags, else from the environment, else from a profile.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
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
/// Variable with the file of its secret.
const SECRET_FILE: &str = "AGENTIDP_CLIENT_SECRET_FILE";

/// Flags that name an identity.
const FLAGS: [&str; 3] = ["client-id", "client-secret-file", "private-key"];

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
                .help("Private key (PEM) of the client, instead of a secret"),
        )
        .arg(
            Arg::new("client-id")
                .long("client-id")
                .value_name("ID")
                .value_parser(NonEmptyStringValueParser::new())
                .help("Client that the command acts as, instead of AGENTIDP_CLIENT_ID"),
        )
        .arg(
            Arg::new("client-secret-file")
                .long("client-secret-file")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .conflicts_with("private-key")
                .help("File with the secret of the client, instead of AGENTIDP_CLIENT_SECRET"),
        )
}

/// Returns the URL of the service, and the caller's identity if there is one.
pub fn of(matches: &ArgMatches) -> Result<(String, Option<Identity>), Failure> {
    let named = matches.get_one::<String>("profile");
    let flag = FLAGS.into_iter().find(|flag| matches.contains_id(flag));
    let identity = match (named, flag) {
        (Some(_), Some(flag)) => {
            return Err(Failure::misused(format!(
                "--{flag} has no effect with --profile; leave one of them out"
            )));
        }
        (Some(_), None) => None,
        (None, _) => given(matches)?,
    };
    let url = matches.get_one::<String>("url").cloned();
    // A broken file of profiles matters only to a command that needs it.
    let profile = match (&identity, &url, named) {
        (_, _, Some(name)) => Some(profile::find(name)?.ok_or_else(|| {
            Failure::misused(format!("there is no profile {name:?}; agentidp profiles lists them"))
        })?),
        (Some(_), Some(_), None) => None,
        _ => profile::find(DEFAULT)?,
    };
    // The secret of a profile is that of its service, and goes to no other unless the profile is named.
    let without_end = |url: &str| url.trim_end_matches('/').to_owned();
    let is_of = |profile: &&Profile| {
        named.is_some() || url.as_deref().is_none_or(|url| without_end(url) == without_end(&profile.url))
    };
    let identity = identity.or_else(|| profile.as_ref().filter(is_of).and_then(of_profile));
    let url = url.or_else(|| profile.as_ref().map(|profile| profile.url.clone()));
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

/// Returns the identity that the flags name, else that of the environment; `None` if there is neither.
///
/// A secret of the environment counts only for the client that the environment names. Returns [`Failure`] if only a part of
/// an identity is given, or two.
pub fn given(matches: &ArgMatches) -> Result<Option<Identity>, Failure> {
    let flag = matches.get_one::<String>("client-id").cloned();
    let own = variable(CLIENT_ID);
    let token = variable("AGENTIDP_TOKEN");
    if flag.is_none() && own.is_some() && token.is_some() {
        return Err(Failure::misused("AGENTIDP_TOKEN and AGENTIDP_CLIENT_ID are both set; unset one"));
    }
    let is_other = flag.is_some() && own.is_some() && flag != own;
    let secret = match matches.get_one::<PathBuf>("client-secret-file") {
        Some(file) => Some(read_file(file)?.trim().into()),
        None if is_other => None,
        None => secret()?,
    };
    let client_id = match (flag, own) {
        (Some(id), _) => Some(client_id("--client-id", id)?),
        (None, Some(id)) => Some(client_id(CLIENT_ID, id)?),
        (None, None) => None,
    };
    match (client_id, secret, matches.get_one::<PathBuf>("private-key"), token) {
        (Some(client_id), _, Some(file), _) => Ok(Some(Identity::Key { client_id, file: file.clone() })),
        (Some(client_id), Some(secret), None, _) => Ok(Some(Identity::Secret { client_id, secret })),
        (Some(_), None, None, _) if is_other => Err(Failure::misused(
            "the secret of the environment is that of AGENTIDP_CLIENT_ID; --client-id names another client, and needs --client-secret-file or --private-key",
        )),
        (Some(_), None, None, _) => Err(Failure::misused(
            "the client has no secret; set AGENTIDP_CLIENT_SECRET, AGENTIDP_CLIENT_SECRET_FILE, --client-secret-file or --private-key too",
        )),
        (None, Some(_), ..) => {
            Err(Failure::misused("a client secret is set, but neither AGENTIDP_CLIENT_ID nor --client-id"))
        }
        (None, None, Some(_), _) => {
            Err(Failure::misused("--private-key needs AGENTIDP_CLIENT_ID or --client-id"))
        }
        (None, None, None, token) => Ok(token.map(|token| Identity::Token(token.into()))),
    }
}

/// Returns the secret of the environment.
fn secret() -> Result<Option<SecretString>, Failure> {
    match (variable("AGENTIDP_CLIENT_SECRET"), variable(SECRET_FILE)) {
        (Some(_), Some(_)) => Err(Failure::misused(
            "AGENTIDP_CLIENT_SECRET and AGENTIDP_CLIENT_SECRET_FILE are both set; unset one",
        )),
        (Some(secret), None) => Ok(Some(secret.into())),
        (None, Some(path)) => match read_file(path) {
            Ok(secret) => Ok(Some(secret.trim().into())),
            Err(failure) => Err(Failure::misused(format!("{SECRET_FILE}: {}", failure.message))),
        },
        (None, None) => Ok(None),
    }
}
