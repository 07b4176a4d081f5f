//! Checks which modules may import which.
//!
//! Every path in every file is walked as syntax, so that `crate::{a, b}` and `super::super::` are found too.
//! A macro's body is plain text to the parser, and is searched as text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use walkdir::WalkDir;

/// A folder or file of `src`, and the modules that it may import.
const TABLE: [(&str, &[&str]); 11] = [
    ("domain", &["domain"]),
    ("ports", &["domain", "ports"]),
    ("app", &["domain", "ports", "app"]),
    ("adapters/memory", &["domain", "ports", "adapters::memory"]),
    ("adapters/postgres", &["domain", "ports", "shares", "adapters::postgres"]),
    ("adapters/redis", &["domain", "ports", "adapters::redis"]),
    ("adapters/crypto", &["domain", "ports", "shares", "adapters::crypto"]),
    ("adapters/system", &["domain", "ports", "adapters::system"]),
    ("adapters/http", &["domain", "app", "adapters::http"]),
    ("config.rs", &["domain", "config"]),
    ("shares.rs", &[]),
];
/// Files that may import anything, as all of `wiring` may: the program and the lists of modules.
const JOINTS: [&str; 3] = ["main.rs", "lib.rs", "adapters/mod.rs"];

fn sources() -> Vec<PathBuf> {
    let files = WalkDir::new(root()).into_iter().map(|entry| entry.expect("readable").into_path());
    let mut sources: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect();
    sources.sort();
    assert!(sources.len() > 50, "the sources are found");
    sources
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_str().expect("text").replace('\\', "/")
}

/// Returns the module path of a file, as a list of names.
fn module_of(path: &str) -> Vec<String> {
    let mut names: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// Collects every path that leads to a module of this crate.
struct Paths {
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Paths {
    /// Resolves a path as written; `None` if it does not begin within this crate.
    fn resolve(&self, written: &[String]) -> Option<Vec<String>> {
        match written.first()?.as_str() {
            "crate" | "agentidp" => Some(written[1..].to_vec()),
            "super" | "self" => {
                let ups = written.iter().take_while(|name| *name == "super").count();
                let rest = written.iter().skip_while(|name| *name == "super" || *name == "self");
                // A `mod tests` within a file adds a level, which `super` removes again. Ignoring that level
                // leads to no other module.
                let kept = self.module.len().saturating_sub(ups);
                Some(self.module[..kept].iter().cloned().chain(rest.cloned()).collect())
            }
            _ => None,
        }
    }

    fn note(&mut self, written: &[String]) {
        if let Some(path) = self.resolve(written) {
            self.found.insert(path.join("::"));
        }
    }

    fn note_tree(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(&path.tree, before);
            }
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.note(&before);
            }
            syn::UseTree::Rename(name) => {
                before.push(name.ident.to_string());
                self.note(&before);
            }
            syn::UseTree::Glob(_) => self.note(&before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(tree, before.clone());
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&written);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text: String = item.tokens.to_string().split_whitespace().collect();
        for (at, _) in text.match_indices("crate::") {
            let path: String = text[at..]
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || "_:".contains(*letter))
                .collect();
            let written: Vec<String> = path.split("::").map(str::to_owned).collect();
            self.note(&written);
        }
        visit::visit_macro(self, item);
    }
}

fn imports(text: &str, module: Vec<String>) -> BTreeSet<String> {
    let mut paths = Paths { module, found: BTreeSet::new() };
    paths.visit_file(&syn::parse_file(text).expect("Rust"));
    paths.found
}

/// Returns the imports of a file that its folder does not allow.
fn forbidden(path: &str, text: &str) -> Vec<String> {
    let row = TABLE.iter().find(|(folder, _)| path == *folder || path.starts_with(&format!("{folder}/")));
    let (_, allowed) = row.unwrap_or_else(|| panic!("{path} has no row in the table"));
    let is_ours = |import: &String| {
        ["domain", "ports", "app", "adapters", "config", "wiring"]
            .iter()
            .any(|name| import == name || import.starts_with(&format!("{name}::")))
    };
    let is_allowed = |import: &String| {
        allowed.iter().any(|name| import == name || import.starts_with(&format!("{name}::")))
    };
    imports(text, module_of(path))
        .into_iter()
        .filter(|import| is_ours(import) && !is_allowed(import))
        .collect()
}

#[test]
fn no_file_imports_what_its_folder_may_not_know() {
    let mut wrong = Vec::new();
    for source in sources() {
        let path = relative(&source);
        if JOINTS.contains(&path.as_str()) || path.starts_with("wiring/") {
            continue;
        }
        let text = std::fs::read_to_string(&source).expect("readable");
        wrong.extend(forbidden(&path, &text).into_iter().map(|import| format!("{path} imports {import}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_walk_sees_every_way_to_write_an_import() {
    for text in [
        "use crate::adapters::memory::Memory;",
        "use crate::{domain::id, adapters::{memory}};",
        "use super::super::adapters::memory as m;",
        "fn f() { crate::adapters::memory::Memory::default(); }",
        "type T = super::super::super::adapters::memory::Memory;",
        "fn f() { println!(\"{:?}\", crate::adapters::memory::x()); }",
        "mod tests { use crate::adapters::memory::*; }",
    ] {
        assert_eq!(forbidden("app/token.rs", text).len(), 1, "{text}");
    }
    assert_eq!(forbidden("adapters/http/token.rs", "use crate::ports::clock::Clock;").len(), 1);
    assert!(forbidden("adapters/http/token.rs", "use crate::app::token::Tokens;").is_empty());
}

#[test]
fn the_domain_waits_for_nothing_and_reads_no_clock() {
    for source in sources().into_iter().filter(|source| relative(source).starts_with("domain/")) {
        let text = std::fs::read_to_string(&source).expect("readable");
        for word in ["async ", ".await", "tokio", "SystemTime", "std::net::Tcp", "std::fs", "std::env"] {
            assert!(!text.contains(word), "{} says {word:?}", source.display());
        }
    }
}

#[test]
fn a_file_has_one_subject_and_is_not_long() {
    const LONGEST: usize = 420;
    for source in sources() {
        let text = std::fs::read_to_string(&source).expect("readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        assert!(code <= LONGEST, "{} has {code} lines", source.display());
    }
}
