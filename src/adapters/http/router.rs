//! All routes: the operations of the API, and the pages that describe them.

use std::collections::HashMap;

use hyper::body::Bytes;
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::{Method, StatusCode, header};
use poem::{EndpointExt as _, IntoEndpoint as _, Response, get};
use serde_json::{Map, Value};

#[cfg(feature = "book")]
use super::book;
use super::console;
use super::json::JSON;
use super::middleware::metrics::{RouteMetrics, UNKNOWN_PATH};
use super::openapi;

/// Content security policy of Swagger UI: nothing may be loaded from other origins.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The routes of the service.
pub struct Router {
    /// All routes as one endpoint.
    pub endpoint: BoxEndpoint<'static>,
    /// The routes by path.
    pub routes: Routes,
}

impl Router {
    /// Creates the routes. `base` is the path of the issuer URL, under which external clients reach the service.
    pub fn new(base: &str, serves_console: bool) -> Self {
        let service = openapi::service();
        let document = openapi::of(&service, base);
        let swagger = page_of(&service.swagger_ui_html().replace(&service.spec(), &in_script(&document)));
        let json = serde_json::to_string_pretty(&document).expect("a JSON value can be written");
        let pages = [
            ("/docs", "text/html; charset=utf-8", swagger),
            ("/openapi.json", JSON, json),
            ("/openapi.yaml", "application/yaml", openapi::yaml(&document)),
        ];
        let of_console: &[&str] = if serves_console { &console::TEMPLATES } else { &[] };
        let paths = pages.iter().map(|(path, ..)| *path).chain(of_console.iter().copied());
        #[cfg(feature = "book")]
        let paths = paths.chain(book::TEMPLATES.iter().copied());
        let routes = Routes::of(&document, paths);
        let route = pages
            .into_iter()
            .fold(poem::Route::new(), |route, (path, media, body)| route.at(path, get(page(media, body))));
        let route = if serves_console { console::add_to(route) } else { route };
        #[cfg(feature = "book")]
        let route = book::add_to(route);
        let endpoint = route.nest("/", service).into_endpoint().map_to_response().boxed();
        Self { endpoint, routes }
    }
}

/// Completes the page of Swagger UI.
///
/// Without `omit`, a browser asks for a password itself when a wrong secret is refused, and the page never shows the
/// error. Panics if the page no longer has the places that change.
fn page_of(generated: &str) -> String {
    let places = [
        ("\n<html charset=\"UTF-8\">", "<!doctype html>\n<html lang=\"en\">"),
        ("<title>Swagger UI</title>", "<title>AgentIdP API</title>"),
        (
            "filter: false,",
            "filter: false,\n        requestInterceptor: (request) => Object.assign(request, { credentials: 'omit' }),",
        ),
    ];
    places.into_iter().fold(generated.to_owned(), |page, (place, replacement)| {
        assert!(page.contains(place), "the page of Swagger UI has no {place}");
        page.replacen(place, replacement, 1)
    })
}

/// Returns the document as an expression for a script within an HTML page.
fn in_script(document: &Value) -> String {
    document.to_string().replace("</", "<\\/")
}

fn page(media: &'static str, body: String) -> impl poem::Endpoint<Output = Response> {
    let body = Bytes::from(body);
    make_sync(move |_| {
        let response = Response::builder().content_type(media);
        let response = if media.starts_with("text/html") {
            response.header(header::CONTENT_SECURITY_POLICY, DOCS_POLICY)
        } else {
            response
        };
        response.body(body.clone())
    })
}

/// The routes of the service, by the path of a request.
pub struct Routes {
    /// Routes whose template is their path.
    fixed: HashMap<String, Route>,
    /// Routes with parameters.
    templates: Vec<Route>,
    /// Stands for every path without a route.
    unknown: Route,
}

/// A route: one path template, with its methods and metrics.
pub struct Route {
    /// The path template.
    pub template: String,
    literals: Vec<String>,
    /// Methods of the path, for the `Allow` header of a 405 response.
    pub methods: Vec<String>,
    /// Metrics of the path.
    pub metrics: RouteMetrics,
}

impl Route {
    /// Creates the route of a path template, whose methods return these statuses.
    fn new(template: &str, methods: &[(Method, Vec<StatusCode>)]) -> Self {
        let mut names: Vec<_> = methods.iter().map(|(method, _)| method.to_string()).collect();
        if names.iter().any(|name| name == "GET") {
            names.push("HEAD".to_owned());
        }
        names.sort();
        Self {
            template: template.to_owned(),
            literals: literals(template),
            methods: names,
            metrics: RouteMetrics::new(template, methods),
        }
    }

    /// Returns whether the path has this template. A parameter is anything but a slash.
    fn matches(&self, path: &str) -> bool {
        let (first, others) = self.literals.split_first().expect("a template has a first part");
        let mut rest = path.strip_prefix(first.as_str());
        for literal in others {
            rest = rest.and_then(|rest| {
                let end = rest.find('/').unwrap_or(rest.len());
                rest[end..].strip_prefix(literal.as_str())
            });
        }
        rest.is_some_and(str::is_empty)
    }
}

/// Returns what stands before, between and after the parameters of a path template.
fn literals(template: &str) -> Vec<String> {
    let parts = template.split('{').enumerate();
    parts
        .map(|(place, part)| match place {
            0 => part.to_owned(),
            _ => part.split_once('}').map(|(_, literal)| literal.to_owned()).unwrap_or_default(),
        })
        .collect()
}

impl Routes {
    fn of<'a>(document: &Value, pages: impl Iterator<Item = &'a str>) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.map(|(path, item)| Route::new(path, &methods(item.as_object())));
        let page = |path| Route::new(path, &[(Method::GET, vec![StatusCode::OK])]);
        let (templates, fixed): (Vec<_>, Vec<_>) =
            operations.chain(pages.map(page)).partition(|route| route.literals.len() > 1);
        let fixed = fixed.into_iter().map(|route| (route.template.clone(), route)).collect();
        Self { fixed, templates, unknown: Route::new(UNKNOWN_PATH, &[]) }
    }

    /// Returns the route of this path.
    pub fn of_path(&self, path: &str) -> &Route {
        let of_template = || self.templates.iter().find(|route| route.matches(path));
        self.fixed.get(path).or_else(of_template).unwrap_or(&self.unknown)
    }
}

/// Returns the methods of a path in the document, with the statuses of their responses.
fn methods(item: Option<&Map<String, Value>>) -> Vec<(Method, Vec<StatusCode>)> {
    let methods = item.into_iter().flatten().filter_map(|(name, operation)| {
        let method = name.to_uppercase().parse().ok()?;
        let responses = operation["responses"].as_object().into_iter().flatten();
        Some((method, responses.filter_map(|(status, _)| status.parse().ok()).collect()))
    });
    methods.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_template_whose_parameters_hold_no_slash() {
        let route = Route::new("/agents/{agentId}/credentials/{credentialId}", &[]);
        for path in ["/agents/a/credentials/b", "/agents//credentials/", "/agents/a/credentials/b%2Fc"] {
            assert!(route.matches(path), "{path}");
        }
        for path in [
            "/agents/a/credentials",
            "/agents/a/credentials/b/",
            "/agents/a/b/credentials/c",
            "/agents/a/credentialsx/b",
            "/x/agents/a/credentials/b",
            "",
        ] {
            assert!(!route.matches(path), "{path}");
        }
        let (one, other) = (Route::new("/a/{b}", &[]), Route::new("/a/{b}/c", &[]));
        assert!(one.matches("/a/x") && !one.matches("/a/x/c") && other.matches("/a/x/c"));
    }
}
