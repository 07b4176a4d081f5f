//! Fields of general types.

use std::ops::RangeInclusive;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use uuid::Uuid;

use super::wire::{EnumName, PathId, WireEnum, inline, parse_instant};
use super::{Field, Fields, one_of, text};
use domain::id::{AgentId, EventId, IssuerId, OrganizationId};
use domain::time::Timestamp;

/// Returns the schema of a string of this format.
fn string(format: &'static str) -> MetaSchemaRef {
    inline(MetaSchema::new_with_format("string", format))
}

/// Makes a type of the domain a field: a string that the type parses, with this schema.
macro_rules! text_field {
    ($type:ty, $schema:expr) => {
        impl $crate::extract::Field for $type {
            fn schema() -> poem_openapi::registry::MetaSchemaRef {
                $crate::extract::wire::inline($schema)
            }

            fn read(fields: &mut $crate::extract::Fields, name: &str) -> Option<Option<Self>> {
                fields.optional(name, $crate::extract::text(<$type>::parse))
            }
        }
    };
}

pub(crate) use text_field;

/// Pattern of a text without control characters.
pub const NO_CONTROLS: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

impl<T: WireEnum> Field for T {
    fn schema() -> MetaSchemaRef {
        <EnumName<T> as poem_openapi::types::Type>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        <EnumName<T> as poem_openapi::types::Type>::register(registry);
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, one_of(T::NAMES))
    }
}

impl Field for String {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema::new("string"))
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, text(|value| Ok(value.to_owned())))
    }
}

impl Field for bool {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema::new("boolean"))
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, |value| value.as_bool().ok_or_else(|| "must be true or false".to_owned()))
    }
}

/// A whole number within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Number<const LEAST: u32, const MOST: u32>(pub u32);

impl<const LEAST: u32, const MOST: u32> From<u32> for Number<LEAST, MOST> {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl<const LEAST: u32, const MOST: u32> Field for Number<LEAST, MOST> {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            minimum: Some(f64::from(LEAST)),
            maximum: Some(f64::from(MOST)),
            ..MetaSchema::new_with_format("integer", "uint32")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, |value| {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            let within = number.filter(|number| (LEAST..=MOST).contains(number)).map(Self);
            within.ok_or_else(|| format!("must be a whole number from {LEAST} to {MOST}"))
        })
    }
}

impl Field for Timestamp {
    fn schema() -> MetaSchemaRef {
        string("date-time")
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, text(parse_instant))
    }
}

/// An instant that lies in the future.
#[derive(Clone, Copy, Debug)]
pub struct Future(pub Timestamp);

impl Field for Future {
    fn schema() -> MetaSchemaRef {
        string("date-time")
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        let now = fields.now();
        fields.optional(name, |value| match text(parse_instant)(value)? {
            at if at > now => Ok(Self(at)),
            _ => Err("must be in the future".to_owned()),
        })
    }
}

/// Makes an ID a field, with the message for other text.
macro_rules! id_field {
    ($type:ty, $parse:expr, $what:literal) => {
        impl Field for $type {
            fn schema() -> MetaSchemaRef {
                string("uuid")
            }

            fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
                fields.optional(name, text(|id| $parse(id).ok_or($what)))
            }
        }
    };
}

id_field!(AgentId, AgentId::parse, "must be an agent ID");
id_field!(IssuerId, IssuerId::parse, "must be the ID of a trusted issuer");
id_field!(OrganizationId, OrganizationId::parse, "must be an organization ID");
id_field!(Uuid, |id| EventId::parse(id).map(|id| id.0), "must be an ID");

/// A malformed ID is treated as not found.
impl Field for PathId<AgentId> {
    fn schema() -> MetaSchemaRef {
        string("uuid")
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(name, text(|id| Ok(Self(AgentId::parse(id).unwrap_or(AgentId::NIL)))))
    }
}

/// Returns the schema of a list of strings.
pub fn list_of_strings(item: MetaSchema, min_items: Option<usize>, max_items: usize) -> MetaSchemaRef {
    inline(MetaSchema {
        items: Some(Box::new(inline(item))),
        min_items,
        max_items: Some(max_items),
        unique_items: Some(true),
        ..MetaSchema::new("array")
    })
}

/// Reads a list of different texts, whose number is within these bounds.
pub fn distinct<T: PartialEq>(
    fields: &mut Fields,
    name: &str,
    bounds: RangeInclusive<usize>,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<Option<Vec<T>>> {
    let Some(entries) = fields.texts(name, parse)? else { return Some(None) };
    if !bounds.contains(&entries.len()) {
        let (least, most) = bounds.into_inner();
        fields.field_error(name, format!("must have {least} to {most} entries"));
    }
    let mut seen: Vec<T> = Vec::with_capacity(entries.len());
    for (place, entry) in entries {
        if seen.contains(&entry) {
            fields.field_error(&format!("{name}[{place}]"), "is repeated");
        }
        seen.push(entry);
    }
    Some(Some(seen))
}

/// Returns a reference to the schema of a declared object.
pub fn reference<T: super::Declared>() -> MetaSchemaRef {
    MetaSchemaRef::Reference(T::NAME.to_owned())
}
