//! Tables of names: each value of an enum with its name on the wire and in stores.

/// Returns the name of a value; empty if the table lacks the value.
pub fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, named)| named == value).map_or("", |(name, _)| name)
}
