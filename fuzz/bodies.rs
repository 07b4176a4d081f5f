//! Parsers of untrusted input, fed with bytes: one function per parser.
//!
//! The fuzz targets and `tests/properties` share these functions. Each function that feeds the service sends a whole
//! request, as an external caller would, and panics if the answer reports an internal error.

use std::sync::LazyLock;

use agentidp::adapters::crypto::{KeySet, generate_pem};
use agentidp::domain::agent::Version;
use agentidp::domain::jwk::KeyType;
use agentidp::domain::scope::Scopes;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use poem::http::header::{AUTHORIZATION, CONTENT_TYPE};
use poem::http::{HeaderValue, Method, Uri};
use poem::{Request, RequestBuilder};
use testing::PlainService;

/// A name, and the function that is fed with bytes.
type Body = (&'static str, fn(&[u8]));

/// All bodies, by name.
const BODIES: [Body; 11] = [
    ("basic", basic),
    ("form", form),
    ("json", json),
    ("bearer", bearer),
    ("assertion", assertion),
    ("jwk", jwk),
    ("query", query),
    ("forwarded", forwarded),
    ("path", path),
    ("version_and_capability", version_and_capability),
    ("pem", pem),
];

/// Feeds the body with this name, or all bodies if the name is empty.
pub fn run(name: &str, data: &[u8]) {
    for (body, feed) in BODIES {
        if name.is_empty() || name == body {
            feed(data);
        }
    }
}

/// Feeds credentials of HTTP Basic authentication.
fn basic(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(&[b"Basic ", data].concat()) else { return };
    let request = form_to("/api/v1/token").header(AUTHORIZATION, value);
    ask(request.body("grant_type=client_credentials"));
}

/// Feeds a form to the token endpoint.
fn form(data: &[u8]) {
    ask(form_to("/api/v1/token").body(data.to_vec()));
}

/// Feeds the JSON of a registration of an agent.
fn json(data: &[u8]) {
    ask(json_to("/api/v1/agents").body(data.to_vec()));
}

/// Feeds a bearer token.
fn bearer(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", data].concat()) else { return };
    ask(get("/api/v1/agents").header(AUTHORIZATION, value).finish());
}

/// Feeds a client assertion.
fn assertion(data: &[u8]) {
    let assertion = percent_encode(data, NON_ALPHANUMERIC);
    ask(form_to("/api/v1/token").body(format!(
        "grant_type=client_credentials&client_assertion={assertion}&client_assertion_type=\
         urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    )));
}

/// Feeds a public key to be registered.
fn jwk(data: &[u8]) {
    let body = [br#"{"type":"public_key","publicKey":"#, data, b"}"].concat();
    ask(json_to(&format!("/api/v1/agents/{}/credentials", SERVICE.agent)).body(body));
}

/// Feeds a query and its cursor.
fn query(data: &[u8]) {
    let text = percent_encode(data, NON_ALPHANUMERIC);
    for query in [format!("cursor={text}"), String::from_utf8_lossy(data).into_owned()] {
        let Ok(uri) = format!("/api/v1/audit?{query}").parse::<Uri>() else { continue };
        ask(authorized(Request::builder().uri(uri)).finish());
    }
}

/// Feeds the `X-Forwarded-For` and `User-Agent` headers.
fn forwarded(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    ask(get("/api/v1/agents").header("x-forwarded-for", value.clone()).header("user-agent", value).finish());
}

/// Feeds a path.
fn path(data: &[u8]) {
    let Ok(uri) = format!("/{}", String::from_utf8_lossy(data)).parse::<Uri>() else { return };
    ask(authorized(Request::builder().uri(uri)).finish());
}

/// Feeds a version and a capability. An accepted value must be returned unchanged.
fn version_and_capability(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(version) = Version::parse(text) {
        assert_eq!(version.as_str(), text);
    }
    if let Ok(scopes) = Scopes::capabilities(&[text]) {
        assert_eq!(scopes.iter().collect::<Vec<_>>(), [text]);
    }
}

/// Feeds a key in the settings.
fn pem(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    static KEY: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::Ed25519).expect("a key"));
    for (private, public) in [(&*text, ""), (&**KEY, &*text)] {
        if let Err(error) = KeySet::from_pem(private, public) {
            assert!(text.len() < 40 || !error.to_string().contains(&*text), "a key is revealed in an error");
        }
    }
}

/// A service, and a token that allows every operation.
struct FuzzedService {
    service: PlainService,
    token: String,
    agent: String,
}

static SERVICE: LazyLock<FuzzedService> = LazyLock::new(|| {
    let service = PlainService::start();
    let token = service.token();
    let agent = service.administrator.client_id.to_string();
    FuzzedService { service, token, agent }
});

/// Sends a request, which must not cause an internal error.
fn ask(request: Request) {
    let called = format!("{} {}", request.method(), request.uri());
    let response = SERVICE.service.answer(request);
    assert!(!response.status().is_server_error(), "{called}: {}", response.status());
    assert!(response.headers().contains_key("x-request-id"), "{called}");
}

fn get(path: &'static str) -> RequestBuilder {
    Request::builder().uri(Uri::from_static(path))
}

fn form_to(path: &'static str) -> RequestBuilder {
    get(path).method(Method::POST).header(CONTENT_TYPE, "application/x-www-form-urlencoded")
}

fn json_to(path: &str) -> RequestBuilder {
    let uri = path.parse().expect("a path");
    let request = Request::builder().uri(uri).method(Method::POST).header(CONTENT_TYPE, "application/json");
    authorized(request)
}

fn authorized(request: RequestBuilder) -> RequestBuilder {
    request.header(AUTHORIZATION, format!("Bearer {}", SERVICE.token))
}
