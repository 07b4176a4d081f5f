//! The tool or team that manages an agent or a trusted issuer.

/// The longest name of a manager, in characters.
pub const MAX_MANAGED_BY_CHARS: usize = 64;

/// The name of the tool or team that created something and manages it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedBy(String);

impl ManagedBy {
    /// Parses a name.
    ///
    /// Returns what is wrong with the text if it is not such a name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        if !(1..=MAX_MANAGED_BY_CHARS).contains(&text.chars().count()) {
            return Err("must be 1 to 64 characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_passes_and_a_longer_an_empty_and_a_broken_one_do_not() {
        let longest = "\u{e9}".repeat(MAX_MANAGED_BY_CHARS);
        assert_eq!(ManagedBy::parse(&longest).as_ref().map(ManagedBy::as_str), Ok(longest.as_str()));
        for wrong in ["", "a\nb", &format!("{longest}a")] {
            assert!(ManagedBy::parse(wrong).is_err(), "{wrong}");
        }
    }
}
