//! Query strings.

use std::borrow::Cow;

use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};

use super::fields::MAX_FIELD_ERRORS;
use super::values::reference;
use super::{Input, read};
use crate::error::FieldError;

/// Media type under which a query is registered. The document then shows its fields as parameters.
pub const QUERY: &str = "query";

/// The query of a request, read as `T`. A parameter that is unknown, empty or repeated is an error.
pub struct Query<T: Input>(pub T::Value);

impl<'a, T: Input> ApiExtractor<'a> for Query<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: QUERY, schema: reference::<T>() }];
        Some(MetaRequest { description: None, content, required: false })
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let (fields, field_errors) = parse(request.uri().query().unwrap_or_default());
        Ok(Self(read::<T>(request, fields, field_errors)?))
    }
}

fn parse(query: &str) -> (Map<String, Value>, Vec<FieldError>) {
    let mut fields = Map::new();
    let mut field_errors = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            field_errors.push(FieldError::new(name, "is not valid percent-encoded UTF-8"));
            continue;
        };
        let value = match value.parse::<u64>() {
            // Only parameters that expect a number get one; all others keep their text.
            Ok(number) if NUMBERS.contains(&&*name) && number.to_string() == value => number.into(),
            _ => Value::String(value.into_owned()),
        };
        if fields.insert(name.clone().into_owned(), value).is_some() {
            field_errors.push(FieldError::new(&name, "is repeated"));
        }
    }
    field_errors.truncate(MAX_FIELD_ERRORS);
    (fields, field_errors)
}

/// Parameters that are numbers; all others are strings.
const NUMBERS: [&str; 2] = ["page", "limit"];

/// Decodes percent-encoding, with `+` for a space; `None` if malformed, not UTF-8, or containing a NUL.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    decode_with_nul(text).filter(|decoded| !decoded.contains('\0'))
}

/// Decodes percent-encoding, with `+` for a space; `None` if malformed or not UTF-8.
pub fn decode_with_nul(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    // Most texts need no decoding, and tokens are long.
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = &rest[at + 3..];
    }
    let spaced = if bytes.contains(&b'+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    match spaced {
        Cow::Borrowed(text) => percent_encoding::percent_decode_str(text).decode_utf8().ok(),
        Cow::Owned(text) => {
            Some(Cow::Owned(percent_encoding::percent_decode_str(&text).decode_utf8().ok()?.into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_escapes_foreign_bytes_and_nul_are_refused() {
        for text in ["%", "%z", "%zz", "%4", "a%", "%ff%fe", "%c0%80", "%00", "%ed%a0%80"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("a+b%2B%20c").as_deref(), Some("a b+ c"));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in "[^\0]{0,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
            let encoded = encoded.to_string();
            let decoded = decode(&encoded);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn no_query_makes_it_panic(text in "[%+&=a-f0-9\\PC]{0,60}") {
            let _ = parse(&text);
        }
    }
}
