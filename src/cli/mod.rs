//! Command-line flags and environment variables, and the [`Config`](crate::config::Config) that they make.
//!
//! Every setting is a flag and an environment variable of the same name. Every secret can also be read from
//! the file that `NAME_FILE` names. An invalid setting stops the startup and is reported in one line.

mod mistakes;
mod serve;
mod stores;
mod values;

use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

pub use self::serve::ServeArgs;
pub use self::stores::StoreArgs;
pub use self::values::{List, MetricsAddress};
use self::values::{secret, secret_text};
use crate::config::{ConfigError, DEFAULT_BCRYPT_COST};
use crate::domain::jwk::KeyType;

/// An OAuth 2.0 identity provider for AI agents.
#[derive(Parser, Debug)]
#[command(name = "agentidp", version, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Command to run; `serve` if `None`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of `serve`, used if no command is named.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Commands of the program.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve the API (the default command)
    Serve(Box<ServeArgs>),
    /// Create the organization `default` and its first administrator, and print its credential once
    Bootstrap(BootstrapArgs),
    /// Manage signing keys
    Keys {
        /// The command to run
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Bring the database tables up to date
    Migrate(StoreArgs),
    /// Copy the file of `--data` and its signing key to a folder, while it is served
    Backup {
        /// Folder for this backup alone; an earlier backup in it is replaced
        folder: PathBuf,
        /// Locations and connection settings of the stores.
        #[command(flatten)]
        stores: Box<StoreArgs>,
    },
    /// Copy all data of a file that is not served to an empty PostgreSQL database, and compare each row
    Copy(CopyArgs),
    /// Print the OpenAPI document
    Openapi {
        /// Output format
        #[arg(long, value_enum, default_value_t = DocumentFormat::Yaml)]
        format: DocumentFormat,
    },
    /// A command of the client of a running service
    #[command(flatten)]
    Client(client::Invocation),
}

/// Operations on signing keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Print a new private key for `JWT_PRIVATE_KEY`
    Generate {
        /// Key type
        #[arg(long = "type", value_enum, default_value_t = KeyTypeName::Rsa)]
        kind: KeyTypeName,
    },
}

/// Key types, by the names used on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyTypeName {
    /// Signs RS256
    Rsa,
    /// Signs ES256
    P256,
    /// Signs EdDSA
    Ed25519,
}

impl From<KeyTypeName> for KeyType {
    fn from(name: KeyTypeName) -> Self {
        match name {
            KeyTypeName::Rsa => Self::Rsa,
            KeyTypeName::P256 => Self::P256,
            KeyTypeName::Ed25519 => Self::Ed25519,
        }
    }
}

/// Arguments of `copy`.
#[derive(Args, Debug, Clone)]
pub struct CopyArgs {
    /// `sqlite:` and the path of the file
    #[arg(long)]
    pub from: String,
    /// PostgreSQL URL with the role that shall own the tables
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub to: Option<SecretString>,
    /// File that contains this URL
    #[arg(long, env = "DATABASE_URL_FILE")]
    pub to_file: Option<PathBuf>,
}

impl CopyArgs {
    /// Returns the PostgreSQL URL.
    ///
    /// Returns [`ConfigError`] if the URL and its file are both set or both missing, or if the file is unreadable.
    pub fn target(&self) -> Result<SecretString, ConfigError> {
        let target = secret("DATABASE_URL", self.to.as_ref(), self.to_file.as_ref())?;
        target.ok_or_else(|| {
            ConfigError::new("copy needs --to, or DATABASE_URL: the URL of an empty PostgreSQL database")
        })
    }
}

/// Arguments of `bootstrap`.
#[derive(Args, Debug, Clone)]
pub struct BootstrapArgs {
    /// Create another administrator even if the first one was already created
    #[arg(long)]
    pub recover: bool,
    /// bcrypt cost factor
    #[arg(long, env = "BCRYPT_COST", default_value_t = DEFAULT_BCRYPT_COST, value_parser = clap::value_parser!(u32).range(4..=14))]
    pub bcrypt_cost: u32,
    /// Locations and connection settings of the stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event
    Text,
    /// One JSON object an event
    Json,
}

/// Whether a part of the service is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Served
    On,
    /// Not served
    Off,
}

/// Output format of the OpenAPI document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

#[expect(clippy::disallowed_methods, reason = "this module reads the environment")]
impl Cli {
    /// Parses the arguments and the environment of this process.
    ///
    /// An empty variable counts as not set, and white space around a value is dropped: compose files pass unset
    /// variables as empty ones, and secrets often end with a line end. A command reads only its own settings.
    pub fn of_process() -> Result<Self, clap::Error> {
        fn tidied(command: clap::Command) -> clap::Command {
            let tidy = |arg: clap::Arg| {
                let value = arg.get_env().and_then(|name| std::env::var(name).ok());
                match value.as_deref().map(|value| (value, value.trim())) {
                    None => arg,
                    Some((value, trimmed)) if value == trimmed && !value.is_empty() => arg,
                    Some((_, "")) => arg.env(Resettable::Reset),
                    Some((_, trimmed)) => {
                        arg.env(Resettable::Reset).default_value(trimmed.to_owned()).hide_default_value(true)
                    }
                }
            };
            command.mut_args(tidy).mut_subcommands(tidied)
        }
        let mut command = tidied(Self::command());
        let first = std::env::args_os().nth(1).unwrap_or_default();
        if command.find_subcommand(first).is_some() {
            command = command.mut_args(|arg| arg.env(Resettable::Reset));
        }
        Self::from_arg_matches(&command.try_get_matches()?)
    }

    /// Returns an error in the arguments of this process as one line, which says what was probably meant.
    pub fn explained(error: &clap::Error) -> String {
        let arguments = std::env::args_os().skip(1);
        let arguments: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
        mistakes::explained(error, &Self::command(), &arguments)
    }

    /// Returns the whole command line, as completions and the manual page describe it.
    pub fn program() -> clap::Command {
        Self::command()
    }

    /// Returns whether the log is JSON, even if the arguments cannot be parsed.
    pub fn logs_json() -> bool {
        let mut words = std::env::args().skip_while(|word| word != "--log-format");
        std::env::var("LOG_FORMAT").is_ok_and(|format| format.trim() == "json")
            || std::env::args().any(|word| word == "--log-format=json")
            || words.nth(1).is_some_and(|format| format == "json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["agentidp"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_out_of_bounds_stops_the_start() {
        for arguments in [
            ["--port", "70000"],
            ["--token-ttl-seconds", "59"],
            ["--token-ttl-seconds", "86401"],
            ["--bcrypt-cost", "3"],
            ["--bcrypt-cost", "15"],
            ["--metrics-addr", "on"],
            ["--redis-key-prefix", "a{b"],
            ["--redis-key-prefix", &"a".repeat(65)],
            ["--host", "example.com"],
            ["--host", ""],
            ["--idle-timeout-seconds", "0"],
            ["--issuer-url", "ftp://example.com"],
            ["--issuer-url", "https://example.com?x"],
            ["--issuer-url", "https://user:word@example.com"],
            ["--cors-origin", "https://example.com/path"],
            ["--cors-origin", "https://Example.com"],
            ["--cors-origin", "https://example.com:443"],
            ["--trusted-proxies", "10.0.0.0/33"],
            ["--address-requests-per-minute", "0"],
            ["--console", "yes"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }
}
