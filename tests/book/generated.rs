//! Pages that are generated: each is compared with its source, or written if `UPDATE_PAGES` is set.

use crate::{read, repository};

/// Says in the page itself that it is generated.
pub const NOTE: &str = "<!-- Generated: UPDATE_PAGES=1 cargo test --test book -->\n\n";

/// Compares a page with its newly generated text. Panics if they differ, unless the page is to be written.
pub fn compare(page: &str, text: &str) {
    let path = repository(page);
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
    }
    assert!(read(&path) == text, "{page} is stale: UPDATE_PAGES=1 cargo test --test book");
}

/// Returns a text as the content of a cell of a table.
pub fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
