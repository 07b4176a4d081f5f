//! The console: a web page on which people manage agents, at `/console`.
//!
//! Its files are part of the program. All links between them are relative, so that the page works under the path of an
//! issuer, and behind a proxy that removes that path.

use hyper::body::Bytes;
use poem::{Route, get};

use super::static_file::{file, redirect};

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
    "views/organization-field.js" SCRIPT,
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
    let route = files.fold(route, |route, (path, media, body)| {
        route.at(path, get(file(media.to_owned(), POLICY.to_owned(), Bytes::from_static(body))))
    });
    // The links of the page are relative to its own path.
    route.at("/console/", get(redirect(PAGE)))
}
