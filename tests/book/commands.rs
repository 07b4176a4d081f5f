//! The pages on commands and settings, generated from the help of the program.

use std::fmt::Write as _;
use std::process::Command;

use agentidp::cli::Cli;

use crate::generated::{NOTE, cell, compare};
use crate::{read, repository};

/// Adds the help of a command and of its subcommands to the page.
fn describe(page: &mut String, path: &[&str], command: &clap::Command) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_agentidp"));
    // Values of the environment would be shown.
    program.args(&path[1..]).arg("--help").env_clear();
    let output = program.output().expect("it runs");
    assert!(output.status.success(), "{path:?}");
    let help = String::from_utf8(output.stdout).expect("text");
    let level = "#".repeat(path.len().min(2) + 1);
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(page, "\n{level} {}\n\n```text\n{}\n```", path.join(" "), lines.join("\n").trim_end());
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        describe(page, &[path, &[subcommand.get_name()]].concat(), subcommand);
    }
}

#[test]
fn the_page_on_commands_is_the_help_of_each() {
    let mut page = String::from("# Commands\n\n");
    page.push_str(NOTE);
    page.push_str(
        "The help of every command. [The command line](../command-line.md) shows how they are used.\n",
    );
    describe(&mut page, &["agentidp"], &Cli::program());
    compare("docs/reference/commands.md", &page);
}

#[test]
fn the_page_on_settings_has_every_flag_of_the_service() {
    let mut page = String::from("# Settings\n\n");
    page.push_str(NOTE);
    page.push_str(
        "The settings of `agentidp serve`. Each is an environment variable and a flag. An empty variable counts as not set,\n\
         and white space around a value is dropped. An invalid setting prints one line and exits with code 2.\n\
         [Choosing settings](../settings.md) adds advice.\n\n\
         | variable | flag | default | meaning |\n|---|---|---|---|\n",
    );
    let program = Cli::program();
    let serve = program.find_subcommand("serve").expect("a command");
    for flag in serve.get_arguments() {
        let variable = flag.get_env().map(|name| format!("`{}`", name.to_str().expect("text")));
        let name = flag.get_long().expect("a flag");
        let help = flag.get_long_help().or_else(|| flag.get_help()).expect("a help").to_string();
        let mut help = cell(&help);
        let choices = flag.get_possible_values();
        if !choices.is_empty() {
            let choices: Vec<_> = choices.iter().map(|choice| format!("`{}`", choice.get_name())).collect();
            let _ = write!(help, ": {}", choices.join(" or "));
        }
        // Some say the default in words.
        let (help, said) = match help.split_once(" [default: ") {
            Some((help, default)) => (help.to_owned(), Some(default.trim_end_matches(']').to_owned())),
            None => (help, None),
        };
        let values: Vec<_> = flag.get_default_values().iter().filter_map(|value| value.to_str()).collect();
        let default = said.or_else(|| {
            let is_shown = !values.is_empty() && values != [""];
            is_shown.then(|| format!("`{}`", values.join(" ")))
        });
        let _ = writeln!(
            page,
            "| {} | `--{name}` | {} | {help} |",
            variable.unwrap_or_default(),
            default.unwrap_or_default(),
        );
    }
    compare("docs/reference/settings.md", &page);
}

#[test]
fn there_is_advice_on_every_setting() {
    let advice = read(&repository("docs/settings.md"));
    let program = Cli::program();
    let serve = program.find_subcommand("serve").expect("a command");
    let names = serve.get_arguments().filter_map(clap::Arg::get_env).map(|name| name.to_str().expect("text"));
    // A secret may be in the file that NAME_FILE names, and the variables of OpenTelemetry have one row.
    let is_missing =
        |name: &&str| !name.starts_with("OTEL_") && !advice.contains(name.trim_end_matches("_FILE"));
    let missing: Vec<_> = names.filter(is_missing).collect();
    assert_eq!(missing, [""; 0]);
}
