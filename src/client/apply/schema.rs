//! The JSON Schema of manifests.

use serde_json::{Map, Value, json};

use super::kinds::Kind;
use crate::document::{Field, Kind as FieldKind};

/// Returns a JSON Schema (draft 2020-12) of one document of a manifest.
pub fn schema() -> Value {
    let kinds: Vec<Value> = Kind::ALL.iter().map(|(name, kind)| of(name, *kind)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Manifest of AgentIdP",
        "oneOf": kinds,
    })
}

fn of(name: &str, kind: Kind) -> Value {
    let properties = &kind.create_schema()["properties"];
    let fields: Vec<Field> = kind.references().into_iter().chain(kind.api_fields()).collect();
    let mut described = Map::from_iter([("kind".to_owned(), json!({ "const": name }))]);
    for field in &fields {
        let mut schema = json!({ "type": types(field) });
        if !field.description.is_empty() {
            schema["description"] = field.description.into();
        }
        if !field.choices.is_empty() {
            schema["enum"] = field.choices.clone().into();
        }
        for limit in ["pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"] {
            if let Some(value) = properties[field.name].get(limit) {
                // `mayAct` of a manifest may name agents by their addresses.
                schema[limit] = value.clone();
            }
        }
        if field.kind == FieldKind::List {
            schema["items"] = json!({ "type": "string" });
        }
        described.insert(field.name.to_owned(), schema);
    }
    let required = fields.iter().filter(|field| field.is_required).map(|field| field.name);
    let required: Vec<&str> = std::iter::once("kind").chain(required).collect();
    json!({
        "type": "object",
        "title": name,
        "properties": described,
        "required": required,
        "additionalProperties": false,
    })
}

fn types(field: &Field) -> Value {
    let name = match field.kind {
        FieldKind::Text => "string",
        FieldKind::Number => "integer",
        FieldKind::Flag => "boolean",
        FieldKind::List => "array",
        FieldKind::Json => "object",
    };
    if field.is_nullable { json!([name, "null"]) } else { name.into() }
}
