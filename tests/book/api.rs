//! The pages on the API and its bodies, generated from the OpenAPI document.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::generated::{NOTE, cell, compare};
use crate::{read, repository};

const SCHEMAS: &str = "#/components/schemas/";

fn document() -> Value {
    serde_json::from_str(&read(&repository("openapi/openapi.json"))).expect("JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn members<'a>(value: &'a Value, name: &str) -> &'a Map<String, Value> {
    value[name].as_object().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Returns the type of a value, with links to the schemas that it names.
fn type_of(schema: &Value) -> String {
    if let Some(name) = text(schema, "$ref").strip_prefix(SCHEMAS) {
        return format!("[{name}](schemas.md#{})", name.to_lowercase());
    }
    for group in ["allOf", "anyOf"] {
        let parts: Vec<String> = list(schema, group).iter().map(type_of).collect();
        if !parts.is_empty() {
            return parts.join(" or ");
        }
    }
    let values: Vec<String> = list(schema, "enum").iter().map(|value| format!("`{value}`")).collect();
    match text(schema, "type") {
        _ if !values.is_empty() => values.join(", ").replace('"', ""),
        "array" => format!("list of {}", type_of(&schema["items"])),
        kind if schema["format"] == "uuid" || schema["format"] == "date-time" => {
            format!("{kind} ({})", text(schema, "format"))
        }
        "" => "any".to_owned(),
        kind => kind.to_owned(),
    }
}

/// Returns the bounds of a value: `1 to 128 characters`.
fn bounds(schema: &Value) -> Option<String> {
    let number = |name: &str| schema[name].as_f64().map(|number| number.to_string());
    let between = |least: Option<String>, most: Option<String>, unit: &str| match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
        (Some(least), None) => Some(format!("at least {least}{unit}")),
        (None, Some(most)) => Some(format!("at most {most}{unit}")),
        (None, None) => None,
    };
    between(number("minLength"), number("maxLength"), " characters")
        .or_else(|| between(number("minItems"), number("maxItems"), " items"))
        .or_else(|| between(number("minimum"), number("maximum"), ""))
}

/// Returns the description of a value, with its bounds and its default.
fn meaning(schema: &Value, description: &str) -> String {
    let default = (!schema["default"].is_null()).then(|| format!("default {}", schema["default"]));
    let null = (schema["nullable"] == true).then(|| "or `null`".to_owned());
    let facts: Vec<String> = [bounds(schema), default, null].into_iter().flatten().collect();
    match (description, facts.join(", ")) {
        (description, facts) if facts.is_empty() => cell(description),
        ("", facts) => facts,
        (description, facts) => cell(&format!("{description} ({facts})")),
    }
}

/// Returns who may call an operation.
fn access(operation: &Value) -> String {
    let way = |way: &Value| match &way["OAuth2"] {
        Value::Array(scopes) if scopes.is_empty() => "a bearer token".to_owned(),
        Value::Array(scopes) => {
            let scopes: Vec<String> =
                scopes.iter().filter_map(Value::as_str).map(|scope| format!("`{scope}`")).collect();
            format!("a bearer token with the scope {}", scopes.join(" "))
        }
        _ if way["ClientSecretBasic"].is_array() => "client authentication by Basic".to_owned(),
        _ => "client authentication in the form".to_owned(),
    };
    let ways: Vec<String> = list(operation, "security").iter().map(way).collect();
    if ways.is_empty() { "open to all callers".to_owned() } else { ways.join(", or ") }
}

fn parameters(page: &mut String, operation: &Value) {
    let parameters = list(operation, "parameters");
    if parameters.is_empty() {
        return;
    }
    page.push_str("\nParameters:\n\n| parameter | in | type | required | meaning |\n|---|---|---|---|---|\n");
    for parameter in parameters {
        let schema = &parameter["schema"];
        let required = if parameter["required"] == true { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {required} | {} |",
            text(parameter, "name"),
            text(parameter, "in"),
            type_of(schema),
            meaning(schema, text(parameter, "description")),
        );
    }
}

fn body(page: &mut String, operation: &Value) {
    if operation["requestBody"].is_null() {
        return;
    }
    for (media, body) in members(&operation["requestBody"], "content") {
        let _ = writeln!(page, "\nBody: {} as `{media}`.", type_of(&body["schema"]));
        let example = &body["example"];
        let example = match media.as_str() {
            "application/json" => serde_json::to_string_pretty(example).expect("JSON"),
            _ => {
                let pairs = example.as_object().expect("fields").iter();
                let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                pairs.map(|(name, found)| format!("{name}={}", value(found))).collect::<Vec<_>>().join("\n")
            }
        };
        let language = if media == "application/json" { "json" } else { "text" };
        let _ = writeln!(page, "\n```{language}\n{example}\n```");
    }
}

fn responses(page: &mut String, operation: &Value) {
    page.push_str("\nResponses:\n\n| status | response |\n|---|---|\n");
    for (status, response) in members(operation, "responses") {
        let description = cell(text(response, "description"));
        let content = response["content"].as_object().and_then(|content| content.values().next());
        let codes: Vec<&str> = description.split(", ").collect();
        // The description of an error is its codes.
        let is_codes = status.starts_with(['4', '5']) && codes.iter().all(|code| !code.contains(' '));
        let description = match content {
            Some(_) if is_codes => {
                codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ")
            }
            Some(content) => format!("{description}: {}", type_of(&content["schema"])),
            None => description,
        };
        let _ = writeln!(page, "| {status} | {description} |");
    }
}

#[test]
fn the_page_on_the_api_is_that_of_the_openapi_document() {
    let document = document();
    let mut page = String::from("# The API\n\n");
    page.push_str(NOTE);
    page.push_str(
        "Every operation, as `openapi/openapi.yaml` describes it. A running service shows the same under `/docs`, where\n\
         each operation can be tried. [Bodies](schemas.md) has the fields, and [Errors](errors.md) what each error code means.\n\n\
         Paths begin at the URL of the service. Send `Authorization: Bearer TOKEN` with a token from `POST /api/v1/token`.\n\
         A field, a parameter of a query or a media type that an operation does not know is an error; unknown parameters of a\n\
         form are ignored.\n\n\
         | scope | grants |\n|---|---|\n",
    );
    let flow = &document["components"]["securitySchemes"]["OAuth2"]["flows"]["clientCredentials"];
    for (scope, grants) in members(flow, "scopes") {
        let _ = writeln!(page, "| `{scope}` | {} |", grants.as_str().expect("text"));
    }
    let mut count = 0;
    for tag in list(&document, "tags") {
        let name = text(tag, "name");
        let _ = writeln!(page, "\n## {name}\n\n{}.", text(tag, "description"));
        for (path, operations) in members(&document, "paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                if operation["tags"][0] != name {
                    continue;
                }
                count += 1;
                let _ = writeln!(page, "\n### {}\n", text(operation, "summary"));
                let _ = writeln!(page, "`{} {path}`: {}\n", method.to_uppercase(), access(operation));
                let _ = writeln!(page, "{}", text(operation, "description"));
                parameters(&mut page, operation);
                body(&mut page, operation);
                responses(&mut page, operation);
            }
        }
    }
    let paths = members(&document, "paths").values();
    assert_eq!(count, paths.map(|path| path.as_object().expect("operations").len()).sum::<usize>());
    compare("docs/reference/api.md", &page);
}

