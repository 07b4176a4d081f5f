//! Operations of the API, as the OpenAPI document describes them.
//!
//! The document is the only description: methods, paths, scopes, parameters and fields are read from it, so that a
//! command cannot differ from the service.

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../openapi/openapi.json")).expect("the document is JSON")
});

/// An operation of the API.
#[derive(Clone, Debug)]
pub struct Operation {
    /// HTTP method, in capital letters.
    pub method: String,
    /// Path with its parameters in braces.
    pub path: &'static str,
    /// Scopes that a token must have.
    pub scopes: Vec<&'static str>,
    /// One sentence on the operation.
    pub summary: &'static str,
    /// More about the operation.
    pub description: &'static str,
    /// Names of the parameters in the path.
    pub path_parameters: Vec<&'static str>,
    /// Parameters of the query.
    pub query: Vec<Field>,
    /// Fields of the body; `None` if there is no body.
    pub body: Option<Vec<Field>>,
}

/// A parameter of a query or a field of a body.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name on the wire.
    pub name: &'static str,
    /// How the field is written on the command line.
    pub kind: Kind,
    /// Description, if the document has one.
    pub description: &'static str,
    /// Whether the field must be given.
    pub is_required: bool,
    /// Whether the field can be null.
    pub is_nullable: bool,
    /// The values that the field can have; empty if they are not listed.
    pub choices: Vec<&'static str>,
}

/// How a field is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
    /// Texts with commas between them.
    List,
    /// A JSON value.
    Json,
}

/// Returns the schema with this name.
pub fn schema(name: &str) -> &'static Value {
    &DOCUMENT["components"]["schemas"][name]
}

/// Returns the schema that another one refers to, or the schema itself.
pub fn resolved(schema: &'static Value) -> &'static Value {
    let reference = schema.get("$ref").or_else(|| schema["allOf"][0].get("$ref")).and_then(Value::as_str);
    match reference.and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
        Some(name) => self::schema(name),
        None => schema,
    }
}

fn text(value: &'static Value) -> &'static str {
    value.as_str().unwrap_or_default()
}

fn list(value: &'static Value) -> &'static [Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn field(name: &'static str, own: &'static Value, is_required: bool) -> Field {
    let schema = resolved(own);
    let kind = match text(&schema["type"]) {
        "string" => Kind::Text,
        "integer" => Kind::Number,
        "boolean" => Kind::Flag,
        "array" if schema["items"]["type"] == "string" => Kind::List,
        _ => Kind::Json,
    };
    Field {
        name,
        kind,
        description: text(&own["description"]),
        is_required,
        is_nullable: own["nullable"] == true,
        choices: list(&schema["enum"]).iter().map(text).collect(),
    }
}

/// Returns the fields of an object.
pub fn fields(schema: &'static Value) -> Vec<Field> {
    let required = list(&schema["required"]);
    let properties = schema["properties"].as_object().into_iter().flatten();
    let field = |(name, own): (&'static String, &'static Value)| {
        field(name, own, required.iter().any(|one| text(one) == name.as_str()))
    };
    properties.map(field).collect()
}

/// Returns every operation of the API with its `operationId`.
pub fn operations() -> Vec<(&'static str, Operation)> {
    let mut found = Vec::new();
    for (path, methods) in DOCUMENT["paths"].as_object().into_iter().flatten() {
        for (method, one) in methods.as_object().into_iter().flatten() {
            let parameters = list(&one["parameters"]);
            let of = |place: &'static str| parameters.iter().filter(move |one| one["in"] == place);
            let query = of("query").map(|one| Field {
                description: text(&one["description"]),
                ..field(text(&one["name"]), &one["schema"], one["required"] == true)
            });
            let body = &one["requestBody"]["content"]["application/json"]["schema"];
            let operation = Operation {
                method: method.to_uppercase(),
                path,
                scopes: list(&one["security"][0]["OAuth2"]).iter().map(text).collect(),
                summary: text(&one["summary"]),
                description: text(&one["description"]),
                path_parameters: of("path").map(|one| text(&one["name"])).collect(),
                query: query.collect(),
                body: (!body.is_null()).then(|| fields(resolved(body))),
            };
            found.push((text(&one["operationId"]), operation));
        }
    }
    found
}

/// Returns the operation with this `operationId`.
///
/// # Panics
///
/// Panics if the document has no such operation, which a test excludes for every command.
pub fn operation(id: &str) -> Operation {
    let found = operations().into_iter().find(|(known, _)| *known == id);
    found.map(|(_, operation)| operation).unwrap_or_else(|| panic!("the document has no operation {id}"))
}
