//! Wire format of domain values.

use std::borrow::Cow;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use serde_json::Value;

use domain::agent::{AgentStatus, AgentType, DeploymentEnv};
use domain::audit::{AuditAction, Outcome, ResourceType};
use domain::credential::CredentialStatus;
use domain::id::{AgentId, CredentialId, EventId, IssuerId, OrganizationId, TokenId};
use domain::issuer::IssuerStatus;
use domain::names::name_of;
use domain::organization::OrganizationStatus;
use domain::plan::Plan;
use domain::time::Timestamp;

/// The Unix epoch as a calendar date. Such dates reach to the last second of 9999, as in RFC 3339.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Formats an instant as RFC 3339 text, in UTC, with milliseconds.
pub fn instant(at: Timestamp) -> String {
    let since = SignedDuration::from_millis(at.as_millis());
    let at = EPOCH.checked_add(since).unwrap_or(DateTime::MAX);
    format!("{at:.3}Z")
}

/// Parses RFC 3339 text into an instant, rounded down to the millisecond.
///
/// Returns what is wrong with the text if it is not an instant.
pub fn parse_instant(text: &str) -> Result<Timestamp, &'static str> {
    const WRONG: &str = "must be an RFC 3339 timestamp with a time zone, such as \"2026-01-31T12:00:00Z\"";
    let is_plain = text.len() <= 40
        && text.bytes().all(|b| {
            b.is_ascii_digit() || matches!(b, b'-' | b'+' | b':' | b'.' | b'T' | b'Z' | b't' | b'z')
        })
        && matches!(
            text.as_bytes(),
            [_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b't', _, _, b':', _, _, b':', ..]
        );
    let parse = || {
        let pieces = Pieces::parse(text).ok()?;
        let local = pieces.date().to_datetime(pieces.time()?);
        let ahead = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
        let since = local.checked_sub(ahead).ok()?.duration_since(EPOCH);
        // Rounds down both before and after 1970.
        i64::try_from(since.as_nanos().div_euclid(1_000_000)).ok()
    };
    is_plain.then(parse).flatten().map(Timestamp::from_millis).ok_or(WRONG)
}

/// A type whose values have names on the wire.
pub trait WireEnum: Copy + PartialEq + Send + Sync + 'static {
    /// Name of the type in the OpenAPI document.
    const TYPE: &'static str;
    /// Each value with its name.
    const NAMES: &'static [(&'static str, Self)];

    /// Returns the value's name.
    fn name(self) -> &'static str {
        name_of(Self::NAMES, &self)
    }
}

macro_rules! named {
    ($($type:ty),+ $(,)?) => {
        $(impl WireEnum for $type {
            const TYPE: &'static str = stringify!($type);
            const NAMES: &'static [(&'static str, Self)] = &<$type>::ALL;
        })+
    };
}

named!(AgentStatus, AgentType, DeploymentEnv, AuditAction, Outcome, ResourceType, CredentialStatus);
named!(OrganizationStatus, IssuerStatus, Plan);

/// A value that is written as its name.
#[derive(Clone, Copy, Debug)]
pub struct EnumName<T>(pub T);

/// An instant that is written as RFC 3339 text.
#[derive(Clone, Copy, Debug)]
pub struct Instant(pub Timestamp);

/// An ID in a path. A malformed ID is treated as not found, never as a validation error.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

/// Implements [`Type`] for a type that is a string on the wire.
macro_rules! string_on_the_wire {
    ([$($generics:tt)*] $type:ty, $name:expr, $schema:expr $(, $register:expr)?) => {
        impl<$($generics)*> Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }

            fn schema_ref() -> MetaSchemaRef {
                $schema
            }

            $(fn register(registry: &mut Registry) {
                $register(registry);
            })?

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(self.as_raw_value().into_iter())
            }
        }
    };
}

string_on_the_wire!([] Instant, "Instant", inline(MetaSchema::new_with_format("string", "date-time")));
string_on_the_wire!([T: Send + Sync] PathId<T>, "PathId", inline(MetaSchema::new_with_format("string", "uuid")));
string_on_the_wire!(
    [T: WireEnum] EnumName<T>,
    T::TYPE,
    MetaSchemaRef::Reference(T::TYPE.to_owned()),
    |registry: &mut Registry| {
        let enum_items = T::NAMES.iter().map(|(name, _)| Value::from(*name)).collect();
        let schema = MetaSchema { enum_items, ..MetaSchema::new("string") };
        registry.create_schema::<EnumName<T>, _>(T::TYPE.to_owned(), |_| schema);
    }
);

/// Returns an inline schema.
pub fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

impl<T: WireEnum> ToJSON for EnumName<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.name().into())
    }
}

impl<T: WireEnum> ParseFromJSON for EnumName<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let found = value.as_ref().and_then(Value::as_str);
        let found = T::NAMES.iter().find(|(name, _)| Some(*name) == found);
        found.map(|(_, value)| Self(*value)).ok_or_else(ParseError::expected_input)
    }
}

impl ToJSON for Instant {
    fn to_json(&self) -> Option<Value> {
        Some(instant(self.0).into())
    }
}

impl ParseFromJSON for Instant {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let at = value.as_ref().and_then(Value::as_str).and_then(|text| parse_instant(text).ok());
        at.map(Self).ok_or_else(ParseError::expected_input)
    }
}

macro_rules! path_ids {
    ($($id:ident),+) => {
        $(impl ParseFromParameter for PathId<$id> {
            fn parse_from_parameter(value: &str) -> ParseResult<Self> {
                Ok(Self($id::parse(value).unwrap_or($id::NIL)))
            }
        })+
    };
}

path_ids!(AgentId, CredentialId, EventId, IssuerId, OrganizationId, TokenId);

/// A response without content
#[derive(ApiResponse)]
pub enum NoContent {
    /// No content
    #[oai(status = 204)]
    NoContent,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_instant_has_a_zone_and_nothing_that_rfc_3339_lacks() {
        assert_eq!(parse_instant("1970-01-01T00:00:01.5+00:00"), Ok(Timestamp::from_millis(1500)));
        assert_eq!(parse_instant("1970-01-01T02:00:00+02:00"), Ok(Timestamp::from_millis(0)));
        assert_eq!(parse_instant("1969-12-31T23:59:59.9999Z"), Ok(Timestamp::from_millis(-1)));
        let last = parse_instant("9999-12-31T23:59:59.999Z").expect("many write it for no end");
        assert_eq!(instant(last), "9999-12-31T23:59:59.999Z");
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12Z",
            "2026-01-31T12:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-31T12:00:00Z[UTC]",
            "9999-12-31T23:59:59-01:00",
            "300000-01-01T00:00:00Z",
            "1790000000",
        ] {
            assert!(parse_instant(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_instant_reads_back_as_it_was_written(millis in -60_000_000_000_000i64..253_402_300_799_999) {
            let at = Timestamp::from_millis(millis);
            let text = instant(at);
            prop_assert!(text.ends_with('Z') && text.as_bytes()[text.len() - 5] == b'.', "{text}");
            prop_assert_eq!(parse_instant(&text), Ok(at));
        }
    }
}
