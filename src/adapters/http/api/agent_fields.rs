//! Fields of agents in inputs: their schemas and their readers.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

use crate::extract::values::{NO_CONTROLS, list_of_strings, text_field};
use crate::extract::{Field, Fields};
use domain::agent::{Email, Owner, Version};
use domain::managed_by::ManagedBy;
use domain::scope::Scopes;

text_field!(Email, MetaSchema { max_length: Some(255), ..MetaSchema::new_with_format("string", "email") });
text_field!(
    Version,
    MetaSchema { max_length: Some(64), pattern: Some(SEMVER.to_owned()), ..MetaSchema::new("string") }
);
text_field!(
    Owner,
    MetaSchema {
        min_length: Some(1),
        max_length: Some(128),
        pattern: Some(NO_CONTROLS.to_owned()),
        ..MetaSchema::new("string")
    }
);

text_field!(
    ManagedBy,
    MetaSchema {
        min_length: Some(1),
        max_length: Some(64),
        pattern: Some(NO_CONTROLS.to_owned()),
        ..MetaSchema::new("string")
    }
);

/// Pattern of a version (SemVer 2.0.0). Its numbers have at most 19 digits, because the reader keeps them in 64 bits.
const SEMVER: &str = concat!(
    r"^(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})",
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?",
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$",
);
/// Pattern of a capability.
const CAPABILITY: &str = "^[a-z0-9][a-z0-9._-]*:[a-z0-9*][a-z0-9._*-]*$";

impl Field for Scopes {
    fn schema() -> MetaSchemaRef {
        let capability = MetaSchema {
            max_length: Some(128),
            pattern: Some(CAPABILITY.to_owned()),
            ..MetaSchema::new("string")
        };
        list_of_strings(capability, Some(1), 64)
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let Some(texts) = fields.texts(name, |value| Ok(value.to_owned()))? else { return Some(None) };
        let (places, values): (Vec<usize>, Vec<String>) = texts.into_iter().unzip();
        match Self::capabilities(&values) {
            Ok(capabilities) => Some(Some(capabilities)),
            Err(field_errors) => {
                for field_error in field_errors {
                    let place = field_error.at.map_or(String::new(), |at| format!("[{}]", places[at]));
                    fields.field_error(&format!("{name}{place}"), field_error.what);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn the_patterns_match_what_the_readers_take_and_nothing_else() {
        let version = Regex::new(SEMVER).expect("a pattern");
        for (text, is_valid) in [
            ("1.0.0", true),
            ("0.0.1-alpha.1+build.5", true),
            ("10.20.30", true),
            ("9999999999999999999.0.0", true),
            ("99999999999999999999.0.0", false),
            ("1.0.0-99999999999999999999", true),
            ("1.0.\u{661}", false),
            ("1.0", false),
            ("v1.0.0", false),
            ("01.0.0", false),
            ("1.0.0-", false),
            ("1.0.0-01", false),
        ] {
            assert_eq!(
                (Version::parse(text).is_ok(), version.is_match(text)),
                (is_valid, is_valid),
                "{text}"
            );
        }
        let capability = Regex::new(CAPABILITY).expect("a pattern");
        for (text, is_valid) in [
            ("files:read", true),
            ("a.b_c-d:*", true),
            ("0:0", true),
            ("files", false),
            ("Files:read", false),
            ("files:", false),
            (":read", false),
            ("*:read", false),
            ("a:b:c", false),
        ] {
            let is_taken = Scopes::capabilities(&[text]).is_ok();
            assert_eq!((is_taken, capability.is_match(text)), (is_valid, is_valid), "{text}");
        }
    }
}
