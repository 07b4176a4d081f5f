//! Results on standard output, in the format that the caller chose.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use crate::failure::Failure;
use crate::system::variable;

/// Names of the formats.
pub const FORMATS: [&str; 5] = ["table", "json", "yaml", "wide", "name"];

/// Fields of a thing: the one that names it, those of a table, and the further ones of a wide table.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Field that names a thing.
    pub id: &'static str,
    /// Fields of a table.
    pub table: &'static [&'static str],
    /// Further fields of a wide table.
    pub wide: &'static [&'static str],
}

/// Adds the flag that chooses a format.
pub fn with_flag(command: Command, has_secret: bool) -> Command {
    let formats = FORMATS.into_iter().chain(has_secret.then_some("secret"));
    command.arg(
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("FORMAT")
            .value_parser(PossibleValuesParser::new(formats.collect::<Vec<_>>()))
            .help("Format of the result; by default a table on a terminal, and JSON elsewhere"),
    )
}

/// Returns the format that the caller chose.
pub fn format(matches: &ArgMatches) -> &str {
    let by_default = if std::io::stdout().is_terminal() { "table" } else { "json" };
    matches.get_one::<String>("output").map_or(by_default, String::as_str)
}

/// Prints a thing or a list of things.
pub fn show(format: &str, value: &Value, columns: Columns) -> Result<(), Failure> {
    show_to_reader(format, value, columns).map(drop)
}

/// Prints a thing or a list of things, and returns whether something still reads standard output.
pub fn show_to_reader(format: &str, value: &Value, columns: Columns) -> Result<bool, Failure> {
    let rows = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    print_to_reader(&match format {
        "json" => json(value),
        "yaml" => yaml(value),
        "name" => lines(rows.iter().map(|row| cell(&row[columns.id]))),
        "secret" => lines(rows.iter().map(|row| cell(&row["clientSecret"]))),
        "wide" => table(rows, &[columns.table, columns.wide].concat()),
        _ => table(rows, columns.table),
    })
}

/// Returns a value as JSON on several lines, in which no letter can control a terminal.
pub fn json(value: &Value) -> String {
    plain_json(&format!("{value:#}\n"))
}

/// Returns JSON in which letters that could control a terminal are escaped. The value is the same.
pub fn plain_json(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '\n' => "\n".to_owned(),
        letter if is_unsafe(letter) => {
            letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
        letter => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn lines(texts: impl Iterator<Item = String>) -> String {
    texts.map(|text| text + "\n").collect()
}

/// Returns a value as YAML.
pub fn yaml(value: &Value) -> String {
    serde_yaml_ng::to_string(value).expect("JSON is YAML")
}

/// Returns rows as a table. A field that no row has is left out.
pub fn table(rows: &[Value], columns: &[&str]) -> String {
    let is_used =
        |column: &&&str| rows.iter().any(|row| row.get(**column).is_some_and(|value| !value.is_null()));
    let columns: Vec<&&str> = columns.iter().filter(is_used).collect();
    let heads = columns.iter().map(|column| column.to_uppercase()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|column| cell(&row[**column])).collect());
    let all: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let width = |place: usize| all.iter().map(|row| row[place].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for (number, row) in all.iter().enumerate() {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        text += &if number == 0 { emphasized(line) } else { line.to_owned() };
        text.push('\n');
    }
    text
}

fn emphasized(text: &str) -> String {
    match std::io::stdout().is_terminal() && variable("NO_COLOR").is_none() {
        true => format!("\u{1b}[1m{text}\u{1b}[0m"),
        false => text.to_owned(),
    }
}

/// Returns a value in one line that is safe on a terminal.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => safe(text),
        Value::Array(all) if all.iter().all(Value::is_string) => {
            all.iter().map(cell).collect::<Vec<_>>().join(",")
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| match value {
                Value::Null => format!("{}=none", safe(name)),
                value => format!("{}={}", safe(name), cell(value)),
            };
            members.iter().map(member).collect::<Vec<_>>().join(" ")
        }
        other => safe(&other.to_string()),
    }
}

/// Returns a text whose control characters, and those that change the direction of writing, are written out.
///
/// The name of an agent must not be able to change what the reader of a terminal sees.
pub fn safe(text: &str) -> String {
    let written = |letter: char| match is_unsafe(letter) {
        true => letter.escape_unicode().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(written).collect()
}

/// Returns whether a letter controls a terminal, is invisible, or changes the direction of writing.
fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Prints a text to standard output. A reader that has closed the pipe is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    print_to_reader(text).map(drop)
}

/// Prints a text to standard output, and returns whether something still reads that.
pub fn print_to_reader(text: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::refused(format!("standard output cannot be written: {error}"))),
    }
}

/// Prints a message to standard error. If that is closed, the message is lost.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor_of_a_terminal() {
        let row = json!([{ "owner": "\u{1b}[2Jgone\r\n\u{202e}", "tags": ["a", "b"] }]);
        let text = table(row.as_array().expect("a list"), &["owner", "tags", "none"]);
        assert_eq!(text, "OWNER                            TAGS\n\\u{1b}[2Jgone\\u{d}\\u{a}\\u{202e}  a,b\n");
    }
}
