//! JSON parsing that is stricter than `serde_json::Value`: a repeated key and a NUL are errors.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::FieldError;

/// Maximum number of values in a body. Each entry of a list and each field of an object is one.
///
/// No operation needs a tenth of that, and each value takes seventy bytes or more.
pub const MAX_VALUES: usize = 4_096;

/// Field name for an error that concerns the whole body.
const BODY: &str = "body";

/// Parses a JSON object. Returns its fields and the errors in their form.
///
/// Returns an error if the text is not a JSON object.
///
/// Invalid UTF-8, lone surrogates, numbers too large for a double, more than 128 levels and anything after
/// the object are refused by the parser itself.
pub fn parse_object(body: &[u8]) -> Result<(Map<String, Value>, Vec<FieldError>), FieldError> {
    let (field_errors, values) = (RefCell::new(Vec::new()), Cell::new(0));
    let mut parser = serde_json::Deserializer::from_slice(body);
    let seed = Strict { place: None, field_errors: &field_errors, values: &values };
    let value = seed.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    match value {
        Ok(Value::Object(fields)) => Ok((fields, field_errors.into_inner())),
        Ok(_) => Err(FieldError::new(BODY, "must be a JSON object")),
        Err(_) if values.get() > MAX_VALUES => {
            Err(FieldError::new(BODY, format!("must have at most {MAX_VALUES} values")))
        }
        Err(error) => Err(FieldError::new(BODY, format!("is not valid JSON: {error}"))),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    /// The field that is being read; `None` for the whole body.
    place: Option<&'a Place<'a>>,
    field_errors: &'a RefCell<Vec<FieldError>>,
    /// Number of values so far.
    values: &'a Cell<usize>,
}

/// A field, by its name and the field that contains it.
///
/// The path is written out only for an error, because a deep body has long paths everywhere.
struct Place<'a> {
    within: Option<&'a Place<'a>>,
    name: &'a str,
}

impl Place<'_> {
    /// Returns the path, innermost name last; only the end of a very deep path.
    fn path(&self) -> String {
        const DEEPEST: usize = 8;
        let outwards = std::iter::successors(Some(self), |place| place.within).take(DEEPEST);
        let mut names: Vec<&str> = outwards.map(|place| place.name).collect();
        names.reverse();
        names.join(".")
    }
}

impl Strict<'_> {
    fn field_error(&self, message: &str) {
        let mut field_errors = self.field_errors.borrow_mut();
        if field_errors.len() < super::fields::MAX_FIELD_ERRORS {
            field_errors.push(FieldError::new(&self.place.map_or(BODY.to_owned(), Place::path), message));
        }
    }

    fn check(&self, text: &str) {
        if text.contains('\0') {
            self.field_error("must not contain the NUL character");
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > MAX_VALUES {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.check(value);
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(self)? {
            list.push(entry);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let place = Place { within: self.place, name: &name };
            let field = Strict { place: Some(&place), ..self };
            field.check(&name);
            let value = fields.next_value_seed(field)?;
            if map.contains_key(&name) {
                field.field_error("is repeated");
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_has_a_bounded_number_of_values_however_they_are_nested() {
        let list = |entries: usize| format!(r#"{{"a":[{}]}}"#, vec!["0"; entries].join(","));
        assert!(parse_object(list(MAX_VALUES - 2).as_bytes()).is_ok());
        for body in [
            list(MAX_VALUES - 1),
            list(500_000),
            format!(r#"{{"a":[{}[]]}}"#, "[],".repeat(300_000)),
            format!(r#"{{{}"z":0}}"#, (0..MAX_VALUES).map(|n| format!(r#""{n}":0,"#)).collect::<String>()),
        ] {
            let field_error = parse_object(body.as_bytes()).expect_err("too many");
            assert_eq!(field_error, FieldError::new(BODY, format!("must have at most {MAX_VALUES} values")));
        }
    }

    #[test]
    fn what_other_readers_let_pass_is_a_fault_here() {
        for (body, field) in [
            (r#"{"a":1,"a":2}"#, "a"),
            (r#"{"a":{"b":1,"b":1}}"#, "a.b"),
            (r#"{"a":"\u0000"}"#, "a"),
            (r#"{"a":["\u0000"]}"#, "a"),
        ] {
            let (_, field_errors) = parse_object(body.as_bytes()).expect("well formed");
            assert_eq!(
                field_errors.iter().map(|field_error| field_error.field.as_str()).collect::<Vec<_>>(),
                [field],
                "{body}"
            );
        }
        for body in [
            &b"{\"a\":\"\xff\"}"[..],
            br#"{"a":"\ud800"}"#,
            b"{} {}",
            b"{}x",
            b"[]",
            b"null",
            b"",
            b"{\"a\":1e999}",
        ] {
            assert!(parse_object(body).is_err(), "{body:?}");
        }
        let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "1");
        assert!(parse_object(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_what_is_read_is_what_serde_json_reads(body: Vec<u8>) {
            if let Ok((fields, field_errors)) = parse_object(&body)
                && field_errors.is_empty()
            {
                let lenient: Value = serde_json::from_slice(&body).expect("serde_json takes more");
                prop_assert_eq!(Value::Object(fields), lenient);
            }
        }
    }
}
