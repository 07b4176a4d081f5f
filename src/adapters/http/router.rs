//! All routes: the operations of the API, and the pages that describe them.

use hyper::body::Bytes;
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::header;
use poem::{EndpointExt as _, IntoEndpoint as _, Response, Route, get};
use serde_json::{Map, Value};

use super::openapi;

/// Content security policy of Swagger UI: nothing may be loaded from other origins.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The routes of the service.
pub struct Router {
    /// All routes as one endpoint.
    pub endpoint: BoxEndpoint<'static>,
    /// The methods of each path.
    pub methods: Methods,
}

impl Router {
    /// Creates the routes. `base` is the path of the issuer URL, under which external clients reach the service.
    pub fn new(base: &str) -> Self {
        let service = openapi::service();
        let document = openapi::of(&service, base);
        let swagger = service.swagger_ui_html().replace(&service.spec(), &in_script(&document));
        let json = serde_json::to_string_pretty(&document).expect("a JSON value can be written");
        let pages = [
            ("/docs", "text/html; charset=utf-8", swagger),
            ("/openapi.json", "application/json", json),
            ("/openapi.yaml", "application/yaml", openapi::yaml(&document)),
        ];
        let methods = Methods::of(&document, pages.iter().map(|(path, ..)| *path));
        let route = pages
            .into_iter()
            .fold(Route::new(), |route, (path, media, body)| route.at(path, get(page(media, body))));
        let endpoint = route.nest("/", service).into_endpoint().map_to_response().boxed();
        Self { endpoint, methods }
    }
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

/// Methods of each path, for the `Allow` header of a 405 response.
pub struct Methods(Vec<(Vec<String>, Vec<String>)>);

impl Methods {
    fn of<'a>(document: &Value, pages: impl Iterator<Item = &'a str>) -> Self {
        let segments = |path: &str| path.split('/').map(str::to_owned).collect();
        let mut routes: Vec<_> = document["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(path, item)| (segments(path), methods(item.as_object())))
            .collect();
        for path in pages {
            routes.push((segments(path), vec!["GET".to_owned(), "HEAD".to_owned()]));
        }
        Self(routes)
    }

    /// Returns the methods of this path.
    pub fn of_path(&self, path: &str) -> Vec<String> {
        let asked: Vec<&str> = path.split('/').collect();
        let is_same = |route: &&(Vec<String>, Vec<String>)| {
            route.0.len() == asked.len()
                && route.0.iter().zip(&asked).all(|(known, asked)| known.starts_with('{') || known == asked)
        };
        self.0.iter().find(is_same).map(|(_, methods)| methods.clone()).unwrap_or_default()
    }
}

fn methods(item: Option<&Map<String, Value>>) -> Vec<String> {
    let mut methods: Vec<String> =
        item.into_iter().flat_map(Map::keys).map(|name| name.to_uppercase()).collect();
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    methods.sort();
    methods
}
