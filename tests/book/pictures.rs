//! Pictures that are drawn from the graphs of `docs/pictures`.

use std::process::Command;

use pulldown_cmark::{Event, Parser, Tag};
use regex::Regex;

use crate::{files, read, repository};

/// Returns the names and texts of a picture, in order. Where they are depends on the version of Graphviz and on fonts.
fn texts(picture: &str) -> Vec<String> {
    let text = Regex::new("<(?:title|text)[ >][^<]*").expect("a pattern");
    let text = text.find_iter(picture).map(|found| found.as_str().split_once('>').expect("a tag ends").1);
    text.map(str::to_owned).collect()
}

/// Returns whether a page has a character for boxes, or one of the shapes that are used as the heads of arrows.
fn is_drawn(page: &str) -> bool {
    page.contains(|letter| ('\u{2500}'..='\u{25ff}').contains(&letter))
}

#[test]
fn every_picture_has_the_texts_of_its_graph() {
    let drawn = tempfile::tempdir().expect("a folder");
    let output = Command::new(repository("scripts/pictures")).arg(drawn.path()).output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/test installs Graphviz: {log}");
    for drawn in files(drawn.path(), "svg") {
        let stored = repository("docs/images").join(drawn.file_name().expect("a file"));
        let (new, old) = (texts(&read(&drawn)), texts(&read(&stored)));
        assert_eq!(new, old, "{} is stale: scripts/pictures", stored.display());
    }
}

#[test]
fn every_graph_is_shown_by_a_page_with_a_description() {
    let mut shown = Vec::new();
    for path in files(&repository("docs"), "md") {
        let page = read(&path);
        let mut events = Parser::new(&page);
        while let Some(event) = events.next() {
            if let Event::Start(Tag::Image { dest_url, .. }) = event
                && matches!(events.next(), Some(Event::Text(_)))
            {
                shown.push(path.with_file_name("").join(&*dest_url));
            }
        }
    }
    for graph in files(&repository("docs/pictures"), "dot") {
        let name = graph.with_extension("svg");
        let picture = repository("docs/images").join(name.file_name().expect("a file"));
        assert!(shown.contains(&picture), "no page shows and describes {}", picture.display());
    }
}

#[test]
fn pages_draw_with_pictures() {
    let pages = files(&repository("docs"), "md");
    assert_eq!(pages.iter().find(|page| is_drawn(&read(page))), None);
}

#[test]
fn a_changed_name_or_text_and_a_drawn_arrow_are_seen() {
    let picture =
        "<title>a&#45;&gt;b</title>\n<text x=\"1\" y=\"2\">one</text><path d=\"M1\"/><text>two</text>";
    assert_eq!(texts(picture), ["a&#45;&gt;b", "one", "two"]);
    assert!(is_drawn("agent ─▶ API") && is_drawn("▲") && !is_drawn("agent → API"));
}
