//! Resource indicators in inputs.

use std::collections::HashSet;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

use crate::extract::values::{list_of_strings, text_field};
use crate::extract::wire::inline;
use crate::extract::{Field, Fields};
use domain::organization::MAX_RESOURCES;
use domain::resource_indicator::{MAX_RESOURCE_BYTES, ResourceIndicator};

text_field!(
    ResourceIndicator,
    MetaSchema { max_length: Some(MAX_RESOURCE_BYTES), ..MetaSchema::new("string") }
);

/// Null stands for no resource.
impl Field for Option<ResourceIndicator> {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            nullable: true,
            max_length: Some(MAX_RESOURCE_BYTES),
            ..MetaSchema::new("string")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, |value| match value.as_str() {
            Some(text) => ResourceIndicator::parse(text).map(Some).map_err(str::to_owned),
            None if value.is_null() => Ok(None),
            None => Err("must be a string, or null".to_owned()),
        })
    }
}

impl Field for Vec<ResourceIndicator> {
    fn schema() -> MetaSchemaRef {
        list_of_strings(None, MAX_RESOURCES)
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let Some(resources) = fields.texts(name, ResourceIndicator::parse)? else { return Some(None) };
        if resources.len() > MAX_RESOURCES {
            fields.field_error(name, format!("must have at most {MAX_RESOURCES} entries"));
        }
        let mut seen = HashSet::new();
        for (place, resource) in &resources {
            if !seen.insert(resource.normal_form()) {
                fields.field_error(&format!("{name}[{place}]"), "is repeated, perhaps in another spelling");
            }
        }
        Some(Some(resources.into_iter().map(|(_, resource)| resource).collect()))
    }
}
