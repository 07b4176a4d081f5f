//! Declaration of inputs: each field once, with its name, its type and its description.
//!
//! The type of a field has both its schema and its reader ([`Field`]), so that the OpenAPI document and the parser
//! cannot drift apart.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};

use super::fields::Fields;
use super::wire::inline;
use crate::error::FieldError;

/// The fields of an input, declared by [`input!`].
pub trait Declared: Sized {
    /// Name of the schema.
    const NAME: &'static str;

    /// Registers the schema.
    fn register(registry: &mut Registry);

    /// Reads all fields. `None` only if an error was recorded.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// An input of an operation.
pub trait Input: Declared {
    /// Type that the use case takes.
    type Value: Send;

    /// Converts the fields, all of which are valid.
    fn accept(self) -> Self::Value;

    /// Reads a whole input. Returns all errors of the input if it has any.
    fn read_all(mut fields: Fields) -> Result<Self::Value, Vec<FieldError>> {
        let declared = Self::read(&mut fields);
        fields.finish(declared).map(Self::accept)
    }
}

/// Returns a schema with a field's description and default.
pub fn described(
    schema: MetaSchemaRef,
    description: &'static str,
    default: Option<serde_json::Value>,
) -> MetaSchemaRef {
    let description = Some(description.trim_start()).filter(|text| !text.is_empty());
    match schema {
        MetaSchemaRef::Inline(schema) => inline(MetaSchema { description, default, ..*schema }),
        reference if description.is_none() && default.is_none() => reference,
        // Other members of a schema with a reference are ignored, so that the reference needs a schema of its own.
        reference => inline(MetaSchema { description, default, all_of: vec![reference], ..MetaSchema::ANY }),
    }
}

/// Declares the fields of an input: `required`, `optional`, or `defaulted` to the value after `=`.
///
/// The declaration becomes a struct of that name, with one member a field. A block after `check fields` holds the rules
/// between fields. It runs even if a field is invalid, so that all errors are reported at once: each member is `None`
/// if it is invalid, and an optional one is `Some(None)` if it is absent.
macro_rules! input {
    (
        $(#[doc = $summary:literal])+
        $vis:vis $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $kind:ident $wire:literal $member:ident: $type:ty $(= $default:expr)?
            ),+ $(,)?
        }
        $(check $fields:ident $check:block)?
    ) => {
        $(#[doc = $summary])+
        $vis struct $name {
            $($member: input!(@type $kind $type)),+
        }

        impl $crate::extract::Declared for $name {
            const NAME: &'static str = stringify!($name);

            fn register(registry: &mut poem_openapi::registry::Registry) {
                registry.create_schema::<Self, _>(Self::NAME.to_owned(), |registry| {
                    $(<$type as $crate::extract::Field>::register(registry);)+
                    poem_openapi::registry::MetaSchema {
                        title: Some(Self::NAME.to_owned()),
                        description: Some(concat!($($summary),+).trim_start()),
                        required: [$(input!(@required $kind $wire)),+].into_iter().flatten().collect(),
                        properties: vec![$((
                            $wire,
                            $crate::extract::described(
                                <$type as $crate::extract::Field>::schema(),
                                concat!($($doc),*),
                                input!(@default $($default)?),
                            ),
                        )),+],
                        ..poem_openapi::registry::MetaSchema::new("object")
                    }
                });
            }

            fn read(fields: &mut $crate::extract::Fields) -> Option<Self> {
                $(let $member = input!(@read $kind fields $wire $type $(, $default)?);)+
                $({
                    let $fields = &mut *fields;
                    $check
                })?
                Some(Self { $($member: $member?),+ })
            }
        }
    };
    (@type optional $type:ty) => { Option<$type> };
    (@type $kind:ident $type:ty) => { $type };
    (@required required $wire:literal) => { Some($wire) };
    (@required $kind:ident $wire:literal) => { None };
    (@default) => { None };
    (@default $default:expr) => { Some($default.into()) };
    (@read required $fields:ident $wire:literal $type:ty) => {
        $fields.require::<$type>($wire)
    };
    (@read optional $fields:ident $wire:literal $type:ty) => {
        <$type as $crate::extract::Field>::read($fields, $wire)
    };
    (@read defaulted $fields:ident $wire:literal $type:ty, $default:expr) => {
        <$type as $crate::extract::Field>::read($fields, $wire).map(|value| value.unwrap_or($default.into()))
    };
}

pub(crate) use input;
