//! The pages of `docs/`, as files of the repository and as a book.
//!
//! `scripts/book` builds the book.

mod api;
mod blocks;
mod commands;
mod errors;
mod generated;
mod links;
mod pictures;
mod search;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use walkdir::WalkDir;

/// Returns the path of a file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns the files with this extension in this folder and the folders below it, sorted.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let files = WalkDir::new(folder).sort_by_file_name().into_iter();
    let files = files.map(|entry| entry.expect("readable").into_path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    assert!(!files.is_empty(), "{} has files of the kind {extension}", folder.display());
    files
}

/// Returns the text of a file.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Builds the book. Panics if the generator warns of anything.
pub fn built() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(repository("scripts/book")).arg(folder.path()).output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !log.contains("WARN"), "scripts/test installs mdBook: {log}");
    folder
}
