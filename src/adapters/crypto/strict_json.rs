//! JSON objects in which no member is repeated and no text has a NUL.
//!
//! Of a repeated member, one reader takes the first and another the last, so that two services could see two identities in
//! one JWT.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses a JSON object; `None` for anything else, and for more than 128 levels.
pub(super) fn parse_object(json: &[u8]) -> Option<Map<String, Value>> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let value = Strict.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Strict;

fn without_nul<E: Error>(text: &str) -> Result<String, E> {
    if text.contains('\0') { Err(E::custom("a NUL")) } else { Ok(text.to_owned()) }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("out of range"))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        without_nul(value).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(self)? {
            list.push(entry);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            if map.insert(without_nul(&name)?, value).is_some() {
                return Err(A::Error::custom("a repeated member"));
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_it_is() {
        let json = r#"{"a":[1,-2,0.5,true,null,"x",{"b":{}}],"exp":18446744073709551615}"#;
        let expected: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(parse_object(json.as_bytes()).map(Value::Object), Some(expected));
    }

    #[test]
    fn repeated_members_and_nul_are_refused_at_every_level() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for json in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            "{\"a\":\"\\u0000\"}",
            "{\"\\u0000\":1}",
            r#"{"a":[["\u0000"]]}"#,
            r#"{"a":1} x"#,
            r#"{"a":"\ud800"}"#,
            "[1]",
            "1",
            "",
            &deep,
        ] {
            assert_eq!(parse_object(json.as_bytes()), None, "{json}");
        }
    }
}
