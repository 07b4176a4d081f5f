//! Checks which crates may depend on which, and the size of files.
//!
//! The compiler holds what the manifests say; this test holds what they may say.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// A crate of the workspace, and the crates of ours that it may depend on. The root package may depend on all.
const TABLE: [(&str, &[&str]); 15] = [
    ("domain", &[]),
    ("ports", &["domain"]),
    ("app", &["domain", "ports"]),
    ("adapters/memory", &["domain", "ports"]),
    ("adapters/postgres", &["domain", "ports", "instruments", "shares", "stored_json"]),
    ("adapters/redis", &["domain", "ports", "instruments"]),
    ("adapters/sqlite", &["domain", "ports", "instruments", "shares", "stored_json"]),
    ("adapters/crypto", &["domain", "ports", "shares"]),
    ("adapters/issuers", &["domain", "ports", "instruments", "shares"]),
    ("adapters/system", &["domain", "ports"]),
    ("adapters/http", &["domain", "app", "instruments"]),
    ("adapters/instruments", &[]),
    ("adapters/shares", &[]),
    ("adapters/stored_json", &["domain"]),
    ("client", &[]),
];

/// Packages that the domain may not depend on, because it waits for nothing and reads neither clock nor random numbers.
const IMPURE: [&str; 4] = ["tokio", "getrandom", "async-trait", "futures-util"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let files = WalkDir::new(root()).into_iter().map(|entry| entry.expect("readable").into_path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_str().expect("text").replace('\\', "/")
}

/// Returns the packages in the tables of dependencies of a manifest, those of its tests included.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_dependency = false;
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            is_dependency = table.contains("dependencies");
            // The table of a single dependency.
            names.extend(table.split_once("dependencies.").map(|(_, name)| name.to_owned()));
        } else if is_dependency && let Some((name, _)) = line.split_once([' ', '.', '=']) {
            names.push(name.to_owned());
            // The package of a renamed dependency.
            let package = line.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
            names.extend(package.map(str::to_owned));
        }
    }
    names
}

/// Returns the dependencies that the crate in this folder may not have.
fn forbidden(folder: &str, manifest: &str) -> Vec<String> {
    let ours: Vec<&str> =
        TABLE.iter().map(|(folder, _)| folder.rsplit('/').next().unwrap_or(folder)).collect();
    let row = TABLE.iter().find(|(known, _)| *known == folder);
    let (_, allowed) = row.unwrap_or_else(|| panic!("{folder} has no row in the table"));
    let is_forbidden = |name: &String| {
        let name = name.strip_prefix("agentidp-").unwrap_or(name);
        let folder_of = name.replace('-', "_");
        name == "agentidp"
            || ours.contains(&&*folder_of) && !allowed.contains(&&*folder_of)
            || folder == "domain" && IMPURE.contains(&name)
    };
    dependencies(manifest).into_iter().filter(is_forbidden).collect()
}

#[test]
fn no_crate_depends_on_what_it_may_not_know() {
    let manifests = files("toml");
    assert_eq!(manifests.len(), TABLE.len(), "every row of the table is a crate");
    for manifest in manifests {
        let path = relative(&manifest);
        let folder = path.strip_suffix("/Cargo.toml").expect("a manifest");
        let text = std::fs::read_to_string(&manifest).expect("readable");
        assert!(!dependencies(&text).is_empty(), "{path} is read");
        assert_eq!(forbidden(folder, &text), [""; 0], "{path}");
    }
}

#[test]
fn every_way_to_write_a_dependency_is_seen() {
    for line in [
        "[dependencies]\npostgres.workspace = true",
        "[dependencies]\npostgres = { path = \"../postgres\" }",
        "[dependencies]\nagentidp-postgres = { path = \"../postgres\" }",
        "[dependencies]\nagentidp = { path = \"../../..\" }",
        "[build-dependencies]\npostgres.workspace = true",
        "[target.'cfg(unix)'.dependencies]\npostgres.workspace = true",
        "[dev-dependencies]\npostgres.workspace = true",
        "[dependencies.postgres]\nworkspace = true",
        "[dependencies]\nstore = { package = \"agentidp-postgres\", path = \"../postgres\" }",
        "[dependencies.store]\npackage = \"agentidp-postgres\"",
    ] {
        assert_eq!(forbidden("app", line).len(), 1, "{line}");
    }
    assert_eq!(forbidden("adapters/http", "[dependencies]\nports.workspace = true").len(), 1);
    assert_eq!(forbidden("domain", "[dependencies]\ntokio.workspace = true").len(), 1);
    assert!(forbidden("adapters/http", "[dependencies]\napp.workspace = true").is_empty());
}

#[test]
fn the_domain_waits_for_nothing_and_reads_no_clock() {
    for source in files("rs").into_iter().filter(|source| relative(source).starts_with("domain/")) {
        let text = std::fs::read_to_string(&source).expect("readable");
        for word in ["async ", ".await", "SystemTime", "std::net::Tcp", "std::fs", "std::env"] {
            assert!(!text.contains(word), "{} says {word:?}", source.display());
        }
    }
}

#[test]
fn a_file_has_one_subject_and_is_not_long() {
    const LONGEST: usize = 420;
    let sources = files("rs");
    assert!(sources.len() > 50, "the sources are found");
    for source in sources {
        let text = std::fs::read_to_string(&source).expect("readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        assert!(code <= LONGEST, "{} has {code} lines", source.display());
    }
}
