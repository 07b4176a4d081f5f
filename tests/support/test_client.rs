//! A client of the API that checks every answer against the OpenAPI document.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentidp::adapters::http::openapi;
use agentidp::app::bootstrap::Administrator;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::builders::{new_agent, trusted_issuer, unique};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi(""));

/// A client with its secret and the ID of its credential.
#[derive(Clone, Debug)]
pub struct Client {
    /// ID of the agent.
    pub id: String,
    /// Client secret.
    pub secret: String,
    /// ID of the credential, empty if it is unknown.
    pub credential: String,
}

impl From<&Administrator> for Client {
    fn from(administrator: &Administrator) -> Self {
        Self {
            id: administrator.client_id.to_string(),
            secret: administrator.client_secret.expose().to_owned(),
            credential: String::new(),
        }
    }
}

/// An answer that has been read completely.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub text: String,
}

/// Calls instances of the service in turn.
pub struct TestClient {
    /// Sends the requests.
    pub http: reqwest::Client,
    urls: Vec<String>,
    /// Number of requests so far, which selects the next instance.
    turn: AtomicUsize,
    administrator: Client,
}

impl TestClient {
    /// Creates a client of the instances at these URLs, whose first administrator is the one given.
    pub fn new(http: reqwest::Client, urls: Vec<String>, administrator: Client) -> Self {
        Self { http, urls, turn: AtomicUsize::new(0), administrator }
    }

    /// Returns the URL of a path on the instance that receives the next request.
    pub fn url(&self, path: &str) -> String {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        format!("{}{path}", self.urls[turn % self.urls.len()])
    }

