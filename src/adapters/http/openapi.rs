//! The OpenAPI document, generated from the operations.

use std::collections::{BTreeMap, BTreeSet};

use poem_openapi::{LicenseObject, OpenApiService};
use serde_json::{Map, Value, json};

use super::api::{agents, audit, credentials, health, issuers, organizations, tokens, usage};
use super::error::Code;
use super::extract::QUERY;
use super::json::JSON;
use super::oauth::authorization::{CLIENT, OAUTH2, TOKEN_URL};
use super::oauth::{discovery, forward_auth, introspection, revocation, token};
use super::operation::{ANY, Operation};

macro_rules! apis {
    ($($module:ident::$api:ident),+ $(,)?) => {
        /// The operations of each entity, in the order of the document.
        type Apis = ($($module::$api),+);
        const APIS: Apis = ($($module::$api),+);
        const OPERATIONS: &[&[Operation]] = &[$($module::OPERATIONS),+];
    };
}

apis![
    agents::AgentsApi,
    credentials::CredentialsApi,
    token::TokenApi,
    introspection::IntrospectionApi,
    revocation::RevocationApi,
    forward_auth::ForwardAuthApi,
    audit::AuditApi,
    usage::UsageApi,
    organizations::OrganizationsApi,
    issuers::IssuersApi,
    tokens::TokensApi,
    discovery::DiscoveryApi,
    health::HealthApi,
];

/// Fields that can be null. Other optional fields are omitted, but in these null has a meaning.
const NULLABLE: &[(&str, &[&str])] = &[
    ("AgentUsage", &["limit"]),
    ("ClientUsage", &["limit"]),
    ("AuditEvent", &["organizationId", "agentId", "ipAddress", "userAgent"]),
    ("AuditPage", &["nextCursor"]),
    ("Issuer", &["subjects"]),
];

/// Schema of errors in this API's format.
const API_ERROR: &str = "ApiError";
/// Schema of errors in OAuth's format.
const OAUTH_ERROR: &str = "OAuthError";

/// The service that poem-openapi derives from the operations.
pub type Service = OpenApiService<Apis, ()>;

/// Returns the OpenAPI document.
///
/// `base` is the path of the issuer URL, under which external clients reach the service; empty if it has none.
pub fn openapi(base: &str) -> Value {
    of(&service(), base)
}

/// Returns the document of this service.
pub fn of(service: &Service, base: &str) -> Value {
    let document = serde_json::from_str(&service.spec()).expect("poem-openapi writes JSON");
    placed_under(base, complete(document))
}

/// Returns the service of all operations.
pub fn service() -> Service {
    OpenApiService::new(APIS, "AgentIdP", env!("CARGO_PKG_VERSION"))
        .description(
            "An OAuth 2.0 identity provider for AI agents. Press *Authorize*, enter a `client_id` and a \
             `client_secret`, choose scopes, and try any operation.",
        )
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
}

/// Returns the document as YAML.
pub fn yaml(document: &Value) -> String {
    serde_yaml_ng::to_string(document).expect("a JSON value is a YAML value")
}

/// Adds to the generated document what the generator cannot know.
///
/// This covers errors and examples, and turns queries into parameters.
fn complete(mut document: Value) -> Value {
    let mut query_schemas = Vec::new();
    let mut unions = BTreeMap::new();
    let schemas = document["components"]["schemas"].clone();
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for described in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let Some(id) = described["operationId"].as_str() else { continue };
            let operation = OPERATIONS.iter().copied().flatten().find(|operation| operation.id == id);
            let operation = operation.unwrap_or_else(|| panic!("{id} is in no table of operations"));
            query_schemas.extend(parameters_from_query(described, &schemas));
            unions.extend(add_errors(described, operation));
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
            let schema = &mut schemas[*name]["properties"][*field];
            // Other members of a schema with a reference are ignored.
            if schema.get("$ref").is_some() {
                *schema = json!({ "type": "object", "allOf": [schema.take()] });
            }
            schema["nullable"] = json!(true);
        }
    }
    let paths = document["paths"].clone();
    // The page lists them in this order, and a token is what most operations take.
    if let Some(schemes) = document["components"]["securitySchemes"].as_object_mut()
        && let Some(basic) = schemes.shift_remove(CLIENT)
    {
        schemes.insert(CLIENT.to_owned(), basic);
    }
    let schemas = &mut document["components"]["schemas"];
    for name in input_schemas(&paths, schemas) {
        describe_defaults(&mut schemas[&name]);
        if schemas[&name]["type"] == "object" {
            schemas[&name]["additionalProperties"] = json!(false);
        }
    }
    schemas[API_ERROR] = error_schema();
    schemas[OAUTH_ERROR] = oauth_error_schema();
    schemas.as_object_mut().expect("schemas are an object").extend(unions);
    document
}

