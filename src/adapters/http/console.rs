//! The console: a web page on which people manage agents, at `/console`.
//!
//! Its files are part of the program. All links between them are relative, so that the page works under the path of an
//! issuer, and behind a proxy that removes that path.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use hyper::body::Bytes;
use poem::endpoint::make_sync;
use poem::http::{HeaderMap, HeaderName, StatusCode, header};
use poem::{Response, Route, get};

/// Path of the page.
pub const PAGE: &str = "/console";
/// Templates of the paths of the console, as metrics and logs name them.
pub const TEMPLATES: [&str; 5] =
    [PAGE, "/console/", "/console/{file}", "/console/views/{file}", "/console/vendor/{file}"];

/// Content security policy of the page: only its own files, and no script or style within it.
///
/// Trusted types make an error of every attempt to turn a text into markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
/// Headers of every file of the console.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // A browser asks each time, and gets 304 unless the program is another version.
    (header::CACHE_CONTROL, "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $media:ident,)+) => {
        /// Files by their path below the folder `console`, each with its media type.
        const FILES: &[(&str, &str, &[u8])] =
            &[$((concat!("/console/", $name), $media, include_bytes!(concat!("console/", $name)))),+];
    };
}

files! {
    "api.js" SCRIPT,
    "app.js" SCRIPT,
    "html.js" SCRIPT,
    "names.js" SCRIPT,
    "text.js" SCRIPT,
    "ui.js" SCRIPT,
    "views/agent.js" SCRIPT,
    "views/agent-form.js" SCRIPT,
    "views/agents.js" SCRIPT,
    "views/audit.js" SCRIPT,
    "views/credentials.js" SCRIPT,
    "views/events.js" SCRIPT,
    "views/issuers.js" SCRIPT,
    "views/organizations.js" SCRIPT,
    "views/overview.js" SCRIPT,
    "views/tokens.js" SCRIPT,
    "views/usage.js" SCRIPT,
    "vendor/htm.js" SCRIPT,
    "vendor/hooks.js" SCRIPT,
    "vendor/preact.js" SCRIPT,
    "style.css" CSS,
    "icon.svg" SVG,
    // The licences demand to be in every copy of the libraries.
    "vendor/LICENSE-htm" TEXT,
    "vendor/LICENSE-preact" TEXT,
}

/// Adds the console to the routes.
pub fn add_to(route: Route) -> Route {
    let page: (&str, &str, &[u8]) = (PAGE, HTML, include_bytes!("console/index.html"));
    let files = FILES.iter().copied().chain([page]);
    let route = files.fold(route, |route, (path, media, body)| route.at(path, get(file(media, body))));
    route.at("/console/", get(make_sync(|_| to_page())))
}

/// Redirects from the folder to the page, whose links are relative to its own path.
fn to_page() -> Response {
    Response::builder().status(StatusCode::PERMANENT_REDIRECT).header(header::LOCATION, PAGE).finish()
}

fn file(media: &'static str, body: &'static [u8]) -> impl poem::Endpoint<Output = Response> {
    let tag = tag_of(body);
    let body = Bytes::from_static(body);
    make_sync(move |request| {
        let headers =
            HEADERS.iter().fold(Response::builder(), |response, (name, value)| response.header(name, *value));
        let response = headers.header(header::ETAG, &tag);
        if is_known(request.headers(), &tag) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response.content_type(media).body(body.clone())
    })
}

/// Returns the entity tag of a file (RFC 9110 section 8.8.3). It differs if the contents do.
fn tag_of(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Returns whether the caller has the file with this tag already (RFC 9110 section 13.1.2).
///
/// A proxy that compresses makes the tag a weak one, which is compared as if it were strong.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|known| known.trim_start_matches("W/") == tag)
}