#[test]
fn the_page_on_bodies_has_every_schema_of_the_openapi_document() {
    let document = document();
    let mut page = String::from("# Bodies\n\n");
    page.push_str(NOTE);
    page.push_str(
        "The bodies of requests and responses of the [API](api.md), by name. `openapi/openapi.yaml` also has the patterns\n\
         that values must match.\n",
    );
    let schemas = members(&document["components"], "schemas");
    let mut names: Vec<&String> = schemas.keys().collect();
    names.sort();
    for name in names {
        let schema = &schemas[name];
        let _ = writeln!(page, "\n## {name}\n");
        let description = text(schema, "description");
        if !description.is_empty() {
            let end = if description.ends_with('.') { "" } else { "." };
            let _ = writeln!(page, "{description}{end}\n");
        }
        let Some(properties) = schema["properties"].as_object() else {
            let _ = writeln!(page, "{}", type_of(schema));
            continue;
        };
        page.push_str("| field | type | required | meaning |\n|---|---|---|---|\n");
        for (field, value) in properties {
            let is_required = list(schema, "required").iter().any(|required| required == field);
            let required = if is_required { "yes" } else { "" };
            let meaning = meaning(value, text(value, "description"));
            let _ = writeln!(page, "| `{field}` | {} | {required} | {meaning} |", type_of(value));
        }
    }
    compare("docs/reference/schemas.md", &page);
}
