//! Claims that a JWT of a trusted issuer must have.

use serde_json::{Map, Number, Value};

/// The most claims that a credential can demand.
pub const MAX_CLAIMS: usize = 10;
/// The most values of a claim, of which one must match.
pub const MAX_VALUES: usize = 20;
/// The longest subject, name of a claim, or text that a claim must have, in characters.
pub const MAX_TEXT_CHARS: usize = 512;
/// 2^53: below it, every whole number has a floating-point number of its own.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// Claims that a JWT must have, each with the value or the values of which it must have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules(Map<String, Value>);

impl ClaimRules {
    /// Checks rules: at most [`MAX_CLAIMS`] names of claims or JSON Pointers (RFC 6901), each with a text, a number or a
    /// boolean, or with 1 to [`MAX_VALUES`] of these.
    ///
    /// Returns what is wrong with others, and with which name; the name is empty if it is not about one of them.
    pub fn new(rules: Map<String, Value>) -> Result<Self, (String, &'static str)> {
        if rules.len() > MAX_CLAIMS {
            return Err((String::new(), "must have at most 10 members"));
        }
        for (name, value) in &rules {
            let wrong = |what| Err((name.clone(), what));
            if !(1..=MAX_TEXT_CHARS).contains(&name.chars().count()) || name.chars().any(char::is_control) {
                return wrong("must have a name of 1 to 512 characters");
            }
            if name.starts_with('/') && !is_pointer(name) {
                return wrong("must be the name of a claim, or a JSON Pointer such as \"/a/b\"");
            }
            match value {
                Value::Array(values) if !(1..=MAX_VALUES).contains(&values.len()) => {
                    return wrong("must have 1 to 20 values");
                }
                Value::Array(values) if values.iter().all(is_simple) => {}
                value if is_simple(value) => {}
                _ => {
                    return wrong(
                        "must be a string of at most 512 characters, a number or a boolean, or a list of these",
                    );
                }
            }
        }
        Ok(Self(rules))
    }

    /// Returns rules that a store has kept.
    pub const fn of_stored(rules: Map<String, Value>) -> Self {
        Self(rules)
    }

    /// Returns the rules: names with values.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns whether the claims meet every rule.
    pub fn match_claims(&self, claims: &Map<String, Value>) -> bool {
        self.0.iter().all(|(name, rule)| claim(claims, name).is_some_and(|value| matches_rule(value, rule)))
    }
}

fn is_simple(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().count() <= MAX_TEXT_CHARS,
        // A larger one that is not a whole number of 64 bits has been rounded, so that others would be the same.
        Value::Number(number) => {
            !number.is_f64() || number.as_f64().is_some_and(|number| number.abs() < EXACT_BELOW)
        }
        Value::Bool(_) => true,
        _ => false,
    }
}

/// Returns whether each `~` begins one of the two escape sequences.
fn is_pointer(text: &str) -> bool {
    text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// Returns the claim with this name, or at this JSON Pointer; `None` if it is absent.
pub(super) fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = match pointer.split_once('/') {
        Some((first, _)) => (first, &name[first.len() + 1..]),
        None => (pointer, ""),
    };
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

/// Returns whether a claim is, or has as a member, the value of the rule or one of its values.
fn matches_rule(value: &Value, rule: &Value) -> bool {
    match (value, rule) {
        (Value::Array(members), rule) => {
            members.iter().any(|member| !member.is_array() && matches_rule(member, rule))
        }
        (value, Value::Array(rules)) => rules.iter().any(|rule| is_same(value, rule)),
        (value, rule) => is_same(value, rule),
    }
}

/// Returns whether two values are the same. A number is the same however it is written.
fn is_same(value: &Value, rule: &Value) -> bool {
    match (value, rule) {
        (Value::Number(value), Value::Number(rule)) => {
            value == rule || {
                let exact = |number: &Number| number.as_f64().filter(|number| number.abs() < EXACT_BELOW);
                exact(value).is_some_and(|value| exact(rule) == Some(value))
            }
        }
        _ => value == rule,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_that_nothing_could_meet_are_refused() {
        let many: Map<String, Value> = (0..11).map(|n| (n.to_string(), json!(1))).collect();
        for wrong in [
            json!({ "": 1 }),
            json!({ "/a~2": 1 }),
            json!({ "/a~": 1 }),
            json!({ "a": null }),
            json!({ "a": {} }),
            json!({ "a": [] }),
            json!({ "a": [[1]] }),
            json!({ "a": 123_456_789_012_345_678_901.0 }),
            json!({ "a": vec![1; 21] }),
            json!({ "a": "x".repeat(513) }),
            json!({ "x".repeat(513): 1 }),
            Value::Object(many),
        ] {
            assert!(ClaimRules::new(wrong.as_object().expect("an object").clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn large_numbers_are_compared_exactly() {
        let matches = |rule: &str, value: &str| {
            let parse = |text: &str| serde_json::from_str::<Value>(text).expect("a number");
            is_same(&parse(value), &parse(rule))
        };
        assert!(
            matches("7", "7.0")
                && matches("7.0", "7")
                && matches("18446744073709551615", "18446744073709551615")
        );
        for (rule, value) in [
            ("9007199254740993", "9007199254740992.0"),
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709551616"),
            ("7", "7.5"),
        ] {
            assert!(!matches(rule, value), "{rule} {value}");
        }
    }
}
