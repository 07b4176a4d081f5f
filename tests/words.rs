//! The English of comments, messages, help and documents: words that its readers would stop at.
//!
//! CONTRIBUTING.md says how this project writes. A word is refused here if a standard term says the same.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Words and phrases that nothing here says, in lower case.
const REFUSED: [&str; 23] = [
    "alive",
    "anew",
    "anybody",
    "as one that",
    "beside",
    "dead",
    "deed",
    "everybody",
    "for ever",
    "is none",
    "mend",
    "mended",
    "mends",
    "nobody",
    "of whatever",
    "so many",
    "somebody",
    "tell",
    "telling",
    "tells",
    "told",
    "whoever",
    "whom",
];

/// First words of a comment that make a clause of a name: "What waits …".
const REFUSED_OPENINGS: [&str; 4] = ["What", "Who", "Whom", "Whoever"];

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the files below these paths that have one of these extensions.
fn files(paths: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        for entry in WalkDir::new(Path::new(ROOT).join(path)) {
            let file = entry.expect("readable").into_path();
            let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let is_built =
                file.components().any(|part| part.as_os_str() == "target" || part.as_os_str() == "peers");
            // This file has to name the words.
            if extensions.contains(&extension) && !is_built && !file.ends_with("tests/words.rs") {
                files.push(file);
            }
        }
    }
    assert!(!files.is_empty(), "{paths:?} exist");
    files
}

/// Returns the comment of a line that has nothing else.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let markers = ["///", "//!", "//", "--", "# "];
    markers.iter().find_map(|marker| line.strip_prefix(marker)).map(str::trim)
}

/// Returns the string literals of a line, without their escapes.
fn literals(line: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut literal: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, &mut literal) {
            ('\\', Some(_)) => drop(letters.next()),
            ('"', Some(text)) => {
                literals.push(std::mem::take(text));
                literal = None;
            }
            ('"', None) => literal = Some(String::new()),
            (letter, Some(text)) => text.push(letter),
            _ => {}
        }
    }
    literals
}

/// Returns the refused words in a text.
fn refused(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    let stands_alone = |start: usize, word: &str| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    };
    let is_said = |word: &&str| text.match_indices(*word).any(|(start, _)| stands_alone(start, word));
    REFUSED.into_iter().filter(is_said).collect()
}

#[test]
fn comments_messages_help_and_documents_say_none_of_the_refused_words() {
    let mut wrong = Vec::new();
    for file in files(&["src", "tests", "perf", "benches", "fuzz", "examples"], &["rs", "sql", "lua"]) {
        let text = std::fs::read_to_string(&file).expect("readable");
        for (place, line) in text.lines().enumerate() {
            let said = match comment(line) {
                Some(comment) => refused(comment),
                None => literals(line).iter().flat_map(|text| refused(text)).collect(),
            };
            wrong.extend(
                said.into_iter().map(|word| format!("{}:{}: {word}: {line}", file.display(), place + 1)),
            );
        }
    }
    for file in files(&["docs", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"], &["md"]) {
        let text = std::fs::read_to_string(&file).expect("readable");
        // What stands between backticks is a name.
        for (place, line) in text.lines().enumerate() {
            let prose: String = line.split('`').step_by(2).collect();
            let said = refused(&prose).into_iter();
            wrong.extend(said.map(|word| format!("{}:{}: {word}: {line}", file.display(), place + 1)));
        }
    }
    assert!(wrong.is_empty(), "{} places:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_item_is_described_by_a_clause_that_stands_for_a_name() {
    let mut wrong = Vec::new();
    for file in files(&["src"], &["rs"]) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let mut before = None;
        for line in text.lines() {
            let now = comment(line);
            if before.is_none()
                && let Some(first) = now.and_then(|comment| comment.split(' ').next())
                && REFUSED_OPENINGS.contains(&first)
            {
                wrong.push(format!("{}: {line}", file.display()));
            }
            before = now;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refused_word_is_found_in_a_comment_and_in_a_message_and_not_within_another_word() {
    assert_eq!(refused("It is Told once."), ["told"]);
    assert_eq!(refused("as one that is none"), ["as one that", "is none"]);
    assert!(refused("untold besides recommend `old-beside-new` deadline").is_empty());
    assert_eq!(comment("    /// Tells it"), Some("Tells it"));
    assert_eq!(comment("let x = 1;"), None);
    assert_eq!(literals(r#"f("a \" b", c, "d")"#), ["a  b", "d"]);
}
