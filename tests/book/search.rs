//! The search of the book, in a real Chromium that opens the files and reaches no host.

use std::process::Command;

use crate::built;

/// Returns the content of the page once its scripts have run.
fn opened(url: &str) -> String {
    let profile = tempfile::tempdir().expect("a folder");
    let mut browser = Command::new("timeout");
    browser.args([
        "120",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
    ]);
    browser.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom"]);
    browser.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
    let output = browser.output().expect("scripts/test installs Chromium");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_search_finds_pages_without_a_server() {
    let folder = built();
    let page = format!("file://{}/index.html", folder.path().display());
    let found = opened(&format!("{page}?search=LAST_ADMINISTRATOR"));
    assert!(found.contains("docs/reference/errors.html?highlight=LAST_ADMINISTRATOR"), "{found}");
    let found = opened(&format!("{page}?search=incomprehensibilities"));
    assert!(found.contains("No search results for 'incomprehensibilities'"), "{found}");
}
