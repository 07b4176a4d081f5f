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
            if file.is_file()
                && extensions.contains(&extension)
                && !is_built
                && !file.ends_with("tests/words.rs")
            {
                files.push(file);
            }
        }
    }
    assert!(!files.is_empty(), "{paths:?} exist");
    files
}

/// Returns the comments and string literals of a Rust source, each with the line where it begins.
fn prose_of_rust(source: &str) -> Vec<(usize, &str)> {
    let mut prose = Vec::new();
    let mut rest = source;
    while let Some(place) = rest.find(['/', '"', '\'', 'r']) {
        let here = &rest[place..];
        let line = source[..source.len() - here.len()].matches('\n').count() + 1;
        let raw = here.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
        let (begin, end) = if here.starts_with("//") {
            (2, here.find('\n').unwrap_or(here.len()))
        } else if here.starts_with("'\"'") || here.starts_with("'\\\"'") {
            rest = &here[3..];
            continue;
        } else if let Some(hashes) = raw.filter(|hashes| here[1 + hashes..].starts_with('"')) {
            let mark = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            (begin, begin + here[begin..].find(&mark).expect("a raw literal ends"))
        } else if let Some(literal) = here.strip_prefix('"') {
            let mut is_escaped = false;
            let end = literal.find(|letter| {
                let ends = letter == '"' && !is_escaped;
                is_escaped = letter == '\\' && !is_escaped;
                ends
            });
            (1, 1 + end.expect("a literal ends"))
        } else {
            rest = &here[1..];
            continue;
        };
        prose.push((line, &here[begin..end]));
        rest = here[end..].strip_prefix('"').unwrap_or(&here[end..]);
    }
    prose
}

/// Returns the comments of a script whose comments begin with this mark, each with its line.
fn comments<'a>(source: &'a str, mark: &'a str) -> Vec<(usize, &'a str)> {
    let lines = source.lines().enumerate();
    lines.filter_map(|(place, line)| Some((place + 1, line.split_once(mark)?.1))).collect()
}

/// Returns the comment of a line that has nothing else.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    ["///", "//!", "//"].iter().find_map(|marker| line.strip_prefix(marker)).map(str::trim)
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
    let sources =
        files(&["src", "tests", "perf", "benches", "fuzz", "examples"], &["rs", "sql", "lua", "py"]);
    for file in sources.into_iter().chain(files(&["scripts"], &[""])) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let prose = match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => prose_of_rust(&text),
            Some("sql" | "lua") => comments(&text, "-- "),
            _ => comments(&text, "# "),
        };
        for (place, text) in prose {
            let said = refused(text).into_iter();
            wrong.extend(said.map(|word| format!("{}:{place}: {word}: {text}", file.display())));
        }
    }
    let pages = files(&["src/adapters/http/console"], &["js", "ts", "css", "html"]).into_iter();
    // Libraries of others are kept as their authors wrote them.
    for file in pages.filter(|file| !file.components().any(|part| part.as_os_str() == "vendor")) {
        let text = std::fs::read_to_string(&file).expect("readable");
        for (place, line) in text.lines().enumerate() {
            let said = refused(line).into_iter();
            wrong.extend(said.map(|word| format!("{}:{}: {word}: {line}", file.display(), place + 1)));
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
    for file in files(&["src", "tests", "perf", "benches", "fuzz", "examples"], &["rs"]) {
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
    let source = "/// Tells\nf(\"a \\\" b\", '\"', 'c') // d\nr#\"e \" f\"# \"g\n h\"";
    assert_eq!(
        prose_of_rust(source),
        [(1, "/ Tells"), (2, "a \\\" b"), (2, " d"), (3, "e \" f"), (3, "g\n h")]
    );
}
