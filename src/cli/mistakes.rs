//! Errors in the arguments, each in one line that says what was probably meant.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, Command};

/// Returns an error in these arguments of the program as one line, without the usage text.
pub(super) fn explained(error: &Error, program: &Command, arguments: &[String]) -> String {
    let (what, hint) = match error.kind() {
        ErrorKind::UnknownArgument => {
            let unknown = context(error, ContextKind::InvalidArg).unwrap_or_default();
            let hint = place(unknown, program, arguments);
            let nearest = || context(error, ContextKind::SuggestedArg).map(did_you_mean);
            (format!("unexpected argument {unknown}"), hint.or_else(nearest))
        }
        ErrorKind::InvalidSubcommand => {
            let unknown = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let nearest = context(error, ContextKind::SuggestedSubcommand).map(did_you_mean);
            (format!("unexpected command {unknown}"), nearest)
        }
        _ => (first_paragraph(&error.to_string()), None),
    };
    format!("{what}; {}--help lists all", hint.unwrap_or_default())
}

/// Returns a text of an error; the last and nearest one if there are several.
fn context(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(all) => all.last().map(String::as_str),
        _ => None,
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}? ")
}

/// Returns where an argument belongs: a flag of a command that stands before the command, or a file without its flag.
fn place(unknown: &str, program: &Command, arguments: &[String]) -> Option<String> {
    let (mut command, mut path) = (program, "agentidp".to_owned());
    for word in arguments {
        if let Some(found) = command.find_subcommand(word) {
            command = found;
            path = format!("{path} {word}");
        }
    }
    let is_named = |arg: &&Arg| flags(arg).iter().any(|flag| flag == unknown);
    if command.get_arguments().any(|arg| is_named(&arg)) {
        return Some(format!("flags come after the command: {path} {unknown} …; "));
    }
    let file = command.get_arguments().find(|arg| arg.get_id() == "file").map(flags)?;
    (!unknown.starts_with('-')).then(|| format!("use {} {unknown}; ", file[0]))
}

/// Returns the forms of a flag, the shortest first.
fn flags(arg: &Arg) -> Vec<String> {
    let short = arg.get_short().map(|letter| format!("-{letter}"));
    short.into_iter().chain(arg.get_long().map(|name| format!("--{name}"))).collect()
}

/// Returns the error message of clap as one line.
fn first_paragraph(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or(message);
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn explanation(line: &str) -> String {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::command().try_get_matches_from(&arguments).expect_err("it is refused");
        explained(&error, &Cli::command(), &arguments[1..])
    }

    #[test]
    fn a_wrong_argument_is_named_with_the_one_that_was_meant() {
        for (line, expected) in [
            ("agentidp --prot 1", "unexpected argument --prot; did you mean --port? --help lists all"),
            ("agentidp serve --prot 1", "unexpected argument --prot; did you mean --port? --help lists all"),
            (
                "agentidp agents list --statsu x",
                "unexpected argument --statsu; did you mean --status? --help lists all",
            ),
            ("agentidp agnets list", "unexpected command agnets; did you mean agents? --help lists all"),
            ("agentidp agents lsit", "unexpected command lsit; did you mean list? --help lists all"),
            ("agentidp agents list --qqq", "unexpected argument --qqq; --help lists all"),
            (
                "agentidp --url http://a agents list",
                "unexpected argument --url; flags come after the command: agentidp agents list --url …; --help lists all",
            ),
            (
                "agentidp -o json agents list",
                "unexpected argument -o; flags come after the command: agentidp agents list -o …; --help lists all",
            ),
            (
                "agentidp apply fleet.yaml",
                "unexpected argument fleet.yaml; use -f fleet.yaml; --help lists all",
            ),
        ] {
            assert_eq!(explanation(line), expected);
        }
        assert!(explanation("agentidp --port x").starts_with("invalid value 'x' for '--port <PORT>'"));
    }
}
