//! The page on errors has every code.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{read, repository};

/// Errors of OAuth's form that the OpenAPI document does not list as descriptions of responses.
const OAUTH: [&str; 5] =
    ["access_denied", "insufficient_scope", "invalid_token", "server_error", "unsupported_response_type"];

/// Returns the first group of each match.
fn found(text: &str, pattern: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_error_code_is_explained_with_its_status() {
    let page = read(&repository("docs/reference/errors.md"));
    let source = read(&repository("src/adapters/http/error.rs"));
    let codes = Regex::new(r#"\n    \w+ "([A-Z_]+)" ([A-Z_]+),"#).expect("a pattern");
    let mut explained = found(&page, r"(?m)^\| `([A-Z_]+)` \| [45]\d\d \| [^|]+ \| [^|]+ \|$");
    let mut count = 0;
    for code in codes.captures_iter(&source) {
        count += 1;
        assert!(explained.remove(&code[1]), "{} is not explained", &code[1]);
        let status = reqwest::StatusCode::from_bytes(match &code[2] {
            "BAD_REQUEST" => b"400",
            "UNAUTHORIZED" => b"401",
            "FORBIDDEN" => b"403",
            "NOT_FOUND" => b"404",
            "METHOD_NOT_ALLOWED" => b"405",
            "CONFLICT" => b"409",
            "PAYLOAD_TOO_LARGE" => b"413",
            "UNSUPPORTED_MEDIA_TYPE" => b"415",
            "TOO_MANY_REQUESTS" => b"429",
            "INTERNAL_SERVER_ERROR" => b"500",
            "SERVICE_UNAVAILABLE" => b"503",
            other => panic!("{other}"),
        });
        let row = format!("| `{}` | {} |", &code[1], status.expect("a status").as_u16());
        assert!(page.contains(&row), "{row}");
    }
    assert!(count > 20, "the codes are found");
    assert!(explained.is_empty(), "there is no such code: {explained:?}");
}

#[test]
fn every_error_of_oauth_is_explained() {
    let page = read(&repository("docs/reference/errors.md"));
    let document = read(&repository("openapi/openapi.yaml"));
    let described: Vec<&str> = document.lines().filter(|line| line.contains("description: ")).collect();
    let mut expected: BTreeSet<String> = OAUTH.map(str::to_owned).into();
    let listed =
        found(&described.join("\n"), r"[ ,]((?:invalid|unsupported|unauthorized|temporarily)_[a-z_]+)\b");
    assert!(listed.len() > 5, "{listed:?}");
    expected.extend(listed);
    assert_eq!(found(&page, r"(?m)^\| `([a-z_]+)` \| [45]"), expected);
}
