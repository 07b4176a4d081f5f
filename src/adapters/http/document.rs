//! The routes, and the OpenAPI document generated from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Bytes;
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::header;
use poem::{EndpointExt as _, IntoEndpoint as _, Response, Route, get};
use poem_openapi::{LicenseObject, OpenApi, OpenApiService};
use serde_json::{Map, Value, json};

use super::authorization::{CLIENT, OAUTH2, TOKEN_URL};
use super::error::Code;
use super::input::QUERY;
use super::operations::{ANY, OPERATIONS, Operation};
use super::shutdown::Shutdown;
use super::{
    agents, audit, credentials, health, introspection, organizations, revocation, token, usage, well_known,
};
use crate::app::App;

/// Content security policy of Swagger UI: nothing may be loaded from other origins.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Fields that can be null. Other optional fields are omitted, but in these null has a meaning.
const NULLABLE: &[(&str, &[&str])] = &[
    ("AgentUsage", &["limit"]),
    ("ClientUsage", &["limit"]),
    ("AuditEvent", &["organizationId", "agentId", "ipAddress", "userAgent"]),
    ("AuditPage", &["nextCursor"]),
    ("Limits", &["maxAgents", "maxTokensPerMonth", "requestsPerMinute", "auditRetentionDays"]),
];

/// The service's routes as one endpoint, with the document that describes them.
pub struct Router {
    /// All routes.
    pub endpoint: BoxEndpoint<'static>,
    /// The methods of each path.
    pub routes: Routes,
    /// The OpenAPI document.
    pub document: Value,
}

/// Routes all operations, and describes them in the OpenAPI document.
///
/// `base` is the path of the issuer URL, under which external clients reach the service.
pub fn documented(app: &App, issuer: &Arc<str>, base: &str, shutdown: &Arc<Shutdown>) -> Router {
    let service = service((
        agents::AgentsApi { agents: app.agents.clone() },
        credentials::CredentialsApi { credentials: app.credentials.clone() },
        token::TokenApi { tokens: app.tokens.clone() },
        introspection::IntrospectionApi { introspection: app.introspection.clone() },
        revocation::RevocationApi { revocations: app.revocation.clone() },
        audit::AuditApi { audit: app.audit.clone() },
        usage::UsageApi { usage: app.usage.clone() },
        organizations::OrganizationsApi { organizations: app.organizations.clone() },
        well_known::WellKnownApi {
            keys: app.keys.clone(),
            clients: app.clients.clone(),
            tokens: app.tokens.clone(),
            issuer: issuer.clone(),
        },
        health::HealthApi { shutdown: shutdown.clone(), readiness: app.readiness.clone() },
    ));
    let generated = service.spec();
    let document = serde_json::from_str(&generated).expect("poem-openapi writes JSON");
    let document = placed_under(base, complete(document));
    let swagger = service.swagger_ui_html().replace(&generated, &in_script(&document));
    let json = serde_json::to_string_pretty(&document).expect("a JSON value can be written");
    let endpoint = Route::new()
        .at("/docs", get(page("text/html; charset=utf-8", swagger)))
        .at("/openapi.json", get(page("application/json", json)))
        .at("/openapi.yaml", get(page("application/yaml", yaml(&document))))
        .nest("/", service)
        .into_endpoint()
        .boxed();
    Router { endpoint: endpoint.map_to_response().boxed(), routes: Routes::of(&document), document }
}

fn service<T: OpenApi + 'static>(api: T) -> OpenApiService<T, ()> {
    OpenApiService::new(api, "AgentIdP", env!("CARGO_PKG_VERSION"))
        .description(
            "An OAuth 2.0 identity provider for AI agents. Press *Authorize*, enter a `client_id` and a \
             `client_secret`, choose scopes, and try any operation.",
        )
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
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

/// Returns the document as YAML.
pub fn yaml(document: &Value) -> String {
    serde_yaml_ng::to_string(document).expect("a JSON value is a YAML value")
}

/// Returns the document as an expression for a script within an HTML page.
fn in_script(document: &Value) -> String {
    document.to_string().replace("</", "<\\/")
}

/// Adds to the generated document what the generator cannot know.
///
/// This covers errors and examples, and turns queries into parameters.
fn complete(mut document: Value) -> Value {
    let mut query_schemas = Vec::new();
    let schemas = document["components"]["schemas"].clone();
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for described in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let Some(id) = described["operationId"].as_str() else { continue };
            let operation = OPERATIONS.iter().find(|operation| operation.id == id);
            let operation = operation.unwrap_or_else(|| panic!("{id} is missing in the table of operations"));
            query_schemas.extend(parameters_from_query(described, &schemas));
            add_errors(described, operation);
            add_example(described, operation);
            complete_security(described);
            describe_success(described, &schemas);
            if !operation.succeeds {
                described["responses"].as_object_mut().expect("responses").remove("200");
            }
        }
    }
    let schemas = &mut document["components"]["schemas"];
    for name in query_schemas {
        schemas.as_object_mut().expect("schemas are an object").remove(&name);
    }
    for (name, fields) in NULLABLE {
        for field in *fields {
            schemas[*name]["properties"][*field]["nullable"] = json!(true);
        }
    }
    schemas["ApiError"] = error_schema();
    schemas["OAuthError"] = oauth_error_schema();
    document
}

