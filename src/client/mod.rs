//! The command line as a client of a running service.
//!
//! A command on a resource is a row of `table::RESOURCES`; its flags come from the OpenAPI document. Any other command
//! is a file in `commands` and a row of `OWN`.

mod apply;
mod assertion;
mod commands;
mod confirm;
mod connection;
mod document;
mod failure;
mod flags;
mod identity;
mod jwt;
mod organization;
mod output;
mod pages;
mod profile;
mod public_key;
mod system;
mod table;

use std::future::ready;
use std::pin::Pin;

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};

use commands::{audit, login, resource, shell, status, token};
use failure::Failure;

/// A command of the client, with its arguments.
#[derive(Clone, Debug)]
pub struct Invocation {
    name: String,
    matches: ArgMatches,
}

/// Result of a command that is running.
type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// A command that is no row of the table of resources.
struct OwnCommand {
    /// The resource whose command it is; empty if it is a command of the program.
    resource: &'static str,
    command: fn() -> Command,
    /// Runs it; the second argument is the whole command line.
    run: for<'a> fn(&'a ArgMatches, Command) -> Outcome<'a>,
}

const fn own(
    resource: &'static str,
    command: fn() -> Command,
    run: for<'a> fn(&'a ArgMatches, Command) -> Outcome<'a>,
) -> OwnCommand {
    OwnCommand { resource, command, run }
}

/// Each command that is a file of its own.
const OWN: [OwnCommand; 10] = [
    own("audit", audit::tail_command, |matches, _| Box::pin(audit::tail(matches))),
    own("audit", audit::export_command, |matches, _| Box::pin(audit::export(matches))),
    own("", token::command, |matches, _| Box::pin(token::run(matches))),
    own("", apply::command, |matches, _| Box::pin(apply::run(matches))),
    own("", apply::export::command, |matches, _| Box::pin(apply::export::run(matches))),
    own("", status::command, |matches, _| Box::pin(status::run(matches))),
    own("", login::login_command, |matches, _| Box::pin(login::login(matches))),
    own("", login::profiles_command, |matches, _| Box::pin(ready(login::profiles(matches)))),
    own("", shell::completions_command, |matches, program| {
        Box::pin(ready(shell::completions(matches, program)))
    }),
    own("", shell::man_command, |_, program| Box::pin(ready(shell::man(program)))),
];

/// Returns the commands of the client.
fn all() -> impl Iterator<Item = Command> {
    let resources = table::RESOURCES.iter().map(|one| {
        let own = OWN.iter().filter(|own| own.resource == one.name);
        resource::command(one).subcommands(own.map(|own| (own.command)()))
    });
    resources.chain(OWN.iter().filter(|own| own.resource.is_empty()).map(|own| (own.command)()))
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
        let (matches, name) = (&self.matches, self.name.as_str());
        let own = OWN.iter().find_map(|own| {
            let (called, matches) = match own.resource {
                "" => (name, matches),
                resource if resource == name => matches.subcommand()?,
                _ => return None,
            };
            ((own.command)().get_name() == called).then_some((own, matches))
        });
        match (own, table::RESOURCES.iter().find(|one| one.name == name)) {
            (Some((own, matches)), _) => (own.run)(matches, program).await,
            (None, Some(one)) => resource::run(one, matches).await,
            (None, None) => Err(Failure::misused("no such command")),
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
        all().any(|command| command.get_name() == name)
    }
}
