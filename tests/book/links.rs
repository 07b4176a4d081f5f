//! Links of the pages and of the built book: each leads to a file or a heading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use regex::Regex;

use crate::{built, files, read, repository};

/// A page or a file of the book, as far as links are concerned.
#[derive(Default)]
struct Document {
    links: Vec<String>,
    /// Names of places within it.
    places: BTreeSet<String>,
}

/// Returns the name by which a link finds a heading.
fn place(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

impl Document {
    fn of_markdown(text: &str) -> Self {
        let mut document = Self::default();
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let name = place(&heading.take().expect("a heading has begun"));
                    let is_new = document.places.insert(name.clone());
                    assert!(is_new, "two headings are linked to by #{name}");
                }
                _ => {}
            }
        }
        document
    }

    fn of_html(text: &str) -> Self {
        let all = |pattern: &str| {
            let pattern = Regex::new(pattern).expect("a pattern");
            let found = pattern.captures_iter(text).map(|found| found[1].replace("&amp;", "&"));
            found.collect::<Vec<_>>()
        };
        Self {
            links: all(r#" (?:href|src)="([^"]*)""#),
            places: all(r#" id="([^"]*)""#).into_iter().collect(),
        }
    }
}

/// Returns a path without `..`.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(tidy.pop()),
            part => tidy.push(part),
        }
    }
    tidy
}

/// Returns the links of these documents that lead to no file or to no place in it. Links to other hosts are not followed.
fn broken(documents: &BTreeMap<PathBuf, Document>) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, document) in documents {
        for link in &document.links {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, name) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => tidy(&path.parent().expect("a folder").join(file)),
            };
            let is_there = match documents.get(&target) {
                Some(document) => name.is_empty() || document.places.contains(name),
                None => target.is_file() && name.is_empty(),
            };
            if !is_there {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    broken
}

fn pages() -> BTreeMap<PathBuf, Document> {
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(repository);
    let pages = names.into_iter().chain(files(&repository("docs"), "md"));
    pages.map(|path| (path.clone(), Document::of_markdown(&read(&path)))).collect()
}

#[test]
fn every_link_of_a_page_leads_to_a_file_or_a_heading() {
    let broken = broken(&pages());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents_once() {
    let contents = repository("docs/SUMMARY.md");
    let mut pages = pages();
    let links = pages.remove(&contents).expect("a page").links;
    let mut listed: Vec<_> = links.iter().map(|link| tidy(&contents.with_file_name(link))).collect();
    listed.sort();
    assert_eq!(listed, pages.into_keys().collect::<Vec<_>>());
}

#[test]
fn the_book_has_no_broken_link_and_opens_without_another_host() {
    let folder = built();
    // The page for what is missing is shown at any path.
    let built = files(folder.path(), "html").into_iter().filter(|path| !path.ends_with("404.html"));
    let documents: BTreeMap<_, _> =
        built.map(|path| (path.clone(), Document::of_html(&read(&path)))).collect();
    let broken = broken(&documents);
    assert!(broken.is_empty(), "{}", broken.join("\n"));

    let elsewhere = Regex::new(
        r#"(?:<(?:script|img|link|iframe)\b[^>]*(?:src|href)=|url\(|@import )["']?(?:https?:)?//[^"')]*"#,
    );
    let elsewhere = elsewhere.expect("a pattern");
    for path in ["html", "css"].iter().flat_map(|extension| files(folder.path(), extension)) {
        let text = read(&path);
        assert!(!text.contains("class=\"playground"), "{} asks the Rust playground", path.display());
        let found: Vec<_> = elsewhere.find_iter(&text).map(|found| found.as_str().to_owned()).collect();
        assert_eq!(found, [""; 0], "{}", path.display());
    }
}

#[test]
fn a_link_to_a_missing_file_or_heading_is_seen() {
    let page = Document::of_markdown(
        "# One `two`\n[a](#one-two) [b](#three) [c](missing.md) [d](https://example.com)",
    );
    let seen = broken(&BTreeMap::from([(PathBuf::from("docs/page.md"), page)]));
    assert_eq!(seen, ["docs/page.md: #three", "docs/page.md: missing.md"]);
}
