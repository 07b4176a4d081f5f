//! Resource indicators in inputs.

use std::collections::HashSet;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

use crate::extract::values::{list_of_strings, text_field};
use crate::extract::wire::inline;
use crate::extract::{Field, Fields};
use domain::organization::MAX_RESOURCES;
use domain::resource_indicator::{MAX_RESOURCE_BYTES, ResourceIndicator};

/// Pattern of a URI without fragment (RFC 3986 appendix A), or of a plain name. It has only the form of an IP address in
/// brackets.
const PATTERN: &str = concat!(
    "^([A-Za-z][A-Za-z0-9+.-]*:",
    r"(//((%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:-])*@)?",
    r"(\[[A-Za-z0-9._~!$&'()*+,;=:-]+\]|(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=-])*)(:[0-9]*)?",
    "(/(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:@-])*)*",
    "|/?((%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:@-])+(/(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:@-])*)*)?)",
    r"(\?(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:@/?-])*)?",
    "|[A-Za-z0-9][A-Za-z0-9._-]{0,254})$",
);

fn schema() -> MetaSchema {
    MetaSchema {
        max_length: Some(MAX_RESOURCE_BYTES),
        pattern: Some(PATTERN.to_owned()),
        ..MetaSchema::new("string")
    }
}

text_field!(ResourceIndicator, schema());

/// Null stands for no resource.
impl Field for Option<ResourceIndicator> {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema { nullable: true, ..schema() })
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
        list_of_strings(schema(), None, MAX_RESOURCES)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_matches_whatever_the_reader_takes() {
        let pattern = regex::Regex::new(PATTERN).expect("a pattern");
        for text in [
            "https://api.example.com",
            "HTTPS://API.example.com:443/a/b?c=d&e=%20",
            "https://[::1]:8443/",
            "http://user:pass@example.com:/a//b",
            "http://%41b.example.com",
            "urn:example:api",
            "a:",
            "a:/",
            "a:/b//c",
            "a://",
            "a:b/c?d?/e",
            "a:?b",
            "kafka",
            "sts.amazonaws.com",
        ] {
            assert!(ResourceIndicator::parse(text).is_ok() && pattern.is_match(text), "{text}");
        }
        for text in [
            "",
            "/a",
            "https://a b",
            "https://a#b",
            "https://a/%zz",
            "https://a/[b]",
            "https://a:b/",
            "https://a@b@c/",
            "a:]",
            "a:?[",
            ".a",
            "-a",
            "a/b",
            "\u{e9}",
            "a:\u{e9}",
        ] {
            assert!(ResourceIndicator::parse(text).is_err() && !pattern.is_match(text), "{text}");
        }
    }
}
