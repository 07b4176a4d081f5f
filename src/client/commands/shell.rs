//! `agentidp completions` and `agentidp man`.

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::print;

/// Returns the command `completions`.
pub fn completions_command() -> Command {
    Command::new("completions")
        .about("Print the completions of a shell")
        .arg(Arg::new("shell").required(true).value_name("SHELL").value_parser(clap::value_parser!(Shell)))
}

/// Returns the command `man`.
pub fn man_command() -> Command {
    Command::new("man").about("Print the manual page of the program and all of its commands")
}

/// Prints the completions of this program.
pub fn completions(matches: &ArgMatches, mut program: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut program, "agentidp", &mut text);
    }
    print(&String::from_utf8_lossy(&text))
}

/// Prints the manual page of this program, and one section for each command.
pub fn man(program: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    let mut rendered = Ok(());
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut waiting = vec![program];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().cloned());
        rendered = rendered.and_then(|()| clap_mangen::Man::new(command).render(&mut text));
    }
    rendered.map_err(|error| Failure::misused(error.to_string()))?;
    print(&String::from_utf8_lossy(&text))
}
