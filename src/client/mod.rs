//! The command line as a client of a running service.
//!
//! A command on a resource is a row of `table::RESOURCES`; its flags come from the OpenAPI document. Any other command
//! is a file in `commands`.

mod apply;
mod assertion;
mod commands;
mod confirm;
mod connection;
mod document;
mod failure;
mod flags;
mod identity;
mod organization;
mod output;
mod pages;
mod profile;
mod system;
mod table;

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};

use commands::{audit, login, resource, shell, status, token};
use failure::Failure;

/// A command of the client, with its arguments.
#[derive(Clone, Debug)]
pub struct Invocation {
    name: String,
    matches: ArgMatches,
}

/// Returns the commands of the client.
fn all() -> Vec<Command> {
    let resources = table::RESOURCES.iter().map(|one| match one.name {
        "audit" => audit::with_commands(resource::command(one)),
        _ => resource::command(one),
    });
    resources
        .chain([
            token::command(),
            apply::command(),
            apply::export::command(),
            status::command(),
            login::login_command(),
            login::profiles_command(),
            shell::completions_command(),
            shell::man_command(),
        ])
        .collect()
}

impl Invocation {
    /// Runs the command, and returns the exit code of the program. `program` is the whole command line.
    ///
    /// A failure is printed to standard error.
    pub fn run(&self, program: Command) -> u8 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(self.outcome(program)),
            Err(error) => Err(Failure::misused(format!("the program cannot start: {error}"))),
        };
        match outcome {
            Ok(()) => 0,
            Err(failure) => {
                if !failure.message.is_empty() {
                    output::note(&format!("agentidp: {}", failure.message));
                }
                failure.exit as u8
            }
        }
    }

    async fn outcome(&self, program: Command) -> Result<(), Failure> {
        let matches = &self.matches;
        match (self.name.as_str(), matches.subcommand_name()) {
            ("token", _) => token::run(matches).await,
            ("apply", _) => apply::run(matches).await,
            ("export", _) => apply::export::run(matches).await,
            ("status", _) => status::run(matches).await,
            ("login", _) => login::login(matches).await,
            ("profiles", _) => login::profiles(matches),
            ("completions", _) => shell::completions(matches, program),
            ("man", _) => shell::man(program),
            ("audit", Some("tail")) => {
                audit::tail(matches.subcommand().map_or(matches, |(_, own)| own)).await
            }
            ("audit", Some("export")) => {
                audit::export(matches.subcommand().map_or(matches, |(_, own)| own)).await
            }
            (name, _) => match table::RESOURCES.iter().find(|one| one.name == name) {
                Some(one) => resource::run(one, matches).await,
                None => Err(Failure::misused("no such command")),
            },
        }
    }
}

impl FromArgMatches for Invocation {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((name, matches)) => Ok(Self { name: name.to_owned(), matches: matches.clone() }),
            None => Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Invocation {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(all())
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        all().iter().any(|command| command.get_name() == name)
    }
}
