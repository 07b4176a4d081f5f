//! Confirmation of commands that cannot be undone.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::failure::Failure;
use crate::output::safe;

/// Adds the flag that confirms in advance.
pub fn with_flag(command: Command) -> Command {
    command.arg(
        Arg::new("yes")
            .short('y')
            .long("yes")
            .action(ArgAction::SetTrue)
            .help("Do not ask for a confirmation"),
    )
}

/// Asks for a confirmation, unless `--yes` has given it.
///
/// Returns [`Failure`] if the answer is not yes, or if there is no terminal to ask on.
pub fn confirm(matches: &ArgMatches, what: &str) -> Result<(), Failure> {
    if matches.get_flag("yes") {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::misused(format!("{what}. Nothing was done; confirm it with --yes")));
    }
    let mut out = std::io::stderr();
    // If the question cannot be written, the answer cannot be yes.
    let _ = write!(out, "{}. Continue? [y/N] ", safe(what)).and_then(|()| out.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(Failure::misused("nothing was done")),
    }
}