/// Returns the names of the schemas that JSON bodies of requests consist of. An unknown member of these is refused.
fn input_schemas(paths: &Value, schemas: &Value) -> BTreeSet<String> {
    fn add_references(within: &Value, schemas: &Value, into: &mut BTreeSet<String>) {
        match within {
            Value::Object(members) => {
                let name =
                    members.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
                if let Some(name) = name.filter(|name| into.insert((*name).to_owned())) {
                    add_references(&schemas[name], schemas, into);
                }
                members.values().for_each(|member| add_references(member, schemas, into));
            }
            Value::Array(values) => values.iter().for_each(|value| add_references(value, schemas, into)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    let items = paths.as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object);
    for operation in items.flat_map(Map::values) {
        let body = &operation["requestBody"]["content"];
        for (media, content) in body.as_object().into_iter().flatten() {
            if media == JSON {
                add_references(content, schemas, &mut names);
            }
        }
    }
    names
}

/// Moves the defaults in a schema of an input to the descriptions.
///
/// Generators of clients take a member with a default for one that is always there, in requests too.
fn describe_defaults(schema: &mut Value) {
    for (_, member) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(default) = member.as_object_mut().and_then(|member| member.shift_remove("default")) {
            let description = member["description"].as_str().unwrap_or_default();
            member["description"] = json!(format!("{description}; by default `{default}`"));
        }
        if member.get("properties").is_some() {
            describe_defaults(member);
        }
    }
}

/// Returns the document as served under this base path.
fn placed_under(base: &str, mut document: Value) -> Value {
    document["servers"] = json!([{ "url": if base.is_empty() { "/" } else { base } }]);
    if !base.is_empty() {
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
        // A parameter has its description outside of its schema, so that a reference needs no schema around it.
        if let Some(reference) = schema.pointer("/allOf/0") {
            schema = reference.clone();
        }
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

/// Adds the responses of errors.
///
/// All of them have one schema, because some generators give an operation one type of error. Returns that schema with
/// its name if it is a union, which is named so that generators make one type of it.
fn add_errors(described: &mut Value, operation: &Operation) -> Option<(String, Value)> {
    let mut by_status: BTreeMap<u16, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for code in operation.errors.iter().copied().flatten().chain(&ANY) {
        by_status.entry(code.status().as_u16()).or_default().0.push(code.as_str());
    }
    for (status, errors) in operation.oauth_errors {
        by_status.entry(*status).or_default().1.push(errors);
    }
    let responses = described["responses"].as_object_mut().expect("responses");
    let mut schemas = vec![API_ERROR.to_owned()];
    schemas.extend((!operation.oauth_errors.is_empty()).then(|| OAUTH_ERROR.to_owned()));
    let is_error = |status: &str| status.starts_with(['4', '5']);
    for (_, response) in responses.iter().filter(|(status, _)| is_error(status)) {
        let name =
            response["content"][JSON]["schema"]["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        schemas.extend(name.map(str::to_owned));
    }
    for (status, (codes, oauth)) in by_status {
        let described_as: Vec<&str> = codes.into_iter().chain(oauth).collect();
        let response = responses.entry(status.to_string()).or_insert_with(|| json!({}));
        if response.get("description").is_none() {
            response["description"] = described_as.join(", ").into();
        }
    }
    let name = schemas.join("Or");
    for (_, response) in responses.iter_mut().filter(|(status, _)| is_error(status)) {
        response["content"] = json!({ JSON: { "schema": reference(&name) } });
    }
    let any_of: Vec<Value> = schemas.iter().map(|name| reference(name)).collect();
    (schemas.len() > 1).then(|| (name, json!({ "description": "Error", "anyOf": any_of })))
}

/// Returns a reference to the schema of this name.
fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
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
/// Only OAuth has scopes, so other schemes must list none. An operation without a requirement says so. A client that can authenticate in the header can also
/// authenticate in the form, and then needs no header.
fn complete_security(described: &mut Value) {
    let Some(requirements) = described.get_mut("security").and_then(Value::as_array_mut) else {
        described["security"] = json!([]);
        return;
    };
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
        "description": "Error",
        "required": ["code", "message", "requestId"],
        "properties": {
            "code": { "type": "string" },
            "message": { "type": "string" },
            "details": { "type": "object", "description": "Details of this error: `errors`, `missingScopes`, `limit`, or the existing `agentId` or `organizationId`" },
            "requestId": { "type": "string", "description": "Same as the header X-Request-Id; names the request in the log" },
            "error": { "type": "string", "description": "OAuth error code; OAuth endpoints only" },
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
