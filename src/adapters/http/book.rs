//! The book of `docs/`, at `/docs/book`, in a program that is built with the feature `book`.
//!
//! `scripts/book` makes its files. All links in them are relative.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use poem::{Route, get};
use rust_embed::Embed;
use sha2::{Digest as _, Sha256};

use super::static_file::{file, redirect};

/// Path of the book.
const BOOK: &str = "/docs/book";
/// Templates of the paths of the book, as metrics and logs name them.
pub const TEMPLATES: &[&str] = &[
    BOOK,
    "/docs/book/",
    "/docs/book/{file}",
    "/docs/book/{folder}/{file}",
    "/docs/book/{folder}/{part}/{file}",
    "/docs/book/{folder}/{part}/{section}/{file}",
];

/// The files of the book.
#[derive(Embed)]
#[folder = "../../../docs/book"]
struct Files;

/// Adds the book to the routes.
pub fn add_to(route: Route) -> Route {
    let route = Files::iter().fold(route, |route, path| {
        let found = Files::get(&path).expect("a file of the list");
        let body = match found.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        let media = match found.metadata.mimetype() {
            text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
            other => other.to_owned(),
        };
        let policy = policy(&media, &body);
        let route = match &*path {
            "index.html" => route.at("/docs/book/", get(file(media.clone(), policy.clone(), body.clone()))),
            _ => route,
        };
        route.at(format!("{BOOK}/{path}"), get(file(media, policy, body)))
    });
    // The links of a page are relative to its own path.
    route.at(BOOK, get(redirect("/docs/book/")))
}

/// Returns the content security policy of a file: only files of the book, and only the scripts that it has within it.
fn policy(media: &str, body: &[u8]) -> String {
    let text = if media.starts_with("text/html") { String::from_utf8_lossy(body) } else { Cow::default() };
    let scripts = text.split("<script>").skip(1).filter_map(|rest| rest.split_once("</script>"));
    let hashes = scripts.map(|(script, _)| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script))));
    let hashes: String = hashes.collect();
    format!(
        "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