/// Returns the document as served under this base path.
fn placed_under(base: &str, mut document: Value) -> Value {
    if !base.is_empty() {
        document["servers"] = json!([{ "url": base }]);
        let flow = "/components/securitySchemes/OAuth2/flows/clientCredentials/tokenUrl";
        if let Some(url) = document.pointer_mut(flow) {
            *url = json!(format!("{base}{TOKEN_URL}"));
        }
    }
    document
}

/// Replaces a query, registered as a body of its own media type, by parameters.
///
/// Returns the name of the query's schema; `None` if the operation has no query.
fn parameters_from_query(described: &mut Value, schemas: &Value) -> Option<String> {
    let reference = described.pointer(&format!("/requestBody/content/{QUERY}/schema/$ref"))?.as_str()?;
    let name = reference.rsplit('/').next()?.to_owned();
    let properties = schemas[&name]["properties"].as_object()?;
    let mut parameters = described["parameters"].as_array().cloned().unwrap_or_default();
    for (field, schema) in properties {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter = json!({ "name": field, "in": "query", "required": false, "schema": schema });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameters.push(parameter);
    }
    let described = described.as_object_mut()?;
    described.remove("requestBody");
    described.insert("parameters".to_owned(), parameters.into());
    Some(name)
}

fn add_errors(described: &mut Value, operation: &Operation) {
    let mut by_status: BTreeMap<u16, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for code in operation.errors.iter().chain(&ANY) {
        by_status.entry(code.status().as_u16()).or_default().0.push(code.as_str());
    }
    for (status, errors) in operation.oauth_errors {
        by_status.entry(*status).or_default().1.push(errors);
    }
    for (status, (codes, oauth)) in by_status {
        let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        let schema = match (codes.is_empty(), oauth.is_empty()) {
            (false, true) => reference("ApiError"),
            (true, _) => reference("OAuthError"),
            (false, false) => json!({ "anyOf": [reference("ApiError"), reference("OAuthError")] }),
        };
        let described_as: Vec<&str> = codes.into_iter().chain(oauth).collect();
        let response = &mut described["responses"][status.to_string()];
        if response.is_null() {
            *response = json!({
                "description": described_as.join(", "),
                "content": { "application/json": { "schema": schema } },
            });
        }
    }
}

fn add_example(described: &mut Value, operation: &Operation) {
    let content = described.pointer_mut("/requestBody/content").and_then(Value::as_object_mut);
    if let (Some(content), Some(example)) = (content, operation.example) {
        for media in content.values_mut() {
            media["example"] = example();
        }
    }
}

/// Describes a success by the operation's summary if its type has no description.
fn describe_success(described: &mut Value, schemas: &Value) {
    let summary = described["summary"].clone();
    let Some(response) = described.pointer_mut("/responses/200") else { return };
    if response["description"] == "" {
        let mut media = response["content"].as_object().into_iter().flat_map(Map::values);
        let reference = media.find_map(|content| content["schema"]["$ref"].as_str());
        let name = reference.and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
        let description = schemas[name].get("description").unwrap_or(&summary);
        response["description"] = description.clone();
    }
}

/// Corrects the security requirements of an operation.
///
/// Only OAuth has scopes, so other schemes must list none. A client that can authenticate in the header can also
/// authenticate in the form, and then needs no header.
fn complete_security(described: &mut Value) {
    let Some(requirements) = described.get_mut("security").and_then(Value::as_array_mut) else { return };
    for (scheme, scopes) in requirements.iter_mut().filter_map(Value::as_object_mut).flatten() {
        if scheme != OAUTH2 {
            *scopes = json!([]);
        }
    }
    if requirements.iter().any(|requirement| requirement.get(CLIENT).is_some()) {
        requirements.push(json!({}));
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong, and what to do",
        "required": ["code", "message", "requestId"],
        "properties": {
            "code": { "type": "string" },
            "message": { "type": "string" },
            "details": { "type": "object", "description": "What is at field_error: errors, missingScopes or limit" },
            "requestId": { "type": "string", "description": "The same as in X-Request-Id; the log has it" },
            "error": { "type": "string", "description": "OAuth's word for it, at the OAuth endpoints" },
            "error_description": { "type": "string" },
        },
        "example": {
            "code": Code::ValidationError.as_str(),
            "message": "version must be a version of SemVer 2.0.0, such as \"1.2.3\"",
            "details": { "errors": [{
                "field": "version",
                "message": "must be a version of SemVer 2.0.0, such as \"1.2.3\"",
            }] },
            "requestId": "01920000-0000-7000-8000-000000000000",
        },
    })
}

fn oauth_error_schema() -> Value {
    json!({
        "type": "object",
        "description": "An error of RFC 6749 section 5.2",
        "required": ["error"],
        "properties": {
            "error": { "type": "string" },
            "error_description": { "type": "string" },
        },
        "example": { "error": "invalid_client", "error_description": "client authentication failed" },
    })
}

/// Methods of each path, for the `Allow` header of a 405 response.
pub struct Routes(Vec<(Vec<String>, Vec<String>)>);

impl Routes {
    fn of(document: &Value) -> Self {
        let segments = |path: &str| path.split('/').map(str::to_owned).collect();
        let mut routes: Vec<_> = document["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(path, item)| (segments(path), methods(item.as_object())))
            .collect();
        for path in ["/docs", "/openapi.json", "/openapi.yaml"] {
            routes.push((segments(path), vec!["GET".to_owned(), "HEAD".to_owned()]));
        }
        Self(routes)
    }

    /// Returns the methods of this path.
    pub fn methods(&self, path: &str) -> Vec<String> {
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
