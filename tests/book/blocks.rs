//! Commands of the pages, each of which a test runs.

use std::path::PathBuf;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

use crate::{files, read, repository};

/// Pages below `docs/` with blocks for a shell, and the file with the test that runs them all.
const RUN: [(&str, &str); 20] = [
    ("command-line.md", "tests/scenarios/client/connection.rs"),
    ("delegation.md", "tests/scenarios/pages.rs"),
    ("federation/azure.md", "tests/scenarios/recipes.rs"),
    ("federation/github-actions.md", "tests/scenarios/recipes.rs"),
    ("federation/gitlab-ci.md", "tests/scenarios/recipes.rs"),
    ("federation/google.md", "tests/scenarios/recipes.rs"),
    ("federation/kubernetes.md", "tests/scenarios/recipes.rs"),
    ("federation/openid.md", "tests/scenarios/recipes.rs"),
    ("federation/spiffe.md", "tests/scenarios/recipes.rs"),
    ("guides/agents.md", "tests/scenarios/pages.rs"),
    ("guides/mcp.md", "tests/clients/main.rs"),
    ("guides/protect-an-api.md", "tests/scenarios/pages.rs"),
    ("incident.md", "tests/scenarios/client/incident.rs"),
    ("migration/express.md", "tests/scenarios/migration.rs"),
    ("migration/hydra.md", "tests/scenarios/migration.rs"),
    ("migration/keycloak.md", "tests/scenarios/migration.rs"),
    ("one-file.md", "tests/scenarios/pages.rs"),
    ("operating.md", "tests/telemetry/guide.rs"),
    ("quick-start.md", "tests/scenarios/pages.rs"),
    ("upgrade-and-backup.md", "tests/scenarios/pages.rs"),
];

/// Other names for a shell. One name is enough to find every block.
const OTHER_NAMES: [&str; 5] = ["bash", "console", "shell", "shell-session", "zsh"];

/// Returns the languages of the blocks of a page.
fn languages(page: &str) -> Vec<String> {
    let blocks = Parser::new(page).filter_map(|event| match event {
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => Some(language.into_string()),
        _ => None,
    });
    blocks.collect()
}

#[test]
fn a_test_runs_the_commands_of_every_page() {
    let docs = repository("docs");
    let mut with_commands = Vec::new();
    for path in files(&docs, "md") {
        let languages = languages(&read(&path));
        let other = languages.iter().find(|language| OTHER_NAMES.contains(&language.as_str()));
        assert_eq!(other, None, "{} names the language of commands sh", path.display());
        if languages.iter().any(|language| language == "sh") {
            with_commands.push(path);
        }
    }
    let mut run: Vec<PathBuf> = RUN.iter().map(|(page, _)| docs.join(page)).collect();
    run.sort();
    assert_eq!(with_commands, run, "pages with commands, and pages whose commands a test runs");
}

#[test]
fn the_test_of_a_page_reads_the_page() {
    for (page, test) in RUN {
        let includes = format!("../docs/{page}\")");
        assert!(read(&repository(test)).contains(&includes), "{test} does not include {page}");
    }
}