    /// Returns a request to the next instance.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Sends the request. Panics unless the OpenAPI document lists the status and the media type of the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.http.execute(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        assert_documented(&method, &path, status, headers.get(CONTENT_TYPE));
        assert!(headers.contains_key("x-request-id"), "{method} {path}");
        Answer { status, headers, text }
    }

    /// Sends a GET request with this bearer token.
    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(token)).await
    }

    /// Sends a POST request with this bearer token and JSON body.
    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).bearer_auth(token).json(&body)).await
    }

    /// Sends a PATCH request with this bearer token and JSON body.
    pub async fn patch(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).bearer_auth(token).json(&body)).await
    }

    /// Sends a DELETE request with this bearer token.
    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).bearer_auth(token)).await
    }

    /// Returns the first administrator.
    pub fn administrator(&self) -> Client {
        self.administrator.clone()
    }

    /// Issues a token with every management scope to the first administrator.
    pub async fn admin_token(&self) -> String {
        self.token(&self.administrator, &[]).await
    }

    /// Requests a token for that client, with these parameters in addition to the grant type.
    pub async fn ask_token(&self, client: &Client, parameters: &[(&str, &str)]) -> Answer {
        let form = [&[("grant_type", "client_credentials")], parameters].concat();
        let request = self.request(Method::POST, "/api/v1/token").form(&form);
        self.send(request.basic_auth(&client.id, Some(&client.secret))).await
    }

    /// Issues a token to that client.
    pub async fn token(&self, client: &Client, parameters: &[(&str, &str)]) -> String {
        let answer = self.ask_token(client, parameters).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// Registers an agent with these capabilities, in the caller's organization or the one named.
    pub async fn agent(&self, admin: &str, organization: Option<&str>, capabilities: &[&str]) -> String {
        let mut body = new_agent(capabilities);
        if let Some(organization) = organization {
            body["organizationId"] = json!(organization);
        }
        let answer = self.post(admin, "/api/v1/agents", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["agentId"].as_str().expect("an id").to_owned()
    }

    /// Creates a secret for that agent.
    pub async fn secret(&self, admin: &str, agent: &str) -> Client {
        let answer = self.post(admin, &format!("/api/v1/agents/{agent}/credentials"), json!({})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let body = answer.json();
        let text = |name: &str| body[name].as_str().expect("a text").to_owned();
        Client { id: text("clientId"), secret: text("clientSecret"), credential: text("credentialId") }
    }

    /// Registers an agent and creates a secret for it.
    pub async fn client(&self, admin: &str, organization: Option<&str>, capabilities: &[&str]) -> Client {
        let agent = self.agent(admin, organization, capabilities).await;
        self.secret(admin, &agent).await
    }

    /// Creates an organization with these fields in addition to its name, slug and plan.
    pub async fn organization(&self, admin: &str, fields: Value) -> String {
        let mut body =
            json!({ "name": "Example", "slug": format!("example-{}", unique()), "plan": "enterprise" });
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let answer = self.post(admin, "/api/v1/organizations", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["organizationId"].as_str().expect("an id").to_owned()
    }

    /// Returns the path with the ID of a new trusted issuer of the administrator's organization in place of
    /// `{issuerId}`, if it has that.
    pub async fn with_issuer(&self, admin: &str, path: String) -> String {
        const PLACE: &str = "{issuerId}";
        if !path.contains(PLACE) {
            return path;
        }
        let answer = self.post(admin, "/api/v1/issuers", trusted_issuer()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        path.replace(PLACE, answer.json()["issuerId"].as_str().expect("an id"))
    }

    /// Issues a token with every management scope to the first administrator, and removes the rate limit of its
    /// organization.
    pub async fn unlimited_admin_token(&self) -> String {
        let admin = self.admin_token().await;
        let list = self.get(&admin, "/api/v1/organizations").await.json();
        let id = list["data"][0]["organizationId"].as_str().expect("an id").to_owned();
        let unlimited = json!({ "limits": { "requestsPerMinute": null } });
        let answer = self.patch(&admin, &format!("/api/v1/organizations/{id}"), unlimited).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        admin
    }

    /// Returns the introspection response for a token, as requested by the first administrator.
    pub async fn introspect(&self, token: &str) -> Value {
        let Client { id, secret, .. } = &self.administrator;
        let request = self.request(Method::POST, "/api/v1/token/introspect").form(&[("token", token)]);
        let answer = self.send(request.basic_auth(id, Some(secret))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    /// Returns whether introspection calls the token active. Panics if an inactive one is described further.
    pub async fn is_active(&self, token: &str) -> bool {
        let answer = self.introspect(token).await;
        let is_active = answer["active"].as_bool().expect("RFC 7662 wants it");
        assert!(is_active || answer == json!({ "active": false }), "{answer}");
        is_active
    }
}

impl Answer {
    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text))
    }

    /// Returns the error code, either in this API's format or in OAuth's.
    pub fn code(&self) -> String {
        let body = self.json();
        let code = body["code"].as_str().or(body["error"].as_str());
        code.unwrap_or_else(|| panic!("no error: {} {body}", self.status)).to_owned()
    }

    /// Returns the value of a header; `None` if the answer has no such header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// Returns the value of a header that is a number.
    pub fn number(&self, name: &str) -> i64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.parse().expect("a number")
    }

    /// Returns the invalid fields of a `VALIDATION_ERROR`.
    pub fn faults(&self) -> Vec<String> {
        assert_eq!(self.code(), "VALIDATION_ERROR", "{}", self.text);
        let body = self.json();
        let errors = body["details"]["errors"].as_array().expect("a list").clone();
        errors.iter().map(|error| error["field"].as_str().expect("a name").to_owned()).collect()
    }

    /// Panics unless the answer is that error.
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code().as_str()), (status, code), "{}", self.text);
    }
}

/// Returns the operations of the OpenAPI document: method, path and definition of each.
pub fn operations() -> Vec<(Method, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.clone(), operation.clone()));
        }
    }
    operations
}

fn assert_documented(method: &Method, path: &str, status: StatusCode, media: Option<&HeaderValue>) {
    let is_route = |template: &str| {
        let (known, asked): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        known.len() == asked.len()
            && known.iter().zip(asked).all(|(known, asked)| known.starts_with('{') || *known == asked)
    };
    let found = operations().into_iter().find(|(known, template, _)| known == method && is_route(template));
    if let Some((_, template, operation)) = found {
        let responses = operation["responses"].as_object().expect("responses");
        assert!(
            responses.contains_key(status.as_str()),
            "{method} {template} answered {status}, undocumented"
        );
        let content = responses[status.as_str()]["content"].as_object();
        // Versions that a test runs next to this one may name a charset.
        let is_of = |media: &HeaderValue, listed: &str| {
            media == listed || media.to_str().is_ok_and(|media| media == format!("{listed}; charset=utf-8"))
        };
        let is_listed =
            media.is_none_or(|media| content.into_iter().flatten().any(|(listed, _)| is_of(media, listed)));
        assert!(is_listed, "{method} {template} answered {media:?}, undocumented");
    }
}
